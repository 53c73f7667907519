"""Deleting what was kept long enough: only what is archived, only after the log says so, only from its front.

Ideas:

* What is due ends with a segment of the archive whose file was read again; older than the limit; delivered to every
  sink; and without a session or an operation that is still open.
* ``log.prune`` says it and is durable (``pruned``); then the bodies are deleted, some at a time. Whoever is killed
  between the two, or within the second, goes on at the next start.
* Leaf hashes, the tree and checkpoints stay, so that whatever was proven can still be proven, and the segments verify.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from bridge.storage import reading, writing
from bridge.translation.archive import Archive, Segment, segments
from bridge.translation.facts import actor_section, detail_section
from bridge.translation.pruned import KEPT, Pruned, digest, pruned_upto
from bridge.translation.record import Event
from bridge.translation.schema import STILL_OPEN
from bridge.translation.stored_tree import StoredTree
from bridge.translation.vocabulary import LOG_PRUNE

SEGMENTS = 50
"""In one event: a million events, and some seconds to read the files again."""

BATCH = 500
PAUSE = 0.05
"""Events deleted in one commit, and seconds until the next: the writer waits some 10 ms at most, and never in turn."""

_MARKS = ", ".join("?" * len(KEPT))


@dataclass(frozen=True, slots=True)
class Retention:
    """``before``: Unix milliseconds; what is younger stays. ``delivered``: what sinks do not have yet stays."""

    before: int
    delivered: int | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """Events ``first`` to ``last`` may go (``last`` < ``first``: none); ``held`` says what keeps those after them."""

    first: int
    last: int
    held: str
    segments: tuple[Segment, ...] = ()


def in_thread_due(engine: Engine, archive: Archive, retention: Retention) -> Due:
    """What may be deleted, as the names in the archive have it. Raises StorageError, OSError."""
    with reading(engine) as connection:
        start = pruned_upto(connection)
        chosen = _following(archive, start)
        end = chosen[-1].last if chosen else start
        limit, held = _limit(connection, start, end, retention)
    if limit == end:
        held = "they are not in the archive yet" if len(chosen) < SEGMENTS else ""
    chosen = [one for one in chosen if one.last <= limit]
    return Due(start + 1, chosen[-1].last if chosen else start, held, tuple(chosen))


def _following(archive: Archive, start: int) -> list[Segment]:
    """The next segments, without a gap."""
    chosen: list[Segment] = []
    for one in segments(archive.folder) if archive.folder.is_dir() else []:
        if one.first == (chosen[-1].last if chosen else start) + 1 and len(chosen) < SEGMENTS:
            chosen.append(one)
    return chosen


def _limit(connection: Connection, start: int, end: int, retention: Retention) -> tuple[int, str]:
    """The last event up to ``end`` that may go, and why no later one."""
    young = "SELECT seq - 1 FROM event NOT INDEXED WHERE seq > ? AND seq <= ? AND ts >= ? ORDER BY seq LIMIT 1"
    ends = [
        (connection.exec_driver_sql(young, (start, end, retention.before)).scalar(), "they are not old enough"),
        (_oldest(connection, f"SELECT min(opened_seq) FROM session WHERE {STILL_OPEN}"), "a session is still open"),
        (_oldest(connection, "SELECT min(seq) FROM open_intent"), "an operation has no outcome yet"),
        (retention.delivered, "a sink does not have them yet"),
    ]
    known = [(int(limit), why) for limit, why in ends if limit is not None]
    return min([(end, ""), *known])


def _oldest(connection: Connection, sql: str) -> int | None:
    seq = connection.exec_driver_sql(sql).scalar()
    return None if seq is None else int(seq) - 1


def in_thread_prepare(engine: Engine, archive: Archive, due: Due) -> Event:
    """The event that says what is about to be deleted, once every file of it was read again.

    Raises SegmentDamaged, StorageError, OSError.
    """
    files = {one.path.name: archive.in_thread_check(one) for one in due.segments}
    with reading(engine) as connection:
        kept = connection.exec_driver_sql(
            f"SELECT seq FROM event WHERE seq BETWEEN ? AND ? AND type IN ({_MARKS}) ORDER BY seq",
            (due.first, due.last, *KEPT),
        )
        seqs = [int(row[0]) for row in kept]
        until = connection.exec_driver_sql("SELECT ts FROM event WHERE seq = ?", (due.last,)).scalar_one()
        root = StoredTree(connection).root(due.last)
    told = Pruned(0, 0, due.first, due.last, int(until), root, KEPT, len(seqs), digest(seqs), files)
    sections = {"actor": actor_section(kind="bridge", id="retention"), "detail": detail_section(**told.detail())}
    return Event(LOG_PRUNE, sections=sections)


def in_thread_delete_all(engine: Engine, pause: Callable[[float], bool]) -> None:
    """Until nothing is left that is to go, or ``pause`` returns true. Raises StorageError."""
    while in_thread_delete(engine):
        if pause(PAUSE):
            return


def in_thread_delete(engine: Engine, batch: int = BATCH) -> int:
    """Deletes some of what the log says was pruned, and what only led to it; returns how many events.

    To be called until it returns 0. Raises StorageError.
    """
    with reading(engine) as connection:
        upto = pruned_upto(connection)
        if not upto or _next(connection, upto) is None:
            return 0
    with writing(engine) as connection:
        first = _next(connection, upto)
        if first is None:
            return 0
        end = min(upto, first + batch - 1)
        named = "SELECT DISTINCT session FROM event WHERE seq BETWEEN ? AND ? AND session <> ''"
        sessions = list(connection.exec_driver_sql(named, (first, end)).scalars())
        connection.exec_driver_sql("PRAGMA secure_delete=ON")  # zeroes, not only free pages, where the texts were
        sql = f"DELETE FROM event WHERE seq BETWEEN ? AND ? AND type NOT IN ({_MARKS})"
        deleted = connection.exec_driver_sql(sql, (first, end, *KEPT)).rowcount
        _forget_sessions(connection, sessions, end)
        kept = "SELECT seq FROM event WHERE seq BETWEEN ? AND ?"
        named = f"DELETE FROM personal WHERE seq BETWEEN ? AND ? AND seq NOT IN ({kept})"
        connection.exec_driver_sql(named, (first, end, first, end))
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
    return int(deleted)


def _forget_sessions(connection: Connection, sessions: Sequence[str], end: int) -> None:
    for session in sessions:
        connection.exec_driver_sql("DELETE FROM span WHERE session = ? AND last <= ?", (session, end))
        connection.exec_driver_sql("DELETE FROM session WHERE session = ? AND closed_seq <= ?", (session, end))


def _next(connection: Connection, upto: int) -> int | None:
    """The first event that was pruned and is still there."""
    sql = f"SELECT seq FROM event NOT INDEXED WHERE seq <= ? AND type NOT IN ({_MARKS}) ORDER BY seq LIMIT 1"
    seq = connection.exec_driver_sql(sql, (upto, *KEPT)).scalar()
    return None if seq is None else int(seq)
