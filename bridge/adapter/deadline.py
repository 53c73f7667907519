"""The time limit of a phase."""

from __future__ import annotations

import time
from collections.abc import Callable

from bridge.adapter.errors import TimedOut


class Deadline:
    """The end of a phase, however many waits it has: a client that sends a byte now and then does not prolong it.

    ``clock`` is monotonic seconds; ``words`` are those of the TimedOut.
    """

    __slots__ = ("_clock", "_end", "_words")

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        words: str = "the phase reached its time limit",
    ) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self._words = words

    @property
    def left(self) -> float:
        """Seconds, more than 0. Raises TimedOut."""
        left = self._end - self._clock()
        if left <= 0:
            raise TimedOut(self._words)
        return left
