"""Access requests on the database. Every method blocks and runs in a thread. Raises StorageError."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import Connection, Engine

from bridge.adapter import Action, BridgeError
from bridge.identity.registry import bump, version_of
from bridge.policy.access_request import OPEN, AccessRequest, State
from bridge.storage import reading, writing

DAY = 86_400
MOST_PER_DAY = 100
"""Requests that one agent may make within a day, decided ones too: each stands in the log and may wake somebody."""

KEPT = 30 * DAY
"""Seconds that a request which is over is shown; the log keeps it for good."""

MOST_SHOWN = 10_000

_COLUMNS = tuple(field.name for field in fields(AccessRequest))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM access_request"
_INSERT = f"INSERT INTO access_request ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_OPEN = "state IN ('pending', 'approved')"


class TooManyRequests(BridgeError):
    """The agent has asked for as much as it may; the message says when it may ask again."""


class NotInState(BridgeError):
    """Somebody else was first: the request is in another state. ``found`` is what it is now."""

    def __init__(self, found: AccessRequest, state: State) -> None:
        super().__init__(f"{found.id} is {state}")
        self.found = found


class AccessRequests:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def in_thread_list(self, agent: str = "") -> list[AccessRequest]:
        """The newest first."""
        where, given = (" WHERE agent = ?", (agent,)) if agent else ("", ())
        with reading(self._engine) as connection:
            return _found(connection, f"{where} ORDER BY created DESC, id LIMIT {MOST_SHOWN}", given)

    def in_thread_find(self, id: str) -> AccessRequest | None:
        with reading(self._engine) as connection:
            return next(iter(_found(connection, " WHERE id = ?", (id,))), None)

    def in_thread_given(self, now: float) -> tuple[int, list[AccessRequest]]:
        """Those that are approved and not over, the oldest first; and the registry's version by which that is so."""
        with reading(self._engine) as connection:
            live = " WHERE state = 'approved' AND ends > ? ORDER BY decided, id"
            return version_of(connection), _found(connection, live, (now,))

    def in_thread_same(self, asked: AccessRequest, pending: int) -> AccessRequest | None:
        """The open request for the same, if there is one. Raises TooManyRequests when there may be no further one."""
        with reading(self._engine) as connection:
            return _same(connection, asked, pending)

    def in_thread_add(self, asked: AccessRequest, pending: int) -> AccessRequest:
        """The request itself, or the open one for the same. Raises TooManyRequests."""
        with writing(self._engine) as connection:
            same = _same(connection, asked, pending)
            if same is None:
                connection.exec_driver_sql(_INSERT, _row(asked))
        return same or asked

    def in_thread_move(self, id: str, state: State, now: float, **changes: Any) -> tuple[AccessRequest, AccessRequest]:
        """Before and after. From ``pending``; to ``revoked`` from ``approved``. Raises NotInState."""
        wanted = State.APPROVED if state is State.REVOKED else State.PENDING
        with writing(self._engine) as connection:
            before = _found(connection, " WHERE id = ?", (id,))[0]
            if before.state_at(now) is not wanted:
                raise NotInState(before, before.state_at(now))
            after = replace(before, state=state, **changes)
            _update(connection, after)
            bump(connection)
        return before, after

    def in_thread_settle(self, now: float) -> list[tuple[AccessRequest, AccessRequest]]:
        """Takes down that requests have lapsed or are over, each once; before and after of each."""
        due = f" WHERE {_OPEN} AND (CASE state WHEN 'pending' THEN lapses ELSE ends END) <= ?"
        with reading(self._engine) as connection:
            if not _found(connection, f"{due} LIMIT 1", (now,)):
                return []
        with writing(self._engine) as connection:
            settled = [(one, replace(one, state=one.state_at(now))) for one in _found(connection, due, (now,))]
            for _, after in settled:
                _update(connection, after)
            sql = f"DELETE FROM access_request WHERE NOT {_OPEN} AND created < ?"
            connection.exec_driver_sql(sql, (int(now) - KEPT,))
        return settled


def _same(connection: Connection, asked: AccessRequest, pending: int) -> AccessRequest | None:
    now = asked.created
    found = _found(connection, f" WHERE agent = ? AND ({_OPEN} OR created > ?)", (asked.agent, now - DAY))
    live = [one for one in found if one.state_at(now) in OPEN]
    for one in live:
        if one.what == asked.what:
            return one
    if sum(1 for one in live if one.state is State.PENDING) >= pending:
        raise TooManyRequests(f"{asked.agent} has {pending} requests that wait; withdraw one, or wait for an answer")
    lately = sorted(one.created for one in found if one.created > now - DAY)
    if len(lately) >= MOST_PER_DAY:
        again = lately[-MOST_PER_DAY] + DAY - now
        raise TooManyRequests(f"{asked.agent} has asked {MOST_PER_DAY} times within a day; ask again in {again} s")
    return None


def _found(connection: Connection, rest: str, given: Sequence[Any]) -> list[AccessRequest]:
    return [_request(row) for row in connection.exec_driver_sql(_SELECT + rest, tuple(given)).all()]


def _row(one: AccessRequest) -> tuple[Any, ...]:
    targets = {name: sorted(values) for name, values in one.targets.items()}
    plain = {"actions": json.dumps(sorted(one.actions)), "targets": json.dumps(targets), "state": one.state.value}
    return tuple(plain.get(name, getattr(one, name)) for name in _COLUMNS)


def _update(connection: Connection, one: AccessRequest) -> None:
    sql = "UPDATE access_request SET state = ?, decider = ?, decided = ?, note = ?, ends = ? WHERE id = ?"
    connection.exec_driver_sql(sql, (one.state.value, one.decider, one.decided, one.note, one.ends, one.id))


def _request(row: Any) -> AccessRequest:
    values = dict(zip(_COLUMNS, row, strict=True))
    targets = {name: frozenset(given) for name, given in json.loads(values["targets"]).items()}
    actions = frozenset(map(Action, json.loads(values["actions"])))
    return AccessRequest(**{**values, "actions": actions, "targets": targets, "state": State(values["state"])})
