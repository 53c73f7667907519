"""Numbers of connections, and who may kill which (research B5, "KILL").

A client is told the bridge's number in the greeting and reads the legacy server's from CONNECTION_ID(): both name its
session. All sessions of an account are one user to the legacy server, which would let each kill all: here an agent
reaches its own sessions only.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from bridge.adapter import Admission

FIRST = 1 << 30
"""Our numbers begin between this and twice this: legacy servers count from 1, so the two seldom meet."""

LAST = (1 << 31) - 1


@dataclass(eq=False, slots=True)
class KillSlot:
    """One live session. ``connection_id`` is the bridge's number for it, ``thread_id`` the legacy server's."""

    session: str
    agent: str
    account: str
    connection_id: int
    thread_id: int


class Kills:
    """The live sessions of one system. ``clock`` is not needed yet; every registry of an adapter has one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next = FIRST + secrets.randbelow(LAST - FIRST)
        self._live: dict[int, KillSlot] = {}

    def next_id(self) -> int:
        while True:
            self._next = self._next + 1 if self._next < LAST else FIRST
            if self._next not in self._live:
                return self._next

    def open(self, admission: Admission, *, connection_id: int, thread_id: int) -> KillSlot:
        slot = KillSlot(admission.session, admission.agent.id, admission.account, connection_id, thread_id)
        self._live[connection_id] = slot
        return slot

    def close(self, slot: KillSlot) -> None:
        if self._live.get(slot.connection_id) is slot:
            del self._live[slot.connection_id]

    def find(self, number: int, asking: KillSlot) -> KillSlot | None:
        """The session of the same agent on the same account that the number names, the bridge's number first."""
        slot = self._live.get(number)
        if slot is not None and _same(slot, asking):
            return slot
        return next(
            (other for other in self._live.values() if other.thread_id == number and _same(other, asking)), None
        )


def _same(slot: KillSlot, asking: KillSlot) -> bool:
    return (slot.agent, slot.account) == (asking.agent, asking.account)
