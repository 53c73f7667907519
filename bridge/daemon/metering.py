"""Stores what the ledger has counted, in groups: a crash forgets what was used in the last second, no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from bridge.admission.usage import UsageStore
from bridge.policy import Ledger
from bridge.rounds import Rounds
from bridge.storage import StorageError, ThreadPool

INTERVAL = 1.0
FORGETTING = 3600  # of those intervals


class Metering:
    """``now`` is Unix time. In the reactor's thread."""

    log = Logger()

    def __init__(
        self, ledger: Ledger, store: UsageStore, pool: ThreadPool, clock: Any, now: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._pool = pool
        self._now = now
        self._count = 0
        self._failing = False
        self._rounds = Rounds(self._forget_and_save, INTERVAL, clock, self._failed)

    async def start(self) -> None:
        """Takes up what an earlier run has counted. Raises StorageError."""
        self._ledger.restore(await self._pool.run(self._store.in_thread_load))
        self._rounds.start()

    async def stop(self) -> None:
        """Call it when the sessions have ended."""
        self._rounds.stop()
        await self.save()

    async def _forget_and_save(self) -> None:
        if self._count % FORGETTING == 0:
            await self._attempt(self._store.in_thread_forget, self._now())
        self._count += 1
        await self.save()

    async def save(self) -> None:
        """Stores what has changed. What cannot be stored is counted all the same, and tried again."""
        changes = self._ledger.changed()
        if (changes.counters or changes.uses) and not await self._attempt(self._store.in_thread_save, changes):
            self._ledger.unsaved(changes)

    async def _attempt(self, function: Callable[..., None], *arguments: Any) -> bool:
        try:
            await self._pool.run(function, *arguments)
        except StorageError as failure:
            if not self._failing:
                self.log.error("what agents use cannot be stored: {cause}; it is counted, and tried again",
                               cause=str(failure))  # fmt: skip
            self._failing = True
            return False
        self._failing = False
        return True

    def _failed(self, failure: Any) -> None:
        self.log.failure("what agents use is not stored any more", failure=failure)
