"""Closing what a crash left open, before the first session of the new start."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine

from bridge.storage import reading
from bridge.translation.appending import in_thread_append
from bridge.translation.canonical import canonical
from bridge.translation.identifiers import Identifiers
from bridge.translation.record import Event, IndexKeys
from bridge.translation.schema import STILL_OPEN
from bridge.translation.vocabulary import BRIDGE_STOPPED, OUTCOME, SESSION_CLOSE, UNKNOWN

BATCH = 500
"""Events per commit, so that a log with many open sessions does not become one huge transaction."""

_REPEATED = ("agent", "delegation", "legacy", "node", "transport")

_INTENTS = "SELECT e.body, e.labels FROM open_intent o JOIN event e ON e.seq = o.seq ORDER BY o.seq"
_SESSIONS = (
    "SELECT e.body, e.labels FROM session s JOIN event e ON e.seq = s.opened_seq"
    f" WHERE s.{STILL_OPEN} ORDER BY s.opened_seq"
)


def in_thread_close_open(engine: Engine, log: str, keep: frozenset[str] = frozenset()) -> tuple[int, int]:
    """Ends intents without outcome and sessions without close as ``unknown``, reason ``bridge-stopped``.

    ``keep`` are sessions that are still alive (after the log had failed and recovered). Returns how many sessions and
    how many operations were ended. Raises StorageError.
    """
    operations = _end(engine, log, _INTENTS, _outcome, keep)
    sessions = _end(engine, log, _SESSIONS, _close, keep)
    return sessions, operations


def _end(
    engine: Engine, log: str, query: str, end: Callable[[dict[str, Any], IndexKeys], Event], keep: frozenset[str]
) -> int:
    with reading(engine) as connection:
        found = connection.exec_driver_sql(query).all()
    events = [end(fields, index) for fields, index in map(_read, found) if index.session not in keep]
    identifiers = Identifiers()
    for start in range(0, len(events), BATCH):
        in_thread_append(engine, log, events[start : start + BATCH], identifiers)
    return len(events)


def _read(row: Any) -> tuple[dict[str, Any], IndexKeys]:
    fields = json.loads(row[0])
    agent, legacy = fields.get("agent", {}), fields.get("legacy", {})
    return fields, IndexKeys(
        session=fields.get("corr", {}).get("session", ""),
        agent=agent.get("id", ""),
        owner=agent.get("owner", ""),
        system=legacy.get("system", ""),
        account=legacy.get("account", ""),
        action=fields.get("action", {}).get("kind", ""),
        labels=tuple(row[1].strip("|").split("|")) if row[1] else (),
    )


def _event(type: str, fields: dict[str, Any], index: IndexKeys, *more: str) -> Event:
    sections = {name: canonical(fields[name]) for name in (*_REPEATED, "corr", *more) if name in fields}
    return Event(type, outcome=UNKNOWN, reason=BRIDGE_STOPPED, sections=sections, index=index, personal=())


def _close(fields: dict[str, Any], index: IndexKeys) -> Event:
    return _event(SESSION_CLOSE, fields, index)


def _outcome(fields: dict[str, Any], index: IndexKeys) -> Event:
    request = fields["id"]
    fields["corr"] = {**fields.get("corr", {}), "request": request}
    event = _event(fields["type"], fields, index, "action")
    return replace(event, phase=OUTCOME, request=request)
