"""CancelRequest: whose key is it, and is there still something to cancel?

Ideas:

* The client gets a secret key of ours with the legacy server's process id: the id is no secret and helps people to find
  the session in ``pg_stat_activity``; the legacy server's own key never leaves the bridge.
* A cancel goes upstream only while a query runs there, and only one at a time: a late one would hit the next query.
* Whoever guesses keys from one address is soon not listened to any more; nobody is ever answered a byte.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable

from bridge.adapter import Admission

KEY_SIZE_3_0 = 4
KEY_SIZE_3_2 = 32

WRONG_KEYS = 20
"""Wrong keys from one address before it is ignored; one more is allowed every second. A 4-byte key has 2^32 values."""

ADDRESSES = 4096
"""Addresses whose wrong keys are remembered, the latest."""


class CancelSlot:
    """One live session that can be cancelled. ``relaying`` sets ``busy`` while the legacy server works on a query.

    ``query`` counts how often work began, so that a cancel can tell whether it is still the same work.
    """

    __slots__ = ("_busy", "admission", "backend_key", "encrypted", "in_flight", "key", "pid", "query")

    def __init__(self, admission: Admission, *, pid: int, key: bytes, backend_key: bytes, encrypted: bool) -> None:
        self.admission = admission
        self.pid = pid
        self.key = key
        self.backend_key = backend_key
        self.encrypted = encrypted
        self.in_flight = False
        self.query = 0
        self._busy = False

    @property
    def busy(self) -> bool:
        return self._busy

    @busy.setter
    def busy(self, value: bool) -> None:
        if value and not self._busy:
            self.query += 1
        self._busy = value

    def __repr__(self) -> str:
        return f"<CancelSlot of {self.pid}>"


class WrongKeys:
    """How many wrong keys an address may still try: a bucket that refills by one a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tried: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def exhausted(self, host: str) -> bool:
        return self._level(host) >= WRONG_KEYS

    def note(self, host: str) -> None:
        self._tried[host] = (self._level(host) + 1, self._clock())
        self._tried.move_to_end(host)
        while len(self._tried) > ADDRESSES:
            self._tried.popitem(last=False)

    def _level(self, host: str) -> float:
        level, since = self._tried.get(host, (0.0, 0.0))
        return max(0.0, level - (self._clock() - since))


class Cancels:
    """The live sessions of one system, by process id. Behind a pooler two may share one: each has its own key."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._slots: dict[int, list[CancelSlot]] = {}
        self._wrong = WrongKeys(clock)

    def open(
        self, admission: Admission, *, pid: int, backend_key: bytes, encrypted: bool, key_size: int = KEY_SIZE_3_0
    ) -> CancelSlot:
        key = secrets.token_bytes(key_size)
        slot = CancelSlot(admission, pid=pid, key=key, backend_key=backend_key, encrypted=encrypted)
        if backend_key:
            self._slots.setdefault(pid, []).append(slot)
        return slot

    def close(self, slot: CancelSlot) -> None:
        slots = self._slots.get(slot.pid, [])
        if slot in slots:
            slots.remove(slot)
        if not slots:
            self._slots.pop(slot.pid, None)

    def find(self, pid: int, key: bytes, host: str) -> CancelSlot | None:
        """The session that this pair belongs to. ``host`` is who asks."""
        if self._wrong.exhausted(host):
            return None
        found = None
        for slot in self._slots.get(pid, ()):
            if hmac.compare_digest(slot.key, key):
                found = slot
        if found is None:
            self._wrong.note(host)
        return found

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))
