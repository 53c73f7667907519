"""Accepting: one listening socket, the limits on strangers, and one coroutine per connection."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bridge.adapter import Address, BridgeError
from bridge.net.addresses import from_name
from bridge.net.connection import Connection
from bridge.net.limits import AcceptLimits, StreamLimits
from bridge.net.proxy_protocol import read_header

_ACCEPTS_PER_TURN = 64  # so that a flood of connects does not starve the sessions
_OUT_OF_FILES_PAUSE = 0.5  # seconds without accepting after EMFILE; the backlog holds the clients meanwhile
_TELL_EVERY = 1.0  # seconds between two reports of one limit: a flood must not fill the daemon's log

_FATAL = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)

_ORDINARY = (BridgeError, CancelledError)  # a peer that left, a refusal, our own shutdown: no fault of the program

Serve = Callable[["Connection", "Accepted"], Coroutine[Deferred[Any], Any, None]]


@dataclass(eq=False, slots=True)
class Accepted:
    """A connection's place in the listener's counts."""

    listener: Listener
    host: str
    pending: bool = True
    running: Deferred[None] | None = None

    def authenticated(self) -> None:
        """The peer has proven itself: its place among strangers is free again."""
        if self.pending:
            self.pending = False
            del self.listener.strangers[self]


@implementer(IReadDescriptor)
class Listener:
    """``serve(connection, accepted)`` runs for each connection; the listener closes the connection after it.

    ``turned_away`` hears "total", "per-address" or "unauthenticated" when connections are over that limit, at most once
    a second. When all places of strangers are taken, the oldest stranger of the address that holds most of them makes
    room for one from elsewhere: no single address can lock the others out.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        address: Address,
        serve: Serve,
        *,
        limits: AcceptLimits | None = None,
        stream_limits: StreamLimits | None = None,
        turned_away: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._reactor = reactor
        self._address = address
        self._serve = serve
        self._limits = limits or AcceptLimits()
        self._stream_limits = stream_limits or StreamLimits()
        self._turned_away = turned_away
        self._proxies = [ipaddress.ip_network(network) for network in self._limits.trusted_proxies]
        self._sock: socket.socket | None = None
        self._spare = -1
        self._resting: Any = None
        self._running: set[Deferred[None]] = set()
        self._emptied: list[Deferred[None]] = []
        self.strangers: dict[Accepted, None] = {}  # oldest first
        self._told: dict[str, float] = {}
        self.open = 0
        self._per_address: Counter[str] = Counter()

    # -- life

    def start(self) -> None:
        """Binds and accepts. Raises OSError (address in use …)."""
        self._sock = _listening(self._address, self._limits.backlog)
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._reactor.addReader(self)

    @property
    def address(self) -> Address:
        """Where it really listens (the port, when 0 was asked for)."""
        if self._sock is None:
            raise RuntimeError("the listener is not started")
        return from_name(self._sock.getsockname())

    @property
    def unauthenticated(self) -> int:
        return len(self.strangers)

    def stop_accepting(self) -> None:
        """No new connections; those that live go on."""
        if self._sock is None:
            return
        if self._resting is not None and self._resting.active():
            self._resting.cancel()
        self._reactor.removeReader(self)
        sock, self._sock = self._sock, None
        self._forget(sock)
        os.close(self._spare)

    def _forget(self, sock: socket.socket) -> None:
        name = sock.getsockname()
        sock.close()
        if isinstance(name, str) and name:
            os.unlink(name)

    async def drained(self) -> None:
        """Waits until no connection lives. Bound it by cancelling."""
        if self._running:
            waiter: Deferred[None] = Deferred(self._emptied.remove)
            self._emptied.append(waiter)
            await waiter

    def cancel_all(self) -> None:
        """Cancels every connection's coroutine, which closes its streams."""
        for running in list(self._running):
            running.cancel()

    # -- what the reactor calls

    def fileno(self) -> int:
        return -1 if self._sock is None else self._sock.fileno()

    def logPrefix(self) -> str:
        return "listener"

    def connectionLost(self, reason: Failure) -> None:
        self.stop_accepting()

    def doRead(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            if self._sock is None:
                return
            try:
                sock, name = self._sock.accept()
            except OSError as error:
                self._not_accepted(error)
                return
            self._accept(sock, from_name(name).host)

    def _not_accepted(self, error: OSError) -> None:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            self.log.error("cannot accept: {cause}; resting", cause=error.strerror)
            self._shed_one()
            self._rest()
        elif error.errno in _FATAL:
            raise error
        # else: nobody waits any more, or that one peer is gone already

    def _shed_one(self) -> None:
        """The spare descriptor lets one client be told (by a close) instead of hanging."""
        assert self._sock is not None
        os.close(self._spare)
        try:
            self._sock.accept()[0].close()
        except OSError:
            pass
        finally:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _rest(self) -> None:
        self._reactor.removeReader(self)
        self._resting = self._reactor.callLater(_OUT_OF_FILES_PAUSE, self._reactor.addReader, self)

    # -- one connection

    def _accept(self, sock: socket.socket, host: str) -> None:
        reason = self._over_limit(host)
        if reason:
            self._tell(reason)
            if reason != "unauthenticated" or not self._make_room(host):
                sock.close()
                return
        accepted = Accepted(self, host)
        self.open += 1
        self.strangers[accepted] = None
        self._per_address[host] += 1
        running = Deferred.fromCoroutine(self._run(Connection(self._reactor, sock, self._stream_limits), accepted))
        self._running.add(running)
        accepted.running = running
        running.addBoth(self._ended, running, accepted)

    def _over_limit(self, host: str) -> str:
        limits = self._limits
        if self.open >= limits.total:
            return "total"
        if self._per_address[host] >= limits.per_address and not self._trusted(host):
            return "per-address"
        if self.unauthenticated >= limits.unauthenticated:
            return "unauthenticated"
        return ""

    def _make_room(self, host: str) -> bool:
        """For a stranger from ``host``; False when no other address holds more places than it does."""
        places = Counter(stranger.host for stranger in self.strangers)
        greedy, most = places.most_common(1)[0]
        oldest = next(stranger for stranger in self.strangers if stranger.host == greedy)
        if most <= places[host] + 1 or oldest.running is None:
            return False
        oldest.authenticated()  # gives its place back; the rest of it ends with its coroutine
        oldest.running.cancel()
        return True

    def _tell(self, reason: str) -> None:
        now = self._reactor.seconds()
        if now - self._told.get(reason, -_TELL_EVERY) >= _TELL_EVERY:
            self._told[reason] = now
            self._turned_away(reason)

    def _trusted(self, host: str) -> bool:
        if not self._proxies or host.startswith("/") or not host:
            return False
        address = ipaddress.ip_address(host.partition("%")[0])
        return any(address in network for network in self._proxies)

    async def _run(self, connection: Connection, accepted: Accepted) -> None:
        try:
            if self._trusted(accepted.host) and not await self._proxied(connection, accepted):
                return
            await self._serve(connection, accepted)
        finally:
            await connection.close()

    async def _proxied(self, connection: Connection, accepted: Accepted) -> bool:
        """Reads the PROXY header; from here on the real client's address is the one that counts."""
        try:
            header = await read_header(connection, self._limits.proxy_header)
        except BridgeError as fault:
            self.log.warn("proxy {host} turned away: {cause}", host=accepted.host, cause=str(fault))
            return False
        if header.source is None or header.destination is None:
            return True
        connection.proxied(header.source, header.destination)
        self._leave(accepted.host)
        accepted.host = header.source.host
        over = self._per_address[accepted.host] >= self._limits.per_address
        self._per_address[accepted.host] += 1
        if over:
            self._tell("per-address")
        return not over

    def _ended(self, result: Any, running: Deferred[None], accepted: Accepted) -> None:
        self._running.discard(running)
        accepted.authenticated()
        self.open -= 1
        self._leave(accepted.host)
        if isinstance(result, Failure) and not isinstance(result.value, _ORDINARY):
            self.log.failure("a connection's coroutine failed", failure=result)
        if not self._running:
            emptied, self._emptied = self._emptied, []
            for waiter in emptied:
                waiter.callback(None)

    def _leave(self, host: str) -> None:
        self._per_address[host] -= 1
        if self._per_address[host] <= 0:
            del self._per_address[host]


def _listening(address: Address, backlog: int) -> socket.socket:
    unix = address.host.startswith("/")
    family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if not unix:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address.host if unix else (address.host, address.port))
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock
