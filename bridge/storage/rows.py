"""The short way for rows that every operation of every agent writes.

* SQLAlchemy spends 20 µs on a statement, the driver 3. ``driver_cursor`` is the driver's cursor in the same
  transaction; what it raises is a StorageError where the transaction ends.
* ``executemany`` lets go of the interpreter and takes it back for each row, and the reactor's thread takes turns with
  it. ``insert_rows`` writes many rows by one statement: SQLite works while the reactor goes on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, cast

from sqlalchemy import Connection

AT_ONCE = 64
"""Rows of the longest statement: 13 columns of them are far below SQLite's 32,766 parameters, and a statement of
twice the length gains nothing (measured)."""


def driver_cursor(connection: Connection) -> sqlite3.Cursor:
    """Within the transaction of ``connection``."""
    return cast(sqlite3.Cursor, connection.connection.cursor())


def insert_rows(cursor: sqlite3.Cursor, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
    """``columns`` are names with commas between them, in the order of a row's values."""
    start, left = 0, len(rows)
    while left:
        count = min(1 << left.bit_length() - 1, AT_ONCE)  # powers of two: seven statements, which SQLite keeps compiled
        values = tuple(chain.from_iterable(rows[start : start + count]))
        cursor.execute(_insert(table, columns, count), values)
        start, left = start + count, left - count


@cache
def _insert(table: str, columns: str, count: int) -> str:
    row = f"({', '.join('?' * (columns.count(',') + 1))})"
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([row] * count)}"
