"""Profiles exclude each other, and delegation is normalised without adding rights."""

from __future__ import annotations

import base64
import json
from collections.abc import Coroutine
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from bridge.identity.jwk import BadKeySet, ed25519_key, ed25519_thumbprint, parse_key_set
from bridge.identity.jwt import JWTVerifier
from bridge.identity.key_sets import FixedKeys
from bridge.identity.settings import IssuerSettings, KeyLocation
from bridge.identity.verifier import CredentialRejected, Delegation, VerifiedCredential

NOW = 1_800_000_000
ISS = "https://idp.example"
SYSTEM = "bridge:prod/ledger"
KEY = ed25519.Ed25519PrivateKey.generate()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def x(key: ed25519.Ed25519PrivateKey) -> str:
    return b64(key.public_key().public_bytes_raw())


def jwks(**more: Any) -> bytes:
    return json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x(KEY), "kid": "k", **more}]}).encode()


def token(typ: str | None, /, key: ed25519.Ed25519PrivateKey = KEY, *, kid: str | None = None, **claims: Any) -> bytes:
    header = {"alg": "EdDSA", "typ": typ, "kid": kid}
    base = {"iss": ISS, "sub": "s", "aud": SYSTEM, "iat": NOW, "exp": NOW + 300}
    parts = [{n: v for n, v in part.items() if v is not None} for part in (header, {**base, **claims})]
    signing_input = ".".join(b64(json.dumps(part).encode()) for part in parts)
    return f"{signing_input}.{b64(key.sign(signing_input.encode()))}".encode()


def verify(
    data: bytes,
    profile: str,
    *,
    bindings: tuple[dict[str, str], ...] = (),
    agent_keys: tuple[str, ...] = (),
    document: bytes | None = None,
    **more: Any,
) -> VerifiedCredential:
    records = [IssuerSettings("agents", "", "agent-key", accept_bridge_audience=True)]
    sources = {}
    if profile != "agent-key":
        record = IssuerSettings("corp", ISS if profile != "jwt-svid" else "", profile, **more)
        records.append(record)
        spiffe = profile == "jwt-svid"
        parsed = parse_key_set(document or jwks(), algorithms=("EdDSA",), spiffe=spiffe)
        sources["corp"] = FixedKeys(parsed)

    def is_agent(issuer: str, flat: Any) -> bool:
        return any(binding.items() <= dict(flat).items() for binding in bindings)

    on = JWTVerifier(
        records,
        sources,
        bridge_audience="bridge:prod",
        is_agent=is_agent,
        agent_keys=lambda agent: agent_keys if agent == "deploy-7" else (),
    )
    coroutine: Coroutine[Any, Any, VerifiedCredential] = on.verify(data, audiences=frozenset({SYSTEM}), now=NOW)
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    return cast(VerifiedCredential, end.value.value)


def code(data: bytes, profile: str, **more: Any) -> str:
    with pytest.raises(CredentialRejected) as caught:
        verify(data, profile, **more)
    return caught.value.code


ACCESS = {"client_id": "app", "scope": "db", "sub": "app"}
K8S = {
    "sub": "system:serviceaccount:pay:recon",
    "kubernetes.io": {
        "namespace": "pay",
        "serviceaccount": {"name": "recon", "uid": "u-1"},
        "pod": {"name": "p", "uid": "u-2"},
    },
}
GITHUB = {
    "sub": "repo:o/r:ref:refs/heads/main", "repository_id": "1", "repository_owner_id": "2", "run_id": "3",
    "job_workflow_ref": "o/r/.github/workflows/x.yml@refs/heads/main", "runner_environment": "github-hosted",
}  # fmt: skip
GITLAB = {
    "sub": "project_path:g/p:ref_type:branch:ref:main", "project_id": "1", "namespace_id": "2", "job_id": "3",
    "ref_protected": "true", "pipeline_source": "push",
}  # fmt: skip
SVID = {"iss": None, "iat": None, "sub": "spiffe://corp/agents/recon"}


def test_an_access_token_without_its_type_must_be_allowed_and_recognisable() -> None:
    assert code(token("JWT", **ACCESS), "at+jwt") == "typ"
    assert verify(token("JWT", **ACCESS), "at+jwt", legacy_jwt=True).subject == "app"
    assert verify(token(None, **{**ACCESS, "scope": None, "token_use": "access"}), "at+jwt", legacy_jwt=True).jti == ""


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "n"}, {"at_hash": "h"}, {"events": {}}, {"token_use": "id"}, {"typ": "ID"}, {"client_id": None},
        {"scope": None},
    ],
)  # fmt: skip
def test_an_id_token_is_no_legacy_access_token(change: dict[str, Any]) -> None:
    assert code(token("JWT", **{**ACCESS, **change}), "at+jwt", legacy_jwt=True) == "claim"


def test_legacy_does_not_loosen_the_real_type() -> None:
    assert code(token("at+jwt", **ACCESS), "at+jwt", legacy_jwt=True) == "claim"  # RFC 9068 asks for jti


def test_an_id_token_is_taken_and_an_access_token_is_not() -> None:
    assert verify(token("JWT", nonce="n"), "oidc").subject == "s"
    assert code(token("at+jwt"), "oidc") == "typ"
    for change in ({"scope": "a"}, {"scp": ["a"]}, {"events": {}}, {"token_use": "access"}, {"typ": "Bearer"}):
        assert code(token("JWT", **change), "oidc") == "claim"
    assert code(token("JWT", aud=[SYSTEM, "x"]), "oidc", multiple_audiences=True) == "claim"


def test_kubernetes_claims_are_flat_for_bindings() -> None:
    flat = verify(token(None, **K8S), "k8s-sa").claims
    assert flat["kubernetes.io/namespace"] == "pay"
    assert flat["kubernetes.io/serviceaccount/uid"] == "u-1"
    assert flat["kubernetes.io/pod/name"] == "p"


@pytest.mark.parametrize(
    "change",
    [
        {"kubernetes.io": None}, {"kubernetes.io": {"namespace": "pay"}}, {"sub": "system:serviceaccount:pay:other"},
        {"kubernetes.io": {"namespace": "pay", "serviceaccount": {"name": "recon"}}}, {"kubernetes.io": "x"},
    ],
)  # fmt: skip
def test_kubernetes_claims_agree(change: dict[str, Any]) -> None:
    assert code(token(None, **{**K8S, **change}), "k8s-sa") == "claim"


def test_a_default_kubernetes_token_of_a_year_is_refused() -> None:
    assert code(token(None, **{**K8S, "exp": NOW + 31_536_000}), "k8s-sa") == "lifetime"
    assert code(token(None, **{**K8S, "aud": ["https://kubernetes.default.svc"]}), "k8s-sa") == "aud"


@pytest.mark.parametrize(("profile", "good"), [("github", GITHUB), ("gitlab", GITLAB)])
def test_ci_tokens_have_their_numeric_ids(profile: str, good: dict[str, Any]) -> None:
    found = verify(token("JWT", **good), profile)
    for name in good:
        assert found.claims[name] == good[name]
        assert code(token("JWT", **{**good, name: None}), profile) == "claim"
    number = "repository_id" if profile == "github" else "project_id"
    for bad in (1, "١", "x1", ""):
        assert code(token("JWT", **{**good, number: bad}), profile) == "claim"


def test_gitlab_protected_is_one_of_two_words() -> None:
    assert code(token("JWT", **{**GITLAB, "ref_protected": "yes"}), "gitlab") == "claim"


def test_a_svid_is_found_by_its_trust_domain() -> None:
    found = verify(token("JOSE", **SVID), "jwt-svid", trust_domain="corp", document=jwks(use="jwt-svid"))
    assert (found.iss, found.subject, found.issued_at) == ("spiffe://corp", "spiffe://corp/agents/recon", None)
    assert found.token_id == found.digest
    assert (
        code(token("JWT", **{**SVID, "sub": "spiffe://other/a"}), "jwt-svid", trust_domain="corp") == "issuer-unknown"
    )


@pytest.mark.parametrize(
    "sub",
    ["spiffe://corp", "spiffe://corp/", "spiffe://corp/a/", "spiffe://corp//a", "spiffe://corp/a%20b", "spiffe://corp/..",
     "spiffe://CORP/a", "spiffe://corp/a?b", "SPIFFE://corp/a", "spiffe://corp/a\n", "spiffe://corp:1/a"],
)  # fmt: skip
def test_a_spiffe_id_follows_its_grammar(sub: str) -> None:
    assert code(token("JWT", **{**SVID, "sub": sub}), "jwt-svid", trust_domain="corp") == "issuer-unknown"


def test_a_bundle_gives_only_its_jwt_svid_keys() -> None:
    for use in ("x509-svid", "enc"):
        assert parse_key_set(jwks(use=use), algorithms=("EdDSA",), spiffe=True).keys == frozenset()
    assert len(parse_key_set(jwks(use="jwt-svid"), algorithms=("EdDSA",), spiffe=True).keys) == 1
    assert parse_key_set(jwks(use="jwt-svid"), algorithms=("EdDSA",)).keys == frozenset()


def own(**claims: Any) -> bytes:
    base = {"iss": "idbridge:agent:deploy-7", "sub": "deploy-7", "jti": "j"}
    return token(claims.pop("typ", "JWT"), claims.pop("key", KEY), kid=claims.pop("kid", None), **{**base, **claims})


def test_an_agent_signs_its_own_token() -> None:
    for typ in ("JWT", "at+jwt"):
        found = verify(own(typ=typ), "agent-key", agent_keys=(x(KEY),))
        assert (found.issuer, found.profile, found.subject) == ("agents", "agent-key", "deploy-7")
        assert found.kid == ed25519_thumbprint(x(KEY))
    assert verify(own(aud="bridge:prod"), "agent-key", agent_keys=(x(KEY),)).audience == "bridge:prod"


def test_what_an_agents_own_token_may_not_be() -> None:
    keys = (x(KEY),)
    other = ed25519.Ed25519PrivateKey.generate()
    assert code(own(sub="other-agent"), "agent-key", agent_keys=keys) == "iss"
    assert code(own(iss="idbridge:agent:nobody"), "agent-key", agent_keys=keys) == "issuer-unknown"
    assert code(own(iss="idbridge:agent:../x"), "agent-key", agent_keys=keys) == "issuer-unknown"
    assert code(own(), "agent-key") == "issuer-unknown"
    assert code(own(key=other), "agent-key", agent_keys=keys) == "signature"
    assert code(own(jti=None), "agent-key", agent_keys=keys) == "claim"
    assert code(own(exp=NOW + 931, iat=None), "agent-key", agent_keys=keys) == "lifetime"
    assert code(own(aud="bridge:prod/other"), "agent-key", agent_keys=keys) == "aud"
    assert code(own(typ=None), "agent-key", agent_keys=keys) == "typ"
    assert code(own(act={"sub": "x"}), "agent-key", agent_keys=keys) == "act"
    assert code(own(), "agent-key", agent_keys=(x(KEY), x(other))) == "kid-unknown"
    assert code(own(), "agent-key", agent_keys=("damaged",)) == "keys-unavailable"
    named = own(kid=ed25519_thumbprint(x(KEY)))
    assert verify(named, "agent-key", agent_keys=(x(KEY), x(other))).subject == "deploy-7"


@pytest.mark.parametrize("bad", ["", "AA", "é" * 43, "A" * 44, "=" * 43, "A" * 42 + "B"])
def test_an_agents_key_is_canonical(bad: str) -> None:
    with pytest.raises(BadKeySet):
        ed25519_key(bad)


def actor(*names: str) -> dict[str, Any]:
    first, *rest = names
    return {"sub": first, **({"act": actor(*rest)} if rest else {})}


def delegated(**claims: Any) -> bytes:
    return token("at+jwt", **{"jti": "j", "client_id": "bot", "sub": "alice", **claims})


def test_act_names_the_agent_and_sub_the_delegator() -> None:
    found = verify(delegated(act=actor("bot", "planner"), groups="admins"), "at+jwt")
    assert found.subject == "bot"
    assert found.delegation == Delegation("delegated", "alice", ISS, ((ISS, "planner"),))
    assert found.claims == {"iss": ISS, "aud": SYSTEM, "client_id": "bot", "sub": "bot"}


def test_a_client_that_is_not_the_actor_describes_nobody() -> None:
    assert "client_id" not in verify(delegated(act=actor("other-bot")), "at+jwt").claims


@pytest.mark.parametrize(
    "act",
    [
        "x", [], {}, {"sub": ""}, {"sub": 5}, {"sub": "a\n"}, {"sub": "bot", "iss": 5}, actor("alice"),
        actor("bot", "x", "bot"), actor("a", "b", "c", "d", "e"), {"sub": "bot", "iss": "https://other.example"},
        {"sub": "bot", "act": "x"},
    ],
)  # fmt: skip
def test_chains_that_are_refused(act: Any) -> None:
    assert code(delegated(act=act), "at+jwt") == "act"


def test_four_actors_pass_and_two_hundred_are_not_even_read() -> None:
    assert len(verify(delegated(act=actor("a", "b", "c", "d")), "at+jwt").delegation.chain) == 3
    assert code(delegated(act=actor(*(str(n) for n in range(200)))), "at+jwt") == "jwt-json"


def test_a_registered_client_with_another_sub_acts_for_it() -> None:
    found = verify(delegated(oid="alice-oid"), "at+jwt", bindings=({"client_id": "bot"},))
    assert (found.subject, found.delegation) == ("bot", Delegation("delegated", "alice", ISS))
    assert found.claims["sub"] == "bot"
    assert "oid" not in found.claims


def test_a_binding_that_asks_for_more_than_the_client_is_still_delegation() -> None:
    found = verify(delegated(scope="db"), "at+jwt", bindings=({"client_id": "bot", "scope": "db"},))
    assert (found.subject, found.delegation.subject) == ("bot", "alice")


def test_a_registered_sub_behind_an_unregistered_client_is_autonomous() -> None:
    found = verify(delegated(), "at+jwt", bindings=({"sub": "alice"},))
    assert (found.subject, found.delegation.mode) == ("alice", "autonomous")


@pytest.mark.parametrize(
    "claims", [{"sub": "bot"}, {"idtyp": "app"}, {"sub": "bot@clients"}, {"preferred_username": "service-account-bot"}]
)
def test_a_service_account_is_nobodys_delegate(claims: dict[str, str]) -> None:
    found = verify(delegated(**claims), "at+jwt", bindings=({"client_id": "bot"},))
    assert found.delegation.mode == "autonomous"
    assert found.claims["client_id"] == "bot"


@pytest.mark.parametrize(("profile", "good"), [("k8s-sa", K8S), ("github", GITHUB), ("gitlab", GITLAB)])
def test_profiles_without_delegation_refuse_act(profile: str, good: dict[str, Any]) -> None:
    assert code(token("JWT", act={"sub": "x"}, **good), profile) == "act"


@pytest.mark.parametrize(
    "wrong",
    [
        {"profile": "saml"}, {"lifetime": "ignore"}, {"leeway": 61}, {"leeway": -1}, {"max_lifetime": 0}, {"iss": ""},
        {"algorithms": ("HS256",)}, {"algorithms": ("none",)}, {"algorithms": ()}, {"max_token_bytes": 20000},
        {"iss": "idbridge:agent:x"}, {"profile": "oidc", "legacy_jwt": True}, {"profile": "jwt-svid"},
        {"profile": "agent-key"},
    ],
)  # fmt: skip
def test_settings_that_would_weaken_the_rules(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        IssuerSettings(**{"name": "n", "iss": ISS, "profile": "at+jwt", **wrong})


def test_clashing_records() -> None:
    one, two = IssuerSettings("a", ISS, "at+jwt"), IssuerSettings("b", ISS, "oidc")
    sources = {"a": FixedKeys(parse_key_set(jwks(), algorithms=("EdDSA",)))}
    for records in ([one, two], [two]):
        with pytest.raises(ValueError):
            JWTVerifier(records, sources, bridge_audience="b", is_agent=lambda i, c: False)
    with pytest.raises(ValueError):
        KeyLocation(jwks_uri="https://a", discovery=True)
