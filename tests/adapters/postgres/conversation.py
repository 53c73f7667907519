"""A PostgreSQL session in memory, for the tests of the relay: what each side says and hears, and the log is told."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from adapters.postgres import codec
from adapters.postgres.cancel import CancelSlot
from adapters.postgres.login import LoginFacts
from adapters.postgres.options import Options
from adapters.postgres.relaying import relay_session
from adapters.postgres.worker import Classifier, ParserProcess
from bridge.adapter import (
    Action,
    AgentFacts,
    Operation,
    Outcome,
    Reason,
    Refused,
    StatementLogging,
    SystemFacts,
)
from bridge.testing import MemoryStream, memory_pair
from bridge.testing.door import FakePermit

STAMP = "ib:5e55"


@dataclass(eq=False)
class FakeAdmission:
    """Permits what ``actions`` allow; ``log`` has (verb, result, code, rows) in the order of the outcomes."""

    actions: frozenset[Action] = frozenset(Action)
    warning: str = ""
    down: bool = False
    session: str = "5e55"
    agent: AgentFacts = field(default_factory=lambda: AgentFacts("deploy-7", "Deploy 7", "team"))
    account: str = "legacy"
    stamp: str = STAMP
    log: list[tuple[str, str, str, int]] = field(default_factory=list)
    seen: list[Operation] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    cut: Callable[[Refused], Awaitable[None]] | None = None
    dialled: int = 0

    async def permit(self, operation: Operation) -> FakePermit:
        if self.down:
            raise Refused(Reason.LOG_UNAVAILABLE, "the log cannot be written", reference="r2")
        if operation.action not in self.actions:
            self.log.append((operation.verb, "refused", "", 0))
            raise Refused(Reason.ACTION_DENIED, "no grant allows this", reference="r1")
        self.seen.append(operation)
        return FakePermit(operation, self.warning)

    def permit_at_once(self, operation: Operation) -> FakePermit | None:
        if self.down or operation.action not in self.actions & {Action.READ}:
            return None
        self.seen.append(operation)
        return FakePermit(operation, self.warning)

    def outcome(self, permit: FakePermit, outcome: Outcome) -> None:
        self.log.append((permit.operation.verb, outcome.result.value, outcome.code, outcome.rows))

    def alarm(self, code: str, detail: str) -> None:
        self.alarms.append(code)

    def on_cut(self, hear: Callable[[Refused], Awaitable[None]]) -> None:
        self.cut = hear

    async def connect(self) -> MemoryStream:
        self.dialled += 1
        raise Refused(Reason.UPSTREAM_UNAVAILABLE, "no side connection here")


@pytest.fixture(scope="module")
def classifier() -> Iterator[Classifier]:
    made = Classifier(ParserProcess(time_limit=10.0))

    async def at_once(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    made.start(at_once)
    yield made
    made.stop()


class Talk:
    """A session in memory: ``client`` and ``server`` are the far ends."""

    def __init__(self, classifier: Classifier, admission: FakeAdmission, logging: StatementLogging, split: int) -> None:
        clock = Clock()
        self.client, near = memory_pair(clock, split=split)
        far, self.server = memory_pair(clock, split=split)
        self.admission = admission
        self.slot = CancelSlot(admission, pid=1, key=b"kkkk", backend_key=b"bbbb", encrypted=False)  # type: ignore[arg-type]
        parameters = {"client_encoding": "UTF8", "standard_conforming_strings": "on", "session_authorization": "legacy"}
        self.done: list[Any] = []
        self.running = Deferred.fromCoroutine(
            relay_session(
                near,
                far,
                admission,  # type: ignore[arg-type]
                system=SystemFacts("pg", Options(), logging),
                login=LoginFacts(parameters, "app", "legacy", "15", "I"),
                classifier=classifier,
                cancel_slot=self.slot,
                clock=clock.seconds,
            )
        )
        self.running.addBoth(self.done.append)

    def say(self, *messages: bytes) -> list[str]:
        """The client says this; what the server hears, by kinds."""
        self._send(self.client, b"".join(messages))
        return kinds(self.heard())

    def heard(self) -> bytes:
        data = self.server.waiting
        self.server._inbox.clear()
        return data

    def answer(self, *messages: bytes) -> list[str]:
        """The server says this; what the client hears, by kinds."""
        self._send(self.server, b"".join(messages))
        return kinds(self.told())

    def told(self) -> bytes:
        data = self.client.waiting
        self.client._inbox.clear()
        return data

    def _send(self, stream: MemoryStream, data: bytes) -> None:
        failures: list[Any] = []
        Deferred.fromCoroutine(stream.send(data)).addErrback(failures.append)
        assert not failures

    def leave(self) -> None:
        Deferred.fromCoroutine(self.client.close())
        Deferred.fromCoroutine(self.server.close())


@pytest.fixture
def start(classifier: Classifier) -> Iterator[Callable[..., Talk]]:
    talks: list[Talk] = []

    def begin(
        admission: FakeAdmission | None = None,
        logging: StatementLogging = StatementLogging.REDACTED,
        split: int = 1 << 18,
    ) -> Talk:
        talks.append(Talk(classifier, admission or FakeAdmission(), logging, split))
        return talks[-1]

    yield begin
    for talk in talks:
        talk.leave()
        assert talk.done, "the relay did not end"


def kinds(data: bytes) -> list[str]:
    out = []
    while data:
        kind, length = struct.unpack_from(">BI", data)
        out.append(chr(kind))
        data = data[1 + length :]
    return out


def m(kind: str, body: bytes = b"") -> bytes:
    return codec.message(ord(kind), body)


def query(text: str) -> bytes:
    return codec.query(text.encode())


def parse(name: str, text: str) -> bytes:
    return codec.parse_message(name.encode(), text.encode(), ())


def bind(portal: str = "", statement: str = "", values: tuple[bytes | None, ...] = ()) -> bytes:
    body = portal.encode() + b"\0" + statement.encode() + b"\0\0\0" + struct.pack(">H", len(values))
    for value in values:
        body += struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    return m("B", body + b"\0\0")


def execute(portal: str = "", limit: int = 0) -> bytes:
    return m("E", portal.encode() + b"\0" + struct.pack(">i", limit))


SYNC, FLUSH = m("S"), m("H")
ROW = m("D", b"\0\1\0\0\0\1x")
READY, IN_BLOCK, FAILED = codec.ready_for_query("I"), codec.ready_for_query("T"), codec.ready_for_query("E")
PARSED, BOUND, CLOSED, SUSPENDED = m("1"), m("2"), m("3"), m("s")


def tag(text: str) -> bytes:
    return m("C", text.encode() + b"\0")


def error(code: str = "42601", severity: str = "ERROR") -> bytes:
    return codec.error_response(severity, code, "words")


def fields(data: bytes) -> dict[str, str]:
    length = struct.unpack_from(">I", data, 1)[0]
    return dict(codec.parse_error(data[5 : 1 + length]).all)
