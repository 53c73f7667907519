"""The log on real SQLite: durable answers, one event for a quick read, failing closed, recovering."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import pytest_twisted
from sqlalchemy import Engine
from twisted.internet import reactor, threads  # noqa: TID251 - tests own the process
from twisted.internet.task import deferLater

from bridge.storage import open_engine, reading, upgrade
from bridge.translation import (
    Event,
    Filters,
    LogReader,
    LogUnavailable,
    SessionFacts,
    SQLLog,
    facts,
    in_thread_append,
    in_thread_close_open,
)
from bridge.translation.appender import CACHE_KIB, OwnAppender
from bridge.translation.canonical import canonical
from bridge.translation.composing import row
from bridge.translation.identifiers import Timestamps
from bridge.translation.record import EventEntry

READ = facts.action_section("sql.select", "read", ("ledger",), "SELECT 1")
WRITE = facts.action_section("sql.update", "write", ("ledger",), "UPDATE ledger SET x = ?")


def bodies(reader: LogReader, **filters: str) -> list[dict]:
    return [event.fields for event in reader.in_thread_find(Filters(**filters), 10_000, oldest_first=True)]


async def pause(seconds: float = 0.06) -> None:
    await deferLater(reactor, seconds, lambda: None)


async def until(condition) -> None:
    for _ in range(200):
        if condition():
            return
        await pause(0.02)
    raise AssertionError("it did not happen within 4 s")


@pytest_twisted.ensureDeferred
async def test_record_answers_with_the_number_under_which_the_event_is_on_disk(log: SQLLog, path: Path) -> None:
    seq = await log.record(Event("alarm", outcome="failure", reason="x"))
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT type FROM event WHERE seq = ?", (seq,)).fetchone() == ("alarm",)
    other.close()
    assert log.pending() == 0


def test_the_writer_s_connection_is_prepared_for_it_though_the_engine_was_connected_before(path: Path) -> None:
    engine = open_engine(path, kind="translation")
    upgrade(engine, "translation")
    SQLLog(OwnAppender(engine), reactor, "test-log")
    with reading(engine) as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("cache_size", "temp_store")]
    assert found == [-CACHE_KIB, 2]  # 2: memory
    engine.dispose()


@pytest_twisted.ensureDeferred
async def test_a_quick_read_is_one_event_and_a_slow_one_two(log: SQLLog, reader: LogReader, session_facts) -> None:
    session = log.session(session_facts)
    await session.opened()
    quick, slow = session.operation(READ, "read"), session.operation(READ, "read")
    quick.finish(rows=3, bytes=10)
    quick.finish("failure")  # only the first counts
    await until(lambda: not log.pending())
    slow.finish("failure", "upstream-error", code="42P01")
    await until(lambda: not log.pending())
    first, intent, outcome = bodies(reader, type="operation")
    assert (first["phase"], first["result"]["rows"], first["outcome"]) == ("complete", 3, "success")
    assert (intent["phase"], intent["outcome"], "result" in intent) == ("intent", "", False)
    assert (outcome["phase"], outcome["corr"]) == ("outcome", {"request": intent["id"], "session": "ses_1"})
    assert outcome["result"]["code"] == "42P01"


@pytest_twisted.ensureDeferred
async def test_the_intent_of_a_write_is_durable_before_the_caller_goes_on(log, reader, session_facts) -> None:
    held = await log.session(session_facts).intent(WRITE, "write")
    assert [body["phase"] for body in bodies(reader, action="write")] == ["intent"]
    held.finish(rows=1)
    await until(lambda: len(bodies(reader, action="write")) == 2)
    assert [body["phase"] for body in bodies(reader, action="write")] == ["intent", "outcome"]
    assert in_thread_close_open(reader._engine, "test-log") == (0, 0)


@pytest_twisted.ensureDeferred
async def test_every_body_is_canonical_and_numbered_as_its_row(log, reader, session_facts) -> None:
    facts_ = SessionFacts(session_facts.index, session_facts.sections, parent='"request":"\0"', trace="t\ud800")
    session = log.session(facts_)
    await session.opened()
    session.operation(READ, "read", facts.decision_section(effect="allow")).finish(detail="it's\n")
    (await session.intent(WRITE, "write")).finish()
    session.denied(WRITE, "write", facts.decision_section(effect="deny"), "action-denied")
    session.alarm("stamp-changed", facts.detail_section(text="x"))
    session.closed(reason="client-left")
    await log.stop()
    events = reader.in_thread_find(Filters(), oldest_first=True)
    assert [event.seq for event in events] == list(range(1, 10))
    for event in events:
        assert canonical(event.fields) == event.body
        assert event.fields["seq"] == event.seq
    assert events[-1].fields["type"] == "log.stop"


@pytest_twisted.ensureDeferred
async def test_posted_events_keep_the_order_of_the_calls(log: SQLLog, reader: LogReader) -> None:
    for number in range(2500):
        log.post(Event("alarm", outcome="failure", reason=f"n{number}"))
    await log.stop()
    assert [body["reason"] for body in bodies(reader, type="alarm")] == [f"n{number}" for number in range(2500)]
    with pytest.raises(LogUnavailable):
        log.post(Event("alarm"))


@pytest_twisted.ensureDeferred
async def test_a_thread_can_record_and_wait(log: SQLLog) -> None:
    assert await threads.deferToThread(log.record_blocking, Event("token.issue")) == 2


@pytest_twisted.ensureDeferred
async def test_a_full_queue_refuses_instead_of_growing_but_takes_ends(path, engine, session_facts) -> None:
    log = SQLLog(OwnAppender(engine), reactor, "small", max_pending=3)
    await log.start()
    session = log.session(session_facts)
    held = [session.operation(READ, "read") for _ in range(3)]
    with pytest.raises(LogUnavailable) as refusal:
        session.operation(READ, "read")
    assert refusal.value.code == "overloaded"
    with pytest.raises(LogUnavailable):
        await session.intent(WRITE, "write")
    for one in held:
        one.finish()
    session.closed()
    await until(lambda: log.pending() == 0)
    session.operation(READ, "read").finish()
    await log.stop()


@pytest_twisted.ensureDeferred
async def test_a_full_disk_refuses_all_tells_once_and_recovers_with_what_was_kept(
    log: SQLLog, reader: LogReader, session_facts
) -> None:
    told: list[str] = []
    log.on_failure(told.append)
    log.on_recovered(lambda: told.append("recovered"))
    session = log.session(session_facts)
    await session.opened()
    held = session.operation(READ, "read")
    _limit_pages(log, 1)
    waiting = [
        log.record(Event("config.change", sections={"detail": facts.detail_section(text="x" * 9000)})) for _ in range(5)
    ]
    for one in waiting:
        with pytest.raises(LogUnavailable):
            await one
    assert len(told) == 1
    assert "no space left" in told[0]
    assert "no space left" in log.unavailable
    with pytest.raises(LogUnavailable):
        session.operation(READ, "read")
    with pytest.raises(LogUnavailable):
        log.post(Event("alarm"))
    held.finish(rows=1)
    session.closed("failure", "log-unavailable")
    await pause(0.15)
    _limit_pages(log, 1_000_000)
    await until(lambda: told[-1] == "recovered")
    await log.record(Event("alarm", outcome="failure", reason="after"))
    types = [body["type"] for body in bodies(reader)]
    assert types == ["log.start", "session.open", "log.recovered", "operation", "session.close", "alarm"] or types == [
        "log.start", "session.open", "log.recovered", "operation", "operation", "session.close", "alarm",
    ]  # fmt: skip
    assert log.pending() == 0


def _limit_pages(log: SQLLog, pages: int) -> None:
    """As a full disk: SQLite refuses to grow the file. The limit is the connection's, so it is set on the writer's."""
    with log._writer._appender.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


@pytest_twisted.ensureDeferred
async def test_a_lock_that_is_not_given_back_is_a_failure_not_a_wait_for_ever(path, engine, reader) -> None:
    own = open_engine(path, kind="translation")
    log = SQLLog(OwnAppender(own), reactor, "locked", first_retry=0.05)
    await log.start()
    with own.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=50")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnavailable, match="locked"):
        await log.record(Event("alarm"))
    other.close()
    await until(lambda: not log.unavailable)
    await log.stop()
    own.dispose()


@pytest_twisted.ensureDeferred
async def test_an_event_that_cannot_become_text_is_replaced_by_an_alarm(log: SQLLog, reader: LogReader) -> None:
    """Whoever waited for it is refused: what it was about must not be done."""
    broken = Event("alarm", sections={"detail": '"\ud800"'})
    good = Event("config.change")
    refused, recorded = [log.commit(EventEntry(e.stamped(log.identifiers))) for e in (broken, good)]
    with pytest.raises(LogUnavailable, match="cannot be put into text"):
        await refused
    await recorded
    assert {body["reason"] for body in bodies(reader, type="alarm")} == {"unrecordable"}
    assert len(bodies(reader, type="config.change")) == 1


def test_the_table_refuses_update_delete_replace_and_gaps(engine: Engine, path: Path) -> None:
    in_thread_append(engine, "x", [Event("config.change"), Event("config.change")])
    other = sqlite3.connect(path, isolation_level=None)
    columns = "seq, body, ts, type, phase, outcome, session, agent, owner, system, account, action, labels"
    insert = f"({columns}) VALUES (%d, '', 1, '', '', '', '', '', '', '', '', '', '')"
    for statement in (
        "UPDATE event SET body = ''",
        "DELETE FROM event WHERE seq = 2",
        f"INSERT OR REPLACE INTO event {insert % 2}",
        f"INSERT INTO event {insert % 4}",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="translation log"):
            other.execute(statement)
    other.close()


@pytest_twisted.ensureDeferred
async def test_a_second_process_may_write_too_and_a_reader_sees_no_gap(log, engine, path, reader) -> None:
    program = (
        "import sys\nfrom bridge.storage import open_engine\nfrom bridge.translation import Event, in_thread_append\n"
        "engine = open_engine(sys.argv[1], kind='translation')\n"
        "for _ in range(50): in_thread_append(engine, 'cli', [Event('secret.change')])\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(path)])
    while other.poll() is None:
        await log.record(Event("config.change"))
        await pause(0.002)
        seen = [event.seq for event in reader.in_thread_find(Filters(), 100_000, oldest_first=True)]
        assert seen == list(range(1, len(seen) + 1))
    assert other.returncode == 0
    assert len(bodies(reader, type="secret.change")) == 50


KILLED = """
import os, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from bridge.storage import open_engine
from bridge.translation import IndexKeys, SessionFacts, SQLLog, facts
from bridge.translation.appender import OwnAppender

async def main():
    log = SQLLog(OwnAppender(open_engine(sys.argv[1], kind="translation")), reactor, "killed")
    await log.start()
    for name in ("ses_a", "ses_b"):
        session = log.session(SessionFacts(IndexKeys(name, "deploy-7", "payments", "warehouse", "svc"), {
            "agent": facts.agent_section(id="deploy-7", owner="payments"),
            "legacy": facts.legacy_section(system="warehouse", account="svc")}))
        await session.opened()
        await session.intent(facts.action_section("sql.update", "write"), "write")
    print("ready", flush=True)

Deferred.fromCoroutine(main()).addErrback(lambda f: f.printTraceback())
reactor.run()
"""


def test_after_a_kill_the_next_start_closes_what_was_open_as_unknown(
    engine: Engine, path: Path, reader: LogReader
) -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert in_thread_close_open(engine, "killed", keep=frozenset({"ses_b"})) == (1, 1)
    assert in_thread_close_open(engine, "killed") == (1, 1)
    assert in_thread_close_open(engine, "killed") == (0, 0)
    ends = bodies(reader, outcome="unknown")
    assert [(end["type"], end["corr"]["session"], end["reason"]) for end in ends] == [
        ("operation", "ses_a", "bridge-stopped"), ("session.close", "ses_a", "bridge-stopped"),
        ("operation", "ses_b", "bridge-stopped"), ("session.close", "ses_b", "bridge-stopped"),
    ]  # fmt: skip
    intents = [body["id"] for body in bodies(reader, action="write") if body["phase"] == "intent"]
    assert [end["corr"]["request"] for end in ends if end["type"] == "operation"] == intents
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM open_intent").scalar() == 0


def test_the_writer_has_a_name_of_its_own(log: SQLLog) -> None:
    assert "translation-log" in {thread.name for thread in threading.enumerate()}
    assert (
        json.loads(row(EventEntry(Event("alarm").stamped(log.identifiers)).plain(), 1, "l", Timestamps())[1])["seq"]
        == 1
    )
