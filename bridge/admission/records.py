"""The sections of a session's events, from what the core knows."""

from __future__ import annotations

from bridge.adapter import AdmissionRequest, Refused, Stream, Target
from bridge.admission.system import Core, System
from bridge.identity.agents import Agent
from bridge.identity.verifier import VerifiedCredential
from bridge.policy import Decision
from bridge.translation import facts
from bridge.translation.operations import SessionFacts
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import DENIED, SESSION_REFUSED


def session_facts(
    core: Core,
    system: System,
    client: Stream,
    request: AdmissionRequest,
    agent: Agent,
    credential: VerifiedCredential,
    decision: Decision,
    session: str,
) -> SessionFacts:
    """What all events of an admitted session share."""
    index = IndexKeys(
        session=session,
        agent=agent.id,
        owner=agent.owner.id,
        system=system.name,
        account=decision.account,
        labels=labels(system, decision.account),
    )
    return SessionFacts(index, sections(core, system, client, request, agent, credential, decision))


def refusal(
    core: Core,
    system: System,
    client: Stream,
    request: AdmissionRequest,
    agent: Agent | None,
    credential: VerifiedCredential | None,
    decision: Decision | None,
    refused: Refused,
    unrecorded: int = 0,
) -> Event:
    """The record of somebody who was turned away, with whatever was known by then.

    ``unrecorded`` refusals of the same address came before it and were only counted.
    """
    account = decision.account if decision else ""
    index = IndexKeys(
        session=refused.reference,
        agent=agent.id if agent else "",
        owner=agent.owner.id if agent else "",
        system=system.name,
        account=account,
        labels=labels(system, account),
    )
    known = sections(core, system, client, request, agent, credential, decision)
    known["corr"] = facts.section(session=refused.reference)
    known["detail"] = facts.detail_section(code=refused.code, text=refused.detail, unrecorded=unrecorded or None)
    return Event(SESSION_REFUSED, outcome=DENIED, reason=refused.reason.value, sections=known, index=index)


def sections(
    core: Core,
    system: System,
    client: Stream,
    request: AdmissionRequest,
    agent: Agent | None,
    credential: VerifiedCredential | None,
    decision: Decision | None,
) -> dict[str, str]:
    wished = request.account or ""
    known = {
        "transport": facts.transport_section(
            protocol=system.protocol,
            source=str(client.peer),
            local=str(client.local),
            tls=client.tls.version if client.tls else "",
            client=request.client,
        ),
        "legacy": legacy(system, decision.account if decision else wished, request),
        "node": facts.node_section(id=core.node, version=core.version),
    }
    if credential is not None:
        known["credential"] = credential_section(credential)
        known["delegation"] = delegation_section(credential)
    if agent is not None:
        known["agent"] = agent_section(agent, credential)
    if decision is not None:
        known["decision"] = decision_section(decision)
    return known


def labels(system: System, account: str) -> tuple[str, ...]:
    static = system.accounts.get(account)
    return tuple(sorted(system.labels | static.labels if static else system.labels))


def plain_target(target: Target) -> dict[str, str]:
    """Of a fact with several names the first: the thing itself, the others follow from it."""
    named = {name: value if isinstance(value, str) else value[0] if value else "" for name, value in target.items()}
    return {name: value for name, value in named.items() if value}


def legacy(system: System, account: str, request: AdmissionRequest, seen: dict[str, str | int] | None = None) -> str:
    return facts.legacy_section(
        system=system.name,
        account=account,
        labels=labels(system, account),
        target=plain_target(request.target),
        upstream=system.upstream,
        facts=seen,
    )


def agent_section(agent: Agent, credential: VerifiedCredential | None) -> str:
    return facts.agent_section(
        id=agent.id,
        name=agent.name,
        owner=agent.owner.id,
        owner_kind=agent.owner.kind,
        purpose=agent.purpose,
        roles=agent.roles,
        environment=agent.environment,
        cost_centre=agent.cost_centre,
        external=credential.subject if credential and credential.subject != agent.id else "",
        revision=agent.revision,
    )


def credential_section(credential: VerifiedCredential) -> str:
    return facts.credential_section(
        profile=credential.profile,
        issuer=credential.issuer,
        iss=credential.iss,
        token_id=credential.token_id,
        digest=credential.digest,
        kid=credential.kid,
        alg=credential.alg,
        audience=credential.audience,
        issued_at=credential.issued_at,
        expires_at=credential.expires_at,
        binding=credential.binding,
        serial=credential.serial,
    )


def delegation_section(credential: VerifiedCredential) -> str:
    delegation = credential.delegation
    return facts.delegation_section(
        mode=delegation.mode,
        subject=delegation.subject,
        subject_issuer=delegation.subject_issuer,
        chain=delegation.chain,
    )


def decision_section(decision: Decision) -> str:
    return facts.decision_section(
        effect=decision.effect.value,
        mode=decision.mode.value,
        would=decision.would.value,
        rules=decision.rules,
        policy=decision.policy,
        reason=decision.reason,
    )
