"""The outer connection of ``ssh -J``: each direct-tcpip channel is a connection to a host, and ends here.

The client believes that the channel leads to the host's own sshd and begins an SSH connection in it. That one is ended
at the bridge as well, under the host's name (``HostKeys.for_host``), so that nobody needs the static secret; what the
outer connection has proven counts for it, and each inner connection is admitted anew.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred

from adapters.ssh import codec
from adapters.ssh.channel_stream import LARGEST, WINDOW, ChannelStream
from adapters.ssh.codec import Opening
from adapters.ssh.fields import Fields, number
from adapters.ssh.refusals import BY_APPLICATION
from adapters.ssh.server import AgentLeg
from adapters.ssh.users import is_host
from adapters.ssh.wire import Goodbye
from bridge.adapter import BridgeError, PeerFault, Stream, StreamClosed, Take, TimedOut

TICK = 5.0
"""Seconds between two looks at what waits: an adapter has no clock of its own that calls."""

IDLE_LIMIT = 600.0
"""Seconds that a connection is kept in which nothing is open: no session is there whose limits would end it."""

Serve = Callable[[Stream, str], Coroutine[Any, Any, None]]
"""Serves one inner connection; the text is the host's name as the client gave it."""


class Ticking:
    """A stream whose ``each`` looks up from time to time; all else is the stream's own."""

    def __init__(self, stream: Stream, tick: Callable[[], None]) -> None:
        self._stream = stream
        self._tick = tick

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def each(self, take: Take) -> str:
        while True:
            self._tick()
            try:
                data = await self._stream.receive(TICK)
            except TimedOut:
                continue
            except StreamClosed as closed:
                return str(closed)
            if not data:
                return ""
            waits = take(data)
            if waits is not None:
                await waits


class Jump:
    """The channels of one outer connection. ``run`` returns when the client has gone and all it began is over."""

    def __init__(self, leg: AgentLeg, serve: Serve, most: int, seconds: Callable[[], float]) -> None:
        self._leg = leg
        self._serve = serve
        self._most = most
        self._seconds = seconds
        self._channels: dict[int, ChannelStream] = {}
        self._serving: dict[int, Deferred[None]] = {}
        self._defect: BaseException | None = None
        self._exchanging = False
        self._used = seconds()
        self._next = 0

    async def run(self) -> None:
        """Raises PeerFault."""
        leg = self._leg
        leg.stream = Ticking(leg.stream, self._tick)
        try:
            await leg.run(self._take, self._after)
        finally:
            for channel in list(self._channels.values()):
                channel.lose()
            for serving in list(self._serving.values()):
                await serving
        if self._defect is not None:
            raise self._defect

    def _tick(self) -> None:
        if any(not serving.called for serving in self._serving.values()):
            self._used = self._seconds()
        elif self._seconds() - self._used >= IDLE_LIMIT:
            self._leg.disconnect(BY_APPLICATION, "nothing was open for too long")
            raise Goodbye("nothing was open for too long")
        for channel in list(self._channels.values()):
            channel.wake(self._seconds())

    async def _after(self) -> None:
        over = self._exchanging and not self._leg.exchange.exchanging
        self._exchanging = self._leg.exchange.exchanging
        for channel in list(self._channels.values()) if over else ():
            channel.wake()
        await self._leg.flush()

    def _take(self, payload: bytes) -> None:
        message = payload[0]
        if message == codec.OPEN:
            self._opened(Opening.parse(payload))
        elif message == codec.GLOBAL_REQUEST:
            fields = Fields(payload, 1)
            fields.name()
            if fields.flag():
                self._leg.write(bytes((codec.REQUEST_FAILURE,)))
        elif message == codec.CHANNEL_REQUEST:
            fields = Fields(payload, 1)
            channel = self._channels.get(fields.number())
            fields.name()
            if channel is not None and fields.flag():
                self._leg.write(codec.answer(channel.theirs, success=False))
        elif message in (codec.WINDOW_ADJUST, codec.DATA, codec.EOF, codec.CLOSE):
            self._passed_on(message, payload)
        else:
            raise PeerFault("a message that has no place in a connection that only jumps")

    def _passed_on(self, message: int, payload: bytes) -> None:
        channel = self._channels.get(Fields(payload, 1).number())
        if channel is not None:
            channel.take(message, payload)
            self._forget_if_over(channel)

    def _opened(self, opening: Opening) -> None:
        if opening.kind != "direct-tcpip":
            self._refuse(opening, codec.PROHIBITED, "this user name is for ssh -J only")
            return
        host = Fields(opening.rest).text().lower()
        if not is_host(host) or len(self._channels) >= self._most:
            self._refuse(opening, codec.CONNECT_FAILED, "no such host, or too many at once")
            return
        ours, self._next = self._next, self._next + 1
        channel = self._channels[ours] = ChannelStream(self._leg, opening, ours, self._seconds)
        head = bytes((codec.OPEN_CONFIRMATION,)) + number(opening.sender) + number(ours)
        self._leg.write(head + number(WINDOW) + number(LARGEST))
        self._serving[ours] = serving = Deferred.fromCoroutine(self._served(channel, host))
        serving.addErrback(lambda failure: setattr(self, "_defect", failure.value))

    def _refuse(self, opening: Opening, reason: int, text: str) -> None:
        self._leg.write(codec.open_failure(opening.sender, reason, text))

    async def _served(self, channel: ChannelStream, host: str) -> None:
        try:
            await self._serve(channel, host)
        except BridgeError:
            return  # told and recorded; the others live on
        finally:
            await channel.close()
            self._forget_if_over(channel)

    def _forget_if_over(self, channel: ChannelStream) -> None:
        """Its number is free when both have closed; the coroutine is awaited at the end if it still runs."""
        if channel.over:
            self._channels.pop(channel.ours, None)
            serving = self._serving.get(channel.ours)
            if serving is not None and serving.called:
                del self._serving[channel.ours]
