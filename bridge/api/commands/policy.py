"""What an agent would become where, and who could reach what: asked of the code that decides.

Now, or at a later time, of the live policy and registry; at a time that is over, of those that the log has from then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bridge.adapter import Action
from bridge.admission.subjects import subject
from bridge.api.failure import CommandFailed
from bridge.api.history import in_thread_then
from bridge.api.services import Actor, Services
from bridge.identity.agents import Agent, Directory
from bridge.policy import Access, Circumstances, Decision, Policy, Request
from bridge.translation.identifiers import timestamp
from bridge.translation.query import Query, Term


@dataclass(frozen=True, slots=True)
class Basis:
    """What an answer is given from; ``at`` in Unix seconds."""

    policy: Policy
    directory: Directory
    at: float
    told: dict[str, Any]


def basis(services: Services, actor: Actor, command: str, at: int | None) -> Basis:
    """The policy and registry that counted ``at``. Reading them out of the log is recorded."""
    now = services.now()
    if at is None or at >= int(now):
        when = now if at is None else float(at)
        live = {"at": timestamp(int(when * 1000)), "source": "live", "policy": services.policy.digest}
        return Basis(services.policy, services.registry.in_thread_directory(), when, live)
    moment = at * 1000
    extent = services.reader.in_thread_extent()
    then = in_thread_then(services.reader, moment)
    services.read(actor, command, Query((Term("until", (moment,)),)), then.registry_changes + 1)
    told = {"at": timestamp(moment), "source": "log", **then.basis(), "log": extent.plain()}
    return Basis(then.policy, then.directory, float(at), told)


def explain(
    services: Services,
    actor: Actor,
    agent: str,
    system: str,
    account: str | None = None,
    action: str | None = None,
    target: dict[str, str] | None = None,
    source: str = "127.0.0.1",
    delegated: bool = False,
    at: int | None = None,
) -> dict[str, Any]:
    """The decision that this agent would get now (or ``at``, Unix seconds), and what each grant had to do with it."""
    given = basis(services, actor, "policy.explain", at)
    known = given.directory.by_id(agent)
    if known is None:
        raise CommandFailed(f"no agent {agent}", status=404, field="agent")
    try:
        asked = services.spelled(system, target or {})
    except ValueError as error:
        raise CommandFailed(f"expected {error}", field="target") from None
    request = Request(
        subject=subject(known, delegated=delegated),
        system=system,
        account=account,
        action=_action(action),
        target=asked,
        source=source,
        at=given.at,
    )
    explanation = given.policy.explain(request)
    return {
        "agent": agent,
        "system": system,
        "agent_state": known.refusal(given.at) or "active",
        "owner": known.owner.id,
        "decision": _decision(explanation.decision),
        "grants": [
            {"grant": t.grant, "effect": t.effect.value, "account": t.account, "matched": t.matched, "why": t.why}
            for t in explanation.traces
        ],
        "basis": given.told,
    }


def who_can(
    services: Services,
    actor: Actor,
    system: str | None = None,
    label: str | None = None,
    action: str | None = None,
    at: int | None = None,
) -> dict[str, Any]:
    """``access``: every active agent that reaches a system, or what has a label, with the grants that let it."""
    if system is None and label is None:
        raise CommandFailed("name a system or a label")
    given = basis(services, actor, "policy.who_can", at)
    if system is not None and system not in given.policy.systems:
        raise CommandFailed(f"no system {system} is configured", status=404, field="system")
    rows = access(given.policy, given.directory, given.at, system=system, label=label, action=_action(action))
    return {"count": len(rows), "access": rows, "basis": given.told}


def access(
    policy: Policy,
    agents: Iterable[Agent],
    at: float,
    *,
    system: str | None = None,
    label: str | None = None,
    action: Action | None = None,
) -> list[dict[str, Any]]:
    """Who of the agents that are active ``at`` (Unix seconds) reaches what."""
    active = {one.id: one for one in agents if not one.refusal(at)}
    # One subject an agent: for what grants tell delegated and autonomous apart by, both are tried.
    subjects = [subject(one, delegated=False) for one in active.values()]
    found = policy.who_can(subjects, at=at, system=system, label=label, action=action, circumstances=Circumstances())
    return [_access(one, active[one.agent]) for one in found]


def _action(text: str | None) -> Action | None:
    if text is None:
        return None
    try:
        return Action(text)
    except ValueError:
        raise CommandFailed(f"action is one of {', '.join(Action)}", field="action") from None


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "allowed": decision.allowed,
        "would": decision.would.value,
        "mode": decision.mode.value,
        "account": decision.account,
        "actions": sorted(decision.actions),
        "rules": list(decision.rules),
        "reason": decision.reason,
        "policy": decision.policy,
    }


def _access(access: Access, agent: Agent) -> dict[str, Any]:
    return {
        "agent": access.agent,
        "owner": agent.owner.id,
        "owner_kind": agent.owner.kind,
        "system": access.system,
        "account": access.account,
        "actions": sorted(access.actions),
        "granted": sorted(access.granted),
        "grants": list(access.grants),
        "mode": access.mode.value,
    }
