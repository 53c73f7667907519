"""The two-way pump that all adapters share.

Each direction gives its chunks to the adapter's function (``Stream.each``), which sends what it wants where it wants.
Awaiting is the back-pressure: while the function waits, that direction is not read.

How it ends::

    client's end of file      ``on_client_eof`` (default: half-close upstream); upstream may finish its answer
    upstream's end of file    all that came from it was given to ``to_client`` before; the relay ends
    a side breaks             what the other direction still holds is pumped, then the relay ends
    a function raises         the other direction is cancelled, the exception goes on to the caller, also where the
                              other direction had just woken it
    the relay is cancelled    both directions are cancelled, and have finished when ``relay`` raises

Neither stream is closed here. No coroutine is left over: ``gatherResults`` would leave the sibling running after a
failure, ``race`` would ignore a first failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from bridge.adapter.errors import StreamClosed
from bridge.adapter.stream import Stream, Take


class Side(StrEnum):
    CLIENT = "client"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class RelayEnd:
    """Which side ended the relay. ``cause`` is empty for an orderly end of file, else the words of the break."""

    side: Side
    cause: str = ""


async def relay(
    client: Stream,
    upstream: Stream,
    *,
    to_upstream: Take,
    to_client: Take,
    on_client_eof: Callable[[], Awaitable[None]] | None = None,
) -> RelayEnd:
    """Pumps until one side has ended; see the module for each kind of end.

    ``to_upstream`` gets each chunk from the client, ``to_client`` each chunk from upstream. Returns the end that came
    first; raises what a function raised (a StreamClosed out of a function is the end of the side it sends to).
    """
    both = _Both()
    both.start(
        _Direction(client, to_upstream, Side.CLIENT, Side.UPSTREAM, on_client_eof or upstream.send_eof),
        _Direction(upstream, to_client, Side.UPSTREAM, Side.CLIENT, None),
    )
    try:
        await both.done
    finally:
        await both.stop()
    assert both.first is not None
    return both.first


@dataclass(slots=True, eq=False)
class _Direction:
    source: Stream
    pump: Take
    side: Side
    towards: Side
    at_eof: Callable[[], Awaitable[None]] | None


class _Both:
    """The two running directions. ``done`` fires when the relay is over, with the first exception if there was one."""

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()
        self.first: RelayEnd | None = None
        self._running: list[tuple[Deferred[None], Deferred[None]]] = []

    def start(self, *directions: _Direction) -> None:
        for direction in directions:
            running = Deferred.fromCoroutine(self._run(direction))
            finished: Deferred[None] = Deferred()
            self._running.append((running, finished))
            running.addErrback(self._failed)
            running.addCallback(finished.callback)

    async def stop(self) -> None:
        """Cancels what still runs and waits for it."""
        for running, _ in self._running:
            running.cancel()
        for _, finished in self._running:
            # not ``running`` itself: this may run inside its own errback, where its result is still the failure
            await finished

    async def _run(self, direction: _Direction) -> None:
        end = await self._pump_all(direction)
        self.first = self.first or end
        client_broke = end.side is Side.CLIENT and bool(end.cause)
        if direction.side is Side.UPSTREAM or client_broke:
            self._over()  # upstream has said all it had, or nobody is left to hear it

    async def _pump_all(self, direction: _Direction) -> RelayEnd:
        def pump(data: bytes) -> Coroutine[Any, Any, None] | None:
            # a direction may wake the other, which ends the relay: a cancel from there is lost
            waits = direction.pump(data)
            if waits is not None:
                return self._waited(waits)
            if self.done.called:
                raise CancelledError
            return None

        try:
            cause = await direction.source.each(pump)
            if not cause and direction.at_eof is not None:
                await direction.at_eof()
        except StreamClosed as closed:
            return RelayEnd(direction.towards, str(closed))
        return RelayEnd(direction.side, cause)

    async def _waited(self, waits: Coroutine[Any, Any, None]) -> None:
        await waits
        if self.done.called:
            raise CancelledError

    def _over(self) -> None:
        if not self.done.called:
            self.done.callback(None)

    def _failed(self, failure: Failure) -> None:
        if self.done.called and isinstance(failure.value, CancelledError):
            return
        if not self.done.called:
            self.done.errback(failure)
