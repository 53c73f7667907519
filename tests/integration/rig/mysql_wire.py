"""MySQL's protocol over a plain blocking socket, for what no client library can be made to do.

Payloads are bytes without their header. Everything waits at most ``TIMEOUT`` seconds.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

TIMEOUT = 10.0
FLAGS = 0x00FFA20D  # protocol 4.1, plugins, attributes, long fields, database, transactions, multi-results
SSL = 0x800


class Closed(Exception):
    """The other side closed the connection."""


class MySQLTalk:
    """``greeting`` is what the server said first; ``flags`` and ``collation`` are what the client will say."""

    def __init__(self, port: int, *, flags: int = FLAGS, collation: int = 45) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.flags = flags
        self.collation = collation
        self.sequence = 0
        self._tls: tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO] | None = None
        self._buffer = b""
        self.greeting = self.hear()

    def __enter__(self) -> MySQLTalk:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # -- packets

    def say(self, payload: bytes, *, sequence: int | None = None) -> None:
        if sequence is not None:
            self.sequence = sequence
        self.send(self.packet(payload))

    def packet(self, payload: bytes) -> bytes:
        data = len(payload).to_bytes(3, "little") + bytes((self.sequence & 0xFF,)) + payload
        self.sequence += 1
        return data

    def hear(self) -> bytes:
        head = self._exactly(4)
        self.sequence = head[3] + 1
        return self._exactly(int.from_bytes(head[:3], "little"))

    def command(self, code: int, body: bytes = b"") -> bytes:
        """The first payload of the answer."""
        self.say(bytes((code,)) + body, sequence=0)
        return self.hear()

    # -- login

    def head(self, flags: int) -> bytes:
        return (
            flags.to_bytes(4, "little")
            + (1 << 24).to_bytes(4, "little")
            + self.collation.to_bytes(2, "little")
            + bytes(22)
        )

    def start_tls(self, ca: Path) -> None:
        """The request and the ClientHello leave in one segment, as some clients have it now and then."""
        context = ssl.create_default_context(cafile=str(ca))
        arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        layer = context.wrap_bio(arriving, leaving, server_hostname="localhost")
        request = self.packet(self.head(self.flags | SSL))
        self.flags |= SSL
        first = True
        while True:
            try:
                layer.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            self.socket.sendall((request if first else b"") + leaving.read())
            first = False
            if done:
                break
            arriving.write(self.socket.recv(65536) or b"")
        self._tls = layer, arriving, leaving

    def introduce(
        self, user: str = "agent", database: str = "app", attributes: bytes = b"", plugin: str = "caching_sha2_password"
    ) -> None:
        """The answer to the greeting, with a scramble that proves nothing."""
        body = self.head(self.flags) + user.encode() + b"\0" + bytes((32,)) + b"s" * 32
        body += database.encode() + b"\0" + plugin.encode() + b"\0" + bytes((len(attributes),)) + attributes
        self.say(body)

    def log_in(self, token: str, ca: Path, **more: str) -> bytes:
        """The payload that ends it: OK or ERR."""
        self.start_tls(ca)
        self.introduce(**more)
        payload = self.hear()
        if payload == b"\x01\x04":
            self.say(token.encode() + b"\0")
            payload = self.hear()
        return payload

    # -- bytes

    def send(self, data: bytes) -> None:
        if self._tls is not None:
            layer, _, leaving = self._tls
            layer.write(data)
            data = leaving.read()
        self.socket.sendall(data)

    def closed(self) -> bool:
        """Nothing more comes."""
        try:
            self._exactly(1)
        except Closed:
            return True
        return False

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._buffer += self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _more(self) -> bytes:
        while True:
            if self._tls is not None:
                try:
                    if data := self._tls[0].read(65536):
                        return data
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLZeroReturnError:
                    raise Closed from None
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed
            if self._tls is None:
                return data
            self._tls[1].write(data)


def error(payload: bytes) -> tuple[int, str, str]:
    """Code, SQLSTATE and text of an ERR."""
    assert payload[:1] == b"\xff", payload[:40]
    return int.from_bytes(payload[1:3], "little"), payload[4:9].decode(), payload[9:].decode()
