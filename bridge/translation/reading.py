"""Finding and reading events. Every method blocks and runs in a thread; the caller records the read (``read_event``).

``who`` answers "which agent made this change?" from what the legacy system's own log shows: the account, the time,
and the number or the port of the connection.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Engine

from bridge.storage import reading
from bridge.translation.canonical import clean, quoted
from bridge.translation.facts import actor_section, detail_section
from bridge.translation.identifiers import milliseconds
from bridge.translation.record import Event
from bridge.translation.schema import NOT_OPERATION, NOT_SUCCESS
from bridge.translation.vocabulary import LOG_READ, OPERATION, OUTCOMES, SUCCESS, TYPES

PAGE = 1000
"""Events fetched at a time while exporting."""

MAX_SESSION_EVENTS = 100_000
"""Events of one session that are read at once; a longer one is to be exported."""

MAX_SUSPECTS = 1000

_COLUMNS = "seq, body"


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """``body`` is the exact text in the log."""

    seq: int
    body: str

    @property
    def fields(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass(frozen=True, slots=True)
class Filters:
    """What to find; an empty member filters nothing. Times are Unix milliseconds, both ends included.

    ``text`` is searched in statement texts, ASCII letters in either case. ``before`` and ``after`` are sequence numbers
    (excluded), for paging.
    """

    agent: str = ""
    owner: str = ""
    system: str = ""
    account: str = ""
    label: str = ""
    outcome: str = ""
    type: str = ""
    action: str = ""
    session: str = ""
    since: int | None = None
    until: int | None = None
    text: str = ""
    before: int | None = None
    after: int | None = None

    def __post_init__(self) -> None:
        if self.type and self.type not in TYPES:
            raise ValueError(f"unknown event type {self.type!r}; one of {', '.join(TYPES)}")
        if self.outcome and self.outcome not in OUTCOMES:
            raise ValueError(f"unknown outcome {self.outcome!r}; one of {', '.join(filter(None, OUTCOMES))}")

    def described(self) -> dict[str, str | int]:
        """The members that filter, for the record of the read."""
        members = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in members.items() if value not in ("", None)}


@dataclass(frozen=True, slots=True)
class Suspect:
    """A session that may have made a change. ``certain``: the connection's number or port agrees, not the time alone.

    ``closed`` is None while it lives. ``backend`` and ``client_port`` are 0 where the legacy system told none.
    """

    session: str
    agent: str
    owner: str
    system: str
    account: str
    opened: int
    closed: int | None
    outcome: str
    backend: int
    client_port: int
    certain: bool


class LogReader:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def in_thread_find(self, filters: Filters, limit: int = 100, *, oldest_first: bool = False) -> list[LoggedEvent]:
        """By sequence number, newest first unless asked otherwise. Raises StorageError."""
        condition, parameters = _condition(filters)
        order = "ASC" if oldest_first else "DESC"
        sql = f"SELECT {_COLUMNS} FROM event WHERE {condition} ORDER BY seq {order} LIMIT ?"
        return self._read(sql, (*parameters, limit))

    def in_thread_session(self, session: str) -> list[LoggedEvent]:
        """All events of a session in the order in which they happened."""
        sql = f"SELECT {_COLUMNS} FROM event WHERE session = ? ORDER BY seq LIMIT ?"
        return sorted(self._read(sql, (session, MAX_SESSION_EVENTS)), key=lambda event: str(event.fields["id"]))

    def in_thread_event(self, id: str) -> LoggedEvent | None:
        """The event with an id (the reference that a client was told). Raises ValueError when it is no id."""
        at = milliseconds(id)
        # The id has the clock's milliseconds, or later ones if the clock had gone back.
        sql = f"SELECT {_COLUMNS} FROM event WHERE ts BETWEEN ? AND ? AND body LIKE ?"
        found = self._read(sql, (at - 60_000, at, f'%"id":"{id}"%'))
        return next((event for event in found if event.fields["id"] == id), None)

    def in_thread_who(
        self, system: str, account: str, at: int, *, pid: int = 0, client_port: int = 0, window: int = 2000
    ) -> list[Suspect]:
        """Sessions of the account that were open at ``at`` (give or take ``window`` milliseconds), certain ones alone
        if there are any. ``pid`` is the legacy side's number of the connection: process, thread or connection id."""
        sql = (
            "SELECT session, agent, owner, system, account, opened, closed, outcome, backend, client_port FROM session"
            " WHERE system = ? AND account = ? AND opened <= ? AND (closed IS NULL OR closed >= ?)"
            " AND (? = 0 OR backend IS NULL OR backend = ?) AND (? = 0 OR client_port IS NULL OR client_port = ?)"
            " ORDER BY opened DESC LIMIT ?"
        )
        wanted = (pid, pid, client_port, client_port)
        with reading(self._engine) as connection:
            parameters = (system, account, at + window, at - window, *wanted, MAX_SUSPECTS)
            rows = connection.exec_driver_sql(sql, parameters).all()
        suspects = [_suspect(row, pid, client_port) for row in rows]
        return [suspect for suspect in suspects if suspect.certain] or suspects

    def in_thread_span(self, filters: Filters) -> tuple[int, int, int]:
        """How many events agree, and the first and last sequence number (0 when none)."""
        condition, parameters = _condition(filters)
        sql = f"SELECT count(*), coalesce(min(seq), 0), coalesce(max(seq), 0) FROM event WHERE {condition}"
        with reading(self._engine) as connection:
            count, first, last = connection.exec_driver_sql(sql, parameters).one()
        return int(count), int(first), int(last)

    def in_thread_pages(self, filters: Filters, last: int) -> Iterator[list[LoggedEvent]]:
        """All that agree up to sequence number ``last``, oldest first; each page is a transaction of its own."""
        condition, parameters = _condition(filters)
        position = 0
        sql = f"SELECT {_COLUMNS} FROM event WHERE {condition} AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        while page := self._read(sql, (*parameters, position, last, PAGE)):
            yield page
            position = page[-1].seq

    def _read(self, sql: str, parameters: Sequence[Any]) -> list[LoggedEvent]:
        with reading(self._engine) as connection:
            return [LoggedEvent(seq, body) for seq, body in connection.exec_driver_sql(sql, tuple(parameters))]


def read_event(actor: str, query: str, filters: Filters, count: int, *, via: str = "cli") -> Event:
    """The event that says that ``actor`` read ``count`` events by ``query`` ("list", "show", "who", "export")."""
    detail = detail_section(query=query, filters=filters.described(), count=count)
    return Event(LOG_READ, sections={"actor": actor_section(kind="person", id=actor, via=via), "detail": detail})


def _suspect(row: Any, pid: int, client_port: int) -> Suspect:
    backend, port = row[8] or 0, row[9] or 0
    certain = bool((pid and backend == pid) or (client_port and port == client_port))
    session, agent, owner, system, account, opened, closed, outcome = row[:8]
    return Suspect(session, agent, owner, system, account, opened, closed, outcome, backend, port, certain)


def _condition(filters: Filters) -> tuple[str, tuple[Any, ...]]:
    parts = ["1"]
    parameters: list[Any] = []

    def add(sql: str, *values: Any) -> None:
        parts.append(sql)
        parameters.extend(values)

    for name in ("agent", "owner", "system", "account", "outcome", "type", "action", "session"):
        if value := getattr(filters, name):
            add(f"{name} = ?", value)
    if filters.type and filters.type != OPERATION:
        parts.append(NOT_OPERATION)
    if filters.outcome and filters.outcome != SUCCESS:
        parts.append(NOT_SUCCESS)
    if filters.label:
        add("labels LIKE ? ESCAPE '\\'", f"%|{_escaped(filters.label)}|%")
    for sql, number in (("ts >= ?", filters.since), ("ts <= ?", filters.until)):
        if number is not None:
            add(sql, number)
    for sql, number in (("seq < ?", filters.before), ("seq > ?", filters.after)):
        if number is not None:
            add(sql, number)
    if filters.text:
        # The whole body first: its JSON escapes are the same, and most bodies need not be parsed then.
        add("body LIKE ? ESCAPE '\\'", f"%{_escaped(quoted(filters.text)[1:-1])}%")
        add("json_extract(body, '$.action.text') LIKE ? ESCAPE '\\'", f"%{_escaped(clean(filters.text))}%")
    return " AND ".join(parts), tuple(parameters)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
