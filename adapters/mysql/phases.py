"""What comes after the login, as ``adapter`` sees it: the read-only seat-belt, the relay, KILL, the doctor.

A Protocol and its live implementation, so that the story of the login is tested without a relay.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from adapters.mysql.login import LoginFacts
from adapters.mysql.upstream import UpstreamLogins
from bridge.adapter import Action, Admission, Check, Stream, SystemFacts


class Phases(Protocol):
    def start(self, deferring: Callable[..., Awaitable[Any]]) -> None: ...

    def stop(self) -> None: ...

    def next_id(self) -> int:
        """A connection id for a greeting, of no live session."""
        ...

    def after_login(self, actions: frozenset[Action]) -> tuple[str, ...]:
        """Statements to run upstream for a session that may do no more than ``actions``."""
        ...

    async def relay(
        self, client: Stream, upstream: Stream, admission: Admission, *, system: SystemFacts, login: LoginFacts
    ) -> None:
        """From the client's OK to the end of the session."""
        ...

    async def examine(
        self, admission: Admission, logins: UpstreamLogins, system: SystemFacts, targets: Mapping[str, frozenset[str]]
    ) -> list[Check]: ...


class LivePhases:
    """The real ones. Nothing runs before ``start``."""

    def __init__(self, clock: Callable[[], float]) -> None:
        from adapters.mysql.classifier import Classifier
        from adapters.mysql.kill import Kills

        self._classifier = Classifier()
        self._kills = Kills(clock)

    def start(self, deferring: Callable[..., Awaitable[Any]]) -> None:
        self._classifier.start(deferring)

    def stop(self) -> None:
        """Nothing of it outlives its sessions."""

    def next_id(self) -> int:
        return self._kills.next_id()

    def after_login(self, actions: frozenset[Action]) -> tuple[str, ...]:
        from adapters.mysql import guard

        return guard.after_login(actions)

    async def relay(
        self, client: Stream, upstream: Stream, admission: Admission, *, system: SystemFacts, login: LoginFacts
    ) -> None:
        from adapters.mysql.relaying import relay

        slot = self._kills.open(admission, connection_id=login.connection_id, thread_id=login.thread_id)
        try:
            await relay(
                client,
                upstream,
                admission,
                system=system,
                login=login,
                classifier=self._classifier,
                kills=self._kills,
                slot=slot,
            )
        finally:
            self._kills.close(slot)

    async def examine(
        self, admission: Admission, logins: UpstreamLogins, system: SystemFacts, targets: Mapping[str, frozenset[str]]
    ) -> list[Check]:
        from adapters.mysql import doctor

        return await doctor.examine(admission, logins, system, targets)
