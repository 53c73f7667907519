"""A connection without a socket: two ``MemoryStream`` ends, everything at once and in order.

Ideas:

* What one end sends is in the other end's inbox when ``send`` returns; a ``receive`` that waits there runs at once.
* Chunks keep their borders; ``split`` cuts them smaller, to show that a parser does not count on them.
* The inbox is the network: when it holds ``capacity`` bytes, ``send`` waits, as it would for a slow peer.
* TLS is played: two marked chunks stand for the handshake, the bytes after it stay readable. A byte of 0x16 comes
  first, so that sniffing for direct TLS works, and plaintext in front of it is refused as on a real connection.
* Time is an injected ``Clock``; nothing here waits for real.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from bridge.adapter import Address, PeerFault, StreamClosed, Take, TimedOut, TLSFacts, TLSSettings
from bridge.adapter.stream import each_received

CHUNK_LIMIT = 256 * 1024  # the largest ``receive`` that the contract allows
CAPACITY = 256 * 1024  # as the real connection: ``send`` waits above this
STALL_LIMIT = 60.0  # seconds a peer may take nothing while ``send`` waits
CLIENT = Address("192.0.2.7", 40007)  # documentation addresses (RFC 5737)
SERVER = Address("192.0.2.1", 5432)
CLOSE_GRACE = 5.0  # seconds ``close`` waits for the peer to take the rest


@dataclass(frozen=True, slots=True)
class FakeTLS:
    """TLS settings for memory streams. ``fault`` makes the handshake fail on both ends with that cause.

    ``chain`` is what this end shows as its certificate, DER, leaf first.
    """

    server_side: bool
    verifies: bool = True
    chain: tuple[bytes, ...] = ()
    alpn: tuple[str, ...] = ()
    alpn_required: bool = False
    version: str = "TLSv1.3"
    cipher: str = "TLS_AES_256_GCM_SHA384"
    fault: str = ""

    def with_alpn(self, protocols: tuple[str, ...], *, required: bool = False) -> FakeTLS:
        return replace(self, alpn=protocols, alpn_required=required)


_HELLO = b"\x16\x03\x01\x00\x05HELLO"  # looks like the start of a TLS handshake record (RFC 8446, 5.1)


class _Hello(bytes):
    """The played ClientHello: bytes that look like a TLS record, and the settings of the end that sent it."""

    settings: FakeTLS


def _hello(settings: FakeTLS) -> _Hello:
    hello = _Hello(_HELLO)
    hello.settings = settings
    return hello


class MemoryStream:
    """One end of ``memory_pair``. Besides the contract it shows ``sent`` (all bytes ever sent) and ``ended``."""

    def __init__(self, clock: IReactorTime, peer: Address, local: Address, *, split: int, capacity: int) -> None:
        self.peer = peer
        self.local = local
        self.tls: TLSFacts | None = None
        self.sent = bytearray()
        self.split = split
        self.capacity = capacity
        self.ended = ""  # "", "closed" or "aborted": how this end ended it
        self._clock = clock
        self._other: MemoryStream
        self._inbox: deque[bytes] = deque()
        self._eof = False
        self._sent_eof = False
        self._broken = ""
        self._receiver: Deferred[None] | None = None
        self._senders: list[Deferred[None]] = []
        self._shaking: tuple[FakeTLS, Deferred[None]] | None = None
        self._consumer: Callable[[bytes], None] | None = None
        self._on_lost: Callable[[], None] | None = None

    @property
    def other(self) -> MemoryStream:
        """The other end."""
        return self._other

    # -- reading

    @property
    def waiting(self) -> bytes:
        """What has arrived and was not received yet."""
        return b"".join(self._inbox)

    async def receive(self, timeout: float | None = None) -> bytes:
        if self._receiver is not None:
            raise RuntimeError("two receive() at once on one stream")
        if not (self._inbox or self._eof or self._broken or self.ended):
            self._receiver = Deferred()
            await self._wait(self._receiver, timeout, "the peer's next bytes", self._forget_receiver)
        if self.ended:
            raise StreamClosed(f"the connection was {self.ended}")
        if self._inbox:
            return self._take()
        if self._broken:
            raise StreamClosed(self._broken)
        return b""

    async def each(self, take: Take) -> str:
        return await each_received(self, take)

    def _take(self) -> bytes:
        chunk = self._inbox.popleft()
        if len(chunk) > self.split:
            self._inbox.appendleft(chunk[self.split :])
            chunk = chunk[: self.split]
        if self._size() <= self.capacity // 4:
            self._other._wake_senders()
        return bytes(chunk)

    def unread(self, data: bytes) -> None:
        if data:
            self._inbox.appendleft(bytes(data))
            self._wake_receiver()

    # -- writing

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        if self.ended:
            raise StreamClosed(f"the connection was {self.ended}")
        if self._sent_eof:
            raise StreamClosed("the sending side was closed")
        if self._broken or self._other.ended:
            raise StreamClosed(self._broken or "the peer closed the connection")
        copy = bytes(data)
        self.sent += copy
        for start in range(0, len(copy), CHUNK_LIMIT):
            self._other._arrive(copy[start : start + CHUNK_LIMIT])
        if self._other._size() > self.capacity:
            await self._drained(STALL_LIMIT)
            if self._broken or self.ended:
                raise StreamClosed(self._broken or f"the connection was {self.ended}")

    def send_or_wait(self, data: bytes | bytearray | memoryview) -> Coroutine[Any, Any, None] | None:
        return self.send(data)

    async def _drained(self, limit: float) -> None:
        sender: Deferred[None] = Deferred()
        self._senders.append(sender)
        try:
            await self._wait(sender, limit, "the peer to take what was sent", lambda: self._senders.remove(sender))
        except TimedOut as late:
            self.abort()
            raise StreamClosed("the peer took nothing for too long") from late

    async def send_eof(self) -> None:
        if self.ended:
            raise StreamClosed(f"the connection was {self.ended}")
        self._sent_eof = True
        self._other._end_of_file()

    async def close(self) -> None:
        if self.ended:
            return
        if not self._broken and self._other._size() > self.capacity:
            try:
                await self._drained(CLOSE_GRACE)
            except StreamClosed:
                return
        self._finish("closed")
        self._other._end_of_file()

    def abort(self) -> None:
        if not self.ended:
            self._finish("aborted")
            self._other._break("the peer reset the connection")

    # -- TLS

    async def start_tls(self, settings: TLSSettings, *, replay: bytes = b"", timeout: float = 10.0) -> TLSFacts:
        if not isinstance(settings, FakeTLS):
            raise TypeError("a memory stream takes FakeTLS settings")
        if replay:
            self._accept_replay(replay)
        if self._inbox and not isinstance(self._inbox[0], _Hello):
            raise PeerFault("bytes arrived in plaintext before the TLS handshake")
        done: Deferred[None] = Deferred()
        self._shaking = (settings, done)
        if not settings.server_side:
            self._other._arrive(_hello(settings))
        if not (done.called or self._complete_handshake() or self._other._complete_handshake()):
            if self._eof or self._broken:
                raise PeerFault("TLS handshake failed: the peer closed the connection")
            await self._wait(done, timeout, "the TLS handshake", self._forget_handshake)
        if self._broken:
            raise PeerFault(f"TLS handshake failed: {self._broken}")
        assert self.tls is not None
        return self.tls

    def _accept_replay(self, replay: bytes) -> None:
        """Puts a ClientHello that was received as plain bytes (direct TLS) back as one."""
        client = self._other._shaking
        while self._inbox and len(replay) < len(_HELLO):  # only its first bytes were received
            replay += self._inbox.popleft()
        if client is None or replay != _HELLO:
            raise PeerFault("TLS handshake failed: WRONG_VERSION_NUMBER")
        self._inbox.appendleft(_hello(client[0]))

    def _complete_handshake(self) -> bool:
        """On the server end: both ends have asked, and the ClientHello is next in the inbox."""
        mine, theirs = self._shaking, self._other._shaking
        if mine is None or theirs is None or not mine[0].server_side:
            return False
        if not (self._inbox and isinstance(self._inbox[0], _Hello)):
            return False
        self._inbox.popleft()
        fault = mine[0].fault or theirs[0].fault
        alpn = next((name for name in mine[0].alpn if name in theirs[0].alpn), "")
        if not alpn and (mine[0].alpn_required or theirs[0].alpn_required):
            fault = fault or "NO_APPLICATION_PROTOCOL"
        if fault:
            self._break(fault)
            self._other._break(fault)
        else:
            self.tls = TLSFacts(mine[0].version, mine[0].cipher, alpn, theirs[0].chain)
            self._other.tls = TLSFacts(mine[0].version, mine[0].cipher, alpn, mine[0].chain)
        self._wake_handshake()
        self._other._wake_handshake()
        return True

    # -- handing over

    def hand_over(self, protocol: Any) -> None:
        from bridge.testing.transport import MemoryTransport

        transport = MemoryTransport(self, protocol)
        self._on_lost = transport.lost
        protocol.makeConnection(transport)
        self._consumer = protocol.dataReceived
        while self._inbox:
            protocol.dataReceived(self._take())
        if self._eof or self._broken:
            transport.lost()

    # -- what the other end does to this one

    def _size(self) -> int:
        return sum(map(len, self._inbox))

    def _arrive(self, chunk: bytes) -> None:
        if self.ended:
            return
        if self._consumer is not None:
            self._consumer(chunk)
            return
        self._inbox.append(chunk)
        self._wake_receiver()

    def _end_of_file(self) -> None:
        self._eof = True
        if self._shaking is not None and self.tls is None:
            self._broken = self._broken or "the peer closed the connection"
        self._wake_all()

    def _break(self, cause: str) -> None:
        self._broken = self._broken or cause
        self._wake_all()

    def _finish(self, how: str) -> None:
        self.ended = how
        self._broken = self._broken or f"the connection was {how}"
        self._other._wake_senders()
        self._wake_all()

    # -- waiting

    async def _wait(self, waiter: Deferred[None], timeout: float | None, what: str, forget: Callable[[], None]) -> None:
        """Awaits ``waiter``; whatever ends the wait, ``forget`` has run if it did not fire by itself."""
        late = False

        def expire() -> None:
            nonlocal late
            late = True
            forget()
            waiter.callback(None)

        timer = None if timeout is None else self._clock.callLater(timeout, expire)
        try:
            await waiter
        except BaseException:
            forget()
            raise
        finally:
            if timer is not None and timer.active():
                timer.cancel()
        if late:
            raise TimedOut(f"waited {timeout:g} s for {what}")

    def _forget_receiver(self) -> None:
        self._receiver = None

    def _forget_handshake(self) -> None:
        self._shaking = None

    def _wake_receiver(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.callback(None)

    def _wake_senders(self) -> None:
        senders, self._senders = self._senders, []
        for sender in senders:
            sender.callback(None)

    def _wake_handshake(self) -> None:
        shaking, self._shaking = self._shaking, None
        if shaking is not None and not shaking[1].called:
            shaking[1].callback(None)

    def _wake_all(self) -> None:
        if self._broken:
            self._wake_handshake()
            self._wake_senders()
        self._wake_receiver()
        if self._on_lost is not None:
            lost, self._on_lost = self._on_lost, None
            lost()


def memory_pair(
    clock: IReactorTime | None = None,
    *,
    split: int = CHUNK_LIMIT,
    capacity: int = CAPACITY,
    client: Address = CLIENT,
    server: Address = SERVER,
) -> tuple[MemoryStream, MemoryStream]:
    """A connected pair: the client's end and the server's end. ``clock`` defaults to a Clock of its own.

    ``split`` bounds each ``receive`` (1 delivers byte by byte); ``capacity`` is what fits "into the network".
    """
    time = clock if clock is not None else Clock()
    near = MemoryStream(time, server, client, split=split, capacity=capacity)
    far = MemoryStream(time, client, server, split=split, capacity=capacity)
    near._other, far._other = far, near
    return near, far
