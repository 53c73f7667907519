"""What answers about access are given from: the live policy and registry, or those that the log has from then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bridge.adapter import Action
from bridge.admission.subjects import subject
from bridge.api.history import in_thread_then
from bridge.api.services import Actor, Services
from bridge.identity.agents import Agent, Directory
from bridge.policy import Access, Circumstances, Policy
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
