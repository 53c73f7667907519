"""The log's archive while the bridge runs: segments in time, and what was kept long enough deleted once it is in one.

Everything blocks in a thread of its own: the archive may be on a share that hangs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine
from twisted.logger import Logger

from bridge.config import Config
from bridge.rounds import Rounds
from bridge.sinks.cursor import CursorFile, CursorUnreadable
from bridge.storage import PoolFull, PoolStopped, StorageError, ThreadPool
from bridge.translation.archive import Archive, SegmentDamaged, Unarchivable, segments
from bridge.translation.facts import detail_section
from bridge.translation.log import LogUnavailable, TranslationLog
from bridge.translation.pruning import Due, Retention, in_thread_delete_all, in_thread_due, in_thread_prepare
from bridge.translation.record import Event
from bridge.translation.vocabulary import ALARM, ARCHIVE_FAILING, FAILURE

INTERVAL = 60.0
"""Seconds between looks at what is due."""

PRUNING = 86_400.0
"""Seconds between looks at what was kept long enough: after each pruning the overview is made again."""


class Keeping:
    """``take`` the configuration, ``start``, ``stop``. In the reactor's thread; ``engine`` is for reading and deleting.

    ``state()`` gives the last event in the archive, and why there are not more.
    """

    log = Logger()

    def __init__(self, reactor: Any, engine: Engine, log: TranslationLog, now: Any) -> None:
        self.archived = 0
        self.failure = ""
        self._engine = engine
        self._translation = log
        self._now = now
        self._pool = ThreadPool("archive", 1, reactor)
        self._archive: Archive | None = None
        self._config: Config | None = None
        self._pruned_at = 0.0
        self._stopping = threading.Event()
        self._rounds = Rounds(self.run, INTERVAL, reactor, self._ended)

    def take(self, config: Config) -> None:
        before = self._archive
        self._config, self._archive = config, archive(config, self._engine)
        if before and self._archive and before.folder == self._archive.folder:
            self._archive.intact = before.intact
        self._pruned_at = 0.0

    def start(self) -> None:
        self._rounds.start(now=True)

    async def stop(self) -> None:
        self._stopping.set()
        self._rounds.stop()
        await self._pool.stop(grace=2.0)

    async def run(self) -> None:
        """What fails here is an alarm, once for each cause, and tried again at the next round."""
        config, kept = self._config, self._archive
        if config is None or kept is None or config.log.archive is None:
            return
        try:
            archived = (kept, config.log.archive.every, self._now(), self._stopping.is_set)
            self.archived = await self._pool.run(in_thread_archived, *archived)
            await self._prune(config, kept)
        except (LogUnavailable, PoolStopped, PoolFull):
            return
        except (SegmentDamaged, Unarchivable, CursorUnreadable, StorageError, OSError) as failure:
            told = isinstance(failure, OSError) and failure.filename and f"{failure.filename}: {failure.strerror}"
            self._failed(told or str(failure))
        else:
            self.failure = ""

    async def _prune(self, config: Config, kept: Archive) -> None:
        """First what an earlier run did not come to."""
        await self._pool.run(in_thread_delete_all, self._engine, self._stopping.wait)
        now = self._now()
        if config.log.retention is None or now < self._pruned_at + PRUNING:
            return
        while (due := await self._pool.run(in_thread_would_go, config, self._engine, now)).segments:
            event = await self._pool.run(in_thread_prepare, self._engine, kept, due)
            await self._translation.record(event)
            self.log.warn("events {first} to {last} of the log are deleted; the archive has them",
                          first=due.first, last=due.last)  # fmt: skip
            await self._pool.run(in_thread_delete_all, self._engine, self._stopping.wait)
        if config is self._config:  # not another one since, which may let go more
            self._pruned_at = now

    def _failed(self, cause: str) -> None:
        if cause == self.failure:
            return
        self.failure = cause
        self.log.critical("the log's archive: {cause}", cause=cause)
        detail = detail_section(text=cause)
        self._translation.keep(Event(ALARM, outcome=FAILURE, reason=ARCHIVE_FAILING, sections={"detail": detail}))

    def _ended(self, failure: Any) -> None:
        self.log.failure("the log is not archived any more", failure=failure)


def archive(config: Config, engine: Engine) -> Archive | None:
    """As it is configured; None without."""
    given = config.log.archive
    return Archive(engine, given.folder, given.events) if given else None


def in_thread_archived(kept: Archive, every: float, now: float, stopping: Callable[[], bool]) -> int:
    """Writes what is due; returns the last event that is in the archive."""
    present = segments(kept.folder) if kept.folder.is_dir() else []
    newest = present[-1].path.stat().st_mtime if present else 0.0
    written = kept.in_thread_write(1 if now - newest >= every else kept.events, stopping)
    return max((one.last for one in (*present, *written)), default=0)


def in_thread_would_go(config: Config, engine: Engine, now: float) -> Due:
    """What the configuration lets go ``now`` (Unix seconds), a million events at most; nothing without retention.

    Raises CursorUnreadable, StorageError, OSError.
    """
    kept, retention = archive(config, engine), config.log.retention
    if kept is None or retention is None:
        return Due(1, 0, "log.retention is not configured")
    before = now - retention.keep
    if retention.hold is not None:
        before = min(before, retention.hold.timestamp())
    return in_thread_due(engine, kept, Retention(int(before * 1000), _delivered(config)))


def _delivered(config: Config) -> int | None:
    """The event up to which every sink has all; None without sinks."""
    cursors = [CursorFile(config.bridge.state / "sinks" / f"{name}.json").in_thread_load() for name in config.sinks]
    return min((cursor.delivered if cursor else 0 for cursor in cursors), default=None)
