"""The one place where events are committed.

Every writer goes through ``append``, in a transaction that holds the write lock from its start: the writer thread of
the bridge, and for a moment a second process such as the command line. What belongs to the same commit as the events
(the tree over their bodies, the side tables) belongs here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, Engine

from bridge.storage import driver_cursor, insert_rows, writing
from bridge.translation.identifiers import Identifiers, Timestamps
from bridge.translation.personal import Personal, keep, salted_event
from bridge.translation.record import Entry, Event, EventEntry, Mark, Row
from bridge.translation.schema import SPAN
from bridge.translation.stored_tree import extend
from bridge.translation.vocabulary import INTENT, OUTCOME

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


def append(connection: Connection, log: str, entries: Sequence[Entry], timestamps: Timestamps) -> int:
    """Appends ``entries`` (at least one) and returns the sequence number of the first."""
    cursor = driver_cursor(connection)
    first = (cursor.execute(_LAST).fetchone()[0] or 0) + 1
    rows = [entry.row(seq, log, timestamps) for seq, entry in enumerate(entries, first)]
    insert_rows(cursor, "event", _COLUMNS, rows)
    extend(connection, first, [row[1] for row in rows])
    insert_rows(cursor, "span", "session, first, last", spans(rows))
    marks = [(seq, mark) for seq, entry in enumerate(entries, first) if (mark := entry.mark()) is not None]
    if marks:
        _follow(cursor, marks)
    keep(connection, _personal(entries, first))
    return first


def _personal(entries: Sequence[Entry], first: int) -> Iterator[tuple[int, Personal]]:
    """What events name by tokens; operations repeat those of their session."""
    for seq, entry in enumerate(entries, first):
        if isinstance(entry, EventEntry) and entry.event.personal:
            for one in entry.event.personal:
                yield seq, one


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


def _follow(cursor: sqlite3.Cursor, marks: list[tuple[int, Mark]]) -> None:
    """Keeps the side tables. Kind by kind keeps the order that matters: nothing ends before it began."""
    run: dict[str, list[tuple[object, ...]]] = {_OPEN: [], _ESTABLISHED: [], _CLOSE: [], _INTENT: [], _OUTCOME: []}
    for seq, mark in marks:
        if mark.kind == INTENT:
            run[_INTENT].append((mark.key, seq))
        elif mark.kind == OUTCOME:
            run[_OUTCOME].append((mark.key,))
        elif mark.kind == "open":
            run[_OPEN].append((*mark.index.columns()[:5], mark.at, seq))
        elif mark.kind == "established":
            run[_ESTABLISHED].append((seq, mark.index.backend or None, mark.index.client_port or None, mark.key))
        else:
            run[_CLOSE].append((mark.at, seq, mark.outcome, mark.key))
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
    entries = [EventEntry(salted_event(event, all=salted).stamped(source)) for event in events]
    with writing(engine) as connection:
        return append(connection, log, entries, Timestamps())
