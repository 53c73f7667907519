"""Where in the log the events of a session, an agent or an account are, as a condition on ``seq``.

What is not an operation has indexes of its own; operations are found by the spans of their sessions (see ``schema``).
The condition only narrows: whoever uses it repeats what it looks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.translation.schema import NOT_OPERATION, SPAN

Sql = tuple[str, tuple[Any, ...]]

CLOCK_SLACK = 24 * 3600 * 1000
"""Milliseconds by which an operation's time may be outside its session's: the clock may have been set meanwhile."""

_IN_SPANS = "CROSS JOIN event e ON e.seq BETWEEN p.first AND p.last AND e.session = p.session"


def of_sessions(sessions: Sequence[str], *, after: int | None, before: int | None) -> Sql:
    """Events of the sessions, between two sequence numbers (excluded)."""
    bounds, numbers = _between(after, before)
    marks = ", ".join("?" * len(sessions))
    return f"seq IN (SELECT e.seq FROM span p {_IN_SPANS} WHERE p.session IN ({marks}){bounds})", (*sessions, *numbers)


def of_columns(
    columns: Mapping[str, Sequence[str]],
    *,
    since: int | None,
    until: int | None,
    after: int | None,
    before: int | None,
) -> Sql:
    """Events with one of the values in each of the columns, of which one is ``agent`` or ``system``: no index begins
    with the account. ``since`` and ``until`` are Unix milliseconds, ``after`` and ``before`` sequence numbers
    (excluded)."""
    own = " AND ".join(f"{name} IN ({', '.join('?' * len(values))})" for name, values in columns.items())
    values = tuple(value for some in columns.values() for value in some)
    own_time, own_times = _bounds(("ts >= ?", since, 0), ("ts <= ?", until, 0))
    time, times = _bounds(("ifnull(closed >= ?, 1)", since, -CLOCK_SLACK), ("opened <= ?", until, CLOCK_SLACK))
    bounds, numbers = _between(after, before)
    return (
        f"seq IN (SELECT seq FROM event WHERE {own} AND {NOT_OPERATION}{own_time} UNION ALL"
        f" SELECT e.seq FROM (SELECT session FROM session WHERE {own}{time}) s"
        f" CROSS JOIN span p ON p.session = s.session {_IN_SPANS} WHERE e.type = 'operation'{bounds})"
    ), (*values, *own_times, *values, *times, *numbers)


def _between(after: int | None, before: int | None) -> tuple[str, tuple[int, ...]]:
    return _bounds(("p.first > ?", after, -SPAN), ("p.first < ?", before, 0))


def _bounds(*wanted: tuple[str, int | None, int]) -> tuple[str, tuple[int, ...]]:
    """Conditions to be added, and their numbers: of each that has one, moved by its slack."""
    given = [(sql, number + slack) for sql, number, slack in wanted if number is not None]
    return "".join(f" AND {sql}" for sql, _ in given), tuple(number for _, number in given)
