"""One sink: batch after batch from the log to its destination, with pauses after failures. In the reactor's thread."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from bridge.adapter import BridgeError
from bridge.sinks.cursor import Cursor, CursorFile
from bridge.sinks.destination import Batch, DeliveryFailed, Destination
from bridge.sinks.source import Source
from bridge.storage import PoolFull, PoolStopped, StorageError, ThreadPool
from bridge.translation.formats import Line

FIRST_PAUSE = 1.0
"""Seconds after the first failure; then doubled up to ``Settings.longest_pause``, give or take a fifth."""

DELIVERY_LIMIT = 120.0
"""Seconds for one batch: a destination that takes longer hangs."""

TOLD_AFTER = 30.0
"""Seconds of failures after which the log and the operators hear of it; a receiver that restarts is back before."""

STOP_GRACE = 3.0
"""Seconds at a shutdown for the last events."""

_EXPECTED = (BridgeError, StorageError, PoolFull, PoolStopped, OSError)


@dataclass(frozen=True, slots=True)
class Settings:
    """``batch`` is how many events go at once, ``required`` how many seconds behind sessions are refused (0: never).

    ``from_now``: a new sink gets only what comes after its first start.
    """

    batch: int = 500
    longest_pause: float = 300.0
    required: float = 0.0
    from_now: bool = False


class Delivery:
    """``tell(delivery, works)`` is called once when an outage has lasted ``TOLD_AFTER``, and at its end."""

    log = Logger()

    def __init__(
        self,
        name: str,
        settings: Settings,
        line: Line,
        destination: Destination,
        source: Source,
        cursor_file: CursorFile,
        pool: ThreadPool,
        clock: Any,
        now: Callable[[], float],
        tell: Callable[[Delivery, bool], None],
    ) -> None:
        self.name = name
        self.settings = settings
        self.error = ""
        self.failures = 0  # in all, for metrics
        self.attempts = 0  # since it last worked
        self.failing_since = 0.0
        self.delivered_at = 0.0
        self.latest = 0
        self.taken = 0  # the latest event that was ever delivered; while some are sent again, the cursor is before it
        self.oldest = 0.0  # Unix seconds of the event after ``taken``; 0 when there is none
        self.cursor: Cursor | None = None
        self._line = line
        self._destination = destination
        self._source = source
        self._file = cursor_file
        self._pool = pool
        self._clock = clock
        self._now = now
        self._tell = tell
        self._told = False
        self._next_try = 0.0
        self._resting: Deferred[None] | None = None
        self._running: Deferred[None] | None = None
        self._stopping = False

    # -- life

    def start(self) -> None:
        self._stopping = False
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(_when_cancelled)

    async def stop(self, grace: float = 0.0) -> None:
        """Sends what is there if that takes no longer than ``grace`` seconds, then ends."""
        self._stopping = True
        running, self._running = self._running, None
        if running is None or running.called:
            return
        self._wake()
        late = self._clock.callLater(grace, running.cancel)
        await running
        if late.active():
            late.cancel()

    async def rewind(self, first: int) -> None:
        """Goes on with event ``first``, which was delivered before or is wanted next.

        Raises LogExchanged when the log has no event before it, StorageError, OSError.
        """
        cursor = await self._pool.run(self._source.in_thread_cursor, first - 1)
        await self.stop()
        await self._pool.run(self._file.in_thread_save, cursor)
        self.cursor, self.attempts = cursor, 0
        self.start()

    async def _run(self) -> None:
        while not (self._stopping and self._idle()):
            try:
                await self._step()
            except CancelledError:
                raise
            except Exception as error:  # whatever it is: a sink that ends would lose the log in silence
                if not isinstance(error, _EXPECTED):
                    self.log.failure("a defect in the sink {name}; it will try again", name=self.name)
                self._failed(error)
                if self._stopping:
                    return
                await self._rest(self._pause(error))

    async def _step(self) -> None:
        if self.cursor is None:
            await self._open()
        elif self._idle():
            self._recovered()  # what failed was not a delivery; there is none to wait for
            await self._rest(None)
        else:
            await self._deliver(self.cursor)

    def _idle(self) -> bool:
        return self.cursor is not None and self.cursor.delivered >= self.latest

    # -- one batch

    async def _open(self) -> None:
        """Nothing is sent from a log that is not the one that was delivered from."""
        self.latest = await self._pool.run(self._source.in_thread_latest)
        cursor = await self._pool.run(self._file.in_thread_load)
        if cursor is None:
            cursor = await self._pool.run(self._source.in_thread_cursor, self.latest if self.settings.from_now else 0)
            await self._pool.run(self._file.in_thread_save, cursor)
        await self._pool.run(self._source.in_thread_check, cursor)
        self.cursor = cursor
        self.taken = max(self.taken, cursor.delivered)

    async def _deliver(self, cursor: Cursor) -> None:
        batch = await self._pool.run(self._source.in_thread_batch, cursor, self.settings.batch, self._line)
        if batch is None:
            self.cursor = None  # less than was there before: look whether it is the same log
            return
        if cursor.sending != batch.last:
            cursor = self.cursor = replace(cursor, sending=batch.last)
            await self._pool.run(self._file.in_thread_save, cursor)
        await self._hand_over(batch)
        self.cursor = Cursor(batch.last, batch.digest)
        self.taken = max(self.taken, batch.last)
        await self._pool.run(self._file.in_thread_save, self.cursor)
        self._worked()

    def _hand_over(self, batch: Batch) -> Deferred[None]:
        delivering = Deferred.fromCoroutine(self._destination.deliver(batch))
        return delivering.addTimeout(DELIVERY_LIMIT, self._clock, _too_late)

    def _worked(self) -> None:
        self.delivered_at = self._now()
        self._recovered()

    def _recovered(self) -> None:
        self.error, self.attempts, self.failing_since, self._next_try = "", 0, 0.0, 0.0
        if self._told:
            self._told = False
            self._tell(self, True)

    def _failed(self, error: Exception) -> None:
        self.error = str(error) or type(error).__name__
        self.failures += 1
        self.attempts += 1
        self.failing_since = self.failing_since or self._now()

    def _pause(self, error: Exception) -> float:
        longest = self.settings.longest_pause
        pause = min(FIRST_PAUSE * 2.0 ** min(self.attempts - 1, 30), longest) * random.uniform(0.8, 1.2)
        wished = error.retry_after if isinstance(error, DeliveryFailed) else 0.0
        pause = max(pause, min(wished, longest))
        self._next_try = self._now() + pause
        return pause

    # -- rests

    def news(self, latest: int, oldest: float) -> None:
        """What the log has now: the latest sequence number, and how old (Unix seconds) the next one to deliver is."""
        self.latest, self.oldest = latest, oldest
        if not self.failing_since:
            self._wake()
        elif not self._told and self._now() - self.failing_since >= TOLD_AFTER:
            self._told = True
            self._tell(self, False)

    async def _rest(self, seconds: float | None) -> None:
        """Until ``seconds`` are over, or it is woken."""
        self._resting = Deferred()
        later = self._clock.callLater(seconds, self._wake) if seconds is not None else None
        try:
            await self._resting
        finally:
            self._resting = None
            if later is not None and later.active():
                later.cancel()

    def _wake(self) -> None:
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.callback(None)

    # -- told

    @property
    def behind(self) -> int:
        """Events that were not delivered yet."""
        return max(self.latest - self.cursor.delivered, 0) if self.cursor is not None else self.latest

    @property
    def age(self) -> float:
        """Seconds since the oldest event that was never delivered was made; without a cursor nobody knows which that
        is, and it is the time of the failure that counts."""
        since = self.failing_since if self.cursor is None else self.oldest if self.latest > self.taken else 0.0
        return max(self._now() - since, 0.0) if since else 0.0

    @property
    def withholds(self) -> bool:
        """It is required, and too far behind."""
        return bool(self.settings.required) and self.age > self.settings.required

    def state(self) -> str:
        if self.failing_since:
            return "failing"
        if self.behind > self.settings.batch:
            return "catching up"
        return "ok"

    def row(self) -> dict[str, Any]:
        """For ``idbridge log sinks``; times are Unix seconds, 0 for never."""
        return {
            "state": self.state(),
            "delivered": self.cursor.delivered if self.cursor is not None else 0,
            "behind": self.behind,
            "oldest_seconds": int(self.age),
            "delivered_at": int(self.delivered_at),
            "failing_since": int(self.failing_since),
            "attempts": self.attempts,
            "next_try": int(self._next_try),
            "required_seconds": int(self.settings.required),
            "error": self.error,
        }


def _when_cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)  # type: ignore[no-untyped-call]


def _too_late(_: object, seconds: float) -> NoReturn:
    raise DeliveryFailed(f"not taken within {seconds:g} s")
