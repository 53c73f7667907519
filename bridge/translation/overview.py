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
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from bridge.storage import StorageError, reading, writing
from bridge.translation.alike import BLOCK, Alike, Group
from bridge.translation.conditions import PERSON, REASON
from bridge.translation.extent import last_seq
from bridge.translation.personal import last_erasure
from bridge.translation.pruned import KEPT, pruned_upto

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
    "CREATE TABLE basis (pruned INTEGER, erasure INTEGER)",
    f"PRAGMA user_version={VERSION}",
)

_LEFT = f"(seq > ? OR type IN ({', '.join(map(repr, KEPT))}))"
"""Of an event: that it stays after the pruning up to a sequence number, whether or not that has come to it."""

_WORDS = "json_extract(body, '$.action.verb', '$.action.text', '$.action.objects', '$.decision.rules')"
_GROUPS = (
    f"SELECT {EXPRESSIONS}, count(*), min(seq), max(seq), min(ts), max(ts), {_WORDS} FROM event NOT INDEXED"
    f" WHERE seq BETWEEN ? AND ? AND {_LEFT}"
    f" GROUP BY {', '.join(map(str, range(1, len(DIMENSIONS) + 1)))}, {len(DIMENSIONS) + 6}"
)
"""One look at the events of a block: a body is parsed once for all that is taken out of it, and sorting so few is
quicker than sorting many blocks together."""
_FIRSTS = f"SELECT {EXPRESSIONS}, seq, {_WORDS} FROM event WHERE seq IN (SELECT value FROM json_each(?))"
_NOTHING = "[null,null,null,null]"


class Overview:
    """``engine`` is the overview's, ``log_engine`` one that reads the log. Methods block."""

    def __init__(self, engine: Engine, log_engine: Engine, *, block: int = BLOCK) -> None:
        self.engine = engine
        self._log_engine = log_engine
        self._block = block
        self.alike = Alike(block)

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
                    connection.exec_driver_sql("INSERT INTO basis VALUES (?, ?)", _basis(log))
                size, first = self._block, covered(connection) + 1
                count, gone = min((last_seq(log) - first + 1) // size, AT_ONCE), pruned_upto(log)
                firsts = range(first, first + count * size, size)
                added = [_block(log, begin, begin + size - 1, gone, self._groups(begin, gone)) for begin in firsts]
            if added:
                _insert(connection, (first - 1) // size, added)
        return len(added)

    def _groups(self, first: int, gone: int) -> list[Group]:
        """The groups of the block that begins there, if all are known."""
        groups = self.alike.take((first - 1) // self._block)
        return groups if gone < first else []

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
    events that it sums up were pruned since, and no names erased."""
    basis = connection.exec_driver_sql("SELECT pruned, erasure FROM basis").first()
    if basis is None or tuple(basis) != _basis(log):
        return False
    row = connection.exec_driver_sql("SELECT last, ending FROM block ORDER BY block DESC LIMIT 1").first()
    return row is None or _ending(log, row[0]) == row[1]


def _basis(log: Connection) -> tuple[int, int]:
    return pruned_upto(log), last_erasure(log)


def _ending(log: Connection, seq: int) -> str:
    body = log.exec_driver_sql("SELECT body FROM event WHERE seq = ?", (seq,)).scalar()
    return hashlib.sha256(str(body).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Block:
    """``groups`` are tallies by dimensions: count, first and last sequence number, first and last time; ``texts`` is
    empty where they are too much (``wordy``)."""

    last: int
    ending: str
    wordy: bool
    texts: str
    groups: dict[tuple[Any, ...], tuple[int, int, int, int, int]]

    @property
    def row(self) -> tuple[Any, ...]:
        tallies = self.groups.values()
        first_at = min((tally[3] for tally in tallies), default=None)
        last_at = max((tally[4] for tally in tallies), default=None)
        return self.last, first_at, last_at, int(self.wordy), self.ending


def _block(log: Connection, first: int, last: int, gone: int, alike: Sequence[Group] = ()) -> _Block:
    """``alike`` are groups of all its events, if they are known."""
    size = len(DIMENSIONS)
    groups: dict[tuple[Any, ...], tuple[int, int, int, int, int]] = {}
    texts: dict[str, None] = {}
    for row in _alike_rows(log, alike) if alike else log.exec_driver_sql(_GROUPS, (first, last, gone)):
        key, tally, text = tuple(row[:size]), row[size:-1], row[-1]
        groups[key] = _added(groups[key], tally) if key in groups else tuple(tally)
        texts[text] = None
    texts.pop(_NOTHING, None)
    wordy = sum(map(len, texts)) > MAX_WORDING
    return _Block(last, _ending(log, last), wordy, "" if wordy else "\n".join(texts), groups)


def _alike_rows(log: Connection, alike: Sequence[Group]) -> Iterator[Sequence[Any]]:
    """As ``_GROUPS`` gives them, of groups of which one event says what all are."""
    tallies = {group[1]: group for group in alike}
    for *key, seq, text in log.exec_driver_sql(_FIRSTS, (str(list(tallies)),)):
        yield (*key, *tallies[seq], text)


def _added(one: Sequence[int], other: Sequence[int]) -> tuple[int, int, int, int, int]:
    count, first, last, first_at, last_at = zip(one, other, strict=True)
    return sum(count), min(first), max(last), min(first_at), max(last_at)


def _insert(connection: Connection, before: int, added: Sequence[_Block]) -> None:
    """``before`` blocks are there already."""
    cut = len(SUBJECT)
    keys = [key for block in added for key in block.groups]
    subjects = _ids(connection, "subject", SUBJECT, [key[:cut] for key in keys])
    kinds = _ids(connection, "kind", KIND, [key[cut:] for key in keys])
    blocks = list(enumerate(added, before))
    tallies = [
        (number, subjects[key[:cut]], kinds[key[cut:]], *tally)
        for number, block in blocks
        for key, tally in block.groups.items()
    ]
    if tallies:
        connection.exec_driver_sql("INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?)", tallies)
    rows = [(number, *block.row) for number, block in blocks]
    connection.exec_driver_sql("INSERT INTO block VALUES (?, ?, ?, ?, ?, ?)", rows)
    texts = [(number, block.texts) for number, block in blocks if block.texts]
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
    connection.exec_driver_sql("PRAGMA secure_delete=ON")  # what was pruned or erased does not stay in free pages
    for table in ("subject", "kind", "block", "tally", "wording", "basis"):
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
    connection.exec_driver_sql("PRAGMA user_version=0")
    connection.exec_driver_sql("PRAGMA secure_delete=OFF")
