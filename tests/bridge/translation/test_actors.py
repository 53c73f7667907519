"""Agents and people in one list, counted from a log whose content is known."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from bridge.translation import Event, IndexKeys, LogReader, facts, in_thread_append
from bridge.translation.actors import who_acted
from bridge.translation.query import parse

NOON = 1_795_600_000_000


def event(type: str, agent: str, system: str, at: int, *, person: str = "", action: str = "", **changed: Any) -> Event:
    sections = {"delegation": facts.delegation_section(mode="delegated" if person else "autonomous", subject=person)}
    index = IndexKeys("s-" + agent, agent, f"owner-{agent}", system, "svc", action)
    return Event(type, sections=sections, index=index, at=NOON + at, **changed)


def test_agents_and_people_are_in_one_list(engine: Engine) -> None:
    actor = facts.actor_section(kind="person", id="carol", via="cli")
    in_thread_append(engine, "l", [
        event("session.open", "bot", "finance", 0, person="alice"),
        event("operation", "bot", "finance", 1, person="alice", action="read"),
        event("operation", "bot", "finance", 2, person="alice", action="write", phase="intent", outcome=""),
        event("operation", "bot", "finance", 3, person="alice", action="write", phase="outcome", request="x"),
        event("operation", "bot", "finance", 4, person="alice", action="admin", outcome="denied", reason="no"),
        event("session.open", "night", "finance", 5),
        event("operation", "night", "finance", 6, action="read"),
        event("operation", "night", "finance", 7, action="read", outcome="failure"),
        event("session.refused", "stranger", "finance", 8, outcome="denied", reason="not-granted"),
        event("operation", "night", "other", 9, action="write"),
        Event("registry.change", sections={"actor": actor}, index=IndexKeys(agent="bot", owner="o"), at=NOON + 10),
    ])  # fmt: skip
    reader = LogReader(engine)

    def rows(query: str) -> dict[str, dict[str, Any]]:
        tallies, _ = reader.in_thread_tallies(parse(query))
        return {f"{row['kind']}:{row['id']}": row for row in who_acted(tallies)}

    found = rows("system:finance")
    assert list(found) == ["agent:bot", "agent:night", "agent:stranger", "person:alice"]
    counts = {name: tuple(row[part] for part in ("sessions", "read", "write", "admin", "denied", "commands"))
              for name, row in found.items()}  # fmt: skip
    assert counts == {
        "agent:bot": (1, 1, 1, 0, 1, 0), "agent:night": (1, 2, 0, 0, 0, 0), "agent:stranger": (0, 0, 0, 0, 1, 0),
        "person:alice": (1, 1, 1, 0, 1, 0),
    }  # fmt: skip
    assert (found["agent:bot"]["owner"], found["agent:bot"]["people"]) == ("owner-bot", ["alice"])
    assert (found["person:alice"]["agents"], found["person:alice"]["systems"]) == (["bot"], ["finance"])
    assert (found["agent:night"]["first"], found["agent:night"]["last"]) == (NOON + 5, NOON + 7)
    everyone = rows("")
    assert everyone["person:carol"]["commands"] == 1
    assert everyone["person:carol"]["agents"] == []
    assert everyone["agent:night"]["systems"] == ["finance", "other"]
