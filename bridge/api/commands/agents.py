"""Agents and their owners: who exists, who answers for whom, and who may act at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bridge.api.failure import CommandFailed
from bridge.api.known import known_agent
from bridge.api.services import Actor, Services
from bridge.identity.agents import Binding, owner_plain
from bridge.identity.registry import Changed, RegistryError
from bridge.translation.record import IndexKeys
from bridge.translation.vocabulary import REGISTRY_CHANGE


def create(
    services: Services,
    actor: Actor,
    id: str,
    owner: str,
    purpose: str,
    roles: list[str],
    environment: str,
    name: str = "",
    cost_centre: str = "",
    data_classes: list[str] | None = None,
    expires: int | None = None,
    bindings: list[dict] | None = None,  # type: ignore[type-arg]
    public_keys: list[str] | None = None,
    draft: bool = False,
) -> dict[str, Any]:
    """A new agent; ``bindings`` are ``{"issuer": …, "claims": {…}}``, ``expires`` Unix seconds (else 90 days)."""
    return _change(
        services,
        actor,
        id,
        lambda: services.registry.in_thread_create(
            id,
            owner=owner,
            purpose=purpose,
            roles=roles,
            environment=environment,
            name=name,
            cost_centre=cost_centre,
            data_classes=data_classes or (),
            expires=expires,
            bindings=[_binding(one) for one in bindings or ()],
            public_keys=public_keys or (),
            draft=draft,
        ),
        widens=True,
        owner=owner,
    )


def list_all(
    services: Services, actor: Actor, owner: str = "", state: str = "", role: str = "", environment: str = ""
) -> list[dict[str, Any]]:
    now = services.now()
    rows = []
    for agent in services.registry.in_thread_directory():
        row = {**agent.plain(), "state": agent.state_at(now)}
        if (
            (not owner or agent.owner.id == owner)
            and (not state or row["state"] == state)
            and (not role or role in agent.roles)
            and (not environment or agent.environment == environment)
        ):
            rows.append(row)
    return rows


def show(services: Services, actor: Actor, id: str) -> dict[str, Any]:
    """The agent, what it reaches by which grants, and its live sessions when the bridge runs."""
    agent = known_agent(services.registry.in_thread_directory(), id, field="id")
    from bridge.admission.subjects import subject

    reach = services.policy.what_can(subject(agent, delegated=False), at=services.now())
    access = [
        {"system": one.system, "account": one.account, "actions": sorted(one.actions), "grants": list(one.grants)}
        for one in reach
    ]
    live = services.live.sessions() if services.live else []
    sessions = [row["session"] for row in live if row["agent"] == id]
    return {**agent.plain(), "state": agent.state_at(services.now()), "access": access, "sessions": sessions}


def suspend(services: Services, actor: Actor, id: str, reason: str = "") -> dict[str, Any]:
    return _move(services, actor, id, "suspend", reason, widens=False)


def resume(services: Services, actor: Actor, id: str, reason: str = "") -> dict[str, Any]:
    return _move(services, actor, id, "resume", reason, widens=True)


def revoke(services: Services, actor: Actor, id: str, reason: str = "") -> dict[str, Any]:
    """For good; live sessions end within a second."""
    return _move(services, actor, id, "revoke", reason, widens=False)


def renew(services: Services, actor: Actor, id: str, expires: int | None = None) -> dict[str, Any]:
    return _change(services, actor, id, lambda: services.registry.in_thread_renew(id, expires=expires), widens=True)


def create_owner(
    services: Services, actor: Actor, id: str, kind: str, contact: str, on_call: str = ""
) -> dict[str, Any]:
    return _change(
        services,
        actor,
        f"owner:{id}",
        lambda: services.registry.in_thread_create_owner(id, kind=kind, contact=contact, on_call=on_call),
        widens=True,
        owner=id,
    )


def list_owners(services: Services, actor: Actor) -> list[dict[str, Any]]:
    agents = services.registry.in_thread_directory()
    counts: dict[str, int] = {}
    for agent in agents:
        counts[agent.owner.id] = counts.get(agent.owner.id, 0) + 1
    return [{**owner_plain(one), "agents": counts.get(one.id, 0)} for one in services.registry.in_thread_owners()]


def leave(
    services: Services, actor: Actor, owner: str, dry_run: bool = True, reason: str = "the owner left"
) -> dict[str, Any]:
    """Revokes all that an owner has; with ``dry_run`` only says what that would be."""
    try:
        if dry_run:
            changed = services.registry.in_thread_leave(owner, reason=reason, dry_run=True)
            return {"owner": owner, "dry_run": True, "agents": _ids(changed), "sessions_ended": 0}
        index = IndexKeys(owner=owner)
        with services.changing(actor, REGISTRY_CHANGE, f"owner:{owner}", widens=False, index=index) as change:
            changed = services.registry.in_thread_leave(owner, reason=reason, dry_run=False)
            change.made({"agents": _ids(changed)}, {"agents": _ids(changed), "state": "revoked", "reason": reason})
    except RegistryError as error:
        raise _failed(error) from None
    return {"owner": owner, "dry_run": False, "agents": _ids(changed), "sessions_ended": change.ended}


def _ids(changed: list[Changed]) -> list[str]:
    return [after["id"] for _, after in changed]


def _move(services: Services, actor: Actor, id: str, verb: str, reason: str, *, widens: bool) -> dict[str, Any]:
    return _change(
        services, actor, id, lambda: services.registry.in_thread_move(id, verb, reason=reason), widens=widens
    )


def _change(
    services: Services, actor: Actor, subject: str, make: Callable[[], Changed], *, widens: bool, owner: str = ""
) -> dict[str, Any]:
    index = IndexKeys(agent="" if subject.startswith("owner:") else subject, owner=owner)
    try:
        with services.changing(actor, REGISTRY_CHANGE, subject, widens=widens, index=index) as change:
            before, after = make()
            change.made(before, after)
    except RegistryError as error:
        raise _failed(error) from None
    return {**after, "sessions_ended": change.ended}


def _failed(error: RegistryError) -> CommandFailed:
    return CommandFailed(str(error), status=404 if error.missing else 400, field=error.field)


def _binding(one: Any) -> Binding:
    if not isinstance(one, dict) or set(one) != {"issuer", "claims"} or not isinstance(one["claims"], dict):
        raise CommandFailed('a binding is {"issuer": NAME, "claims": {NAME: TEXT}}', field="bindings")
    claims = one["claims"]
    if not isinstance(one["issuer"], str) or not all(isinstance(value, str) for value in claims.values()):
        raise CommandFailed("issuer and claims of a binding are text", field="bindings")
    return Binding(one["issuer"], tuple(sorted(claims.items())))
