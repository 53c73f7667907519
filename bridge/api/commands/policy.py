"""What an agent would become where, and who could reach what: asked of the live policy's own code."""

from __future__ import annotations

from typing import Any

from bridge.adapter import Action
from bridge.admission.subjects import subject
from bridge.api.failure import CommandFailed
from bridge.api.services import Actor, Services
from bridge.policy import Access, Circumstances, Decision, Request


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
    known = services.registry.in_thread_directory().by_id(agent)
    if known is None:
        raise CommandFailed(f"no agent {agent}", status=404, field="agent")
    when = services.now() if at is None else float(at)
    request = Request(
        subject=subject(known, delegated=delegated),
        system=system,
        account=account,
        action=_action(action),
        target=target or {},
        source=source,
        at=when,
    )
    explanation = services.policy.explain(request)
    return {
        "agent": agent,
        "system": system,
        "agent_state": known.refusal(when) or "active",
        "decision": _decision(explanation.decision),
        "grants": [
            {"grant": t.grant, "effect": t.effect.value, "account": t.account, "matched": t.matched, "why": t.why}
            for t in explanation.traces
        ],
    }


def who_can(
    services: Services,
    actor: Actor,
    system: str | None = None,
    label: str | None = None,
    action: str | None = None,
    at: int | None = None,
) -> list[dict[str, Any]]:
    """Every active agent that reaches a system, or the systems with a label, with the grants that let it."""
    if system is None and label is None:
        raise CommandFailed("name a system or a label")
    if system is not None and system not in services.policy.systems:
        raise CommandFailed(f"no system {system} is configured", status=404, field="system")
    when = services.now() if at is None else float(at)
    agents = [one for one in services.registry.in_thread_directory() if not one.refusal(when)]
    owners = {one.id: one.owner.id for one in agents}
    # One subject an agent: for what grants tell delegated and autonomous apart by, both are tried.
    subjects = [subject(one, delegated=False) for one in agents]
    found = services.policy.who_can(
        subjects, at=when, system=system, label=label, action=_action(action), circumstances=Circumstances()
    )
    return [_access(one, owners) for one in found]


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


def _access(access: Access, owners: dict[str, str]) -> dict[str, Any]:
    return {
        "agent": access.agent,
        "owner": owners[access.agent],
        "system": access.system,
        "account": access.account,
        "actions": sorted(access.actions),
        "granted": sorted(access.granted),
        "grants": list(access.grants),
        "mode": access.mode.value,
    }
