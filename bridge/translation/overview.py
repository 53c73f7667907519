"""The overview of the log: which kinds of events whose sessions have in each block of it, how many, and what they say.

A database of its own beside the log, so that appending costs nothing more and never waits: whole blocks are added
behind the writer's back, and what is younger is read from the log itself. It is derived: it may be deleted at any time
and is then made again, and it is believed only while the event that it ends with is still the one in the log.

* ``subject``: who and where (agent, owner, person, system, account, labels); ``kind``: what (type, phase, action,
  outcome, reason); ``tally``: how many of a kind a subject has in a block, between which sequence numbers and times.
* ``wording``: the texts of a block as trigrams (FTS5), so that a search for text reads only blocks that may have it.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from bridge.storage import StorageError, reading, writing
from bridge.translation.conditions import PERSON, REASON
from bridge.translation.extent import last_seq
from bridge.translation.pruned import KEPT, pruned_upto

BLOCK = 1024
"""Events of a block: few enough to read one in a millisecond, enough that its sum is much smaller than they are."""

AT_ONCE = 16
"""Blocks that are added in one transaction."""

MAX_WORDING = 64 * 1024
"""Characters of a block's different texts that are made searchable. A block with more is read whenever text is looked
for: statements whose literals are kept are nearly all different."""

VERSION = 2
"""Of these tables; others are dropped and made anew."""

SUBJECT = ("agent", "owner", "person", "system", "account", "labels")
KIND = ("type", "phase", "action", "outcome", "reason")
DIMENSIONS = (*SUBJECT, *KIND)

_EXPRESSIONS = {"person": PERSON, "reason": REASON}

EXPRESSIONS = ", ".join(_EXPRESSIONS.get(name, name) for name in DIMENSIONS)
"""The dimensions of an event, to be selected from ``event``."""

_TABLES = (
    *(
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, tallies INTEGER, {names}, UNIQUE ({names}))"
        for table, names in (("subject", ", ".join(SUBJECT)), ("kind", ", ".join(KIND)))
    ),
    "CREATE TABLE block (block INTEGER PRIMARY KEY, last INTEGER, first_at INTEGER, last_at INTEGER, wordy INTEGER,"
    " ending TEXT)",
    "CREATE TABLE tally (block INTEGER, subject INTEGER, kind INTEGER, count INTEGER, first INTEGER, last INTEGER,"
    " first_at INTEGER, last_at INTEGER, PRIMARY KEY (block, subject, kind)) WITHOUT ROWID",
    "CREATE INDEX tally_by_subject ON tally (subject, block)",
    "CREATE INDEX tally_by_kind ON tally (kind, block)",
    "CREATE VIRTUAL TABLE wording USING fts5 (text, tokenize='trigram', detail=none, content='')",
    "CREATE TABLE basis (pruned INTEGER)",
    f"PRAGMA user_version={VERSION}",
)

_LEFT = f"(seq > ? OR type IN ({', '.join(map(repr, KEPT))}))"
"""Of an event: that it stays after the pruning up to a sequence number, whether or not that has come to it."""

_GROUPS = (
    f"SELECT (seq - 1) / ?, {EXPRESSIONS}, count(*), min(seq), max(seq), min(ts), max(ts)"
    f" FROM event NOT INDEXED WHERE seq BETWEEN ? AND ? AND {_LEFT}"
    f" GROUP BY {', '.join(map(str, range(1, len(DIMENSIONS) + 2)))}"
)
_WORDS = (
    "SELECT DISTINCT json_extract(body, '$.action.verb', '$.action.text', '$.action.objects', '$.decision.rules')"
    f" FROM event NOT INDEXED WHERE seq BETWEEN ? AND ? AND {_LEFT}"
)
_NOTHING = "[null,null,null,null]"


class Overview:
    """``engine`` is the overview's, ``log_engine`` one that reads the log. Methods block."""

    def __init__(self, engine: Engine, log_engine: Engine, *, block: int = BLOCK) -> None:
        self.engine = engine
        self._log_engine = log_engine
        self._block = block

    def in_thread_catch_up(self, seconds: float = 2.0, now: Callable[[], float] = time.monotonic) -> int:
        """Adds whole blocks for about so long; returns how many were added. Raises StorageError."""
        end = now() + seconds
        with writing(self.engine) as connection:
            _prepare(connection)
        added = 0
        while more := self._add():
            added += more
            if now() >= end:
                break
        return added

    def _add(self) -> int:
        with writing(self.engine) as connection:
            with reading(self._log_engine) as log:
                if not believed(connection, log):
                    _drop(connection)
                    _prepare(connection)
                    connection.exec_driver_sql("INSERT INTO basis VALUES (?)", (pruned_upto(log),))
                size, first = self._block, covered(connection) + 1
                events = last_seq(log)
                count = min((events - first + 1) // size, AT_ONCE)
                if count <= 0:
                    return 0
                gone, end = pruned_upto(log), first + count * size
                groups = log.exec_driver_sql(_GROUPS, (size, first, end - 1, gone)).all()
                added = [_block(log, begin, begin + size - 1, gone) for begin in range(first, end, size)]
            _insert(connection, groups, [((first - 1) // size + number, *one) for number, one in enumerate(added)])
        return count

    @contextmanager
    def in_thread_reading(self, log: Connection) -> Iterator[Connection | None]:
        """One state of the overview for a reader of ``log``; None when there is none that agrees with the log."""
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(reading(self.engine))
                usable = _version(connection) == VERSION and believed(connection, log) and covered(connection) > 0
            except (StorageError, SQLAlchemyError):
                usable = False
            yield connection if usable else None


def covered(connection: Connection) -> int:
    """The last sequence number that it knows."""
    return int(connection.exec_driver_sql("SELECT max(last) FROM block").scalar() or 0)


def believed(connection: Connection, log: Connection) -> bool:
    """Whether the event that the overview ends with is the one in the log: it may be another log by now; and whether no
    events that it sums up were pruned since."""
    basis = connection.exec_driver_sql("SELECT pruned FROM basis").scalar()
    if basis is None or basis != pruned_upto(log):
        return False
    row = connection.exec_driver_sql("SELECT last, ending FROM block ORDER BY block DESC LIMIT 1").first()
    return row is None or _ending(log, row[0]) == row[1]


def _ending(log: Connection, seq: int) -> str:
    body = log.exec_driver_sql("SELECT body FROM event WHERE seq = ?", (seq,)).scalar()
    return hashlib.sha256(str(body).encode()).hexdigest()


def _block(log: Connection, first: int, last: int, gone: int) -> tuple[Any, ...]:
    """Last sequence number, first and last time, whether its texts are too much, its ending, and else its texts."""
    times = log.exec_driver_sql(
        f"SELECT min(ts), max(ts) FROM event NOT INDEXED WHERE seq BETWEEN ? AND ? AND {_LEFT}", (first, last, gone)
    )
    found = log.exec_driver_sql(_WORDS, (first, last, gone)).scalars()
    texts = [text for text in found if text != _NOTHING]
    wordy = sum(map(len, texts)) > MAX_WORDING
    return (last, *times.one(), int(wordy), _ending(log, last), "" if wordy else "\n".join(texts))


def _insert(connection: Connection, groups: Sequence[Any], added: Sequence[tuple[Any, ...]]) -> None:
    cut = 1 + len(SUBJECT)
    subjects = _ids(connection, "subject", SUBJECT, [tuple(row[1:cut]) for row in groups])
    kinds = _ids(connection, "kind", KIND, [tuple(row[cut : cut + len(KIND)]) for row in groups])
    rows = [
        (row[0], subjects[tuple(row[1:cut])], kinds[tuple(row[cut : cut + len(KIND)])], *row[cut + len(KIND) :])
        for row in groups
    ]
    if rows:
        connection.exec_driver_sql("INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.exec_driver_sql("INSERT INTO block VALUES (?, ?, ?, ?, ?, ?)", [one[:-1] for one in added])
    texts = [(one[0], one[-1]) for one in added if one[-1]]
    if texts:
        connection.exec_driver_sql("INSERT INTO wording (rowid, text) VALUES (?, ?)", texts)


def _ids(
    connection: Connection, table: str, names: Sequence[str], values: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], int]:
    """The id of each value; each occurrence counts as a tally, by which a query finds its cheapest way."""
    counts = Counter(values)
    if not counts:
        return {}
    marks = ", ".join("?" * len(names))
    connection.exec_driver_sql(
        f"INSERT INTO {table} (tallies, {', '.join(names)}) VALUES (?, {marks})"
        f" ON CONFLICT ({', '.join(names)}) DO UPDATE SET tallies = tallies + excluded.tallies",
        [(count, *value) for value, count in counts.items()],
    )
    same = " AND ".join(f"{name} = ?" for name in names)
    sql = f"SELECT id FROM {table} WHERE {same}"
    return {value: int(connection.exec_driver_sql(sql, value).scalar_one()) for value in counts}


def _version(connection: Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar() or 0)


def _prepare(connection: Connection) -> None:
    if _version(connection) == VERSION:
        return
    _drop(connection)
    for statement in _TABLES:
        connection.exec_driver_sql(statement)


def _drop(connection: Connection) -> None:
    for table in ("subject", "kind", "block", "tally", "wording", "basis"):
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
    connection.exec_driver_sql("PRAGMA user_version=0")
