"""Opening a database file, its two transactions, and what is said when the file is bad."""

import os
import sqlite3
import stat
import threading
import time

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from bridge.storage import (
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageUnreachable,
    database,
    open_engine,
    reading,
    upgrade,
    writing,
)


@pytest.fixture
def engine(tmp_path):
    opened = open_engine(tmp_path / "registry.db", kind="registry")
    with writing(opened) as connection:
        connection.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY, words TEXT UNIQUE)"))
    yield opened
    opened.dispose()


def notes(engine):
    with reading(engine) as connection:
        return connection.execute(text("SELECT words FROM note ORDER BY id")).scalars().all()


def add(connection, words):
    connection.execute(text("INSERT INTO note (words) VALUES (:words)"), {"words": words})


def test_the_file_and_its_companions_are_readable_by_us_alone(engine, tmp_path):
    with writing(engine) as connection:
        add(connection, "one")
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_new_database_has_large_pages_and_one_that_is_there_keeps_its_own(engine, tmp_path):
    old = tmp_path / "old.db"
    with sqlite3.connect(old) as connection:
        connection.execute("PRAGMA page_size=4096")
        connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, words TEXT)")
    connection.close()
    opened = open_engine(old, kind="registry")
    with writing(opened) as connection:
        add(connection, "one")
    for one, size in ((engine, 8192), (opened, 4096)):
        with reading(one) as connection:
            assert connection.exec_driver_sql("PRAGMA page_size").scalar() == size
    assert notes(opened) == ["one"]
    opened.dispose()


def test_every_commit_reaches_the_disk_and_references_are_checked(engine):
    with reading(engine) as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "trusted_schema": 0}


def test_a_failed_block_leaves_nothing_not_even_its_tables(engine):
    with pytest.raises(ZeroDivisionError), writing(engine) as connection:  # noqa: PT012
        connection.execute(text("CREATE TABLE half (id INTEGER)"))
        add(connection, "half")
        raise ZeroDivisionError
    assert notes(engine) == []
    with reading(engine) as connection:
        assert "half" not in connection.execute(text("SELECT name FROM sqlite_master")).scalars().all()


def test_a_url_names_the_same_file_as_its_path(engine, tmp_path):
    other = open_engine(f"sqlite:///{tmp_path}/registry.db", kind="registry")
    with writing(other) as connection:
        add(connection, "by url")
    assert notes(engine) == ["by url"]
    other.dispose()


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@db/x", "sqlite://", "sqlite:///x?mode=memory", "nonsense://"])
def test_other_databases_are_refused_without_showing_the_password(url):
    with pytest.raises(StorageError) as caught:
        open_engine(url, kind="registry")
    assert "sqlite:///PATH" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(StorageUnreachable, match=r"absent/registry\.db: cannot be opened or created: No such file"):
        open_engine(tmp_path / "absent" / "registry.db", kind="registry")


def test_a_file_that_is_no_database_is_said_to_be_damaged(tmp_path):
    path = tmp_path / "registry.db"
    path.write_bytes(b"this is not a database" * 500)
    engine = open_engine(path, kind="registry")
    with pytest.raises(StorageCorrupt, match=r"registry\.db: not a SQLite database"):
        upgrade(engine, "registry")
    engine.dispose()


def test_damaged_pages_are_said_to_be_damaged(tmp_path):
    path = tmp_path / "registry.db"
    engine = open_engine(path, kind="registry")
    upgrade(engine, "registry")
    engine.dispose()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    again = open_engine(path, kind="registry")
    with pytest.raises(StorageCorrupt, match="restore it from a backup"), reading(again) as connection:
        connection.execute(text("SELECT * FROM agent JOIN owner ON owner.id = agent.owner")).all()
    again.dispose()


def test_a_full_disk_is_said_to_be_full_and_changes_nothing(engine):
    """SQLite's own page limit gives the same error as a full disk."""
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("PRAGMA max_page_count=8"))
    with pytest.raises(StorageFull, match="no space left on the disk"), writing(engine) as connection:
        add(connection, "x" * 100_000)
    assert notes(engine) == []


def test_a_read_only_file_is_told(tmp_path):
    path = tmp_path / "registry.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE note (id INTEGER)")
    raw.close()
    engine = open_engine(path, kind="registry")
    with pytest.raises(StorageUnreachable, match="cannot be written"), writing(engine) as connection:  # noqa: PT012
        connection.exec_driver_sql("PRAGMA query_only=ON")
        connection.execute(text("INSERT INTO note VALUES (1)"))
    engine.dispose()


def test_a_broken_constraint_stays_an_integrity_error_and_hides_its_values(engine):
    with writing(engine) as connection:
        add(connection, "canary-value")
    with pytest.raises(IntegrityError) as caught, writing(engine) as connection:
        add(connection, "canary-value")
    assert "canary-value" not in str(caught.value)


def test_a_second_process_waits_for_the_write_lock(engine, tmp_path):
    """Two engines on one file: the second's write begins when the first's ends, and sees it."""
    second = open_engine(tmp_path / "registry.db", kind="registry")
    held = threading.Event()

    def in_thread_hold():
        with writing(engine) as connection:
            held.set()
            time.sleep(0.2)
            add(connection, "first")

    thread = threading.Thread(target=in_thread_hold)
    thread.start()
    held.wait()
    with writing(second) as connection:
        assert connection.execute(text("SELECT words FROM note")).scalars().all() == ["first"]
        add(connection, "second")
    thread.join()
    assert notes(engine) == ["first", "second"]
    second.dispose()


def test_waiting_for_the_write_lock_has_a_limit_and_readers_go_on(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    second = open_engine(tmp_path / "registry.db", kind="registry")
    with writing(engine) as connection:
        add(connection, "held")
        assert notes(second) == []
        with pytest.raises(StorageBusy, match="locked by another process"), writing(second):
            pass
    second.dispose()


def test_many_writers_on_two_engines_lose_nothing(engine, tmp_path):
    second = open_engine(tmp_path / "registry.db", kind="registry")

    def in_thread_count(which, name):
        for number in range(20):
            with writing(which) as connection:
                add(connection, f"{name}-{number}")

    threads = [
        threading.Thread(target=in_thread_count, args=(which, f"w{n}")) for n, which in enumerate([engine, second] * 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(notes(engine)) == 80
    second.dispose()
