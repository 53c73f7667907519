"""Answering a query by way of the overview: which parts of the log may have what is looked for, and how many there are.

A *window* is a range of sequence numbers, both included. What the overview does not cover yet is one window; of what it
covers, the blocks whose tallies agree. In a window the query decides on the events themselves, so an answer is exact
whatever the overview knows; it only must not leave out a block, and never does, because each of its conditions is one
that the event was tallied by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from bridge.translation.canonical import clean, quoted
from bridge.translation.conditions import Selection, dimension_condition, plain_condition
from bridge.translation.overview import DIMENSIONS, EXPRESSIONS, KIND, SUBJECT, covered
from bridge.translation.query import Pattern, Term, Value

Window = tuple[int, int]

FEW_TALLIES = 20_000
"""Tallies that may be sorted by block; with more, the blocks are looked through in their order."""

_WORDED = ("text", "verb", "object", "grant")
_SUBJECT_KEYS = (*SUBJECT[:-1], "label")


@dataclass(frozen=True, slots=True)
class Tally:
    """``count`` events that have the same dimensions, between two times (Unix milliseconds)."""

    agent: str
    owner: str
    person: str
    system: str
    account: str
    labels: str
    type: str
    phase: str
    action: str
    outcome: str
    reason: str
    count: int
    first_at: int
    last_at: int


def helps(selection: Selection) -> bool:
    """Whether the overview narrows anything; a session's events are found by their spans."""
    keys = {term.key for term in selection.terms}
    return "session" not in keys and bool(keys - {"until"})


def windows(overview: Connection, selection: Selection, last: int, *, oldest_first: bool) -> Iterator[Window]:
    """Every window that may have events, in the order of the answer; ``last`` is the log's last sequence number."""
    known = covered(overview)
    low, high = (selection.after or 0) + 1, min(last, (selection.before or last + 1) - 1)
    parts: list[Iterable[Window]] = [_covered(overview, selection, oldest_first), [(known + 1, last)]]
    for part in parts if oldest_first else reversed(parts):
        for begin, end in part:
            if max(begin, low) <= min(end, high):
                yield max(begin, low), min(end, high)


def _covered(overview: Connection, selection: Selection, oldest_first: bool) -> Iterator[Window]:
    where, parameters, source = _tallies(overview, selection)
    order = "ASC" if oldest_first else "DESC"
    sql = f"SELECT min(first), max(last) FROM {source} WHERE {where} GROUP BY block ORDER BY block {order}"
    yield from ((row[0], row[1]) for row in overview.exec_driver_sql(sql, parameters))


def _tallies(overview: Connection, selection: Selection) -> tuple[str, tuple[Any, ...], str]:
    """The condition on ``tally``, its parameters, and the table with the index that has the least to sort."""
    parts, parameters = ["1"], list[Any]()
    sizes: dict[str, int] = {}
    for table, keys in (("subject", _SUBJECT_KEYS), ("kind", KIND)):
        terms = [term for term in selection.terms if term.key in keys]
        if not terms:
            continue
        where, values = dimension_condition(terms)
        found = overview.exec_driver_sql(f"SELECT ifnull(sum(tallies), 0) FROM {table} WHERE {where}", values)
        sizes[table] = int(found.scalar_one())
        parts.append(f"{table} IN (SELECT id FROM {table} WHERE {where})")
        parameters += values
    cheapest = min(sizes, key=lambda table: sizes[table], default="")
    source = f"tally INDEXED BY tally_by_{cheapest}" if sizes.get(cheapest, FEW_TALLIES) < FEW_TALLIES else "tally"
    if source == "tally":  # in the order of the blocks, so that the first are found at once
        parts = [f"+{part}" if part != "1" else part for part in parts]
    for sql, values in _bounds(overview, selection.terms):
        parts.append(sql)
        parameters += values
    return " AND ".join(parts), tuple(parameters), source


def _bounds(overview: Connection, terms: Iterable[Term]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for term in terms:
        if term.key == "since":
            first = "(SELECT min(block) FROM block WHERE last_at >= ?)"
            yield f"last_at >= ? AND block >= ifnull({first}, 0)", (*term.values, *term.values)
        elif term.key == "until":
            last = "(SELECT max(block) FROM block WHERE first_at <= ?)"
            yield f"first_at <= ? AND block <= ifnull({last}, -1)", (*term.values, *term.values)
        elif match := _match(term):
            yield (
                "block IN (SELECT rowid FROM wording WHERE wording MATCH ? UNION ALL"
                " SELECT block FROM block WHERE wordy)",
                (match,),
            )


def _match(term: Term) -> str:
    """What FTS5 is asked for: all trigrams of one of the values; "" when one of them has none."""
    if term.key not in _WORDED or term.negated:
        return ""
    values = [_trigrams(value) for value in term.values]
    return " OR ".join(f"({value})" for value in values) if all(values) else ""


def _trigrams(value: Value) -> str:
    text = max(value.text.split("*"), key=len) if isinstance(value, Pattern) else str(value)
    text = quoted(clean(text))[1:-1]
    found = {text[at : at + 3].replace('"', '""') for at in range(len(text) - 2)}
    return " AND ".join(f'"{one}"' for one in sorted(found))


# -- counting


def tallies(log: Connection, overview: Connection | None, selection: Selection, last: int) -> list[Tally]:
    """How many events of which kind agree, up to sequence number ``last``: exact, by whole blocks where it can."""
    sums: dict[tuple[str, ...], list[int]] = {}
    for window in _uncounted(overview, selection, last, sums):
        where, parameters = plain_condition(selection.terms)
        _sum(sums, log.exec_driver_sql(
            f"SELECT {EXPRESSIONS}, count(*), min(ts), max(ts) FROM event NOT INDEXED"
            f" WHERE seq BETWEEN ? AND ? AND {where} GROUP BY {', '.join(map(str, range(1, len(DIMENSIONS) + 1)))}",
            (*window, *parameters),
        ))  # fmt: skip
    members: list[tuple[Any, ...]] = [(*key, *numbers) for key, numbers in sorted(sums.items())]
    return [Tally(*one) for one in members]


def _uncounted(
    overview: Connection | None, selection: Selection, last: int, sums: dict[tuple[str, ...], list[int]]
) -> Iterator[Window]:
    """Adds what whole blocks say; yields the windows that must be read."""
    if overview is None:
        yield max(1, (selection.after or 0) + 1), min(last, (selection.before or last + 1) - 1)
        return
    known = {*_SUBJECT_KEYS, *KIND, "since", "until"}
    if selection.before or selection.after or any(term.key not in known for term in selection.terms):
        yield from windows(overview, selection, last, oldest_first=True)
        return
    where, parameters, source = _tallies(overview, selection)
    cut, cut_parameters = _cut(selection.terms)
    names = ", ".join((*(f"s.{name}" for name in SUBJECT), *(f"k.{name}" for name in KIND)))
    _sum(sums, overview.exec_driver_sql(
        f"SELECT {names}, t.count, t.first_at, t.last_at FROM (SELECT subject, kind, sum(count) AS count,"
        f" min(first_at) AS first_at, max(last_at) AS last_at FROM {source} WHERE {where} AND NOT {cut}"
        " GROUP BY subject, kind) t JOIN subject s ON s.id = t.subject JOIN kind k ON k.id = t.kind",
        (*parameters, *cut_parameters),
    ))  # fmt: skip
    before = "(SELECT ifnull(max(b.last), 0) FROM block b WHERE b.block < block.block)"
    for first, end in overview.exec_driver_sql(f"SELECT {before}, last FROM block WHERE {cut}", cut_parameters).all():
        yield first + 1, end
    if covered(overview) < last:
        yield covered(overview) + 1, last


def _cut(terms: Iterable[Term]) -> tuple[str, tuple[Any, ...]]:
    """The blocks that the times cut through."""
    since = next((term.values[0] for term in terms if term.key == "since"), 0)
    until = next((term.values[0] for term in terms if term.key == "until"), 2**62)
    inside = "first_at >= ? AND last_at <= ?"
    sql = f"block IN (SELECT block FROM block WHERE last_at >= ? AND first_at <= ? AND NOT ({inside}))"
    return sql, (since, until, since, until)


def _sum(sums: dict[tuple[str, ...], list[int]], rows: Iterable[Any]) -> None:
    size = len(DIMENSIONS)
    for row in rows:
        count, first, last = row[size:]
        known = sums.setdefault(tuple(row[:size]), [0, first, last])
        known[:] = known[0] + count, min(known[1], first), max(known[2], last)
