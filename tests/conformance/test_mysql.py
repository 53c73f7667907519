"""The MySQL adapter keeps every promise, with the real core and a played server."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - tests own the process

from adapters.mysql import codec
from adapters.mysql.adapter import MySQLAdapter
from adapters.mysql.codec import Com, Greeting, HandshakeResponse, packets
from adapters.mysql.options import Options
from adapters.mysql.probe import EVERYWHERE, OWN
from bridge.adapter import StreamClosed
from bridge.testing.conformance import CHECKS, ConformanceSuite
from bridge.testing.streams import MemoryStream

NONCE = b"abcdefghijklmnopqrst"
GREETING = Greeting(b"5.5.5-10.11.6-MariaDB", 4711, NONCE, OWN | EVERYWHERE, 45)

QUESTIONS = (b"SELECT @@", b"SET SESSION TRANSACTION")
"""How the bridge's own statements begin."""


class Reading:
    """Payloads from one end, with the number of their packet."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream
        self._data = b""

    async def payload(self) -> tuple[int, bytes]:
        head = await self._take(4)
        return head[3], await self._take(int.from_bytes(head[:3], "little"))

    async def _take(self, count: int) -> bytes:
        while len(self._data) < count:
            chunk = await self._stream.receive()
            if not chunk:
                raise StreamClosed("end of file")
            self._data += chunk
        taken, self._data = self._data[:count], self._data[count:]
        return taken


def _native(password: str) -> bytes:
    """The answer to mysql_native_password (protocol page of that name)."""
    once = hashlib.sha1(password.encode()).digest()
    mask = hashlib.sha1(NONCE + hashlib.sha1(once).digest()).digest()
    return bytes(a ^ b for a, b in zip(once, mask, strict=True))


def _error(payload: bytes) -> str:
    code, sqlstate, message = codec.parse_error(payload)
    return f"{code} {sqlstate} {message}"


class MySQLScenario:
    protocol = "mysql"
    garbage = b"\xff" * 64

    def __init__(self) -> None:
        self.options = Options()
        self.operations: list[bytes] = []
        self.silent = False

    def adapter(self) -> MySQLAdapter:
        async def at_once(function: Any, *arguments: Any) -> Any:
            return function(*arguments)

        adapter = MySQLAdapter()
        adapter.start(at_once)
        return adapter

    # -- the client

    async def log_in(self, client: MemoryStream, token: bytes, account: str, *, stamp: str = "") -> str:
        reading = Reading(client)
        greeting = codec.parse_greeting((await reading.payload())[1])
        attributes = ((b"program_name", stamp.encode()), (b"_idbridge_session", stamp.encode()))
        response = HandshakeResponse(
            greeting.capabilities & (OWN | EVERYWHERE), account.encode(), b"s" * 32, b"app", greeting.plugin, attributes
        )
        await client.send(packets(codec.handshake_response(response), 1))
        while True:
            number, payload = await reading.payload()
            if payload[0] == codec.ERROR:
                return _error(payload)
            if payload[0] == codec.OK:
                return ""
            await client.send(packets(token + b"\0", number + 1))

    async def _ask(self, client: MemoryStream, command: int, body: bytes) -> str:
        await client.send(packets(bytes((command,)) + body, 0))
        return await self._answer(client)

    async def _answer(self, client: MemoryStream) -> str:
        try:
            _, payload = await Reading(client).payload()
        except StreamClosed:
            return "closed"
        return _error(payload) if payload[0] == codec.ERROR else ""

    async def read(self, client: MemoryStream) -> str:
        return await self._ask(client, Com.QUERY, b"SELECT name FROM customers WHERE id = 7")

    async def write(self, client: MemoryStream) -> str:
        return await self._ask(client, Com.QUERY, b"DELETE FROM customers WHERE id = 7")

    async def change_identity(self, client: MemoryStream) -> str:
        scramble = bytes((20,)) + b"x" * 20
        errors = [
            await self._ask(client, Com.CHANGE_USER, b"root\0" + scramble + b"app\0\x2d\0mysql_native_password\0"),
            await self._ask(client, Com.QUERY, b"SET ROLE admin"),
        ]
        return "; ".join(errors) if all(errors) else ""

    async def change_stamp(self, client: MemoryStream) -> str:
        """Connection attributes change with COM_CHANGE_USER only."""
        attributes = codec.attributes(((b"_idbridge_session", b"x"),))
        plugin = b"mysql_native_password\0"
        return await self._ask(client, Com.CHANGE_USER, b"root\0\0app\0\x2d\0" + plugin + attributes)

    async def last_words(self, client: MemoryStream) -> str:
        return (await self._answer(client)).removesuffix("closed")

    # -- the server

    def stamp_of(self, sent: bytes) -> str:
        _, _, rest = sent.partition(b"_idbridge_session")
        return rest[1 : 1 + rest[0]].decode()

    async def legacy(self, stream: MemoryStream, *, password: str, accept: bool) -> None:
        reading = Reading(stream)
        await stream.send(packets(codec.greeting(GREETING._replace(plugin=b"mysql_native_password")), 0))
        number, answer = await reading.payload()
        response = codec.parse_handshake_response(answer, GREETING.capabilities)
        if not accept or response.auth != _native(password):
            await stream.send(packets(codec.error(1045, "28000", "Access denied for user 'svc'@'host'"), number + 1))
            return
        await stream.send(packets(codec.ok(), number + 1))
        while True:
            _, command = await reading.payload()
            if command[0] == Com.QUIT:
                return
            if command[1:].upper().startswith(QUESTIONS):
                await stream.send(self._settings(command))
                continue
            self.operations.append(command)
            if not self.silent:
                await stream.send(packets(codec.ok(), 1))

    @staticmethod
    def _settings(command: bytes) -> bytes:
        """The bridge's own questions about the session's modes: one row of empty modes and utf8mb4."""
        if not command[1:].upper().startswith(b"SELECT"):
            return packets(codec.ok(), 1)
        count = command.count(b"@@")
        row = b"".join(codec.string_lenenc(b"utf8mb4" if b"char" in name else b"") for name in command.split(b"@@")[1:])
        answer = [bytes((count,)), *[b"\x03def\0\0\0\1c\0\x0c\x2d\0\0\0\0\0\xfd\0\0\0\0\0"] * count, codec.eof(), row]
        return b"".join(packets(payload, number + 1) for number, payload in enumerate([*answer, codec.eof()]))


@pytest.mark.parametrize("name", CHECKS)
@pytest_twisted.ensureDeferred
async def test_promise(name: str, tmp_path: Path) -> None:
    await ConformanceSuite(MySQLScenario(), tmp_path, reactor).run(name)
