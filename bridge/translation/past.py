"""What agents asked, read back from the log's events: to be let in, and each operation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bridge.adapter import Reason
from bridge.translation.conditions import Selection
from bridge.translation.reading import LoggedEvent, LogReader
from bridge.translation.vocabulary import DENIED, OPERATION, OUTCOME, SESSION_OPEN, SESSION_REFUSED

DENIED_BY_GRANTS = {OPERATION: Reason.ACTION_DENIED.value, SESSION_REFUSED: Reason.NOT_GRANTED.value}
QUOTA = Reason.QUOTA.value
FOR_A_TIME = ":"
"""In the ids of grants that no configuration has: of break-glass, and of access that somebody asked for."""

NO_SUCH_HOST = "host"
"""The fine code of a refusal that no grant can change."""


@dataclass(frozen=True, slots=True)
class Question:
    """``action`` "": to be let in. ``account`` "": the agent's default. ``permitted``: by the grants of that time."""

    at: float
    agent: str
    owner: str
    roles: tuple[str, ...]
    environment: str
    cost_centre: str
    delegated: bool
    system: str
    account: str
    action: str
    target: tuple[tuple[str, str], ...]
    source: str
    permitted: bool


def in_thread_questions(reader: LogReader, wanted: Selection) -> Iterator[Question]:
    """Oldest first. Left out are what was refused for other reasons than the grants, and sessions that were let in by
    what was given for a time alone: no configuration gives it. Raises StorageError."""
    _count, _first, last = reader.in_thread_span(wanted)
    given: set[str] = set()
    for page in reader.in_thread_pages(wanted, last):
        for event in page:
            session = event.fields.get("corr", {}).get("session", "")
            if _is_given(event.fields):
                given.add(session)
            if session not in given and (question := _question(event)) is not None:
                yield question


def _is_given(body: dict[str, Any]) -> bool:
    rules = body.get("decision", {}).get("rules", [])
    return body["type"] == SESSION_OPEN and bool(rules) and all(FOR_A_TIME in rule for rule in rules)


def _question(event: LoggedEvent) -> Question | None:
    body = event.fields
    kind, agent = body["type"], body.get("agent")
    if kind not in (SESSION_OPEN, SESSION_REFUSED, OPERATION) or body["phase"] == OUTCOME or not agent:
        return None
    denied = body["outcome"] == DENIED and kind in DENIED_BY_GRANTS and body["reason"] == DENIED_BY_GRANTS[kind]
    if kind == SESSION_REFUSED and (not denied or body.get("detail", {}).get("code") == NO_SUCH_HOST):
        return None
    if kind == OPERATION and body["reason"] == QUOTA:
        return None
    legacy, action = body.get("legacy", {}), body.get("action", {})
    account = legacy.get("account", "")
    target = {**legacy.get("target", {}), **action.get("target", {})}
    return Question(
        at=datetime.fromisoformat(body["ts"]).timestamp(),
        agent=agent["id"],
        owner=agent.get("owner", ""),
        roles=tuple(agent.get("roles", ())),
        environment=agent.get("environment", ""),
        cost_centre=agent.get("cost_centre", ""),
        delegated=body.get("delegation", {}).get("mode") == "delegated",
        system=legacy.get("system", ""),
        account="" if account == agent["id"] else account,
        action=action.get("kind", ""),
        target=tuple(sorted(target.items())),
        source=_host(body.get("transport", {})),
        permitted=not denied,
    )


def _host(transport: dict[str, Any]) -> str:
    host: str = transport.get("src", "").rpartition(":")[0]
    return host.strip("[]")
