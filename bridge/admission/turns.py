"""Whose turn it is with a static secret: one change at a time, none while somebody looks, no login during one.

Keyed by reference: accounts that share a secret share its turns. A login that began before a change goes on with what
it has read; a change begins with a login of its own, so others have theirs behind them by then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import DeferredLock


class Turns:
    """Whoever looks may log in several times (``doctor`` does, database by database), and so keeps a change waiting."""

    def __init__(self) -> None:
        self._changing: dict[str, DeferredLock] = {}
        self._looking: dict[str, DeferredLock] = {}

    def is_changing(self, reference: str) -> bool:
        return reference in self._changing

    async def unchanged(self, reference: str) -> None:
        """Waits while it is being changed: with the old one a login would fail, and a few of them lock the account."""
        if reference in self._changing:
            async with _held(self._changing, reference):
                pass

    @asynccontextmanager
    async def looking(self, reference: str) -> AsyncIterator[None]:
        async with _held(self._looking, reference):
            yield

    @asynccontextmanager
    async def changing(self, reference: str) -> AsyncIterator[None]:
        """Must not be nested in ``looking``."""
        async with _held(self._looking, reference), _held(self._changing, reference):
            yield


@asynccontextmanager
async def _held(locks: dict[str, DeferredLock], reference: str) -> AsyncIterator[None]:
    lock = locks.setdefault(reference, DeferredLock())
    await lock.acquire()
    try:
        yield
    finally:
        lock.release()
        if not lock.locked:
            locks.pop(reference, None)
