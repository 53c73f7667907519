"""The PostgreSQL adapter keeps every promise, with the real core and a played server."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - tests own the process

from adapters.postgres import codec
from adapters.postgres.adapter import PostgresAdapter
from adapters.postgres.options import Options
from adapters.postgres.startup import CANCEL_REQUEST, PROTOCOL_3_0
from bridge.adapter import StreamClosed
from bridge.testing.conformance import CHECKS, ConformanceSuite
from bridge.testing.streams import MemoryStream

STAND_IN = b"identity_bridge refused a statement"


class Reading:
    """Messages from one end; the startup packet has no kind."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream
        self._data = b""

    async def startup(self) -> bytes:
        size = struct.unpack("!I", await self._take(4))[0]
        return await self._take(size - 4)

    async def message(self) -> tuple[bytes, bytes]:
        kind = await self._take(1)
        size = struct.unpack("!I", await self._take(4))[0]
        return kind, await self._take(size - 4)

    async def _take(self, count: int) -> bytes:
        while len(self._data) < count:
            chunk = await self._stream.receive()
            if not chunk:
                raise StreamClosed("end of file")
            self._data += chunk
        taken, self._data = self._data[:count], self._data[count:]
        return taken


def _md5(password: str) -> bytes:
    """The answer to AuthenticationMD5Password with the salt "SALT" (PostgreSQL documentation, 55.2.1)."""
    inner = hashlib.md5(password.encode() + b"svc_reader_login").hexdigest().encode()
    return b"md5" + hashlib.md5(inner + b"SALT").hexdigest().encode()


def _error(body: bytes) -> str:
    fields = codec.parse_error(body)
    return f"{fields.code} {fields.message}"


class PostgresScenario:
    protocol = "postgres"
    garbage = b"\xff" * 64

    def __init__(self) -> None:
        self.options = Options()
        self.operations: list[bytes] = []
        self.silent = False

    def adapter(self) -> PostgresAdapter:
        async def at_once(function: Any, *arguments: Any) -> Any:
            return function(*arguments)

        adapter = PostgresAdapter()
        adapter.start(at_once)
        return adapter

    # -- the client

    async def log_in(self, client: MemoryStream, token: bytes, account: str, *, stamp: str = "") -> str:
        parameters = [(b"user", account.encode()), (b"database", b"app")]
        if stamp:
            parameters.append((b"application_name", stamp.encode()))
        await client.send(codec.startup_message(PROTOCOL_3_0, parameters))
        reading = Reading(client)
        while True:
            kind, body = await reading.message()
            if kind == b"E":
                return _error(body)
            if kind == b"R" and body[:4] == b"\0\0\0\3":
                await client.send(codec.password_message(token))
            if kind == b"Z":
                return ""

    async def _query(self, client: MemoryStream, text: bytes) -> str:
        await client.send(codec.query(text))
        reading, error = Reading(client), ""
        while True:
            try:
                kind, body = await reading.message()
            except StreamClosed:
                return error or "closed"
            if kind == b"E":
                error = _error(body)
            if kind == b"Z":
                return error

    async def read(self, client: MemoryStream) -> str:
        return await self._query(client, b"SELECT name FROM customers WHERE id = 7")

    async def write(self, client: MemoryStream) -> str:
        return await self._query(client, b"DELETE FROM customers WHERE id = 7")

    async def change_identity(self, client: MemoryStream) -> str:
        errors = [await self._query(client, text) for text in (
            b"SET ROLE postgres", b"SET SESSION AUTHORIZATION postgres",
            b"SELECT set_config('role', 'postgres', false)",
        )]  # fmt: skip
        return "; ".join(errors) if all(errors) else ""

    async def change_stamp(self, client: MemoryStream) -> str:
        errors = [await self._query(client, text) for text in (
            b"SET application_name = 'x'", b"RESET application_name", b"DISCARD ALL",
            b"SELECT set_config('application_name', 'x', false)",
        )]  # fmt: skip
        return "; ".join(filter(None, errors))

    async def last_words(self, client: MemoryStream) -> str:
        reading = Reading(client)
        try:
            while True:
                kind, body = await reading.message()
                if kind == b"E":
                    return _error(body)
        except StreamClosed:
            return ""

    # -- the server

    def stamp_of(self, sent: bytes) -> str:
        _, _, rest = sent.partition(b"application_name\0")
        return rest.partition(b"\0")[0].decode()

    async def legacy(self, stream: MemoryStream, *, password: str, accept: bool) -> None:
        reading = Reading(stream)
        if (await reading.startup()).startswith(CANCEL_REQUEST.to_bytes(4, "big")):
            return  # a server answers a cancel with the end of that connection
        await stream.send(codec.authentication(5, b"SALT"))
        _, given = await reading.message()
        if not accept or codec.parse_password(given) != _md5(password):
            await stream.send(codec.error_response("FATAL", "28P01", "password authentication failed"))
            return
        await stream.send(
            codec.authentication_ok()
            + codec.parameter_status("server_version", "15.18")
            + codec.backend_key_data(4711, b"KEY!")
            + codec.ready_for_query()
        )
        while True:
            kind, body = await reading.message()
            if kind == b"X":
                return
            if (
                body == STAND_IN + b"\0"
            ):  # what goes upstream in place of a refused statement; an error, as of any server
                await stream.send(codec.error_response("ERROR", "42601", "syntax error") + codec.ready_for_query())
                continue
            self.operations.append(kind + body)
            if not self.silent:
                await stream.send(codec.message(ord("C"), b"SELECT 1\0") + codec.ready_for_query())


@pytest.mark.parametrize("name", CHECKS)
@pytest_twisted.ensureDeferred
async def test_promise(name: str, tmp_path: Path) -> None:
    await ConformanceSuite(PostgresScenario(), tmp_path, reactor).run(name)
