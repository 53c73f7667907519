"""Finding and reading events. Every method blocks and runs in a thread; the caller records the read (``read_event``).

``who`` answers "which agent made this change?" from what the legacy system's own log shows: the account, the time,
and the number or the port of the connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from bridge.storage import StorageError, reading
from bridge.translation.conditions import Selection, condition, plain_condition
from bridge.translation.extent import Extent, extent, last_seq
from bridge.translation.facts import actor_section, detail_section
from bridge.translation.identifiers import milliseconds
from bridge.translation.overview import Overview
from bridge.translation.personal import known, names, resolved
from bridge.translation.query import KEYS, Term, equals
from bridge.translation.record import Event
from bridge.translation.searching import Tally, helps, tallies, windows
from bridge.translation.vocabulary import LOG_READ

PAGE = 1000
"""Events fetched at a time while exporting."""

MAX_SESSION_EVENTS = 100_000
"""Events of one session that are read at once; a longer one is to be exported."""

MAX_SUSPECTS = 1000

_COLUMNS = "seq, body"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """``body`` is the exact text in the log; ``names`` are the values of tokens in it (see ``personal``)."""

    seq: int
    body: str
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Any]:
        return resolved(json.loads(self.body), self.names)


@dataclass(frozen=True, slots=True)
class Filters:
    """A query of one value a key; an empty member filters nothing. Times are Unix milliseconds, both ends included.

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
        self.terms  # noqa: B018 - a type or outcome that does not exist is an error at once

    @property
    def terms(self) -> tuple[Term, ...]:
        members = {one.name: getattr(self, one.name) for one in fields(self) if one.name in KEYS}
        return tuple(equals(members))

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


@dataclass(frozen=True, slots=True)
class Answer:
    """``events`` of the log as it was at ``extent``; ``more``: the limit left some out."""

    events: list[LoggedEvent]
    more: bool
    extent: Extent


class LogReader:
    """``overview`` makes searches quick; without one the log itself is read."""

    def __init__(self, engine: Engine, overview: Overview | None = None) -> None:
        self._engine = engine
        self._overview = overview

    def scanning(self) -> LogReader:
        """The same log, read from end to end."""
        return LogReader(self._engine)

    def in_thread_extent(self) -> Extent:
        with reading(self._engine) as connection:
            return extent(connection)

    def in_thread_answer(self, selection: Selection, limit: int = 100, *, oldest_first: bool = False) -> Answer:
        """As ``in_thread_find``, with what the answer was given from."""

        def answer(connection: Connection, overview: Connection | None) -> Answer:
            events = _find(connection, overview, selection, limit + 1, oldest_first)
            return Answer(events[:limit], len(events) > limit, extent(connection))

        return self._asked(answer)

    def in_thread_find(
        self, selection: Selection, limit: int = 100, *, oldest_first: bool = False
    ) -> list[LoggedEvent]:
        """By sequence number, newest first unless asked otherwise. Raises StorageError."""
        return self._asked(lambda log, overview: _find(log, overview, selection, limit, oldest_first))

    def in_thread_tallies(self, selection: Selection) -> tuple[list[Tally], Extent]:
        """How many events of which kind agree. Exact; the time it takes is that of a search. Raises StorageError."""
        return self._asked(lambda log, overview: (tallies(log, overview, selection, last_seq(log)), extent(log)))

    def _asked(self, ask: Callable[[Connection, Connection | None], T]) -> T:
        """Of one state of the log; without the overview where that cannot be read."""
        if self._overview is not None:
            try:
                with reading(self._engine) as log, self._overview.in_thread_reading(log) as overview:
                    return ask(log, overview)
            except StorageError:
                pass  # the log itself answers, or says what is wrong
        with reading(self._engine) as log:
            return ask(log, None)

    def in_thread_plan(self, selection: Selection) -> list[str]:
        """How SQLite goes about ``in_thread_find``, step by step. Raises StorageError."""
        sql, parameters = _search(selection)
        with reading(self._engine) as connection:
            return [step[-1] for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", (*parameters, 1))]

    def in_thread_session(self, session: str) -> list[LoggedEvent]:
        """All events of a session in the order in which they happened."""
        found = self.in_thread_find(Filters(session=session), MAX_SESSION_EVENTS, oldest_first=True)
        return sorted(found, key=lambda event: str(event.fields["id"]))

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

    def in_thread_span(self, selection: Selection) -> tuple[int, int, int]:
        """How many events agree, and the first and last sequence number (0 when none)."""
        where, parameters = condition(selection)
        sql = f"SELECT count(*), coalesce(min(seq), 0), coalesce(max(seq), 0) FROM event WHERE {where}"
        with reading(self._engine) as connection:
            count, first, last = connection.exec_driver_sql(sql, parameters).one()
        return int(count), int(first), int(last)

    def in_thread_pages(self, selection: Selection, last: int) -> Iterator[list[LoggedEvent]]:
        """All that agree up to sequence number ``last``, oldest first; each page is a transaction of its own."""
        position = 0
        while True:
            where, parameters = condition(selection, after=position, last=last)
            page = self._read(f"SELECT {_COLUMNS} FROM event WHERE {where} ORDER BY seq LIMIT ?", (*parameters, PAGE))
            if not page:
                return
            yield page
            position = page[-1].seq

    def in_thread_rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """What a statement of ours finds, for figures that are no events. Raises StorageError."""
        with reading(self._engine) as connection:
            return list(connection.exec_driver_sql(sql, tuple(parameters)).all())

    def _read(self, sql: str, parameters: Sequence[Any]) -> list[LoggedEvent]:
        with reading(self._engine) as connection:
            return _events(connection, sql, parameters)


def _find(
    log: Connection, overview: Connection | None, selection: Selection, limit: int, oldest_first: bool
) -> list[LoggedEvent]:
    if overview is None or not helps(selection):
        sql, parameters = _search(selection, oldest_first)
        return _events(log, sql, (*parameters, limit))
    where, parameters = plain_condition(selection.terms)
    order = "ASC" if oldest_first else "DESC"
    sql = f"SELECT {_COLUMNS} FROM event NOT INDEXED WHERE seq BETWEEN ? AND ? AND {where} ORDER BY seq {order} LIMIT ?"
    found: list[LoggedEvent] = []
    for window in windows(overview, selection, last_seq(log), oldest_first=oldest_first):
        found += _events(log, sql, (*window, *parameters, limit - len(found)))
        if len(found) >= limit:
            break
    return found


def _search(selection: Selection, oldest_first: bool = False) -> tuple[str, tuple[Any, ...]]:
    """The statement, and its parameters but for the limit."""
    where, parameters = condition(selection)
    order = "ASC" if oldest_first else "DESC"
    return f"SELECT {_COLUMNS} FROM event WHERE {where} ORDER BY seq {order} LIMIT ?", parameters


def _events(connection: Connection, sql: str, parameters: Sequence[Any]) -> list[LoggedEvent]:
    return logged(connection, connection.exec_driver_sql(sql, tuple(parameters)).all())


def logged(connection: Connection, rows: Sequence[Any]) -> list[LoggedEvent]:
    """Rows of (seq, body) with the names of the people in them."""
    found = names(known(connection, (row[1] for row in rows)))
    return [LoggedEvent(seq, body, found) for seq, body in rows]


def read_event(actor: str, query: str, selection: Selection, count: int, *, via: str = "cli") -> Event:
    """The event that says that ``actor`` read ``count`` events by ``query`` ("list", "show", "who", "export")."""
    detail = detail_section(query=query, filters=selection.described(), count=count)
    return Event(LOG_READ, sections={"actor": actor_section(kind="person", id=actor, via=via), "detail": detail})


def _suspect(row: Any, pid: int, client_port: int) -> Suspect:
    backend, port = row[8] or 0, row[9] or 0
    certain = bool((pid and backend == pid) or (client_port and port == client_port))
    session, agent, owner, system, account, opened, closed, outcome = row[:8]
    return Suspect(session, agent, owner, system, account, opened, closed, outcome, backend, port, certain)
