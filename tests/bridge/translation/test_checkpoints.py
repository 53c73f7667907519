"""When checkpoints are signed, by whom, and that the writer goes on whatever becomes of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from sqlalchemy import Engine
from twisted.internet import reactor  # noqa: TID251 - tests own the process
from twisted.internet.task import deferLater

from bridge.storage import KeyRefused, open_engine, reading, writing
from bridge.translation import Event, LogReader, SQLLog, in_thread_append
from bridge.translation.appender import OwnAppender
from bridge.translation.checkpoints import Checkpoints, load_signer
from bridge.translation.note import NoteRefused, opened
from bridge.translation.proving import root_of
from bridge.translation.reading import Filters
from bridge.translation.verifying import in_thread_verify

ORIGIN = "logs.example/a"
EVENT = Event("alarm", outcome="failure", reason="x")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, engine: Engine, clock: Clock) -> Callable[..., Checkpoints]:
    return lambda **settings: Checkpoints(load_signer(tmp_path, engine, ORIGIN), monotonic=clock, **settings)


def write(engine: Engine, checkpoints: Checkpoints, count: int = 1, *, idle: bool = False) -> None:
    first = in_thread_append(engine, "a", [EVENT] * count)
    with writing(engine) as connection:
        checkpoints.append(connection, first + count - 1, idle=idle)


def sizes(engine: Engine) -> list[int]:
    with reading(engine) as connection:
        return list(connection.exec_driver_sql("SELECT size FROM checkpoint ORDER BY size").scalars())


def test_every_thousand_events(engine: Engine, make: Any) -> None:
    checkpoints = make()
    for _ in range(25):
        write(engine, checkpoints, 100)
    assert sizes(engine) == [1000, 2000]


def test_ten_seconds_after_an_event(engine: Engine, make: Any, clock: Clock) -> None:
    checkpoints = make()
    write(engine, checkpoints)
    clock.now += 9
    write(engine, checkpoints)
    assert (sizes(engine), checkpoints.wait) == ([], 1)
    clock.now += 1
    assert checkpoints.wait == 0
    with writing(engine) as connection:
        checkpoints.seal(connection)
    assert (sizes(engine), checkpoints.wait) == ([2], 3600)


def test_heartbeats_alone_wait_an_hour(engine: Engine, make: Any, clock: Clock) -> None:
    checkpoints = make()
    with writing(engine) as connection:
        checkpoints.seal(connection)
    for _ in range(61):
        write(engine, checkpoints, idle=True)
        clock.now += 60
    assert sizes(engine) == [61]


def test_what_an_earlier_start_left_is_signed_soon(engine: Engine, make: Any, clock: Clock) -> None:
    in_thread_append(engine, "a", [EVENT])
    assert make().wait == 10


def test_nothing_new_is_nothing_signed(engine: Engine, make: Any) -> None:
    checkpoints = make()
    for _ in range(2):
        with writing(engine) as connection:
            checkpoints.seal(connection)
    assert sizes(engine) == []


def test_the_key_is_made_once_and_private(tmp_path: Path, engine: Engine, make: Any) -> None:
    write(engine, make(events=1))
    key = tmp_path / "log.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert opened(root_of(engine).checkpoint, [load_signer(tmp_path, engine, ORIGIN).key]).size == 1


def test_a_missing_or_other_key_is_refused_while_there_are_checkpoints(
    tmp_path: Path, engine: Engine, make: Any
) -> None:
    write(engine, make(events=1))
    with pytest.raises(KeyRefused, match=r"log\.origin"):
        load_signer(tmp_path, engine, "logs.example/b")
    (tmp_path / "log.key").unlink()
    with pytest.raises(KeyRefused, match="is missing"):
        load_signer(tmp_path, engine, ORIGIN)
    (tmp_path / "other").mkdir()
    (tmp_path / "other.db").touch()
    empty = open_engine(tmp_path / "fresh.db", kind="translation")
    from bridge.storage import upgrade

    upgrade(empty, "translation")
    load_signer(tmp_path, empty, ORIGIN)  # makes another key
    empty.dispose()
    with pytest.raises(KeyRefused, match="is not the key"):
        load_signer(tmp_path, engine, ORIGIN)


def test_a_name_that_no_key_can_have_is_refused(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(NoteRefused):
        load_signer(tmp_path, engine, "two words")


@pytest.fixture
def sealed(path: Path, engine: Engine, tmp_path: Path) -> Iterator[tuple[SQLLog, Checkpoints]]:
    """A log whose checkpoints come after three events or 0.2 seconds."""
    own = open_engine(path, kind="translation")
    checkpoints = Checkpoints(load_signer(tmp_path, engine, ORIGIN), events=3, interval=0.2)
    log = SQLLog(OwnAppender(own, checkpoints), reactor, "a")
    pytest_twisted.blockon(log.start())
    yield log, checkpoints
    if log.unavailable != "the log was stopped":
        pytest_twisted.blockon(log.stop())
    own.dispose()


async def until(condition: Callable[[], object]) -> None:
    waited = 0.0
    while not condition():
        assert waited < 10, "waited in vain"
        await deferLater(reactor, 0.02, lambda: None)
        waited += 0.02


@pytest_twisted.ensureDeferred
async def test_the_writer_signs_by_count_by_time_and_at_the_stop(
    sealed: tuple[SQLLog, Checkpoints], engine: Engine
) -> None:
    log, checkpoints = sealed
    await until(lambda: sizes(engine) == [1])
    for _ in range(3):
        await log.record(EVENT)
    assert sizes(engine)[:2] == [1, 4]
    await log.stop()
    assert sizes(engine)[-1] == root_of(engine).size == 5
    assert in_thread_verify(engine, [checkpoints.signer.key]).findings == []


@pytest_twisted.ensureDeferred
async def test_a_tree_that_was_changed_under_the_writer_is_an_alarm_and_signed_no_more(
    sealed: tuple[SQLLog, Checkpoints], engine: Engine, path: Path
) -> None:
    log, _ = sealed
    await log.record(EVENT)
    await until(lambda: sizes(engine)[-1:] == [2])
    with closing(sqlite3.connect(path)) as attacker:
        attacker.execute("DROP TRIGGER leaf_no_UPDATE")
        attacker.execute("UPDATE leaf SET hash = zeroblob(32) WHERE seq = 1")
        attacker.commit()
    await log.record(EVENT)
    reader = LogReader(engine)
    await until(lambda: reader.in_thread_find(Filters(type="alarm", outcome="failure"), 1)[0].fields.get("detail"))
    newest = reader.in_thread_find(Filters(type="alarm"), 1)[0].fields
    assert newest["reason"] == "tree-damaged"
    assert newest["detail"]["text"] == "the tree does not agree with the checkpoint of 2 events: it was changed"
    await log.record(EVENT)
    await log.stop()
    assert sizes(engine)[-1] == 2
    assert len(reader.in_thread_find(Filters(type="alarm"), 10)) == 4
