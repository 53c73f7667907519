"""Short-lived tokens from the built-in issuer, and the deny list."""

from __future__ import annotations

from typing import Any

from bridge.api.failure import CommandFailed
from bridge.api.known import known_system
from bridge.api.services import Actor, Services
from bridge.identity.issuer import MAX_LIFETIME
from bridge.translation import facts
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import DENY_CHANGE, TOKEN_ISSUE

DEFAULT_TTL = 900


def issue(
    services: Services, actor: Actor, agent: str, ttl: int = DEFAULT_TTL, system: str | None = None
) -> dict[str, Any]:
    """A token for ``agent``, for one system or (without) for the whole bridge; ``ttl`` in seconds. Recorded first."""
    return minted(services, actor, agent, ttl, system)


def minted(
    services: Services, actor: Actor, agent: str, ttl: int, system: str | None, emergency: str = ""
) -> dict[str, Any]:
    """See ``issue``. ``emergency``: the break-glass for which alone it is."""
    known = services.registry.in_thread_directory().by_id(agent)
    if known is None:
        raise CommandFailed(f"no agent {agent}; `idbridge agent create` makes one", status=404, field="agent")
    now = services.now()
    state = known.refusal(now)
    if state:
        raise CommandFailed(f"the agent {agent} is {state}", status=409, field="agent")
    if system is not None:
        known_system(services.policy, system)
    if not 1 <= ttl <= MAX_LIFETIME:
        raise CommandFailed(f"a token lives 1 to {MAX_LIFETIME} seconds", field="ttl")
    audience = f"bridge:{services.name}/{system}" if system else f"bridge:{services.name}"
    token_id = services.new_token_id()
    detail = facts.detail_section(jti=token_id, aud=audience, expires_at=int(now) + ttl, emergency=emergency)
    index = IndexKeys(agent=agent, owner=known.owner.id, system=system or "")
    whose = facts.agent_section(id=agent, name=known.name, owner=known.owner.id)
    sections = {"actor": actor.section(), "agent": whose, "detail": detail}
    services.write(Event(TOKEN_ISSUE, sections=sections, index=index))
    token = services.issuer.mint(agent, audiences=[audience], ttl=ttl, now=now, jti=token_id, emergency=emergency)
    return {"agent": agent, "token": token, "audience": audience, "expires": int(now) + ttl, "token_id": token_id}


def deny(services: Services, actor: Actor, iss: str, token_id: str, reason: str = "") -> dict[str, Any]:
    """Refuses one token from now on and ends the sessions it opened. ``iss`` is the claim, ``token_id`` the ``jti``."""
    expires = int(services.now()) + MAX_LIFETIME * 5  # beyond the end of any token that an issuer record may accept
    with services.changing(actor, DENY_CHANGE, f"token:{token_id}", widens=False, index=IndexKeys()) as change:
        services.deny_list.in_thread_add(iss, token_id, expires, reason, actor.id)
        change.made(None, {"iss": iss, "token_id": token_id, "expires": expires, "reason": reason})
    return {"iss": iss, "token_id": token_id, "sessions_ended": change.ended}
