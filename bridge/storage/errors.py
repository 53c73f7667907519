"""What can go wrong below a transaction, in words for the operator.

::

    StorageError
    ├── StorageFull          no space for the write; nothing of it was kept
    ├── StorageBusy          another process held the write lock for longer than we wait
    ├── StorageCorrupt       the file is damaged, or is no SQLite database
    ├── StorageUnreachable   cannot be opened, read or written (missing directory, rights, I/O error)
    ├── SchemaTooNew         written by a newer release
    └── SchemaUnknown        written by something else

A broken constraint stays SQLAlchemy's ``IntegrityError``: it is an answer to the caller, not a fault of the storage.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError


class StorageError(Exception):
    """The database could not do what was asked. The message names the file and what to do."""


class StorageFull(StorageError):
    """No space left: free some; nothing of the failed change was kept."""


class StorageBusy(StorageError):
    """Another process holds the write lock for too long: end it, or try again."""


class StorageCorrupt(StorageError):
    """The file is damaged or not a database: restore it from a backup."""


class StorageUnreachable(StorageError):
    """The file cannot be opened, read or written: see its directory, owner and mode."""


class SchemaTooNew(StorageError):
    """A newer release wrote this database: start that release, or restore an older backup."""


class SchemaUnknown(StorageError):
    """The database was not written by this program, or for the other of its two purposes."""


# Primary result codes, https://sqlite.org/rescode.html; the low byte of an extended code is its primary code.
_KINDS: dict[int, tuple[type[StorageError], str]] = {
    sqlite3.SQLITE_FULL: (StorageFull, "no space left on the disk (nothing was changed); free some and try again"),
    sqlite3.SQLITE_BUSY: (StorageBusy, "locked by another process for too long; end it or try again"),
    sqlite3.SQLITE_LOCKED: (StorageBusy, "locked by another connection for too long; try again"),
    sqlite3.SQLITE_CORRUPT: (StorageCorrupt, "the database is damaged; restore it from a backup"),
    sqlite3.SQLITE_NOTADB: (StorageCorrupt, "not a SQLite database; restore it from a backup"),
    sqlite3.SQLITE_CANTOPEN: (StorageUnreachable, "cannot be opened; its directory must exist and be writable for us"),
    sqlite3.SQLITE_READONLY: (StorageUnreachable, "cannot be written; we need write rights on it and its directory"),
    sqlite3.SQLITE_PERM: (StorageUnreachable, "access refused; we need read and write rights on it"),
    sqlite3.SQLITE_IOERR: (StorageUnreachable, "the disk failed to read or write it; see the kernel's log"),
}
_PRIMARY = 0xFF


def explained(error: BaseException | None, where: str) -> StorageError:
    """The StorageError for a driver's error; ``where`` is the file it is about."""
    code = getattr(error, "sqlite_errorcode", 0)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    kind, words = _KINDS.get(code & _PRIMARY, (StorageError, "the database refused the request"))
    return kind(f"{where}: {words} ({name})")


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Raises driver errors of the block as StorageError, SQLAlchemy's of constraints as they are."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise explained(error.orig, where) from error
    except sqlite3.Error as error:  # of a ``driver_cursor``
        raise explained(error, where) from error
