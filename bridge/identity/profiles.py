"""The kinds of token, as closed rule sets that exclude each other (RFC 8725bis, 3.12).

====================  =================  =======================================================================
profile               typ                what makes it this kind and no other
====================  =================  =======================================================================
``at+jwt``            at+jwt             RFC 9068: iss, exp, aud, sub, client_id, iat, jti
… with legacy_jwt     JWT or none        an access token by its claims: a client, and scope, scp, roles, permissions
                                         or token_use=access; nothing that only ID or logout tokens have
``oidc``              JWT or none        an ID token or workload token: iss, sub, aud, exp, iat; no scope or scp;
                                         azp when there are several audiences (OpenID Connect Core, 2)
``k8s-sa``            JWT or none        kubernetes.io namespace and serviceaccount, agreeing with sub
``github``            JWT or none        repository_id, repository_owner_id, job_workflow_ref, run_id …
``gitlab``            JWT or none        project_id, namespace_id, ref_protected, pipeline_source, job_id
``jwt-svid``          JWT, JOSE or none  no header but alg, kid, typ; sub a SPIFFE ID of the trust domain
``builtin``           at+jwt             our own issuer; the agent is sub, or act.sub when delegated
``agent-key``         at+jwt or JWT      signed by the agent's registered key; sub is the agent, and so says iss
====================  =================  =======================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.identity.envelope import Envelope
from bridge.identity.settings import AGENT_ISSUER_PREFIX, IssuerSettings
from bridge.identity.text import is_agent_id, is_clean, trust_domain_of
from bridge.identity.verifier import CredentialRejected

_NO_TYPE = ""
_JWT = frozenset({"jwt", _NO_TYPE})
_ACCESS = frozenset({"at+jwt"})

Rule = Callable[[Mapping[str, Any], IssuerSettings], None]

# Claims that only ID tokens and logout tokens carry (OpenID Connect Core, 3.1.3.6; Back-Channel Logout, 2.4).
_NOT_ACCESS = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "events"})
_ACCESS_SIGNS = ("scope", "scp", "roles", "permissions")
_CLIENT_NAMES = ("client_id", "azp", "cid", "appid")


@dataclass(frozen=True, slots=True)
class Profile:
    """``required`` are clean strings; ``delegable`` profiles may carry ``act`` or a client beside ``sub``."""

    types: frozenset[str]
    required: tuple[str, ...] = ("sub",)
    iat: bool = True
    jti: bool = False
    delegable: bool = False
    headers: frozenset[str] | None = None
    rule: Rule | None = None


def check_profile(envelope: Envelope, settings: IssuerSettings) -> Profile:
    """The profile, after its type and claim rules held. Raises CredentialRejected (``typ``, ``claim``, ``act`` …)."""
    profile = _LEGACY if settings.legacy_jwt and _type(envelope) in _JWT else PROFILES[settings.profile]
    if _type(envelope) not in profile.types:
        raise CredentialRejected("typ", f"not a type of token that profile {settings.profile} takes")
    if profile.headers is not None and not envelope.header.keys() <= profile.headers:
        raise CredentialRejected("jwt-header", "a header that this profile does not allow")
    claims = envelope.claims
    for name in (*profile.required, *(("jti",) if profile.jti else ())):
        if not is_clean(claims.get(name)):
            raise CredentialRejected("claim", f"{name} is missing or not a short string")
    for name in ("sub", "jti", *_CLIENT_NAMES):
        if name in claims and not is_clean(claims[name]):
            raise CredentialRejected("claim", f"{name} is not a short string")
    if "act" in claims and not profile.delegable:
        raise CredentialRejected("act", f"profile {settings.profile} has no delegation")
    if profile.rule is not None:
        profile.rule(claims, settings)
    return profile


def _type(envelope: Envelope) -> str:
    """``typ`` as a media type: case does not count, no slash means ``application/`` (RFC 7515, 4.1.9)."""
    return str(envelope.header.get("typ", _NO_TYPE)).lower().removeprefix("application/")


def _legacy_access_token(claims: Mapping[str, Any], settings: IssuerSettings) -> None:
    if not any(name in claims for name in _CLIENT_NAMES):
        raise CredentialRejected("claim", "an access token names its client")
    if not _NOT_ACCESS.isdisjoint(claims) or claims.get("token_use", "access") != "access":
        raise CredentialRejected("claim", "an ID token or logout token, not an access token")
    if claims.get("typ", "Bearer") != "Bearer":  # Keycloak says the kind of token in a claim
        raise CredentialRejected("claim", "an ID token or logout token, not an access token")
    if "token_use" not in claims and not any(name in claims for name in _ACCESS_SIGNS):
        raise CredentialRejected(
            "claim", f"none of token_use, {', '.join(_ACCESS_SIGNS)}: not known as an access token"
        )


def _identity_token(claims: Mapping[str, Any], settings: IssuerSettings) -> None:
    if not {"scope", "scp", "events"}.isdisjoint(claims) or claims.get("token_use", "id") != "id":
        raise CredentialRejected("claim", "an access token or logout token, not an ID token")
    if claims.get("typ") not in (None, "ID"):
        raise CredentialRejected("claim", "an access token or logout token, not an ID token")
    audience = claims.get("aud")
    if isinstance(audience, list) and len(audience) > 1 and "azp" not in claims:
        raise CredentialRejected("claim", "several audiences and no azp")


def _kubernetes(claims: Mapping[str, Any], settings: IssuerSettings) -> None:
    cluster = claims.get("kubernetes.io")
    account = cluster.get("serviceaccount") if isinstance(cluster, dict) else None
    if not isinstance(cluster, dict) or not isinstance(account, dict):
        raise CredentialRejected("claim", "kubernetes.io has no serviceaccount")
    namespace, name = cluster.get("namespace"), account.get("name")
    if not (is_clean(namespace) and is_clean(name) and is_clean(account.get("uid"))):
        raise CredentialRejected("claim", "kubernetes.io lacks namespace, serviceaccount name or uid")
    if claims["sub"] != f"system:serviceaccount:{namespace}:{name}":
        raise CredentialRejected("claim", "sub contradicts kubernetes.io")


def _numeric(*names: str) -> Rule:
    def rule(claims: Mapping[str, Any], settings: IssuerSettings) -> None:
        for name in names:
            if not (claims[name].isascii() and claims[name].isdigit()):
                raise CredentialRejected("claim", f"{name} is not a number")

    return rule


def _gitlab(claims: Mapping[str, Any], settings: IssuerSettings) -> None:
    _numeric("project_id", "namespace_id", "job_id")(claims, settings)
    if claims["ref_protected"] not in ("true", "false"):
        raise CredentialRejected("claim", "ref_protected is not 'true' or 'false'")


def _svid(claims: Mapping[str, Any], settings: IssuerSettings) -> None:
    if trust_domain_of(claims["sub"]) != settings.trust_domain:
        raise CredentialRejected("claim", "sub is not a SPIFFE ID of the trust domain")


def _builtin(claims: Mapping[str, Any], settings: IssuerSettings) -> None:
    actor = claims.get("act")
    agent = actor.get("sub") if isinstance(actor, dict) else claims["sub"]
    if not is_agent_id(agent) or claims["client_id"] != agent:
        raise CredentialRejected("claim", "sub and client_id do not name one agent")


def _agent_key(claims: Mapping[str, Any], settings: IssuerSettings) -> None:
    if claims["iss"] != AGENT_ISSUER_PREFIX + claims["sub"] or not is_agent_id(claims["sub"]):
        raise CredentialRejected("iss", "sub is not the agent that iss names")


_GITHUB_IDS = ("repository_id", "repository_owner_id", "run_id")

PROFILES: dict[str, Profile] = {
    "at+jwt": Profile(_ACCESS, ("sub", "client_id"), jti=True, delegable=True),
    "oidc": Profile(_JWT, delegable=True, rule=_identity_token),
    "k8s-sa": Profile(_JWT, rule=_kubernetes),
    "github": Profile(
        _JWT,
        ("sub", *_GITHUB_IDS, "job_workflow_ref", "runner_environment"),
        rule=_numeric(*_GITHUB_IDS),
    ),
    "gitlab": Profile(
        _JWT, ("sub", "project_id", "namespace_id", "ref_protected", "pipeline_source", "job_id"), rule=_gitlab
    ),
    "jwt-svid": Profile(
        frozenset({"jwt", "jose", _NO_TYPE}), iat=False, headers=frozenset({"alg", "kid", "typ"}), rule=_svid
    ),
    "builtin": Profile(_ACCESS, ("sub", "client_id"), jti=True, delegable=True, rule=_builtin),
    "agent-key": Profile(_ACCESS | {"jwt"}, iat=False, jti=True, rule=_agent_key),
}
_LEGACY = Profile(_JWT, delegable=True, rule=_legacy_access_token)
