"""Credential drills, and who came through the last one."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from bridge.adapter import Reason
from bridge.api.failure import CommandFailed
from bridge.api.services import Actor, Services
from bridge.translation import facts, parts
from bridge.translation.reading import Filters
from bridge.translation.record import Event
from bridge.translation.vocabulary import DRILL, SESSION_CLOSE, SESSION_OPEN, SESSION_REFUSED

SHORTEST_LIFE, LONGEST = 5, 4 * 3600
MOST_AGENTS = 1000
MOST_EVENTS = 100_000


def start(
    services: Services,
    actor: Actor,
    agents: list[str] | None = None,
    role: str | None = None,
    seconds: int = 3600,
    life: int = 120,
) -> dict[str, Any]:
    """For ``seconds`` the tokens of these agents, and of those with ``role``, count for ``life`` seconds alone."""
    if not SHORTEST_LIFE <= life < seconds <= LONGEST:
        raise CommandFailed(f"life is {SHORTEST_LIFE} s or more, and a drill longer than it, {LONGEST} s at most",
                            field="life")  # fmt: skip
    chosen = _chosen(services, agents or [], role)
    now = services.now()
    until = int(now + seconds)
    detail = facts.detail_section(agents=chosen, until=until, life=life)
    live = services.running()
    services.write(Event(DRILL, sections={"actor": actor.section(), "detail": detail}))
    reached = live.begin_drill(chosen, until, life)
    return {"agents": chosen, "until": until, "life": life, "live_sessions": reached}


def _chosen(services: Services, agents: list[str], role: str | None) -> list[str]:
    directory = services.registry.in_thread_directory()
    now = services.now()
    for id in agents:
        known = directory.by_id(id)
        if known is None or known.refusal(now):
            raise CommandFailed(f"no active agent {id}", status=404, field="agents")
    with_role = [one.id for one in directory if role is not None and role in one.roles and not one.refusal(now)]
    chosen = sorted({*agents, *with_role})
    if not 1 <= len(chosen) <= MOST_AGENTS:
        raise CommandFailed(f"a drill is for 1 to {MOST_AGENTS} agents, these are {len(chosen)}", field="agents")
    return chosen


def stop(services: Services, actor: Actor) -> dict[str, Any]:
    """Ends the drill at once; tokens live as long as they say again."""
    ended = services.running().end_drill()
    detail = facts.detail_section(agents=ended, until=int(services.now()))
    services.write(Event(DRILL, sections={"actor": actor.section(), "detail": detail}), done=True)
    return {"agents": ended}


def report(services: Services, actor: Actor) -> list[dict[str, Any]]:
    """Of the last drill, as long as it went on, a line an agent; see ``verdict``."""
    drills = services.reader.in_thread_find(Filters(type=DRILL), 100)  # the newest first
    at = next((at for at, one in enumerate(drills) if "life" in one.fields["detail"]), None)
    if at is None:
        raise CommandFailed("there was no drill", status=404)
    begun = drills[at].fields
    since = parts.at(begun)
    until = parts.at(drills[at - 1].fields) if at else int(begun["detail"]["until"]) * 1000
    seen = _seen(services, since, until)
    services.read(actor, "drill.report", Filters(since=since, until=until), sum(map(len, seen.values())))
    return [_line(agent, seen[agent]) for agent in begun["detail"]["agents"]]


Seen = list[tuple[str, str, str]]
"""In order: ``open``, ``expired`` or ``refused``; the time; what tells the token."""


def _seen(services: Services, since: int, until: int) -> defaultdict[str, Seen]:
    seen: defaultdict[str, Seen] = defaultdict(list)
    found = []
    for type in (SESSION_OPEN, SESSION_CLOSE, SESSION_REFUSED):
        wanted = Filters(type=type, since=since, until=until)
        found += services.reader.in_thread_find(wanted, MOST_EVENTS, oldest_first=True)
    for event in sorted(found, key=lambda one: one.seq):
        body = event.fields
        if body["type"] == SESSION_OPEN:
            what = "open"
        elif body["reason"] in (Reason.SESSION_EXPIRED.value, Reason.CREDENTIAL_EXPIRED.value):
            what = "expired" if body["type"] == SESSION_CLOSE else "refused"
        else:
            continue
        credential = body.get("credential", {})
        token = credential.get("digest", "") or credential.get("jti", "")
        seen[body.get("agent", {}).get("id", "")].append((what, body["ts"], token))
    return seen


def _line(agent: str, seen: Seen) -> dict[str, Any]:
    return {
        "agent": agent,
        "verdict": verdict(seen),
        "sessions": sum(1 for what, _, _ in seen if what == "open"),
        "tokens": len({token for what, _, token in seen if what == "open"}),
        "expired": sum(1 for what, _, _ in seen if what == "expired"),
        "refused": sum(1 for what, _, _ in seen if what == "refused"),
        "last": seen[-1][1] if seen else "",
    }


def verdict(seen: Seen) -> str:
    """``refreshed``: it brought another token than one that it had before, and then was refused no more. ``failed``: it
    did not. ``not challenged``: no token of it ended meanwhile. ``not seen``: it was not there.

    The end of a session says nothing against an agent that has refreshed once: it may have no more to do, and it is
    often written after the next session has begun. A token that opens a session after that had not ended.
    """
    if not seen:
        return "not seen"
    ended: set[str] = set()
    refused = True
    for what, _, token in seen:
        if what == "open":
            ended.discard(token)
            refused = False
        else:
            ended.add(token)
            refused = refused or what == "refused"
    if not refused and len({token for _, _, token in seen}) > 1:
        return "refreshed"
    return "failed" if ended else "not challenged"
