"""A connected socket becomes a Twisted transport for good."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.protocol import Factory, Protocol


class _Once(Factory):
    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._given = protocol

    def buildProtocol(self, addr: object) -> Protocol:
        return self._given


def adopt(reactor: Any, sock: socket.socket, protocol: Any) -> Any:
    """Connects ``protocol`` to a transport over a duplicate of ``sock``; returns that transport."""
    reactor.adoptStreamConnection(sock.fileno(), sock.family, _Once(protocol))
    return protocol.transport
