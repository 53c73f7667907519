"""To whom an alert goes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bridge.alerts.watching import BREAK_GLASS, DEMOTION, Alert
from bridge.identity.agents import Owner

CHANNEL = "channel:"
"""In an owner's ``on_call``: the name of a configured channel follows."""

_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}")

LEADERSHIP = frozenset({BREAK_GLASS, DEMOTION})
"""Rules of which leadership hears."""

SECURITY = LEADERSHIP | {"bypass", "demoted", "log"}
"""Rules of which security hears in any case."""


class Routes:
    """``channels`` are those configured, ``security`` and ``leadership`` some of them; ``mails``: whether a mail server
    is configured."""

    def __init__(
        self, owners: Mapping[str, Owner], channels: frozenset[str], security: tuple[str, ...],
        leadership: tuple[str, ...], mails: bool,
    ) -> None:  # fmt: skip
        self._owners = owners
        self._channels = channels
        self._security = security
        self._leadership = leadership
        self._mails = mails

    def __call__(self, alert: Alert) -> tuple[str, ...]:
        """The channels, the owner's first. An owner that cannot be reached does not swallow an alert."""
        own = self.of_owner(self._owners.get(alert.owner))
        security = self._security if not own or alert.rule in SECURITY else ()
        leadership = self._leadership if alert.rule in LEADERSHIP else ()
        further = (one for one in alert.channels if one in self._channels)
        return tuple(dict.fromkeys((*own, *further, *security, *leadership)))

    def of_owner(self, owner: Owner | None) -> tuple[str, ...]:
        if owner is None:
            return ()
        name = owner.on_call.removeprefix(CHANNEL)
        if owner.on_call.startswith(CHANNEL) and name in self._channels:
            return (name,)
        if self._mails and _ADDRESS.fullmatch(owner.contact):
            return (f"mailto:{owner.contact}",)
        return ()
