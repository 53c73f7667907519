"""What an agent would become where, and who could reach what: asked of the code that decides.

Now, or at a later time, of the live policy and registry; at a time that is over, of those that the log has from then.
"""

from __future__ import annotations

from typing import Any

from bridge.adapter import Action
from bridge.admission.subjects import subject
from bridge.api.basis import access, basis
from bridge.api.failure import CommandFailed
from bridge.api.known import known_agent, known_system
from bridge.api.services import Actor, Services
from bridge.policy import Decision, Request


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
    known = known_agent(given.directory, agent)
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
    if system is not None:
        known_system(given.policy, system)
    rows = access(given.policy, given.directory, given.at, system=system, label=label, action=_action(action))
    return {"count": len(rows), "access": rows, "basis": given.told}


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
