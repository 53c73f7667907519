"""Opening a database and the two transactions on it.

SQLite only, in WAL mode: readers never wait for the writer. Python's own transaction control is switched off
(``isolation_level=None``), because it begins late and not at all before DDL; ours begins where SQLAlchemy says.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from bridge.storage.errors import StorageError, StorageUnreachable, storage_errors
from bridge.storage.rows import driver_cursor

Kind = Literal["registry", "translation"]

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process's write lock. A group commit holds it for milliseconds."""

WAL_RETRY = 0.02
"""Seconds between attempts to turn a new database to WAL while another process does the same."""

POOL_SIZE = 8
POOL_WAIT = 10.0
"""Connections of one engine (its threads are fewer), and seconds to wait for a free one before giving up."""

PAGE_SIZE = 8192
"""Bytes of a page, in a database that is made new. An event of the log has about 1 KiB: of pages of SQLite's usual 4096
a seventh stays empty, and each is written by itself."""

WAL_LIMIT = 64 * 1024 * 1024
"""Bytes that the WAL file keeps on the disk after a checkpoint, so that one burst does not hold the space for good."""

_BEGIN = "idbridge_begin"


def open_engine(url_or_path: str | Path, *, kind: Kind) -> Engine:
    """An engine on the file, which is created empty with mode 0600 when missing; nothing else is touched yet.

    Raises StorageUnreachable when it can be neither opened nor created, StorageError for another kind of database.
    """
    path = _path(url_or_path)
    _create(path)
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False, "isolation_level": None},
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_WAIT,
        hide_parameters=True,  # a failing statement's parameters would otherwise stand in the exception's text
        logging_name=kind,
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of the database throughout. Raises StorageError."""
    with storage_errors(where(engine)), engine.begin() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds the write lock from its start; durable when the block is left. Raises StorageError."""
    with storage_errors(where(engine)), engine.connect() as connection:
        connection.execution_options(**{_BEGIN: "IMMEDIATE"})  # of an engine they would make a new engine each time
        with connection.begin():
            yield connection


def where(engine: Engine) -> str:
    """The file of the engine, for messages."""
    return engine.url.database or str(engine.url)


def _path(url_or_path: str | Path) -> Path:
    text = str(url_or_path)
    if "://" not in text:
        return Path(text)
    try:
        url = make_url(text)
    except ArgumentError:
        raise StorageError("the database URL cannot be read; expected a file path or sqlite:///PATH") from None
    if url.get_backend_name() != "sqlite" or not url.database or url.query:
        raise StorageError(f"{url.drivername} databases are not supported; expected a file path or sqlite:///PATH")
    return Path(url.database)


def _create(path: Path) -> None:
    """SQLite would create it with the process's umask; its -wal and -shm files take over the mode of the database.

    A file that exists is not opened here: closing it again would drop the locks that other connections of this process
    hold on it (fcntl(2)), and another process would then delete the -wal file that is in use ("How To Corrupt An SQLite
    Database File", 2.2).
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
            raise StorageUnreachable(f"{path}: cannot be opened: not a file that may be read and written") from None
    except OSError as error:
        raise StorageUnreachable(f"{path}: cannot be opened or created: {error.strerror}") from None


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute(f"PRAGMA page_size={PAGE_SIZE}")  # reads nothing, and says nothing once the file has pages
    # journal_mode then: it is the first statement that reads the file, so a damaged one is met here.
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT}")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Waits by itself: SQLite's own wait does not cover two processes that turn the same new file to WAL."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() >= deadline:
                raise
        time.sleep(WAL_RETRY)


def _begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get(_BEGIN, "DEFERRED")
    driver_cursor(connection).execute(f"BEGIN {mode}")
