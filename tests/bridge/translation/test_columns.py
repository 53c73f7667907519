"""What stands beside the events, for finding: whoever changes it hides them from searches, and is found."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine
from twisted.internet.defer import Deferred

from bridge.storage import writing
from bridge.translation import Event, IndexKeys, SessionFacts, SQLLog, facts
from bridge.translation.checkpoints import Checkpoints
from bridge.translation.note import Signer
from bridge.translation.verifying import in_thread_verify

SIGNER = Signer("logs.example/prod-1", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.fixture
def worked(log: SQLLog, session_facts: SessionFacts, engine: Engine) -> Engine:
    """A session with an operation, and events of other kinds, whose columns have what their bodies have not."""

    async def work() -> None:
        session = log.session(session_facts)
        await session.opened()
        legacy = facts.legacy_section(system="warehouse", account="svc_reader", labels=("pii",), facts={"pid": 7})
        await session.established(legacy, backend=7, client_port=9)
        (await session.intent(facts.action_section("sql.insert", "write", text="é ' \" \\"), "write")).finish()
        session.closed()
        change = facts.change_section("deploy-7", None, {"id": "deploy-7"})
        index = IndexKeys(agent="deploy-7", owner="payments")
        await log.record(Event("registry.change", sections={"change": change}, index=index))
        odd = IndexKeys(system='w"ä\\', account="\u2028", labels=("b", "a"))
        legacy = facts.legacy_section(system='w"ä\\', account="\u2028", labels=("b", "a"))
        wished = facts.legacy_section(system="warehouse", account="svc_root")
        refused = IndexKeys("01J00000000000000000000000", system="warehouse")
        await log.record(Event("session.refused", outcome="denied", reason="x", sections={
            "corr": facts.section(session=refused.session), "legacy": wished}, index=refused))  # fmt: skip
        await log.record(Event("reconcile", sections={"legacy": legacy}, index=odd))

    pytest_twisted.blockon(Deferred.fromCoroutine(work()))
    pytest_twisted.blockon(log.stop())
    with writing(engine) as connection:
        Checkpoints(SIGNER).seal(connection)
    return engine


@pytest.fixture
def attacker(path: Path, worked: Engine) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        yield connection


def found(engine: Engine, *, columns: bool = True) -> list[str]:
    return [str(one) for one in in_thread_verify(engine, [SIGNER.key], columns=columns).findings]


def seq_of(attacker: sqlite3.Connection, type: str) -> int:
    return int(attacker.execute("SELECT min(seq) FROM event WHERE type = ?", (type,)).fetchone()[0])


def test_nothing_is_found_where_all_is_right(worked: Engine) -> None:
    assert found(worked) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [("agent", "other"), ("owner", ""), ("system", "x"), ("account", "x"), ("type", "alarm"), ("phase", "outcome"),
     ("outcome", "denied"), ("session", ""), ("action", "read"), ("labels", "|other|"), ("labels", ""), ("ts", 1)],
)  # fmt: skip
def test_a_column_of_an_operation(attacker: sqlite3.Connection, worked: Engine, column: str, value: object) -> None:
    seq = seq_of(attacker, "operation")
    attacker.execute(f"UPDATE event SET {column} = ? WHERE seq = ?", (value, seq))
    (finding,) = found(worked)
    assert finding.startswith(f"event {seq}: beside it, for finding: not what its text says: ")
    assert column in finding
    assert found(worked, columns=False) == []


@pytest.mark.parametrize(
    ("statement", "at", "named"),
    [
        ("DELETE FROM span", "session.open", "table span"),
        ("UPDATE span SET last = first", "session.close", "table span"),
        ("DELETE FROM session", "session.open", "table session"),
        ("UPDATE session SET agent = 'other'", "session.open", "table session"),
        ("UPDATE session SET opened = 0", "session.open", "table session"),
        ("UPDATE session SET closed_seq = NULL", "session.close", "table session"),
    ],
)
def test_what_sessions_are_found_by(
    attacker: sqlite3.Connection, worked: Engine, statement: str, at: str, named: str
) -> None:
    attacker.execute(statement)
    assert any(
        one.startswith((f"event {seq_of(attacker, at)}:", "events")) and one.endswith(named) for one in found(worked)
    ), found(worked)


def test_a_session_that_never_was(attacker: sqlite3.Connection, worked: Engine) -> None:
    columns = "session, agent, owner, system, account, opened, opened_seq, outcome"
    attacker.execute(f"INSERT INTO session ({columns}) VALUES ('ses_x', 'victim', 'x', 'x', 'x', 0, 1, '')")
    assert found(worked) == ["event 1: a session that no event opens is said to begin there"]
