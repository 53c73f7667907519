"""Break-glass: request, approve, use, review. Each is signed by its author; what it opens ends by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bridge.api.commands import tokens
from bridge.api.failure import CommandFailed
from bridge.api.known import known_system
from bridge.api.services import Actor, Services
from bridge.api.signing import CLOCKS, Attempt, check_fresh, check_reason
from bridge.policy.emergency import PATIENCE, Emergency, State
from bridge.policy.emergency import plain as emergency_plain
from bridge.translation.record import IndexKeys
from bridge.translation.vocabulary import BREAK_GLASS

SHORTEST = 10
"""Seconds: less is a slip of the pen."""

_ID = re.compile(r"bg_[a-z0-9]{5,37}")

VERBS = ("request", "approve", "use", "review")


def rules(services: Services, actor: Actor) -> dict[str, Any]:
    """Who may ask and approve, and the bridge's name, which is part of what is signed."""
    found = services.break_glass
    return {
        "bridge": services.name,
        "people": sorted(found.people),
        "approvals": found.approvals,
        "longest": found.longest,
        "review": found.review,
    }


def statement(services: Services, actor: Actor, id: str, verb: str, at: int = 0) -> dict[str, Any]:
    """The text to sign, for keys that never come near this machine."""
    if verb not in VERBS:
        raise CommandFailed(f"verb is one of {', '.join(VERBS)}", field="verb")
    return {"id": id, "statement": _found(services, id).statement(services.name, verb, at).decode()}


def request(
    services: Services,
    actor: Actor,
    id: str,
    system: str,
    account: str,
    agent: str,
    requester: str,
    reason: str,
    seconds: int,
    created: int,
    signature: str,
) -> dict[str, Any]:
    """``id`` is the caller's, ``bg_`` and random. The agent's owner and those who may approve are to be told."""
    asked = Emergency(id, system, account, agent, requester, reason.strip(), seconds, created, signature)
    _check(services, asked)
    _attempt(services, actor, asked).signed(requester, asked.statement(services.name, "request"), signature)
    with services.changing(actor, BREAK_GLASS, id, widens=True, index=_index(services, asked)) as change:
        if not services.emergencies.in_thread_add(asked):
            raise CommandFailed(f"{id} exists already", status=409, field="id")
        change.made(None, _plain(services, asked))
    return _plain(services, asked)


def approve(services: Services, actor: Actor, id: str, person: str, signature: str) -> dict[str, Any]:
    """By one who is not the requester; the same approval twice counts once."""
    found = _found(services, id)
    attempt = _attempt(services, actor, found)
    if person == found.requester:
        raise attempt.refused("nobody approves what they ask for themselves", "person")
    attempt.signed(person, found.statement(services.name, "approve"), signature)

    def approved(one: Emergency) -> Emergency:
        _in_state(services, one, State.REQUESTED, State.APPROVED)
        return replace(one, approvals={**one.approvals, person: signature})

    return _changed(services, actor, found, approved)


def use(services: Services, actor: Actor, id: str, at: int, signature: str) -> dict[str, Any]:
    """A token for the agent, of the built-in issuer. The first use starts the clock; until the end there are others.

    The token opens this account alone. No signature is good twice.
    """
    found, now = _found(services, id), services.now()
    if abs(now - at) > CLOCKS:
        raise CommandFailed("the signature is too old, or a clock is wrong; sign again", status=403, field="at")
    _attempt(services, actor, found).signed(found.requester, found.statement(services.name, "use", at), signature)
    services.running()

    def begun(one: Emergency) -> Emergency:
        _in_state(services, one, State.APPROVED, State.OPEN)
        if at <= one.used:
            raise CommandFailed("this signature was used; sign again", status=409, field="at")
        return replace(one, began=one.began or int(now), used=at)

    row = _changed(services, actor, found, begun)
    ttl = min(tokens.DEFAULT_TTL, max(int(row["ends"] - now), 1))
    token = tokens.minted(services, actor, found.agent, ttl, found.system, emergency=id)
    return {**row, "token": token["token"], "token_expires": token["expires"]}


def review(
    services: Services, actor: Actor, id: str, person: str, note: str, signature: str, rotated: bool = False
) -> dict[str, Any]:
    """By one who did not ask for it. ``rotated``: the static password was changed since."""
    found = _found(services, id)
    attempt = _attempt(services, actor, found)
    if not note.strip():
        raise CommandFailed("say what was found", field="note")
    if person == found.requester:
        raise attempt.refused("nobody reviews what they asked for themselves", "person")
    attempt.signed(person, found.statement(services.name, "review"), signature)

    def reviewed(one: Emergency) -> Emergency:
        _in_state(services, one, State.OVER)
        now = int(services.now())
        return replace(one, reviewer=person, reviewed=now, note=note.strip(), rotated=rotated or one.rotated)

    return _changed(services, actor, found, reviewed)


def list_all(services: Services, actor: Actor, state: str = "") -> list[dict[str, Any]]:
    """The newest first; ``overdue`` ones wait for a review longer than they may."""
    rows = [_plain(services, one) for one in services.emergencies.in_thread_all()]
    return [row for row in rows if not state or row["state"] == state or (state == "overdue" and row["overdue"])]


def _check(services: Services, asked: Emergency) -> None:
    rules, agents = services.break_glass, services.registry.in_thread_directory()
    if not rules.people:
        raise CommandFailed("no break-glass is configured: breakglass.people names who may ask and approve", status=409)
    if not _ID.fullmatch(asked.id):
        raise CommandFailed("an id is bg_ and 5 to 37 letters and digits", field="id")
    if asked.account not in known_system(services.policy, asked.system).accounts:
        raise CommandFailed(f"no account {asked.account} on a system {asked.system}", status=404, field="account")
    known = agents.by_id(asked.agent)
    if known is None or known.refusal(services.now()):
        raise CommandFailed(f"no active agent {asked.agent}", status=404, field="agent")
    if asked.requester not in rules.people:
        raise CommandFailed(f"{asked.requester!r} is none of breakglass.people", status=403, field="requester")
    check_reason(asked.reason)
    if not SHORTEST <= asked.seconds <= rules.longest:
        raise CommandFailed(f"it lasts {SHORTEST} to {rules.longest} seconds", field="seconds")
    check_fresh(asked.created, services.now(), PATIENCE)


def _found(services: Services, id: str) -> Emergency:
    found = services.emergencies.in_thread_find(id)
    if found is None:
        raise CommandFailed(f"no break-glass {id}", status=404, field="id")
    return found


def _attempt(services: Services, actor: Actor, one: Emergency) -> Attempt:
    return Attempt(services, actor, BREAK_GLASS, one.id, _index(services, one), services.break_glass.people)


def _in_state(services: Services, found: Emergency, *states: State) -> None:
    state = found.state(services.break_glass, services.now())
    if state not in states:
        raise CommandFailed(f"{found.id} is {state}", status=409, field="id")


def _changed(
    services: Services, actor: Actor, found: Emergency, change: Callable[[Emergency], Emergency]
) -> dict[str, Any]:
    """``change`` is made of the object as it stands then, and recorded before and after."""
    change(found)  # what cannot be is refused before anything is written
    with services.changing(actor, BREAK_GLASS, found.id, widens=True, index=_index(services, found)) as made:
        pair = services.emergencies.in_thread_change(found.id, change)
        if pair is None:
            raise CommandFailed(f"no break-glass {found.id}", status=404, field="id")
        before, after = pair
        made.made(_plain(services, before), _plain(services, after))
    return _plain(services, after)


def _plain(services: Services, one: Emergency) -> dict[str, Any]:
    return emergency_plain(one, services.break_glass, services.now(), _owner(services, one))


def _index(services: Services, one: Emergency) -> IndexKeys:
    owner = _owner(services, one)
    return IndexKeys(session=one.id, agent=one.agent, owner=owner, system=one.system, account=one.account)


def _owner(services: Services, one: Emergency) -> str:
    agent = services.registry.in_thread_directory().by_id(one.agent)
    return agent.owner.id if agent else ""
