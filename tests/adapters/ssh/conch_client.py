"""A client of the bridge on a memory stream: Conch's own, so that what is tested is not tested against itself.

``Client.said`` are the messages that are not of the key exchange. Everything runs at once: what is sent is answered
when ``send`` returns.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from twisted.conch.ssh.transport import SSHClientTransport
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from adapters.ssh.fields import string
from adapters.ssh.host_keys import HostKeys, in_thread_host_keys
from bridge.testing.streams import MemoryStream, memory_pair


class _Transport:
    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        Deferred.fromCoroutine(self._stream.send(data)).addErrback(lambda failure: None)

    def loseConnection(self) -> None:
        Deferred.fromCoroutine(self._stream.close())


class Client(SSHClientTransport):
    """``offers`` replaces what is supported: ``Client(stream, supportedCiphers=[b"aes256-ctr"])``."""

    def __init__(self, stream: MemoryStream, **offers: Any) -> None:
        for name, value in offers.items():
            setattr(self, name, value)
        self.stream = stream
        self.said: list[tuple[int, bytes]] = []
        self.transport = _Transport(stream)
        self.lost = ""

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[None]:
        return succeed(None)

    def connectionSecure(self) -> None:
        pass

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        if messageNum in (20, 21) or 30 <= messageNum <= 49:
            super().dispatchMessage(messageNum, payload)
        else:
            self.said.append((messageNum, payload))

    def start(self) -> None:
        self.connectionMade()
        self.pump()

    def pump(self) -> None:
        """Takes all that has come."""
        while self.stream.waiting:
            self.dataReceived(self.stream._take())

    def send(self, payload: bytes) -> None:
        self.sendPacket(payload[0], payload[1:])
        self.pump()

    def ask_service(self) -> None:
        self.send(b"\x05" + string("ssh-userauth"))

    def take(self, message: int) -> bytes:
        """The next message, which must be ``message``; those of EXT_INFO aside."""
        self.pump()
        while self.said and self.said[0][0] == 7:
            self.said.pop(0)
        assert self.said, f"message {message} did not come"
        number, payload = self.said.pop(0)
        assert number == message, f"message {number} {payload!r} came, not {message}"
        return payload


class Meeting:
    """The bridge's end ``near`` and the client on one clock. ``run`` starts what serves the near end."""

    def __init__(self, folder: Any, **offers: Any) -> None:
        self.clock = Clock()
        self.far, self.near = memory_pair(self.clock, capacity=10**9)
        self.client = Client(self.far, **offers)
        self.host_keys: HostKeys = in_thread_host_keys((), str(folder))
        self.result: list[Any] = []

    def run(self, serving: Callable[[], Any]) -> None:
        running = Deferred.fromCoroutine(serving())
        running.addCallbacks(self.result.append, lambda failure: self.result.append(failure.value))

    @property
    def outcome(self) -> Any:
        """What ``serving`` returned or raised; fails while it goes on."""
        assert self.result, "it still goes on"
        return self.result[0]


def packet(payload: bytes) -> bytes:
    """In the clear, as before the first key exchange (RFC 4253 section 6)."""
    padding = 8 - (5 + len(payload)) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack("!IB", 1 + len(payload) + padding, padding) + payload + bytes(padding)
