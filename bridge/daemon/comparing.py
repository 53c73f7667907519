"""Another configuration held against the present one, the agents and the log.

In the command line's own process, because a month of a log is much to read; nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.adapter import Action, Adapter, Naming, Target
from bridge.admission.subjects import subject
from bridge.api.known import known_system
from bridge.config import Config, difference
from bridge.daemon import conversion
from bridge.daemon.calling import call, load_config
from bridge.daemon.opening import reader
from bridge.discovery import find_adapters
from bridge.identity.declared import Declared
from bridge.policy import Mode, Policy, Subject
from bridge.policy.changes import changes
from bridge.policy.replay import Asked, Past, Times, Turned, merged, replay, told_apart_by_time
from bridge.policy.suggestion import Suggested, suggest
from bridge.translation.past import Question, in_thread_questions
from bridge.translation.query import Query, equals

MINUTE = 60


def diff(old_path: Path, new_path: Path, registry: Iterable[Mapping[str, Any]], now: float) -> dict[str, Any]:
    """``access``: who gains and loses what; ``settings``: what else is different. ``registry`` are the rows of
    ``agent.list``; those that a file declares are taken from the file. Raises ConfigErrors."""
    old, new = load_config(old_path), load_config(new_path)
    others = {row["id"]: _registered(row) for row in registry if row["origin"] != "config" and row["state"] == "active"}
    before, after = others | declared(old, now), others | declared(new, now)
    found = changes(_policy(old), _policy(new), before, after, at=now)
    access = [
        {
            "agent": one.agent,
            "change": one.what,
            "system": one.system,
            "account": one.account,
            "actions": sorted(one.actions),
            "always": one.always,
            "when": one.when,
            "grants": list(one.grants),
        }
        for one in found
    ]
    settings = [one for one in difference(old, new) if not one["key"].startswith(("grants.", "agents."))]
    return {"agents": len(before.keys() | after.keys()), "access": access, "settings": settings}


def declared(config: Config, now: float) -> dict[str, Subject]:
    """The agents that a file declares and that may act."""
    agents = Declared(config.owners, config.agents).agents(int(now), {})
    return {one.id: subject(one, delegated=False) for one in agents if not one.refusal(now)}


def _registered(row: Mapping[str, Any]) -> Subject:
    return Subject(
        agent=row["id"],
        roles=frozenset(row["roles"]),
        environment=row["environment"],
        owner=row["owner"]["id"],
        cost_centre=row["cost_centre"],
        data_classes=frozenset(row["data_classes"]),
    )


def _policy(config: Config) -> Policy:
    return conversion.policy(config, find_adapters())


def simulate(config_path: Path, new_path: Path, members: Mapping[str, Any], now: float) -> dict[str, Any]:
    """What ``new_path`` would have answered differently to all that the log of ``config_path`` has. ``members`` are
    those of a query of the log. Raises ConfigErrors, QueryError, StorageError."""
    new = load_config(new_path)
    policy = _policy(new)
    past = _past(config_path, members, "simulate", declared(new, now), new, timed=told_apart_by_time(policy))
    rows = merged(replay(policy, past))
    asked = {True: 0, False: 0}
    for one, times in past.items():
        asked[one.action is None] += times.count
    return {
        "digest": new.digest,
        "sessions": asked[True],
        "operations": asked[False],
        "newly_refused": [_row(one) for one in rows if one.asked.permitted],
        "newly_allowed": [_row(one) for one in rows if not one.asked.permitted],
    }


def readiness(config_path: Path, system: str, members: Mapping[str, Any], now: float) -> dict[str, Any]:
    """What would be refused of what was let through, if the system and all grants about it were enforced."""
    config = load_config(config_path)
    present = _policy(config)
    known_system(present, system)
    enforced = _enforced(present, system)
    timed = told_apart_by_time(enforced)
    past = _past(config_path, {**members, "system": system}, "readiness", declared(config, now), config, timed=timed)
    rows = [one for one in merged(replay(enforced, past)) if one.asked.permitted]
    return {
        "system": system,
        "mode": present.systems[system].mode.value,
        "asked": sum(times.count for times in past.values()),
        "would_refuse": [_row(one) for one in rows],
    }


def _enforced(policy: Policy, system: str) -> Policy:
    about = policy.systems[system]
    systems = [replace(one, mode=Mode.ENFORCE) if one is about else one for one in policy.systems.values()]
    grants = [replace(one, mode=None) if one.selects(about) else one for one in policy.grants]
    return Policy(grants, systems)


def _row(turned: Turned) -> dict[str, Any]:
    asked = turned.asked
    return {
        "agent": asked.subject.agent,
        "owner": asked.subject.owner,
        "system": asked.system,
        "account": asked.account or "",
        "action": asked.action.value if asked.action else "connect",
        "target": {name: value for name, value in asked.target if value},
        "count": turned.count,
        "last": int(turned.last),
        "grants": list(turned.rules),
        "reason": turned.reason,
    }


def suggestions(config_path: Path, agent: str, role: str, members: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Grants, as they would stand in the file, that cover what ``agent``, or all agents with ``role``, have used."""
    config = load_config(config_path)
    past = _past(config_path, {**members, "agent": agent}, "suggest", {}, config, timed=False)
    mine = {asked: times for asked, times in past.items() if not role or role in asked.subject.roles}
    who = {"agents": [agent]} if agent else {"roles": [role]}
    return [_grant(number, who, one) for number, one in enumerate(suggest(mine), 1)]


def _grant(number: int, who: Mapping[str, list[str]], one: Suggested) -> dict[str, Any]:
    name = next(iter(who.values()))[0]
    grant: dict[str, Any] = {
        "id": f"{name[:40]}-{number}",
        **who,
        "system": one.system,
        "account": one.account,
        "actions": [action.value for action in Action if action in one.actions],
    }
    if one.targets:
        grant["targets"] = {fact: list(values) for fact, values in one.targets.items()}
    grant["reason"] = f"covers {one.count} recorded operations"
    if one.wide:
        grant["reason"] += f"; not narrowed by {', '.join(one.wide)}, which had too many values"
    return grant


def _past(
    path: Path, members: Mapping[str, Any], purpose: str, known: Mapping[str, Subject], config: Config, *, timed: bool
) -> Past:
    """Reads the log, after that was recorded. ``known`` agents are taken as they are, others as they were."""
    wanted = Query(tuple(equals({name: value for name, value in members.items() if value is not None})))
    log = reader(load_config(path))
    count, _, _ = log.in_thread_span(wanted)
    call(path, "log.exported", {"query": str(wanted), "count": count, "format": purpose})
    adapters = find_adapters()
    past: Past = {}
    for question in in_thread_questions(log, wanted):
        asked = _asked(question, known, _target(question, config, adapters), timed=timed)
        past.setdefault(asked, Times()).add(question.at)
    return past


def _target(question: Question, config: Config, adapters: Mapping[str, type[Adapter]]) -> Target:
    """All facts, as the operation had them. The log keeps of a fact with several names the first, and no empty ones;
    where a protocol spells its facts out (LDAP), one that is missing beside others was not asked for."""
    system = config.systems.get(question.system)
    recorded = dict(question.target)
    if system is None or not question.action:
        return dict(recorded)
    adapter: object = adapters[system.protocol]
    late = adapters[system.protocol].operation_targets
    if isinstance(adapter, Naming) and not late.isdisjoint(recorded):
        late = frozenset()
    try:
        return dict.fromkeys(late, "") | conversion.spelled(config, adapters, question.system, recorded)
    except ValueError:  # a name of an older release
        return dict.fromkeys(late, "") | recorded


def _asked(question: Question, known: Mapping[str, Subject], target: Target, *, timed: bool) -> Asked:
    then = Subject(
        agent=question.agent,
        roles=frozenset(question.roles),
        environment=question.environment,
        owner=question.owner,
        cost_centre=question.cost_centre,
    )
    now = known.get(question.agent, then)
    return Asked(
        subject=Subject(now.agent, now.roles, now.environment, now.owner, now.cost_centre, question.delegated),
        system=question.system,
        account=question.account or None,
        action=Action(question.action) if question.action else None,
        target=tuple(sorted(target.items())),
        source=question.source,
        permitted=question.permitted,
        minute=int(question.at // MINUTE) if timed else 0,
    )
