"""A memory stream as a Twisted transport, for ``Stream.hand_over``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from bridge.adapter import Address


@implementer(ITransport)
class MemoryTransport:
    """Writes go out through the stream; it never pushes back (tests that need that use a real connection)."""

    def __init__(self, stream: Any, protocol: Any) -> None:
        self.stream = stream
        self.protocol = protocol
        self.disconnecting = False

    def write(self, data: bytes) -> None:
        if not self.stream.ended:
            self.stream.sent += data
            self.stream._other._arrive(bytes(data))

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        self.disconnecting = True
        Deferred.fromCoroutine(self.stream.close())

    def abortConnection(self) -> None:
        self.stream.abort()

    def getPeer(self) -> IPv4Address:
        return _twisted(self.stream.peer)

    def getHost(self) -> IPv4Address:
        return _twisted(self.stream.local)

    def lost(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]


def _twisted(address: Address) -> IPv4Address:
    return IPv4Address("TCP", address.host, address.port)
