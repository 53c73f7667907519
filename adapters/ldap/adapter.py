"""The story of one LDAP connection.

Strangers are answered by ``Gate`` until a Bind with a credential comes; ``admit``, the static account's Bind upstream,
``established``; only then does the agent hear yes. ``Session`` relays until the agent binds anew, leaves, or is cut.
A Bind with the credential that is bound already goes on with the same session.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from adapters.ldap import discovering, doctor, observing, rotating
from adapters.ldap.attributes import names_of_attribute
from adapters.ldap.connection import Connection
from adapters.ldap.knowledge import Learning
from adapters.ldap.names import names_of_base
from adapters.ldap.options import Options as LDAPOptions
from adapters.ldap.stalls import Stalls
from bridge.adapter import Admission, Check, Door, LegacySession, Secret, Stream, SystemFacts


class LDAPAdapter:
    """One instance per system. ``clock`` is monotonic seconds."""

    name: ClassVar[str] = "ldap"
    default_port: ClassVar[int] = 636
    Options: ClassVar[type[Any]] = LDAPOptions
    targets: ClassVar[frozenset[str]] = frozenset()
    operation_targets: ClassVar[frozenset[str]] = frozenset({"base", "attribute"})
    encrypts: ClassVar[bool] = False

    def __init__(self, clock: Callable[[], float] = time.monotonic, learning: Learning | None = None) -> None:
        self._clock = clock
        self._learning = learning or Learning(clock)
        self._stalls = Stalls(clock)

    @staticmethod
    def names(fact: str, value: str) -> tuple[str, ...]:
        return names_of_base(value) if fact == "base" else names_of_attribute(value)

    def start(self, deferring: Callable[..., Awaitable[Any]]) -> None:
        self._learning.deferring = deferring

    def stop(self) -> None:
        """Nothing of it outlives its sessions."""

    async def serve(self, client: Stream, door: Door) -> None:
        await Connection(client, door, self._learning, self._stalls, self._clock).serve()

    async def examine(
        self, admission: Admission, system: SystemFacts, targets: Mapping[str, frozenset[str]]
    ) -> list[Check]:
        return await doctor.examine(admission, system, targets, self._clock)

    async def discover(self, admission: Admission, system: SystemFacts) -> list[dict[str, str]]:
        return await discovering.discover(admission, system, self._clock)

    async def observe(self, admission: Admission, system: SystemFacts) -> list[LegacySession]:
        return await observing.observe(admission, system, self._clock, self._learning.deferring)

    async def rotate(self, admission: Admission, system: SystemFacts, new: Secret) -> None:
        await rotating.rotate(admission, system, new, self._clock)

    async def log_in(self, admission: Admission, system: SystemFacts) -> None:
        await rotating.log_in(admission, system, self._clock)


ADAPTER = LDAPAdapter
