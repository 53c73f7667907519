"""The LDAP adapter keeps every promise, with the real core and a played directory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - tests own the process

from adapters.ldap import answers, codec, controls, rootdse
from adapters.ldap.adapter import LDAPAdapter
from adapters.ldap.codes import ANSWER, Code, Oid, Op
from adapters.ldap.framing import LIMIT_UPSTREAM, Framer, Message
from adapters.ldap.options import Options
from bridge.adapter import StreamClosed
from bridge.testing.conformance import CHECKS, ConformanceSuite
from bridge.testing.streams import MemoryStream
from bridge.wire import ber

ENTRY = b"uid=anna,ou=people,dc=example,dc=org"


class Reading:
    """Messages from one end."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream
        self._framer = Framer(LIMIT_UPSTREAM)

    async def message(self) -> Message:
        while (found := self._framer.next()) is None:
            chunk = await self._stream.receive()
            if not chunk:
                raise StreamClosed("end of file")
            self._framer.add(chunk)
        return found


class LDAPScenario:
    protocol = "ldap"
    garbage = b"\xff" * 64

    def __init__(self) -> None:
        self.options = Options()
        self.operations: list[bytes] = []
        self.silent = False
        self._number = 0

    def adapter(self) -> LDAPAdapter:
        async def at_once(function: Any, *arguments: Any) -> Any:
            return function(*arguments)

        adapter = LDAPAdapter()
        adapter.start(at_once)
        return adapter

    # -- the client

    async def _ask(self, client: MemoryStream, operation: bytes, more: bytes = b"") -> str:
        """The error in the final answer, "" for none."""
        self._number += 1
        try:
            await client.send(codec.request(self._number, operation, more))
            reading = Reading(client)
            while (message := await reading.message()).tag not in ANSWER.values():
                pass
        except StreamClosed:
            return "closed"
        found = answers.read_result(message)
        if found.code == Code.STRONGER_AUTH:  # as ldapsearch does
            await self._leave(client)
        return "" if found.code == Code.SUCCESS else f"{found.code} {found.text.decode()}"

    async def log_in(self, client: MemoryStream, token: bytes, account: str, *, stamp: str = "") -> str:
        name = f"account={account}".encode()
        forged = controls.session_tracking("203.0.113.9", stamp, stamp) if stamp else b""
        error = await self._ask(client, codec.simple_bind(name, token), forged)
        if error:
            await self._leave(client)
        return error

    async def _leave(self, client: MemoryStream) -> None:
        with suppress(StreamClosed):
            await client.send(codec.request(99, codec.unbind()))

    async def read(self, client: MemoryStream) -> str:
        return await self._ask(client, codec.search(ENTRY, 0, codec.present(b"objectClass"), (b"cn",)))

    async def write(self, client: MemoryStream) -> str:
        return await self._ask(client, ber.encode(Op.DELETE, ENTRY))

    async def change_identity(self, client: MemoryStream) -> str:
        return await self._ask(client, codec.simple_bind(b"cn=admin,dc=example,dc=org", b"secret"))

    async def change_stamp(self, client: MemoryStream) -> str:
        """The control is taken out, and the bridge's own is in its place."""
        forged = controls.session_tracking("203.0.113.9", "ib:ses_0", "nobody")
        search = codec.search(ENTRY, 0, codec.present(b"objectClass"), (b"cn",))
        error = await self._ask(client, search, forged)
        assert b"203.0.113.9" not in b"".join(self.operations)
        self.operations.clear()
        return error

    async def last_words(self, client: MemoryStream) -> str:
        found = answers.read_result(await Reading(client).message())
        return found.text.decode()

    # -- the directory

    def stamp_of(self, sent: bytes) -> str:
        """The name in the session tracking control of the last message."""
        framer = Framer(LIMIT_UPSTREAM)
        last = framer.feed(sent)[-1]
        (own,) = (one for one in controls.read(last) if one.oid == Oid.SESSION_TRACKING)
        value = own.value or b""
        at, stop = ber.expect(value, 0, len(value), ber.SEQUENCE)
        _, at = ber.expect(value, at, stop, ber.OCTET_STRING)
        start, at = ber.expect(value, at, stop, ber.OCTET_STRING)
        return value[start:at].decode()

    async def legacy(self, stream: MemoryStream, *, password: str, accept: bool) -> None:
        reading = Reading(stream)
        bind = await reading.message()
        request = codec.decode(bind)
        assert isinstance(request, codec.Bind)
        good = accept and request.credentials == password.encode()
        code, text = (0, "") if good else (Code.INVALID_CREDENTIALS, "cn=svc: 80090308: data 52e")
        await stream.send(answers.answer_to(bind.tag, bind.id, code, text))
        while good:
            message = await reading.message()
            if message.tag == Op.UNBIND:
                return
            if message.tag == Op.SEARCH and self._of_the_bridge(message):
                await stream.send(answers.answer_to(message.tag, message.id, Code.SUCCESS))
                continue
            self.operations.append(message.raw)
            if self.silent:
                continue
            if message.tag == Op.SEARCH:
                entry = rootdse.entry_of(ENTRY, [(b"cn", [b"Anna"])])
                await stream.send(codec.request(message.id, entry))
            await stream.send(answers.answer_to(message.tag, message.id, Code.SUCCESS))

    @staticmethod
    def _of_the_bridge(message: Message) -> bool:
        request = codec.decode(message)
        return isinstance(request, codec.Search) and not request.base


@pytest.mark.parametrize("name", CHECKS)
@pytest_twisted.ensureDeferred
async def test_promise(name: str, tmp_path: Path) -> None:
    await ConformanceSuite(LDAPScenario(), tmp_path, reactor).run(name)
