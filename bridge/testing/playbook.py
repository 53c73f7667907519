"""A test as a conversation: ``client.says(…)``, ``legacy.hears(…)``, in the order in which it happens.

For memory streams, where everything runs at once: what is not there when it is to be heard never comes.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bridge.adapter import StreamClosed
from bridge.testing.streams import MemoryStream


def now(waiting: Awaitable[Any]) -> Any:
    """The result of something that must not wait; AssertionError when it does."""
    results: list[Any] = []

    async def run() -> Any:
        return await waiting

    running = Deferred.fromCoroutine(run())
    running.addBoth(results.append)
    if not results:
        running.cancel()
        raise AssertionError("it waits for something that never comes")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


class Voice:
    """One end of a connection, as a person in the play. Raises AssertionError naming what was heard instead."""

    def __init__(self, name: str, stream: MemoryStream) -> None:
        self.name = name
        self.stream = stream

    def says(self, *data: bytes) -> Voice:
        now(self.stream.send(b"".join(data)))
        return self

    def hears(self, *data: bytes) -> Voice:
        expected, heard = b"".join(data), self.heard()
        assert heard == expected, f"{self.name} heard {heard!r} instead of {expected!r}"
        return self

    def heard(self) -> bytes:
        """All that has arrived."""
        heard = bytearray()
        while self.stream.waiting:
            heard += now(self.stream.receive())
        return bytes(heard)

    def hears_nothing(self) -> Voice:
        return self.hears()

    def hangs_up(self) -> Voice:
        now(self.stream.close())
        return self

    def resets(self) -> Voice:
        self.stream.abort()
        return self

    def hears_the_end(self) -> Voice:
        """Nothing more is said: an end of file, or a break."""
        try:
            last = now(self.stream.receive())
        except StreamClosed:
            return self
        assert last == b"", f"{self.name} heard {last!r} instead of the end"
        return self
