"""Who or what did something: agents and people in one list, each with the other side of the delegation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bridge.translation.searching import Tally
from bridge.translation.vocabulary import DENIED, INTENT, OPERATION, OUTCOME, SESSION_OPEN, SESSION_REFUSED

_ACTIONS = ("read", "write", "admin")
_OF_SESSIONS = "session."


def who_acted(tallies: Iterable[Tally]) -> list[dict[str, Any]]:
    """One row an actor, agents first, by id: ``sessions`` that were opened, operations that were permitted by kind,
    what was ``denied`` (logins and operations), and ``commands`` given to the bridge itself; times in Unix
    milliseconds."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for tally in tallies:
        if tally.agent and _of_agent(tally):
            row = _count(rows.setdefault(("agent", tally.agent), _row("agent", tally.agent)), tally)
            row["owner"] = tally.owner or row["owner"]
            row["people"] |= {tally.person} - {""}
        if tally.person:
            row = _count(rows.setdefault(("person", tally.person), _row("person", tally.person)), tally)
            row["agents"] |= {tally.agent} - {""} if _of_agent(tally) else set()
    lists = ("people", "agents", "systems")
    return [{**row, **{name: sorted(row[name]) for name in lists}} for _, row in sorted(rows.items())]


def _of_agent(tally: Tally) -> bool:
    """What an agent did, and not what somebody did about it."""
    return tally.type == OPERATION or tally.type.startswith(_OF_SESSIONS)


def _row(kind: str, id: str) -> dict[str, Any]:
    counts = dict.fromkeys(("sessions", *_ACTIONS, "denied", "commands"), 0)
    return {"kind": kind, "id": id, "owner": "", "people": set(), "agents": set(), "systems": set(), **counts,
            "first": 0, "last": 0}  # fmt: skip


def _count(row: dict[str, Any], tally: Tally) -> dict[str, Any]:
    row["first"] = min(row["first"] or tally.first_at, tally.first_at)
    row["last"] = max(row["last"], tally.last_at)
    row["systems"] |= {tally.system} - {""}
    if tally.type in (OPERATION, SESSION_REFUSED) and tally.outcome == DENIED:
        row["denied"] += tally.count
    elif tally.type == SESSION_OPEN:
        row["sessions"] += tally.count
    elif tally.type == OPERATION and tally.phase != OUTCOME and tally.action in _ACTIONS:
        row[tally.action] += tally.count
    elif not _of_agent(tally) and tally.phase != INTENT:
        row["commands"] += tally.count
    return row
