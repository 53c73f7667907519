"""PostgreSQL's protocol over a plain blocking socket, for what no client library can be made to do.

Messages are (type letter, body). Everything waits at most ``TIMEOUT`` seconds.
"""

from __future__ import annotations

import socket
import ssl
import struct
from pathlib import Path

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSS_REQUEST = struct.pack("!ii", 8, 80877104)
PROTOCOL_3_0 = 196608
TIMEOUT = 10.0


class Closed(Exception):
    """The other side closed the connection."""


class Talk:
    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT, (source, 0))
        self._buffer = b""
        self.parameters: dict[str, str] = {}
        self.key: tuple[int, bytes] | None = None

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # -- bytes

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def byte(self) -> bytes:
        return self._exactly(1)

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            try:
                data = self.socket.recv(65536)
            except (ConnectionResetError, ssl.SSLEOFError):
                data = b""
            if not data:
                raise Closed(self._buffer)
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def until_closed(self) -> bytes:
        """All until the other side closes."""
        data = self._buffer
        self._buffer = b""
        while True:
            try:
                more = self.socket.recv(65536)
            except (ConnectionResetError, ssl.SSLEOFError):
                more = b""
            if not more:
                return data
            data += more

    # -- login

    def start_tls(self, ca: Path) -> None:
        self.send(SSL_REQUEST)
        assert self.byte() == b"S"
        context = ssl.create_default_context(cafile=str(ca))
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def startup(self, version: int = PROTOCOL_3_0, **parameters: str) -> None:
        pairs = {"user": "agent", "database": "app", **parameters}
        body = b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in pairs.items()) + b"\0"
        self.send(struct.pack("!ii", len(body) + 8, version) + body)

    def log_in(self, token: str, ca: Path | None = None, **parameters: str) -> list[tuple[str, bytes]]:
        """Messages up to the first ReadyForQuery or ErrorResponse."""
        if ca is not None:
            self.start_tls(ca)
        self.startup(**parameters)
        kind, body = self.message()
        if kind != "R":
            return [(kind, body)]
        assert body == struct.pack("!i", 3), body
        self.say("p", token.encode() + b"\0")
        return self.until("ZE")

    # -- messages

    def say(self, kind: str, body: bytes = b"") -> None:
        self.send(packed(kind, body))

    def message(self) -> tuple[str, bytes]:
        kind, length = self._exactly(1), struct.unpack("!i", self._exactly(4))[0]
        body = self._exactly(length - 4)
        letter = kind.decode()
        if letter == "S":
            name, value = body.split(b"\0")[:2]
            self.parameters[name.decode()] = value.decode()
        if letter == "K":
            self.key = struct.unpack("!i", body[:4])[0], body[4:]
        return letter, body

    def until(self, kinds: str) -> list[tuple[str, bytes]]:
        """Messages up to and with the first of one of ``kinds``."""
        found = [self.message()]
        while found[-1][0] not in kinds:
            found.append(self.message())
        return found

    def query(self, sql: str) -> list[tuple[str, bytes]]:
        self.say("Q", sql.encode() + b"\0")
        return self.until("Z")


def packed(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack("!i", len(body) + 4) + body


def fields(body: bytes) -> dict[str, str]:
    """Of an ErrorResponse or NoticeResponse."""
    return {part[:1].decode(): part[1:].decode() for part in body.split(b"\0") if part}


def error(messages: list[tuple[str, bytes]]) -> dict[str, str]:
    """The fields of the last ErrorResponse; {} when there is none."""
    return next((fields(body) for kind, body in reversed(messages) if kind == "E"), {})


def kinds(messages: list[tuple[str, bytes]]) -> str:
    return "".join(kind for kind, _ in messages)


def columns(body: bytes) -> list[bytes | None]:
    """Of a DataRow."""
    count = struct.unpack("!h", body[:2])[0]
    found: list[bytes | None] = []
    at = 2
    for _ in range(count):
        length = struct.unpack("!i", body[at : at + 4])[0]
        at += 4
        found.append(None if length < 0 else body[at : at + length])
        at += max(length, 0)
    return found


def parse(name: str, sql: str) -> bytes:
    return packed("P", name.encode() + b"\0" + sql.encode() + b"\0" + struct.pack("!h", 0))


def bind(portal: str, statement: str, *values: str | None) -> bytes:
    body = portal.encode() + b"\0" + statement.encode() + b"\0" + struct.pack("!hh", 0, len(values))
    for value in values:
        data = None if value is None else value.encode()
        body += struct.pack("!i", -1) if data is None else struct.pack("!i", len(data)) + data
    return packed("B", body + struct.pack("!h", 0))


def describe(kind: str, name: str) -> bytes:
    return packed("D", kind.encode() + name.encode() + b"\0")


def execute(portal: str, rows: int = 0) -> bytes:
    return packed("E", portal.encode() + b"\0" + struct.pack("!i", rows))


SYNC = packed("S")
FLUSH = packed("H")
