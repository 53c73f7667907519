"""Recordings that have been kept long enough: the log says which ones go, and only then they are removed."""

from __future__ import annotations

from collections.abc import Callable

from bridge.storage import ThreadPool
from bridge.translation import facts
from bridge.translation.log import TranslationLog
from bridge.translation.record import Event, IndexKeys
from bridge.translation.recording_retention import Overdue, Retention, in_thread_overdue, in_thread_remove
from bridge.translation.recordings import Recordings
from bridge.translation.vocabulary import RECORDING_PRUNE

TOGETHER = 100
"""Files in one event."""


class Pruning:
    """``retention`` is replaced by a reload; ``now`` is Unix time."""

    def __init__(
        self, recordings: Recordings, log: TranslationLog, pool: ThreadPool, retention: Retention,
        now: Callable[[], float],
    ) -> None:  # fmt: skip
        self.retention = retention
        self._recordings = recordings
        self._log = log
        self._pool = pool
        self._now = now

    async def run(self) -> int:
        """How many were removed. Raises LogUnavailable, OSError."""
        if not self.retention:
            return 0
        folder, being_written = self._recordings.folder, frozenset(self._recordings.open_files)
        overdue = await self._pool.run(
            in_thread_overdue, folder, self.retention, now=self._now(), open_files=being_written
        )
        for start in range(0, len(overdue), TOGETHER):
            some = overdue[start : start + TOGETHER]
            await self._log.record(_event(some))
            await self._pool.run(in_thread_remove, some)
        return len(overdue)


def _event(overdue: list[Overdue]) -> Event:
    because = {why: sum(one.because == why for one in overdue) for why in ("age", "size")}
    detail = facts.detail_section(
        files=[one.path.name for one in overdue], bytes=sum(one.bytes for one in overdue), counts=because
    )
    actor = facts.actor_section(kind="bridge", id="retention")
    return Event(RECORDING_PRUNE, sections={"actor": actor, "detail": detail}, index=IndexKeys())
