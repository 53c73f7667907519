"""Agents that do not read what they asked for: each holds a thread of the directory (research, finding 4).

Back-pressure alone moves a stall into the directory: eight readers that stop block an eight-threaded slapd for
everybody. So only a few may wait at a time; beyond that, those that have waited longest are cut as soon as somebody
else wants something.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from bridge.adapter import Stream

PATIENCE = 3.0
"""Seconds in which a reader may take nothing at all although others are in need: a pause, not a stall."""


class Stalls:
    """Those of one directory. ``clock`` is monotonic seconds."""

    __slots__ = ("_clock", "_waiting")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: dict[Stream, float] = {}  # the longest first

    async def wait(self, client: Stream, sending: Coroutine[Any, Any, None]) -> None:
        """Until ``client`` has taken what is being sent to it."""
        self._waiting[client] = self._clock()
        try:
            await sending
        finally:
            self._waiting.pop(client, None)

    def waits(self, client: Stream) -> bool:
        """Whether it has not taken what was sent last."""
        return client in self._waiting

    def relieve(self, most: int) -> None:
        """Cuts those above ``most`` that have taken nothing for long."""
        if len(self._waiting) <= most:
            return
        late = self._clock() - PATIENCE
        for client, since in list(self._waiting.items())[: len(self._waiting) - most]:
            if since <= late:
                client.abort()
