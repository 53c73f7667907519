"""The two databases of a bridge: ``registry.db`` (agents, deny list, stored secrets) and ``translation.db`` (the log).

Five ideas:

1. A database is opened by ``open_engine`` and brought to the schema of this release by ``upgrade``; a schema that is
   newer than the release is refused, never guessed at.
2. ``reading`` and ``writing`` are the only two transactions. ``writing`` takes the write lock at its start
   (``BEGIN IMMEDIATE``), so that a second process waits instead of failing half-way.
3. What goes wrong below is a ``StorageError`` that names the file and what to do; it never holds a bound parameter.
4. A commit is on the disk when it returns (``synchronous=FULL``).
5. Blocking work runs in a named ``ThreadPool`` with a bounded queue.
"""

from bridge.storage.database import open_engine, reading, writing
from bridge.storage.errors import (
    SchemaTooNew,
    SchemaUnknown,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageUnreachable,
    storage_errors,
)
from bridge.storage.private_file import NotPrivate, create_private, read_private, replace_private
from bridge.storage.rows import driver_cursor, insert_rows
from bridge.storage.schema import head, upgrade, version
from bridge.storage.signing_key import KeyRefused, load_key, load_or_create_key
from bridge.storage.threads import PoolFull, PoolStopped, ThreadPool

__all__ = [
    "KeyRefused",
    "NotPrivate",
    "PoolFull",
    "PoolStopped",
    "SchemaTooNew",
    "SchemaUnknown",
    "StorageBusy",
    "StorageCorrupt",
    "StorageError",
    "StorageFull",
    "StorageUnreachable",
    "ThreadPool",
    "create_private",
    "driver_cursor",
    "head",
    "insert_rows",
    "load_key",
    "load_or_create_key",
    "open_engine",
    "read_private",
    "reading",
    "replace_private",
    "storage_errors",
    "upgrade",
    "version",
    "writing",
]
