"""Figures about the log that are no events of it: how complete it is, how it is guarded, what was used when.

All block. Times are Unix milliseconds, both ends included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.translation.reading import LogReader
from bridge.translation.schema import NOT_OPERATION, TRIGGERS
from bridge.translation.vocabulary import (
    LOG_HEARTBEAT,
    LOG_READ,
    LOG_RECOVERED,
    LOG_START,
    LOG_STOP,
    OPERATION,
    SESSION_OPEN,
)

LONGEST_SILENCE = 65_000
"""Milliseconds between signs of life: a minute, and what a busy host may be late."""

CLOCK_TOLERANCE = 1000
"""Milliseconds that a clock may be off."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """``events`` that are there and ``missing`` sequence numbers, both without the first ``pruned``; ``open_intents``
    whose outcome is awaited; ``guards`` of ``expected_guards`` triggers that refuse changes; ``first_at`` the time of
    the oldest event (0: none)."""

    events: int
    pruned: int
    missing: int
    open_intents: int
    guards: int
    expected_guards: int
    first_at: int


@dataclass(frozen=True, slots=True)
class Life:
    """How often the log was opened, closed in order, opened without having been closed, and failed to be written."""

    starts: int
    stops: int
    crashes: int
    failures: int
    down_ms: int


@dataclass(frozen=True, slots=True)
class Used:
    """That an agent was let in to an account by a grant: how often, and when last."""

    agent: str
    system: str
    account: str
    grant: str
    sessions: int
    last_at: int


def in_thread_completeness(reader: LogReader) -> Completeness:
    gone = reader.in_thread_extent().pruned
    pruned = gone.last if gone else 0
    events, last, first_at = reader.in_thread_rows(
        "SELECT count(*), ifnull(max(seq), 0), ifnull(min(ts), 0) FROM event WHERE seq > ?", (pruned,)
    )[0]
    names = [trigger.split()[2] for trigger in TRIGGERS]
    marks = ", ".join("?" * len(names))
    sql = f"SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name IN ({marks})"
    guards = reader.in_thread_rows(sql, names)[0][0]
    intents = reader.in_thread_rows("SELECT count(*) FROM open_intent")[0][0]
    return Completeness(events, pruned, last - pruned - events, intents, guards, len(names), first_at)


def in_thread_life(reader: LogReader, since: int, until: int) -> Life:
    """A log that is open when the period begins counts as closed before."""
    kinds = (LOG_START, LOG_STOP, LOG_RECOVERED)
    rows = reader.in_thread_rows(
        "SELECT type, ifnull(json_extract(body, '$.detail.down_ms'), 0) FROM event"
        f" WHERE type IN (?, ?, ?) AND {NOT_OPERATION} AND ts BETWEEN ? AND ? ORDER BY seq",
        (*kinds, since, until),
    )
    crashes, running = 0, False
    for type, _ in rows:
        crashes += type == LOG_START and running
        running = type != LOG_STOP
    counts = {kind: sum(type == kind for type, _ in rows) for kind in kinds}
    return Life(counts[LOG_START], counts[LOG_STOP], crashes, counts[LOG_RECOVERED], sum(down for _, down in rows))


@dataclass(frozen=True, slots=True)
class Beats:
    """Heartbeats; ``gaps`` longer than ``LONGEST_SILENCE`` that no stop, start or recovery explains; how many found
    nothing that synchronises the clock, how many found it more than ``CLOCK_TOLERANCE`` off, and the largest offset."""

    count: int
    gaps: int
    unsynchronised: int
    off: int
    largest_ms: int


def in_thread_beats(reader: LogReader, since: int, until: int) -> Beats:
    life = "type IN (?, ?, ?, ?) AND " + NOT_OPERATION + " AND ts BETWEEN ? AND ?"
    kinds = (LOG_HEARTBEAT, LOG_START, LOG_STOP, LOG_RECOVERED)
    gaps = reader.in_thread_rows(
        "SELECT count(*) FROM (SELECT type, ts, lag(ts) OVER by_seq AS before, lag(type) OVER by_seq AS former"
        f" FROM event WHERE {life} WINDOW by_seq AS (ORDER BY seq))"
        " WHERE type IN (?, ?) AND former <> ? AND ts - before > ?",
        (*kinds, since, until, LOG_HEARTBEAT, LOG_STOP, LOG_STOP, LONGEST_SILENCE),
    )[0][0]
    offset = "abs(ifnull(json_extract(body, '$.node.clock_ms'), 0))"
    found = reader.in_thread_rows(
        f"SELECT count(*), ifnull(sum(json_extract(body, '$.node.clock_ms') IS NULL), 0),"
        f" ifnull(sum({offset} > ?), 0), ifnull(max({offset}), 0)"
        f" FROM event WHERE type = ? AND {NOT_OPERATION} AND ts BETWEEN ? AND ?",
        (CLOCK_TOLERANCE, LOG_HEARTBEAT, since, until),
    )[0]
    return Beats(found[0], gaps, *found[1:])


def in_thread_lacking(
    reader: LogReader, types: Sequence[str], fields: Sequence[str], since: int, until: int
) -> tuple[int, int]:
    """How many events of these types there are, but for intents, and how many lack one of the fields (``agent.id``)."""
    assert OPERATION not in types, "they are counted by their tallies"
    lacking = " OR ".join(f"ifnull(json_extract(body, '$.{field}'), '') IN ('', '[]')" for field in fields)
    marks = ", ".join("?" * len(types))
    count, without = reader.in_thread_rows(
        f"SELECT count(*), ifnull(sum({lacking}), 0) FROM event"
        f" WHERE type IN ({marks}) AND {NOT_OPERATION} AND phase <> 'intent' AND outcome = 'success'"
        " AND ts BETWEEN ? AND ?",
        (*types, since, until),
    )[0]
    return count, without


def in_thread_reads(reader: LogReader, query: str, since: int, until: int) -> int:
    """How often the log was read by a command (``log.export*``)."""
    return int(reader.in_thread_rows(
        "SELECT count(*) FROM event WHERE type = ? AND " + NOT_OPERATION + " AND ts BETWEEN ? AND ?"
        " AND json_extract(body, '$.detail.query') GLOB ?",
        (LOG_READ, since, until, query),
    )[0][0])  # fmt: skip


def in_thread_used(reader: LogReader, since: int, until: int) -> list[Used]:
    """By which grants agents were let in: all that allowed something on the account then."""
    rows = reader.in_thread_rows(
        "SELECT agent, system, account, rule.value, count(*), max(ts)"
        " FROM event, json_each(body, '$.decision.rules') rule"
        f" WHERE event.type = ? AND event.{NOT_OPERATION} AND ts BETWEEN ? AND ?"
        " AND json_extract(body, '$.decision.would') = 'allow' GROUP BY 1, 2, 3, 4",
        (SESSION_OPEN, since, until),
    )
    return [Used(*row) for row in rows]


def in_thread_signed(reader: LogReader, since: int, until: int) -> tuple[int, int]:
    """How many checkpoints were signed, and how many of them a witness attested."""
    checkpoints, attested = reader.in_thread_rows(
        "SELECT count(*), ifnull(sum(EXISTS (SELECT 1 FROM attestation a WHERE a.size = c.size)), 0)"
        " FROM checkpoint c WHERE at BETWEEN ? AND ?",
        (since, until),
    )[0]
    return checkpoints, attested


def in_thread_plaintext(reader: LogReader, since: int, until: int) -> tuple[int, int]:
    """How many sessions were opened, and how many of them over neither TLS nor SSH."""
    count, plain = reader.in_thread_rows(
        "SELECT count(*), ifnull(sum(json_extract(body, '$.transport.tls') IS NULL"
        " AND ifnull(json_extract(body, '$.transport.proto'), '') <> 'ssh'), 0)"
        f" FROM event WHERE type = ? AND {NOT_OPERATION} AND ts BETWEEN ? AND ?",
        (SESSION_OPEN, since, until),
    )[0]
    return count, plain
