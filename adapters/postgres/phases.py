"""What comes after the login, as ``adapter`` sees it: the read-only seat-belt, the relay, the doctor.

A Protocol and its live implementation, so that the story of the login is tested without a parser process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from adapters.postgres.cancel import CancelSlot
from adapters.postgres.login import LoginFacts
from adapters.postgres.upstream import UpstreamLogins
from bridge.adapter import Action, Admission, Check, Stream, SystemFacts


class Phases(Protocol):
    def start(self, deferring: Callable[..., Awaitable[Any]]) -> None: ...

    def stop(self) -> None: ...

    def startup_parameters(self, actions: frozenset[Action]) -> Mapping[str, str]:
        """Settings to pin for a session that may do no more than ``actions``."""
        ...

    async def relay(
        self,
        client: Stream,
        upstream: Stream,
        admission: Admission,
        *,
        system: SystemFacts,
        login: LoginFacts,
        cancel_slot: CancelSlot,
    ) -> None:
        """From ReadyForQuery to the end of the session."""
        ...

    async def examine(
        self, admission: Admission, logins: UpstreamLogins, system: SystemFacts, targets: Mapping[str, frozenset[str]]
    ) -> list[Check]: ...


class LivePhases:
    """The real ones. Nothing runs before ``start``."""

    def __init__(self) -> None:
        from adapters.postgres.worker import Classifier

        self._classifier = Classifier()

    def start(self, deferring: Callable[..., Awaitable[Any]]) -> None:
        self._classifier.start(deferring)

    def stop(self) -> None:
        self._classifier.stop()

    def startup_parameters(self, actions: frozenset[Action]) -> Mapping[str, str]:
        from adapters.postgres import guard

        return guard.startup_parameters(actions)

    async def relay(
        self,
        client: Stream,
        upstream: Stream,
        admission: Admission,
        *,
        system: SystemFacts,
        login: LoginFacts,
        cancel_slot: CancelSlot,
    ) -> None:
        from adapters.postgres.relaying import relay_session

        await relay_session(
            client,
            upstream,
            admission,
            system=system,
            login=login,
            classifier=self._classifier,
            cancel_slot=cancel_slot,
        )

    async def examine(
        self, admission: Admission, logins: UpstreamLogins, system: SystemFacts, targets: Mapping[str, frozenset[str]]
    ) -> list[Check]:
        from adapters.postgres import doctor

        return await doctor.examine(admission, logins, system, targets)
