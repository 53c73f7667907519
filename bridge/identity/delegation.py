"""Three shapes of delegation, normalised to (agent, delegator, chain).

1. ``act`` (RFC 8693, 4.1): the outermost ``act`` is the agent, ``sub`` the delegator, inner ones are earlier actors.
2. No ``act``, a client that is a registered agent, another ``sub`` (AIMS; RFC 9068): the client is the agent.
3. Else ``sub`` is the agent, on its own account.

A service account often has a ``sub`` that is not its client id. It is nobody's delegate, so it must not count as
delegated (a grant may demand that a human stands behind): the shapes of Entra, Auth0 and Keycloak are known.

Claims for bindings describe the agent alone. What describes the delegator is dropped, so that no binding of an agent
matches because of who it acts for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bridge.identity.text import is_clean
from bridge.identity.verifier import CredentialRejected, Delegation

IsAgent = Callable[[str, Mapping[str, str]], bool]
"""``(issuer record name, flat claims)`` → whether a binding in the registry matches them."""

MAX_ACTORS = 4

_CLIENT_CLAIMS = ("client_id", "azp", "cid", "appid")
_CONTEXT_CLAIMS = ("iss", "aud", "tid")  # of the issuer or tenant, true for whoever acts


def normalise(
    claims: Mapping[str, Any], flat: Mapping[str, str], *, iss: str, issuer: str, is_agent: IsAgent
) -> tuple[str, dict[str, str], Delegation]:
    """(external identity of the agent, flat claims that describe it, delegation). Raises CredentialRejected (``act``).

    ``iss`` is the token's issuer, ``issuer`` the name of its record. Pure but for ``is_agent``, a look into memory.
    """
    subject = str(claims["sub"])
    if "act" in claims:
        return _by_actor(claims, flat, iss, subject)
    client = next((flat[name] for name in _CLIENT_CLAIMS if name in flat), "")
    if client in ("", subject) or _is_service_account(claims, client):
        return subject, dict(flat), Delegation()
    for_another = Delegation("delegated", subject, iss)
    as_client = _described(flat, client)
    if is_agent(issuer, as_client):
        return client, as_client, for_another
    if is_agent(issuer, {name: text for name, text in flat.items() if name not in _CLIENT_CLAIMS}):
        return subject, dict(flat), Delegation()
    as_client = {**flat, "sub": client}  # a binding of the client that asks for further claims, whoever `sub` is
    return (client, as_client, for_another) if is_agent(issuer, as_client) else (subject, dict(flat), Delegation())


def _by_actor(
    claims: Mapping[str, Any], flat: Mapping[str, str], iss: str, subject: str
) -> tuple[str, dict[str, str], Delegation]:
    actors = _actors(claims["act"], iss)
    (actor_iss, agent), earlier = actors[0], actors[1:]
    if actor_iss != iss:
        # An issuer vouches for its own subjects only, else one compromised issuer speaks for the agents of all.
        raise CredentialRejected("act", "the current actor belongs to another issuer")
    if len({(iss, subject), *actors}) != len(actors) + 1:
        raise CredentialRejected("act", "the chain of actors is a loop")
    return agent, _described(flat, agent), Delegation("delegated", subject, iss, earlier)


def _actors(act: Any, iss: str) -> tuple[tuple[str, str], ...]:
    """Outermost first; a hop without ``iss`` has the token's."""
    actors: list[tuple[str, str]] = []
    while act is not None:
        if len(actors) == MAX_ACTORS:
            raise CredentialRejected("act", f"more than {MAX_ACTORS} actors")
        if not isinstance(act, dict) or not is_clean(act.get("sub")) or not is_clean(act.get("iss", iss)):
            raise CredentialRejected("act", "an actor without a proper sub or iss")
        actors.append((act.get("iss", iss), act["sub"]))
        act = act.get("act")
    if not actors:
        raise CredentialRejected("act", "an actor without a proper sub or iss")
    return tuple(actors)


def _described(flat: Mapping[str, str], agent: str) -> dict[str, str]:
    kept = {name: flat[name] for name in _CONTEXT_CLAIMS if name in flat}
    kept.update((name, agent) for name in _CLIENT_CLAIMS if flat.get(name) == agent)
    return {**kept, "sub": agent}


def _is_service_account(claims: Mapping[str, Any], client: str) -> bool:
    """Tokens of the client-credentials flow, where ``sub`` is another name of the client itself."""
    return (
        claims.get("idtyp") == "app"  # Entra
        or claims["sub"] == f"{client}@clients"  # Auth0
        or claims.get("preferred_username") == f"service-account-{client.lower()}"  # Keycloak
    )
