"""Demotions: what the configuration file would make less strict is asked for by one person and approved by another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bridge.api.failure import CommandFailed
from bridge.api.services import Actor, Services
from bridge.api.signing import Attempt, check_fresh, check_reason
from bridge.policy.demotion import PATIENCE, Demotion, State, plain, rows
from bridge.policy.demotion import digest as digest_of
from bridge.policy.phases import Lowered, lowered
from bridge.translation.record import IndexKeys
from bridge.translation.vocabulary import DEMOTION

_ID = re.compile(r"dem_[a-z0-9]{5,36}")


def pending(services: Services, actor: Actor) -> dict[str, Any]:
    """What the file, as it stands, would make less strict than what was taken last."""
    changes = _pending(services)
    return {
        "bridge": services.name,
        "people": sorted(_people(services)),
        "changes": rows(changes),
        "digest": digest_of(changes),
    }


def request(
    services: Services, actor: Actor, id: str, requester: str, reason: str, created: int, digest: str, signature: str
) -> dict[str, Any]:
    """For what ``pending`` says, whose ``digest`` is given and signed. ``id`` is the caller's, ``dem_`` and random."""
    asked = Demotion(id, _pending(services), requester, reason.strip(), created, signature)
    _check(services, asked, digest)
    _attempt(services, actor, asked).signed(requester, asked.statement(services.name, "request"), signature)
    with services.changing(actor, DEMOTION, id, widens=True, index=IndexKeys(session=id)) as change:
        if not services.demotions.in_thread_add(asked):
            raise CommandFailed(f"{id} exists already", status=409, field="id")
        change.made(None, _plain(services, asked))
    return _plain(services, asked)


def statement(services: Services, actor: Actor, id: str) -> dict[str, Any]:
    """The text that an approver signs, for a key that never comes near this machine."""
    return {"id": id, "statement": _found(services, id).statement(services.name, "approve").decode()}


def approve(services: Services, actor: Actor, id: str, person: str, signature: str) -> dict[str, Any]:
    """By one who is not the requester. Then the configuration can be taken, once."""
    found = _found(services, id)
    attempt = _attempt(services, actor, found)
    if person == found.requester:
        raise attempt.refused("nobody approves what they ask for themselves", "person")
    attempt.signed(person, found.statement(services.name, "approve"), signature)

    def check(one: Demotion) -> None:
        state = one.state(_people(services), services.name, services.now())
        if state not in (State.REQUESTED, State.APPROVED):
            raise CommandFailed(f"{id} is {state}", status=409, field="id")

    check(found)
    with services.changing(actor, DEMOTION, id, widens=True, index=IndexKeys(session=id)) as change:
        pair = services.demotions.in_thread_approve(id, check, person, signature)
        if pair is None:
            raise CommandFailed(f"no demotion {id}", status=404, field="id")
        before, after = pair
        change.made(_plain(services, before), _plain(services, after))
    return _plain(services, after)


def list_all(services: Services, actor: Actor) -> list[dict[str, Any]]:
    """The newest first."""
    return [_plain(services, one) for one in services.demotions.in_thread_all()]


def _pending(services: Services) -> tuple[Lowered, ...]:
    before = services.demotions.in_thread_phases()
    return lowered(before, services.planned(), services.now()) if before is not None else ()


def _people(services: Services) -> Mapping[str, str]:
    """Those of the configuration that was taken: the file's could be one person's own."""
    before = services.demotions.in_thread_phases()
    return before.people if before is not None else {}


def _check(services: Services, asked: Demotion, digest: str) -> None:
    people = _people(services)
    if not people:
        raise CommandFailed("nobody could approve it: breakglass.people names who signs", status=409)
    if not _ID.fullmatch(asked.id):
        raise CommandFailed("an id is dem_ and 5 to 36 letters and digits", field="id")
    if asked.requester not in people:
        raise CommandFailed(f"{asked.requester!r} is none of breakglass.people", status=403, field="requester")
    check_reason(asked.reason)
    check_fresh(asked.created, services.now(), PATIENCE)
    if not asked.changes:
        raise CommandFailed("the file makes nothing less strict", status=409)
    if asked.digest != digest:
        raise CommandFailed("the file has changed: see `idbridge demotion pending`", status=409, field="digest")


def _found(services: Services, id: str) -> Demotion:
    found = services.demotions.in_thread_find(id)
    if found is None:
        raise CommandFailed(f"no demotion {id}", status=404, field="id")
    return found


def _attempt(services: Services, actor: Actor, one: Demotion) -> Attempt:
    return Attempt(services, actor, DEMOTION, one.id, IndexKeys(session=one.id), _people(services))


def _plain(services: Services, one: Demotion) -> dict[str, Any]:
    return plain(one, _people(services), services.name, services.now())
