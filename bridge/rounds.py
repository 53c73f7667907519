"""What is done again and again while the bridge runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure


class Rounds:
    """``once`` is called every ``seconds`` on ``clock``; a coroutine or Deferred that it gives is waited for first.

    An exception ends them for good: ``failed`` is told.
    """

    def __init__(
        self, once: Callable[[], object], seconds: float, clock: Any, failed: Callable[[Failure], object]
    ) -> None:
        self._seconds = seconds
        self._failed = failed
        self._looping = LoopingCall(once)
        self._looping.clock = clock

    @property
    def running(self) -> bool:
        return self._looping.running

    def start(self, *, now: bool = False) -> None:
        """``now``: the first round is at once, not after the first pause. Does nothing when they run already."""
        if not self.running:
            self._looping.start(self._seconds, now=now).addErrback(self._failed)

    def stop(self) -> None:
        """The round that goes on, if any, ends by itself. Does nothing when they do not run."""
        if self.running:
            self._looping.stop()
