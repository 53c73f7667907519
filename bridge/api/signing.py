"""Commands that a person signs with a key kept offline. An attempt without the right to it is recorded."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.api.failure import CommandFailed
from bridge.api.services import Actor, Services
from bridge.policy.signing import is_signed
from bridge.translation import facts
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import DENIED

CLOCKS = 300
"""Seconds by which the clocks of a signer and of the bridge may differ."""


class Attempt:
    """To do something to ``subject``; ``type`` is that of the events about it, ``people`` are those who may sign."""

    def __init__(
        self, services: Services, actor: Actor, type: str, subject: str, index: IndexKeys, people: Mapping[str, str]
    ) -> None:
        self._services = services
        self._actor = actor
        self._type = type
        self._subject = subject
        self._index = index
        self._people = people

    def signed(self, person: str, text: bytes, signature: str) -> None:
        """Raises CommandFailed, the same for a person who is not there and for a signature that is not theirs."""
        if not is_signed(self._people, person, text, signature):
            raise self.refused(f"not signed by a key of {person}", "signature")

    def refused(self, text: str, field: str) -> CommandFailed:
        """Records it; the failure is to be raised."""
        sections = {
            "actor": self._actor.section(),
            "change": facts.change_section(self._subject, None, None),
            "detail": facts.detail_section(text=text),
        }
        self._services.write(Event(self._type, outcome=DENIED, sections=sections, index=self._index))
        return CommandFailed(text, status=403, field=field)


def check_reason(reason: str) -> None:
    """What a person gives as reason stands in a text that is signed, and in the log. Raises CommandFailed."""
    if not reason or len(reason) > 1000 or not reason.isprintable():
        raise CommandFailed("a reason is 1 to 1000 printable characters", field="reason")


def check_fresh(created: int, now: float, patience: float) -> None:
    """That a request was signed within ``patience`` seconds. Raises CommandFailed."""
    if not -CLOCKS <= now - created < patience:
        raise CommandFailed("the request is too old, or a clock is wrong; sign again", status=403, field="created")
