"""Appending in a process of its own: the same rows, and nothing twice or lost when that process dies."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from sqlalchemy import Engine
from twisted.internet import reactor  # noqa: TID251 - tests own the process
from twisted.internet.task import deferLater

from bridge.storage import StorageError, StorageUnreachable, open_engine, reading, upgrade
from bridge.translation import Event, Filters, LogReader, LogUnavailable, SessionFacts, SQLLog, facts
from bridge.translation import appender_process as process
from bridge.translation.appender import OwnAppender
from bridge.translation.appender_channel import Channel
from bridge.translation.appender_process import AppenderLost, AppenderProcess
from bridge.translation.checkpoints import Checkpoints, load_signer
from bridge.translation.composing import Plain
from bridge.translation.identifiers import Identifiers
from bridge.translation.record import EventEntry, IndexKeys
from bridge.translation.verifying import in_thread_verify

pytestmark = pytest.mark.slow

ORIGIN = "logs.example/a"
IDENTIFIERS = Identifiers()


def plains(count: int = 1, reason: str = "ok") -> list[Plain]:
    index = IndexKeys("ses_1", "deploy-7", "payments", "warehouse", "svc", labels=("pii",))
    events = [Event("session.open", reason=reason, index=index) for _ in range(count)]
    return [EventEntry(event.stamped(IDENTIFIERS)).plain() for event in events]


@pytest.fixture
def appender(path: Path, engine: Engine, tmp_path: Path) -> Iterator[AppenderProcess]:
    """On a database of this release."""
    made = AppenderProcess(path, tmp_path, ORIGIN)
    yield made
    made.close()


def ids(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        rows = connection.exec_driver_sql("SELECT json_extract(body, '$.id') FROM event ORDER BY seq")
        return [str(row[0]) for row in rows]


def sizes(engine: Engine) -> list[int]:
    """Of the checkpoints."""
    with reading(engine) as connection:
        return [row[0] for row in connection.exec_driver_sql("SELECT size FROM checkpoint ORDER BY size")]


def of(some: list[Plain]) -> list[str]:
    return [plain[2] for plain in some]


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PAUSES", (0.0, 0.0, 0.0))


def test_the_rows_are_those_of_the_bridge_s_own_process(
    appender: AppenderProcess, engine: Engine, tmp_path: Path
) -> None:
    other = open_engine(tmp_path / "other.db", kind="translation")
    upgrade(other, "translation")
    some = plains(3) + plains(2, "other")
    assert appender.append("log", some) == OwnAppender(other).append("log", some)
    tables = ("event", "leaf", "span", "session")
    with reading(engine) as one, reading(other) as two:
        for table in tables:
            sql = f"SELECT * FROM {table} ORDER BY 1, 2"
            assert one.exec_driver_sql(sql).all() == two.exec_driver_sql(sql).all()
    other.dispose()


def test_checkpoints_are_signed_with_the_log_s_key(appender: AppenderProcess, engine: Engine, tmp_path: Path) -> None:
    signer = load_signer(tmp_path, engine, ORIGIN)
    appender.append("log", plains(1200))
    assert 3590 < (appender.wait or 0) <= 3600  # signed by number, and nothing came after
    appender.append("log", plains())
    assert 0 < (appender.wait or 0) <= 10
    appender.seal()
    assert appender.refused == ""
    assert in_thread_verify(engine, [signer.key]).findings == []
    assert sizes(engine) == [1200, 1201]


def test_a_child_that_was_killed_is_replaced_and_nothing_is_there_twice(
    appender: AppenderProcess, engine: Engine
) -> None:
    some = [plains(2) for _ in range(3)]
    for part in some:
        appender.append("log", part)
        os.kill(appender.pid, signal.SIGKILL)
    assert ids(engine) == of([plain for part in some for plain in part])


@pytest.mark.parametrize("done", [True, False], ids=["after its commit", "before its commit"])
def test_an_answer_that_is_lost(
    appender: AppenderProcess, engine: Engine, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """Whether the commit was made is looked up, not guessed."""
    ask, lost = process._Child.ask, []

    def forgetful(child: Any, request: Any) -> Any:
        if request[0] == "append" and not lost:
            lost.append(ask(child, request) if done else None)
            raise EOFError
        return ask(child, request)

    before = plains(2)
    appender.append("log", before)
    monkeypatch.setattr(process._Child, "ask", forgetful)
    some, pid = plains(3), appender.pid
    assert appender.append("log", some)[0] == 3
    assert appender.pid != pid
    assert appender.append("log", more := plains())[0] == 6
    assert ids(engine) == of(before + some + more)


def test_without_a_way_to_find_out_the_writer_ends(
    appender: AppenderProcess, engine: Engine, monkeypatch: pytest.MonkeyPatch, no_pauses: None
) -> None:
    appender.append("log", plains())
    monkeypatch.setattr(process._Child, "ask", lost_answer)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(AppenderLost):
        appender.append("log", plains())


def lost_answer(child: Any, request: Any) -> Any:
    os.kill(child.pid, signal.SIGKILL)
    raise EOFError


def test_a_child_that_cannot_be_started_is_a_fault_that_may_pass(
    appender: AppenderProcess, engine: Engine, monkeypatch: pytest.MonkeyPatch, no_pauses: None
) -> None:
    """Nothing was asked of it, so nothing is in doubt."""
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/bin/false")
        with pytest.raises(StorageUnreachable, match="cannot be started"):
            appender.append("log", plains())
    assert appender.append("log", plains())[0] == 1


def test_a_child_that_does_not_answer_is_killed(
    appender: AppenderProcess, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    appender.append("log", plains())
    monkeypatch.setattr(process, "ANSWER_LIMIT", 2.0)
    os.kill(appender.pid, signal.SIGKILL)
    appender.append("log", plains())  # by one with that limit
    os.kill(appender.pid, signal.SIGSTOP)
    assert appender.append("log", plains())[0] == 3


def test_what_the_database_refuses_is_told_in_its_words(
    appender: AppenderProcess, engine: Engine, path: Path, tmp_path: Path
) -> None:
    appender.append("log", plains())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("DROP TABLE span")
    other.close()
    with pytest.raises(StorageError, match=r"translation\.db: the database refused the request"):
        appender.append("log", plains())
    assert len(ids(engine)) == 1


def test_a_key_that_is_gone_is_told(appender: AppenderProcess, engine: Engine, tmp_path: Path) -> None:
    appender.append("log", plains(1200))
    (tmp_path / "log.key").unlink()
    os.kill(appender.pid, signal.SIGKILL)
    while not appender._child.has_ended():  # type: ignore[union-attr]
        time.sleep(0.01)
    with pytest.raises(StorageError, match=r"log\.key: is missing"):
        appender.append("log", plains())
    assert len(ids(engine)) == 1200


def test_the_stop_of_the_whole_service_lets_it_write_the_last_words(appender: AppenderProcess, engine: Engine) -> None:
    """systemd sends SIGTERM to every process of it, a terminal SIGINT."""
    appender.append("log", plains())
    pid = appender.pid
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    assert appender.append("log", plains())[0] == 2
    assert appender.pid == pid
    appender.close()
    assert not Path(f"/proc/{pid}").exists()


def test_it_knows_nothing_of_the_environment_and_keeps_the_lock(
    path: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW_CANARY", "canary-pa55word")
    lock = os.open(tmp_path / "bridge.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    appender = AppenderProcess(path, tmp_path, ORIGIN, [lock])
    appender.append("log", plains())
    for name in ("environ", "cmdline"):
        assert b"canary" not in Path(f"/proc/{appender.pid}/{name}").read_bytes()
    os.close(lock)
    again = os.open(tmp_path / "bridge.lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    appender.close()
    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again)


def test_half_a_frame_is_no_frame() -> None:
    here, there = socket.socketpair()
    with here, there:
        Channel(here).write(("append", [("é", 2**40, b"\0", None)]))
        assert Channel(there).read() == ("append", [("é", 2**40, b"\0", None)])
        here.sendall(b"\0\0\0\x09xy")
        here.close()
        with pytest.raises(EOFError):
            Channel(there).read()


# -- under the log


@pytest.fixture
def log(path: Path, engine: Engine, tmp_path: Path) -> Iterator[SQLLog]:
    log = SQLLog(AppenderProcess(path, tmp_path, ORIGIN), reactor, "test-log", first_retry=0.05, last_retry=0.1)
    pytest_twisted.blockon(log.start())
    yield log
    if log.unavailable != "the log was stopped":
        pytest_twisted.blockon(log.stop())


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await deferLater(reactor, 0.02, lambda: None)


def child_of(log: SQLLog) -> int:
    appender = log._appender
    assert isinstance(appender, AppenderProcess)
    return appender.pid


READ = facts.action_section("sql.select", "read", ("ledger",), "SELECT 1")


@pytest_twisted.ensureDeferred
async def test_operations_go_on_over_the_death_of_the_child(
    log: SQLLog, reader: LogReader, session_facts: SessionFacts, engine: Engine, tmp_path: Path
) -> None:
    failures: list[str] = []
    log.on_failure(failures.append)
    session = log.session(session_facts)
    await session.opened()
    for number in range(30):
        if number % 10 == 5:
            os.kill(child_of(log), signal.SIGKILL)
        session.operation(READ, "read").finish(rows=number)
        held = await session.intent(READ, "read")
        held.finish(rows=number)
    session.closed()
    await log.stop()
    events = reader.in_thread_find(Filters(type="operation"), 1000, oldest_first=True)
    rows = [event.fields["result"]["rows"] for event in events if event.fields["phase"] == "complete"]
    assert rows == list(range(30))
    assert len(events) == 90
    assert failures == []
    assert in_thread_verify(engine, [load_signer(tmp_path, engine, ORIGIN).key]).findings == []


@pytest_twisted.ensureDeferred
async def test_an_event_that_cannot_become_text_is_replaced_here_too(log: SQLLog, reader: LogReader) -> None:
    broken = Event("alarm", sections={"detail": '"\ud800"'})
    refused = log.commit(EventEntry(broken.stamped(log.identifiers)))
    with pytest.raises(LogUnavailable, match="cannot be put into text"):
        await refused
    await log.record(Event("config.change"))
    found = reader.in_thread_find(Filters(type="alarm"), 10)
    assert [event.fields["reason"] for event in found] == ["unrecordable"]


@pytest_twisted.ensureDeferred
async def test_what_the_database_refuses_fails_closed_until_it_does_not(
    log: SQLLog, reader: LogReader, path: Path, session_facts: SessionFacts
) -> None:
    session = log.session(session_facts)
    await session.opened()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("ALTER TABLE span RENAME TO away")
    with pytest.raises(LogUnavailable, match="refused the request"):
        await session.intent(READ, "read")
    with pytest.raises(LogUnavailable):
        session.operation(READ, "read")
    session.closed("failure", "log-unavailable")
    other.execute("ALTER TABLE away RENAME TO span")
    other.close()
    await until(lambda: not log.unavailable)
    await log.stop()
    types = [event.fields["type"] for event in reader.in_thread_find(Filters(), oldest_first=True)]
    assert types == ["log.start", "session.open", "log.recovered", "session.close", "log.stop"]


@pytest_twisted.ensureDeferred
async def test_when_nobody_knows_what_was_written_the_log_takes_nothing_more(
    log: SQLLog, monkeypatch: pytest.MonkeyPatch, no_pauses: None, recwarn: pytest.WarningsRecorder
) -> None:
    await log.record(Event("config.change"))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(process._Child, "ask", lost_answer)
    waiting = log.record(Event("config.change"))
    await until(lambda: log.unavailable)
    assert "restart the bridge" in log.unavailable
    with pytest.raises(LogUnavailable):
        await log.record(Event("config.change"))
    waiting.addErrback(lambda _: None).cancel()
    await log.stop()


def test_checkpoints_that_contradict_the_log_are_refused_here_too(
    appender: AppenderProcess, engine: Engine, path: Path, tmp_path: Path
) -> None:
    appender.append("log", plains(2))
    appender.seal()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("DROP TRIGGER leaf_no_UPDATE")
    other.execute("UPDATE leaf SET hash = zeroblob(32) WHERE seq = 1")
    other.close()
    appender.append("log", plains())
    appender.seal()
    assert appender.refused == "the tree does not agree with the checkpoint of 2 events: it was changed"
    assert Checkpoints(load_signer(tmp_path, engine, ORIGIN)).refused == ""
