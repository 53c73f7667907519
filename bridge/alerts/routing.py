"""To whom an alert goes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bridge.alerts.watching import Alert
from bridge.identity.agents import Owner

CHANNEL = "channel:"
"""In an owner's ``on_call``: the name of a configured channel follows."""

_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}")

SECURITY = frozenset({"bypass", "demoted", "log", "break-glass"})
"""Rules of which security hears in any case."""


class Routes:
    """``channels`` are those configured, ``security`` some of them; ``mails``: whether a mail server is configured."""

    def __init__(self, owners: Mapping[str, Owner], channels: frozenset[str], security: tuple[str, ...], mails: bool):
        self._owners = owners
        self._channels = channels
        self._security = security
        self._mails = mails

    def __call__(self, alert: Alert) -> tuple[str, ...]:
        """The channels, the owner's first. An owner that cannot be reached does not swallow an alert."""
        own = self.of_owner(self._owners.get(alert.owner))
        if not own or alert.rule in SECURITY:
            return tuple(dict.fromkeys((*own, *self._security)))
        return own

    def of_owner(self, owner: Owner | None) -> tuple[str, ...]:
        if owner is None:
            return ()
        name = owner.on_call.removeprefix(CHANNEL)
        if owner.on_call.startswith(CHANNEL) and name in self._channels:
            return (name,)
        if self._mails and _ADDRESS.fullmatch(owner.contact):
            return (f"mailto:{owner.contact}",)
        return ()
