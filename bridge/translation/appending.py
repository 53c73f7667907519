"""The one place where events are committed.

Every writer goes through ``append``, in a transaction that holds the write lock from its start: the writer thread of
the bridge, and for a moment a second process such as the command line. What belongs to the same commit as the events
(the tree over their bodies, the side tables) belongs here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from bridge.storage import driver_cursor, insert_rows, writing
from bridge.translation.composing import Plain, Row, row
from bridge.translation.identifiers import Identifiers, Timestamps
from bridge.translation.personal import KEEP, salted_event
from bridge.translation.record import Event, EventEntry
from bridge.translation.schema import SPAN
from bridge.translation.stored_tree import extend
from bridge.translation.vocabulary import (
    COMPLETE,
    INTENT,
    OUTCOME,
    SESSION_CLOSE,
    SESSION_ESTABLISHED,
    SESSION_OPEN,
)

_LAST = "SELECT max(seq) FROM event"
_COLUMNS = "seq, body, ts, type, phase, outcome, session, agent, owner, system, account, action, labels"
_OPEN = (
    "INSERT INTO session (session, agent, owner, system, account, opened, opened_seq, outcome)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, '') ON CONFLICT (session) DO NOTHING"
)
_ESTABLISHED = "UPDATE session SET established_seq = ?, backend = ?, client_port = ? WHERE session = ?"
_CLOSE = "UPDATE session SET closed = ?, closed_seq = ?, outcome = ? WHERE session = ? AND closed IS NULL"
_INTENT = "INSERT INTO open_intent (request, seq) VALUES (?, ?)"
_OUTCOME = "DELETE FROM open_intent WHERE request = ?"


def append(connection: Connection, log: str, plains: Sequence[Plain], timestamps: Timestamps) -> int:
    """Appends events (at least one) to the log of this name; returns the sequence number of the first."""
    cursor = driver_cursor(connection)
    first = (cursor.execute(_LAST).fetchone()[0] or 0) + 1
    rows = [row(plain, seq, log, timestamps) for seq, plain in enumerate(plains, first)]
    insert_rows(cursor, "event", _COLUMNS, rows)
    extend(connection, first, [row[1] for row in rows])
    insert_rows(cursor, "span", "session, first, last", spans(rows))
    others = [(seq, plain) for seq, plain in enumerate(plains, first) if plain[0] is None or plain[1] != COMPLETE]
    if others:
        _follow(cursor, others)
    return first


def spans(rows: Sequence[Row]) -> list[tuple[str, int, int]]:
    """The spans of what is written together: session, first and last sequence number."""
    found: list[tuple[str, int, int]] = []
    start = 0
    while start < len(rows):
        part = rows[start : start + SPAN - rows[start][0] % SPAN]
        first = {row[6]: row[0] for row in reversed(part)}
        last = {row[6]: row[0] for row in part}
        found += [(session, first[session], seq) for session, seq in last.items() if session]
        start += len(part)
    return found


def _follow(cursor: sqlite3.Cursor, others: list[tuple[int, Plain]]) -> None:
    """Keeps the side tables. Kind by kind keeps the order that matters: nothing ends before it began."""
    run: dict[str, list[tuple[object, ...]]] = {
        _OPEN: [], _ESTABLISHED: [], _CLOSE: [], _INTENT: [], _OUTCOME: [], KEEP: [],
    }  # fmt: skip
    for seq, plain in others:
        pieces, phase, id, request, at = plain[:5]
        if phase == INTENT:
            run[_INTENT].append((id, seq))
        elif phase == OUTCOME and request:
            run[_OUTCOME].append((request,))
        if pieces is not None:
            continue  # operations repeat what their session names
        outcome, type, columns, backend, client_port, personal = plain[6], plain[8], *plain[10:]
        if type == SESSION_OPEN:
            run[_OPEN].append((*columns[:5], at, seq))
        elif type == SESSION_ESTABLISHED:
            run[_ESTABLISHED].append((seq, backend or None, client_port or None, columns[0]))
        elif type == SESSION_CLOSE:
            run[_CLOSE].append((at, seq, outcome, columns[0]))
        run[KEEP] += [(token, seq, salt, value) for token, salt, value in personal]
    for statement, parameters in run.items():
        if parameters:
            cursor.executemany(statement, parameters)


def in_thread_append(
    engine: Engine, log: str, events: Sequence[Event], identifiers: Identifiers | None = None, *, salted: bool = False
) -> int:
    """Appends ``events`` in one commit, from a process that runs no ``SQLLog``; returns the first sequence number.

    ``salted``: their personal data stands beside the log.

    Raises StorageError.
    """
    source = identifiers or Identifiers()
    plains = [EventEntry(salted_event(event, all=salted).stamped(source)).plain() for event in events]
    with writing(engine) as connection:
        return append(connection, log, plains, Timestamps())
