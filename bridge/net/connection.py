"""``Stream`` over a non-blocking socket.

The hot path is short on purpose: readable → one ``recv_into`` the shared buffer → the waiting coroutine runs with the
bytes → ``send`` tries the socket. Nothing is scheduled for a later turn of the reactor unless the kernel says no.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from bridge.adapter import Address, PeerFault, StreamClosed, Take, TimedOut, TLSFacts, TLSSettings
from bridge.net.addresses import address_of
from bridge.net.handing_over import adopt
from bridge.net.limits import READ_SIZE, TLS_READ_SIZE, StreamLimits
from bridge.net.started import Started
from bridge.net.tls import ContextSettings
from bridge.net.tls_layer import TLSLayer

_BUFFER = memoryview(bytearray(READ_SIZE))  # shared: the reactor is one thread, and the bytes are copied out at once
_TLS_BUFFER = _BUFFER[:TLS_READ_SIZE]
_GATHER = 64  # chunks per sendmsg; far below IOV_MAX
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST
_DEFAULT_LIMITS = StreamLimits()


@implementer(IReadWriteDescriptor)
class Connection:
    """One connected, non-blocking stream socket. See ``bridge.adapter.Stream`` for the contract."""

    __slots__ = (
        "__weakref__",
        "_closing",
        "_direct",
        "_eof",
        "_fd",
        "_handshake",
        "_inbox",
        "_inbox_size",
        "_limits",
        "_local",
        "_lost",
        "_on_lost",
        "_paused",
        "_peer",
        "_queue",
        "_queue_size",
        "_reactor",
        "_receiver",
        "_senders",
        "_sent_eof",
        "_sock",
        "_stall",
        "_taker",
        "_tls",
        "_unsendable",
        "tls",
    )

    def __init__(self, reactor: Any, sock: socket.socket, limits: StreamLimits = _DEFAULT_LIMITS) -> None:
        sock.setblocking(False)
        self._reactor = reactor
        self._sock = sock
        self._fd = sock.fileno()
        self._limits = limits
        self.tls: TLSFacts | None = None
        self._tls: TLSLayer | None = None
        self._handshake: Deferred[None] | None = None
        self._inbox: list[bytes] = []  # short: ``read_ahead`` bounds it. An empty deque has 600 bytes more
        self._inbox_size = 0
        self._paused = False
        self._eof = False  # the peer's end of file was seen
        self._receiver: Deferred[bytes] | None = None
        self._taker: Take | None = None  # gets chunks directly …
        self._direct: Deferred[Started | None] | None = None  # … until this fires
        self._queue: list[bytes | memoryview] = []
        self._queue_size = 0
        self._senders: list[tuple[int, Deferred[None]]] = []  # (wakes when this little is unsent, waiter)
        self._stall: Any = None
        self._sent_eof = False
        self._unsendable = ""  # why nothing can be sent any more
        self._closing = False
        self._lost = ""  # why the socket is closed
        self._on_lost: list[Callable[[], None]] = []
        self._peer: Address | None = None
        self._local: Address | None = None
        _tune(sock, limits)
        reactor.addReader(self)

    # -- facts

    @property
    def peer(self) -> Address:
        if self._peer is None:
            self._peer = address_of(self._sock, peer=True)
        return self._peer

    @property
    def local(self) -> Address:
        if self._local is None:
            self._local = address_of(self._sock, peer=False)
        return self._local

    def proxied(self, peer: Address, local: Address) -> None:
        """A trusted proxy said who the peer really is."""
        self._peer, self._local = peer, local

    @property
    def lost(self) -> bool:
        """Whether the socket is closed."""
        return self._fd < 0

    def on_lost(self, hear: Callable[[], None]) -> None:
        """``hear`` is called once, when the socket is closed (at once if it is)."""
        if self.lost:
            hear()
        else:
            self._on_lost.append(hear)

    def __repr__(self) -> str:
        return f"<Connection fd={self._fd} {self._lost or 'open'}>"

    # -- reading

    async def receive(self, timeout: float | None = None) -> bytes:
        if self._inbox:
            return self._take()
        if self._lost or self._closing:
            raise StreamClosed(self._lost or "the connection was closed")
        if self._eof:
            return b""
        if self._receiver is not None:
            raise RuntimeError("two receive() at once on one stream")
        receiver: Deferred[bytes] = Deferred(self._receive_cancelled)
        self._receiver = receiver
        if timeout is None:
            return await receiver
        timer = self._reactor.callLater(timeout, self._receive_late, timeout)
        try:
            return await receiver
        finally:
            if timer.active():
                timer.cancel()

    async def each(self, take: Take) -> str:
        while True:
            if self._inbox:
                waits = take(self._take())
                if waits is not None:
                    await waits
            elif self._lost or self._closing:
                return self._lost or "the connection was closed"
            elif self._eof:
                return ""
            else:
                started = await self._directly(take)
                if started is not None:
                    await started

    def _directly(self, take: Take) -> Deferred[Started | None]:
        """Chunks go to ``take`` as they come, until this fires: with the call that began to wait, or None."""
        if self._receiver is not None or self._direct is not None:
            raise RuntimeError("two that receive at once on one stream")
        self._taker = take
        self._direct = Deferred(self._direct_cancelled)
        return self._direct

    def _give(self, take: Take, data: bytes) -> None:
        try:
            call = take(data)
            if call is None:
                return
            waiting = call.send(None)
        except StopIteration:
            return
        except BaseException:  # the caller of ``each`` gets it, whatever it is
            self._leave_direct(Failure())  # type: ignore[no-untyped-call]
        else:
            if self._direct is None:  # cancelled or closed by the call itself: nobody is left to go on with it
                call.close()
            else:
                self._leave_direct(Started(call, waiting))

    def _leave_direct(self, result: Started | Failure | None) -> None:
        direct, self._direct, self._taker = self._direct, None, None
        if direct is not None:
            direct.callback(result)  # a Failure becomes the errback

    def _direct_cancelled(self, direct: Deferred[Started | None]) -> None:
        self._direct = self._taker = None

    def unread(self, data: bytes) -> None:
        if not data:
            return
        if self._receiver is not None:
            self._wake_receiver(data)
            return
        self._inbox.insert(0, data)
        self._inbox_size += len(data)

    def _take(self) -> bytes:
        data = self._inbox.pop(0)
        self._inbox_size -= len(data)
        if self._paused and self._inbox_size < self._limits.read_ahead:
            self._paused = False
            if not (self._lost or self._eof):
                self._reactor.addReader(self)
        return data

    def _deliver(self, data: bytes) -> None:
        receiver, take = self._receiver, self._taker
        if take is not None:
            self._give(take, data)
        elif receiver is not None:
            self._receiver = None
            receiver.callback(data)
        elif not self._closing:
            self._inbox.append(data)
            self._inbox_size += len(data)
            if self._inbox_size >= self._limits.read_ahead and not self._paused:
                self._paused = True
                self._reactor.removeReader(self)

    def _receive_cancelled(self, receiver: Deferred[bytes]) -> None:
        if self._receiver is receiver:
            self._receiver = None

    def _receive_late(self, timeout: float) -> None:
        self._wake_receiver(TimedOut(f"waited {timeout:g} s for the peer's next bytes"))

    def _wake_receiver(self, what: bytes | Exception) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            self._leave_direct(None)
            return
        if isinstance(what, bytes):
            receiver.callback(what)
        else:
            receiver.errback(what)

    # -- what the reactor calls

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "connection"

    def doRead(self) -> None:
        tls = self._tls
        try:
            count = self._sock.recv_into(_BUFFER if tls is None else _TLS_BUFFER)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._finish(_words(error))
            return
        if count == 0:
            self._end_of_file()
        elif tls is not None:
            self._tls_arrived(tls, _TLS_BUFFER[:count])
        elif self._taker is not None:
            self._give(self._taker, bytes(_BUFFER[:count]))
        else:
            self._deliver(bytes(_BUFFER[:count]))

    def doWrite(self) -> None:
        queue = self._queue
        while queue:
            try:
                count = self._sock.sendmsg(queue[:_GATHER])
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._stop_sending(_words(error))
                return
            self._queue_size -= count
            gone = 0
            while count:
                first = queue[gone]
                if len(first) > count:
                    queue[gone] = memoryview(first)[count:]
                    break
                count -= len(first)
                gone += 1
            del queue[:gone]
            if self._stall is not None:
                self._stall.reset(self._limits.stall)
            if self._senders:
                self._wake_senders()
            if self.lost:
                return
        self._reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gave the descriptor up (hang-up without data, or a doRead that closed it)."""
        self._finish("the connection was lost")

    # -- writing

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        waits = self.send_or_wait(data)
        if waits is not None:
            await waits

    def send_or_wait(self, data: bytes | bytearray | memoryview) -> Coroutine[Any, Any, None] | None:
        if self._unsendable or self._closing or self._sent_eof:
            raise StreamClosed(self._unsendable or "the sending side was closed")
        if self._tls is not None:
            data = self._tls.encrypt(data)
        self._write(data)
        if self._unsendable:
            raise StreamClosed(self._unsendable)
        return self._until_little() if self._queue_size > self._limits.high_water else None

    async def _until_little(self) -> None:
        await self._drained(self._limits.low_water)
        if self._unsendable:
            raise StreamClosed(self._unsendable)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends now what the kernel takes, queues the rest."""
        if self._unsendable or not data:
            return
        if self._queue:
            self._queue.append(bytes(data))
            self._queue_size += len(data)
            return
        try:
            count = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as error:
            self._stop_sending(_words(error))
            return
        if count < len(data):
            rest = memoryview(data)[count:]
            self._queue.append(rest if isinstance(data, bytes) else bytes(rest))  # others may change under us
            self._queue_size = len(rest)
            self._reactor.addWriter(self)

    async def _drained(self, mark: int) -> None:
        """Waits until no more than ``mark`` bytes are unsent, or sending has become impossible."""
        waiter: Deferred[None] = Deferred(self._forget_sender)
        self._senders.append((mark, waiter))
        if self._stall is None:
            self._stall = self._reactor.callLater(self._limits.stall, self._stalled)
        await waiter

    def _wake_senders(self) -> None:
        size = self._queue_size
        ready = [waiter for mark, waiter in self._senders if size <= mark or self._unsendable]
        if ready:
            self._senders = [entry for entry in self._senders if entry[1] not in ready]
            self._calm()
            for waiter in ready:
                waiter.callback(None)

    def _forget_sender(self, waiter: Deferred[None]) -> None:
        self._senders = [entry for entry in self._senders if entry[1] is not waiter]
        self._calm()

    def _calm(self) -> None:
        if self._stall is not None and not self._senders:
            if self._stall.active():
                self._stall.cancel()
            self._stall = None

    def _stalled(self) -> None:
        self._stall = None
        self._reset("the peer took nothing for too long")

    def _stop_sending(self, cause: str) -> None:
        """Writing broke. What the peer sent before (perhaps why) can still be read, so the socket stays."""
        self._unsendable = self._unsendable or cause
        self._queue.clear()
        self._queue_size = 0
        if not self.lost:
            self._reactor.removeWriter(self)
        self._wake_senders()
        if self._closing:
            self._finish(cause)

    # -- ends

    async def send_eof(self) -> None:
        if self._unsendable or self._closing:
            raise StreamClosed(self._unsendable or "the connection was closed")
        if not self._sent_eof:
            self._sent_eof = True
            await self._end_sending()
            if self._unsendable:
                raise StreamClosed(self._unsendable)

    async def _end_sending(self) -> None:
        """TLS close_notify (RFC 8446, 6.1), all that is queued, then FIN."""
        if self._tls is not None:
            self._write(self._tls.close_notify())
        if self._queue:
            await self._drained(0)
        if not self._unsendable:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._stop_sending(_words(error))

    def _end_of_file(self) -> None:
        if self._tls is not None and self._handshake is not None:
            self._finish("the peer closed the connection")
            return
        self._eof = True
        if not self.lost:
            self._reactor.removeReader(self)
        if self._closing and not self._queue:
            self._finish("the connection was closed")
        else:
            self._wake_receiver(b"")

    async def close(self) -> None:
        if self._closing or self.lost:
            return
        self._closing = True
        self._drop_inbox()
        self._wake_receiver(StreamClosed("the connection was closed"))
        grace = self._reactor.callLater(self._limits.close_grace, self._reset, "the connection was closed")
        try:
            if not (self._sent_eof or self._unsendable):
                await self._end_sending()
            elif self._queue:
                await self._drained(0)
        finally:
            if grace.active():
                grace.cancel()
            self._linger()

    def _linger(self) -> None:
        """Reads on a little: closing with bytes unread sends RST, and the peer would lose our last words."""
        if self.lost:
            return
        if self._eof or self._unsendable:
            self._finish("the connection was closed")
            return
        if self._paused:
            self._paused = False
            self._reactor.addReader(self)
        timer = self._reactor.callLater(self._limits.linger, self._finish, "the connection was closed")
        self._on_lost.append(lambda: timer.cancel() if timer.active() else None)

    def abort(self) -> None:
        self._reset("the connection was aborted")

    def _reset(self, cause: str) -> None:
        if self.lost:
            return
        self._drop_inbox()
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        finally:
            self._finish(cause)

    def _drop_inbox(self) -> None:
        self._inbox.clear()
        self._inbox_size = 0

    def _finish(self, cause: str) -> None:
        """The socket is closed here and nowhere else; everybody who waits hears it."""
        if self.lost:
            return
        _ = self.peer, self.local  # still to be had for the log afterwards
        self._lost = cause
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._fd = -1
        self._sock.close()
        self._tls = None
        self._unsendable = self._unsendable or cause
        self._queue.clear()
        self._queue_size = 0
        self._wake_senders()
        self._wake_handshake()
        self._wake_receiver(StreamClosed(cause))
        hearers, self._on_lost = self._on_lost, []
        for hear in hearers:
            hear()

    # -- TLS

    async def start_tls(self, settings: TLSSettings, *, replay: bytes = b"", timeout: float = 10.0) -> TLSFacts:
        if not isinstance(settings, ContextSettings):
            raise TypeError("a connection takes settings of bridge.net.tls")
        if self._lost or self._closing:
            raise StreamClosed(self._lost or "the connection was closed")
        if self._tls is not None:
            raise RuntimeError("start_tls() twice")
        if self._inbox and not replay:
            raise PeerFault("bytes arrived in plaintext before the TLS handshake")
        tls = self._tls = settings.layer()
        early = replay + b"".join(self._inbox)
        self._drop_inbox()
        if self._paused:
            self._paused = False
            self._reactor.addReader(self)
        waiter = self._handshake = Deferred(self._handshake_cancelled)
        self._tls_arrived(tls, early)
        timer = self._reactor.callLater(timeout, self._reset, f"waited {timeout:g} s for the TLS handshake")
        try:
            await waiter
        finally:
            late = not timer.active()
            if not late:
                timer.cancel()
        return self._agreed(tls, timeout, late=late)

    def _agreed(self, tls: TLSLayer, timeout: float, *, late: bool) -> TLSFacts:
        if late:
            raise TimedOut(f"waited {timeout:g} s for the TLS handshake")
        fault = tls.fault or self._lost
        if fault:
            raise PeerFault(f"TLS handshake failed: {fault}")
        self.tls = tls.facts
        assert self.tls is not None
        return self.tls

    def _tls_arrived(self, tls: TLSLayer, data: bytes | memoryview) -> None:
        """Ciphertext in; what it makes the layer say goes out, what it decrypts to is delivered."""
        plaintext = tls.decrypt(data)
        answer = tls.pending()
        if answer:
            self._write(answer)
        if self._handshake is not None and (tls.done or tls.fault):
            if plaintext:
                self._inbox.append(plaintext)
                self._inbox_size += len(plaintext)
                plaintext = b""
            self._wake_handshake()
        if plaintext:
            self._deliver(plaintext)
        if tls.fault:
            self._fail()
        elif tls.ended and not (self._eof or self.lost):
            self._end_of_file()

    def _fail(self) -> None:
        """TLS broke: our alert is on its way, nothing else follows, in plaintext least of all."""
        if self._closing or self.lost:
            return
        self._closing = True
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._stop_sending(_words(error))
        self._wake_receiver(StreamClosed("TLS failed"))
        self._linger()

    def _wake_handshake(self) -> None:
        waiter, self._handshake = self._handshake, None
        if waiter is not None:
            waiter.callback(None)

    def _handshake_cancelled(self, waiter: Deferred[None]) -> None:
        self._handshake = None
        self.abort()

    # -- handing over

    def hand_over(self, protocol: Any) -> None:
        if self._tls is not None:
            raise RuntimeError("a connection with TLS cannot be handed over")
        if self.lost or self._queue or self._receiver is not None:
            raise RuntimeError("only a quiet, open connection can be handed over")
        rest, eof = b"".join(self._inbox), self._eof
        self._reactor.removeReader(self)
        transport = adopt(self._reactor, self._sock, protocol)
        self._finish("the connection was handed over")
        if rest:
            protocol.dataReceived(rest)
        if eof:
            transport.loseConnection()


def _tune(sock: socket.socket, limits: StreamLimits) -> None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    idle, interval, count = limits.keepalive
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", idle),
        ("TCP_KEEPINTVL", interval),
        ("TCP_KEEPCNT", count),
        ("TCP_USER_TIMEOUT", int(limits.stall * 1000)),  # a zero window counts too: not below the stall limit
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _words(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
