"""A channel as a stream: an inner connection's bytes, with the windows of RFC 4254 section 5.2 as back-pressure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from twisted.internet.defer import Deferred

from adapters.ssh import codec
from adapters.ssh.codec import Opening
from adapters.ssh.fields import Fields
from adapters.ssh.server import AgentLeg
from bridge.adapter import Address, PeerFault, StreamClosed, Take, TimedOut, TLSFacts, TLSSettings
from bridge.adapter.stream import each_received

WINDOW = 2 * 1024 * 1024
LARGEST = 32 * 1024
"""As OpenSSH has them: of the inner connection's bytes so many are kept unread."""

SMALL = 1024
"""Bytes below which what comes is put together: of single bytes a window would fill much more memory than its size."""

STALL_LIMIT = 60.0
"""Seconds the client may take nothing while ``send`` waits, as on a TCP connection."""


class ChannelStream:
    """Implements ``Stream`` over a channel. ``theirs`` is the client's number, ``ours`` the bridge's."""

    tls: TLSFacts | None = None

    def __init__(self, leg: AgentLeg, opening: Opening, ours: int, seconds: Callable[[], float]) -> None:
        self.peer: Address = leg.stream.peer
        self.local: Address = leg.stream.local
        self.theirs, self.ours = opening.sender, ours
        self.closed_by_client = False
        self._leg = leg
        self._seconds = seconds
        self._window = opening.window
        self._largest = min(opening.largest, LARGEST)
        self._taken = 0  # bytes that the client's window does not know yet
        self._unread = WINDOW
        self._inbox: deque[bytes] = deque()
        self._eof = self._closed = False
        self._waiting: list[tuple[Deferred[None], float]] = []

    @property
    def over(self) -> bool:
        """Both sides have closed; its numbers are free."""
        return self.closed_by_client and self._closed

    # -- in

    async def receive(self, timeout: float | None = None) -> bytes:
        end = float("inf") if timeout is None else self._seconds() + timeout
        while not self._inbox and not self._eof and not self._closed:
            await self._wait(end)
            if self._seconds() >= end and not self._inbox:
                raise TimedOut("waited in vain for the client's next bytes")
        if self._inbox:
            data = self._inbox.popleft()
            await self._credit(len(data))
            return data
        if self._closed:
            raise StreamClosed("the channel was closed")
        return b""

    async def _credit(self, count: int) -> None:
        self._taken += count
        if self._taken >= WINDOW // 2 and not self._closed:
            self._leg.write(codec.adjust(self.theirs, self._taken))
            self._unread += self._taken
            self._taken = 0
            await self._leg.flush()

    async def each(self, take: Take) -> str:
        return await each_received(self, take)

    def unread(self, data: bytes) -> None:
        if data:
            self._inbox.appendleft(data)
            self._taken -= len(data)

    # -- out

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            if not self._room():
                await self._until_there_is_room()
            if self._closed:
                raise StreamClosed("the channel was closed")
            count = min(len(rest), self._window, self._largest)
            self._window -= count
            self._leg.write(codec.data(self.theirs, bytes(rest[:count])))
            rest = rest[count:]
        await self._leg.flush()

    def send_or_wait(self, data: bytes | bytearray | memoryview) -> Coroutine[Any, Any, None] | None:
        return self.send(data)

    def _room(self) -> bool:
        """A window of the client's, and no key exchange of the outer connection, which would hold the bytes back."""
        return bool(self._window) and not self._leg.exchange.exchanging

    async def _until_there_is_room(self) -> None:
        await self._leg.flush()
        end = self._seconds() + STALL_LIMIT
        while not self._room() and not self._closed:
            if self._seconds() >= end:
                self.abort()
                raise StreamClosed("the client took nothing for too long")
            await self._wait(end)

    async def send_eof(self) -> None:
        if not self._closed:
            self._leg.write(codec.eof(self.theirs))
            await self._leg.flush()

    async def close(self) -> None:
        self.abort()
        try:
            await self._leg.flush()
        except StreamClosed:
            return

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            self._leg.write(codec.close(self.theirs))
            self.wake()

    async def start_tls(self, settings: TLSSettings, *, replay: bytes = b"", timeout: float = 10.0) -> TLSFacts:
        raise PeerFault("there is no TLS within SSH")

    def hand_over(self, protocol: Any) -> NoReturn:
        raise PeerFault("a channel has no transport to give away")

    # -- what the outer connection brings

    def take(self, message: int, payload: bytes) -> None:
        if message == codec.DATA:
            data = Fields(payload, 5).string()
            self._unread -= len(data)
            if self._unread < 0:
                raise PeerFault("more came than the window of a channel allows")
            if self._eof:
                raise PeerFault("data came after the end of a channel")
            if self._inbox and len(self._inbox[-1]) < SMALL:
                self._inbox[-1] += data
            elif data:
                self._inbox.append(data)
        elif message == codec.WINDOW_ADJUST:
            self._window += Fields(payload, 5).number()
        elif message == codec.EOF:
            self._eof = True
        elif message == codec.CLOSE:
            self.closed_by_client = True
            self.abort()
        self.wake()

    def lose(self) -> None:
        """The outer connection is gone: nothing can be said any more."""
        self._closed = True
        self.wake()

    def wake(self, late: float = float("inf")) -> None:
        """Whoever waits looks again; with ``late`` only those whose time was before it."""
        due = [one for one in self._waiting if late == float("inf") or one[1] <= late]
        self._waiting = [one for one in self._waiting if one not in due]
        for waiting, _ in due:
            waiting.callback(None)

    async def _wait(self, end: float) -> None:
        waiting: Deferred[None] = Deferred()
        self._waiting.append((waiting, end))
        await waiting
