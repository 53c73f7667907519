"""A MySQL session in memory, for the tests of the relay: what the client says, what the server hears, and back."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from adapters.mysql.classifier import Classifier
from adapters.mysql.codec import Cap, error, ok, packets, string_lenenc
from adapters.mysql.kill import Kills
from adapters.mysql.login import LoginFacts
from adapters.mysql.options import Options
from adapters.mysql.relaying import relay
from bridge.adapter import Action, AgentFacts, Operation, Outcome, Reason, Refused, StatementLogging, SystemFacts
from bridge.testing import MemoryStream, memory_pair
from bridge.testing.door import FakePermit

PLAIN_MODE = "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"
CAPTURED: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent / "transcripts" / "mariadb_10_11.json").read_text()
)
BASE = Cap.PROTOCOL_41 | Cap.TRANSACTIONS | Cap.MULTI_RESULTS | Cap.PS_MULTI_RESULTS | Cap.MULTI_STATEMENTS
FLAGS = {
    "eof": BASE,
    "deprecate": BASE | Cap.DEPRECATE_EOF,
    "track": BASE | Cap.DEPRECATE_EOF | Cap.SESSION_TRACK,
}


def captured(name: str, key: str) -> bytes:
    """What MariaDB 10.11 answered, with these flags."""
    return bytes.fromhex(CAPTURED[name][key])


@dataclass(eq=False)
class FakeAdmission:
    """Permits what ``actions`` allow on the ``databases``; ``log`` has (verb, result, code, rows)."""

    actions: frozenset[Action] = frozenset(Action)
    databases: frozenset[str] = frozenset()
    down: bool = False
    session: str = "5e55"
    agent: AgentFacts = field(default_factory=lambda: AgentFacts("deploy-7", "Deploy 7", "team"))
    account: str = "legacy"
    stamp: str = "ib:5e55"
    log: list[tuple[str, str, str, int]] = field(default_factory=list)
    seen: list[Operation] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    cut: Callable[[Refused], Awaitable[None]] | None = None

    def may(self, action: Action, target: Mapping[str, Any]) -> bool:
        return action in self.actions and (not self.databases or target.get("database") in self.databases)

    async def permit(self, operation: Operation) -> FakePermit:
        if self.down:
            raise Refused(Reason.LOG_UNAVAILABLE, "the log cannot be written", reference="r2")
        if not self.may(operation.action, operation.target):
            self.log.append((operation.verb, "refused", "", 0))
            raise Refused(Reason.ACTION_DENIED, "no grant allows this", reference="r1")
        self.seen.append(operation)
        return FakePermit(operation, "")

    def permit_at_once(self, operation: Operation) -> FakePermit | None:
        if self.down or operation.action is not Action.READ or not self.may(operation.action, operation.target):
            return None
        self.seen.append(operation)
        return FakePermit(operation, "")

    def outcome(self, permit: FakePermit, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.log.append((permit.operation.verb, outcome.result.value, outcome.code, outcome.rows))

    def alarm(self, code: str, detail: str) -> None:
        self.alarms.append(code)

    def on_cut(self, hear: Callable[[Refused], Awaitable[None]]) -> None:
        self.cut = hear


READER = frozenset({Action.READ})
WRITER = frozenset({Action.READ, Action.WRITE})


def packet(body: bytes, sequence: int = 0) -> bytes:
    return packets(body, sequence)


def query(text: str) -> bytes:
    return packet(b"\x03" + text.encode())


def prepare(text: str) -> bytes:
    return packet(b"\x16" + text.encode())


def execute(number: int, parameters: bytes = b"", flags: int = 0) -> bytes:
    return packet(b"\x17" + number.to_bytes(4, "little") + bytes([flags]) + b"\1\0\0\0" + parameters)


def modes_answer(mode: str = PLAIN_MODE, charset: str = "utf8mb4", database: str = "app") -> bytes:
    row = string_lenenc(mode.encode()) + string_lenenc(charset.encode()) + string_lenenc(database.encode())
    bodies = [b"\3", b"\3def", b"\3def", b"\3def", b"\xfe\0\0\2\0", row, b"\xfe\0\0\2\0"]
    return b"".join(packet(body, index + 1) for index, body in enumerate(bodies))


OK = packet(ok(), 1)
ERR = packet(error(1064, "42000", "syntax"), 1)


def row_answer(*rows: bytes, more: bool = False, start: int = 1) -> bytes:
    end = b"\xfe\0\0\x0a\0" if more else b"\xfe\0\0\2\0"
    bodies = [b"\1", b"\3def", b"\xfe\0\0\2\0", *(string_lenenc(row) for row in rows), end]
    return b"".join(packet(body, start + index) for index, body in enumerate(bodies))


def bodies(data: bytes) -> list[bytes]:
    """The payloads of whole packets."""
    out = []
    while data:
        length = int.from_bytes(data[:3], "little")
        assert len(data) >= 4 + length, "a packet is cut"
        out.append(data[4 : 4 + length])
        data = data[4 + length :]
    return out


def refusal(data: bytes) -> tuple[int, int, str]:
    """Sequence, code and text of the one ERR packet that ``data`` is."""
    assert data[4] == 0xFF, f"no ERR: {data!r}"
    assert len(data) == 4 + int.from_bytes(data[:3], "little")
    return data[3], int.from_bytes(data[5:7], "little"), data[13:].decode()


class Talk:
    """``client`` and ``server`` are the far ends. The bridge's own question is answered by ``settle``."""

    def __init__(
        self,
        admission: FakeAdmission | None = None,
        *,
        logging: StatementLogging = StatementLogging.REDACTED,
        capabilities: int = BASE,
        split: int = 1 << 18,
        kills: Kills | None = None,
        options: Options | None = None,
        thread_id: int = 60,
        classifier: Classifier | None = None,
        settled: bool = True,
    ) -> None:
        clock = Clock()
        self.client, near = memory_pair(clock, split=split)
        far, self.server = memory_pair(clock, split=split)
        self.admission = admission or FakeAdmission()
        self.kills = kills or Kills(clock.seconds)
        number = self.kills.next_id()
        self.slot = self.kills.open(self.admission, connection_id=number, thread_id=thread_id)  # type: ignore[arg-type]
        self.done: list[Any] = []
        facts = LoginFacts(
            capabilities=capabilities, server_version="10.11.19-MariaDB", mariadb=True, thread_id=thread_id,
            connection_id=number, user="legacy", database="app", collation=45, status=2, leftover_client=b"",
        )  # fmt: skip
        running = relay(
            near,
            far,
            self.admission,  # type: ignore[arg-type]
            system=SystemFacts("db", options or Options(), logging),
            login=facts,
            kills=self.kills,
            slot=self.slot,
            classifier=classifier or Classifier(),
        )
        self.running = Deferred.fromCoroutine(running)
        self.running.addBoth(self.done.append)
        if settled:
            self.settle()

    def settle(self, **modes: str) -> None:
        """A first query, so that the bridge has asked how the session reads text."""
        self.say(query("select 0"))
        self.answer(modes_answer(**modes))
        assert bodies(self.heard_now)[-1] == b"\x03select 0"
        self.answer(row_answer(b"0"))
        self.admission.log.clear()
        self.admission.seen.clear()

    def say(self, *data: bytes) -> bytes:
        """The client says this; what the server hears."""
        self._send(self.client, b"".join(data))
        return self.heard()

    def heard(self) -> bytes:
        data = self.server.waiting
        self.server._inbox.clear()
        self.heard_now = data
        return data

    def answer(self, *data: bytes) -> bytes:
        """The server says this; what the client hears."""
        self._send(self.server, b"".join(data))
        self.heard()
        return self.told()

    def answer_large(self, data: bytes) -> bytes:
        """In pieces that fit into the network."""
        return b"".join(self.answer(data[at : at + (1 << 18)]) for at in range(0, len(data), 1 << 18))

    def told(self) -> bytes:
        data = self.client.waiting
        self.client._inbox.clear()
        return data

    def ask_refused(self, *data: bytes) -> tuple[int, int, str]:
        """The client says this, nothing of it goes upstream, and it is refused."""
        assert self.say(*data) == b""
        return refusal(self.told())

    @staticmethod
    def _send(stream: MemoryStream, data: bytes) -> None:
        failures: list[Any] = []
        Deferred.fromCoroutine(stream.send(data)).addErrback(failures.append)
        assert not failures

    def leave(self) -> None:
        Deferred.fromCoroutine(self.client.close())
        Deferred.fromCoroutine(self.server.close())
