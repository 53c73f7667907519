"""Dialling: a name or address and a port become a ``Connection``, within one time limit for everything."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadWriteDescriptor, IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from bridge.adapter import BridgeError
from bridge.net.connection import Connection
from bridge.net.limits import StreamLimits


class ConnectFailed(BridgeError):
    """The legacy system cannot be reached. The message is the cause in plain words, for ops."""


class Dialer:
    """``connect`` resolves with the reactor's resolver and tries each address in turn.

    A host that starts with ``/`` is a Unix socket's path. ``source`` is the local address to dial from.
    """

    def __init__(self, reactor: Any, limits: StreamLimits | None = None, *, source: str = "") -> None:
        self._reactor = reactor
        self._limits = limits or StreamLimits()
        self._source = source

    async def connect(self, host: str, port: int, timeout: float = 10.0) -> Connection:
        dialling = Deferred.fromCoroutine(self._connect(host, port))
        late = self._reactor.callLater(timeout, dialling.cancel)
        try:
            return await dialling
        except BaseException:
            if not late.active():
                raise ConnectFailed(f"{host}:{port}: no answer within {timeout:g} s") from None
            dialling.cancel()
            raise
        finally:
            if late.active():
                late.cancel()

    async def _connect(self, host: str, port: int) -> Connection:
        causes = []
        for family, address in await self._addresses(host, port):
            attempt = _Attempt(self._reactor, family, self._source)
            cause = await attempt.connect(address)
            if not cause:
                return Connection(self._reactor, attempt.sock, self._limits)
            causes.append(f"{_printed(address)}: {cause}")
        raise ConnectFailed("; ".join(causes) or f"{host}: the name has no address")

    async def _addresses(self, host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
        if host.startswith("/"):
            return [(socket.AF_UNIX, host)]
        answer = _Answer()
        self._reactor.nameResolver.resolveHostName(answer, host, port)
        await answer.complete
        return answer.found


@implementer(IResolutionReceiver)
class _Answer:
    def __init__(self) -> None:
        self.complete: Deferred[None] = Deferred()
        self.found: list[tuple[socket.AddressFamily, Any]] = []

    def resolutionBegan(self, resolutionInProgress: object) -> None:
        pass

    def addressResolved(self, address: Any) -> None:
        family = socket.AF_INET if address.type == "TCP" and ":" not in address.host else socket.AF_INET6
        self.found.append((family, (address.host, address.port)))

    def resolutionComplete(self) -> None:
        if not self.complete.called:  # the wait may have been cancelled
            self.complete.callback(None)


@implementer(IReadWriteDescriptor)
class _Attempt:
    """One non-blocking connect(2): writable means decided."""

    def __init__(self, reactor: Any, family: socket.AddressFamily, source: str) -> None:
        self._reactor = reactor
        self._source = source
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        self._decided: Deferred[int] | None = None

    async def connect(self, address: Any) -> str:
        """ "" when connected, else the cause; the socket is closed then."""
        try:
            code = await self._begin(address)
        except OSError as error:  # a malformed or unusable address
            code = error.errno or errno.EINVAL
        except BaseException:
            self._leave()
            self.sock.close()
            raise
        if code:
            self.sock.close()
        return os.strerror(code).lower() if code else ""

    async def _begin(self, address: Any) -> int:
        if self._source and self.sock.family != socket.AF_UNIX:
            self.sock.bind((self._source, 0))
        code = self.sock.connect_ex(address)
        if code not in (errno.EINPROGRESS, errno.EAGAIN):
            return code
        self._decided = Deferred()
        self._reactor.addWriter(self)
        return await self._decided

    def _leave(self) -> None:
        self._reactor.removeWriter(self)

    def fileno(self) -> int:
        return self.sock.fileno()

    def logPrefix(self) -> str:
        return "dialling"

    def doRead(self) -> None:
        pass

    def doWrite(self) -> None:
        self._decide()

    def connectionLost(self, reason: Failure) -> None:
        self._decide()

    def _decide(self) -> None:
        self._leave()
        decided, self._decided = self._decided, None
        if decided is not None and not decided.called:
            decided.callback(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def _printed(address: Any) -> str:
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"
