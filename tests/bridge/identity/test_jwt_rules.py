"""Every rule of the token, by its stable code. Tokens are made by hand, so that they can be wrong."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Coroutine
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms

from bridge.identity.jwk import parse_key_set
from bridge.identity.jwt import JWTVerifier
from bridge.identity.key_sets import FixedKeys
from bridge.identity.settings import IssuerSettings
from bridge.identity.verifier import CredentialRejected, VerifiedCredential

NOW = 1_800_000_000
ISS = "https://idp.example"
SYSTEM = "bridge:prod/ledger"
BRIDGE = "bridge:prod"
KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
KEYS["PS256"] = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)
AGENT = ed25519.Ed25519PrivateKey.generate()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(alg: str, key: Any, /, **more: Any) -> dict[str, Any]:
    data = get_default_algorithms()[alg].to_jwk(key.public_key(), as_dict=True)
    data.pop("key_ops", None)
    return {**data, "kid": alg, "alg": alg, **more}


def key_set(*more: dict[str, Any]) -> bytes:
    return json.dumps({"keys": [*(jwk(alg, key) for alg, key in KEYS.items()), *more]}).encode()


def sign(header: Any, payload: Any, key: Any = None, alg: str = "") -> bytes:
    """``header`` and ``payload`` are objects, or JSON text to be taken as it is."""
    name = alg or (header["alg"] if isinstance(header, dict) else "ES256")
    name = "EdDSA" if name == "Ed25519" else name
    texts = [part if isinstance(part, str) else json.dumps(part) for part in (header, payload)]
    signing_input = ".".join(b64(text.encode()) for text in texts)
    signature = get_default_algorithms()[name].sign(signing_input.encode(), key or KEYS[name])
    return f"{signing_input}.{b64(signature)}".encode()


def claims(**changes: Any) -> dict[str, Any]:
    base = {
        "iss": ISS, "sub": "deploy-7", "client_id": "deploy-7", "aud": SYSTEM,
        "iat": NOW - 10, "exp": NOW + 300, "jti": "j-1",
    }  # fmt: skip
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def header(alg: str = "ES256", **changes: Any) -> dict[str, Any]:
    base = {"alg": alg, "kid": "EdDSA" if alg == "Ed25519" else alg, "typ": "at+jwt"}
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def verifier(document: bytes | None = None, *, bound: frozenset[str] = frozenset(), **changes: Any) -> JWTVerifier:
    record = IssuerSettings(**{"name": "corp", "iss": ISS, "profile": "at+jwt", **changes})
    agents = IssuerSettings("agents", "", "agent-key", accept_bridge_audience=True)
    spiffe = record.profile == "jwt-svid"
    source = FixedKeys(parse_key_set(document or key_set(), algorithms=record.algorithms, spiffe=spiffe))
    return JWTVerifier(
        [record, agents],
        {"corp": source},
        bridge_audience=BRIDGE,
        is_agent=lambda issuer, flat: flat.get("client_id", flat.get("azp")) in bound or flat.get("sub") in bound,
        agent_keys=lambda agent: (b64(AGENT.public_key().public_bytes_raw()),) if agent == "deploy-7" else (),
    )


def result_now(verifying: Coroutine[Any, Any, VerifiedCredential]) -> VerifiedCredential:
    """The result of a coroutine that must not wait."""
    try:
        verifying.send(None)
    except StopIteration as end:
        return cast(VerifiedCredential, end.value)
    raise AssertionError("a login waited although every key is in memory")


def check(token: bytes, on: JWTVerifier | None = None, *, now: float = NOW, system: str = SYSTEM) -> VerifiedCredential:
    verifying = (on or verifier()).verify(token, audiences=frozenset({system}), now=now)
    return result_now(verifying)


def refused(token: bytes, on: JWTVerifier | None = None, **more: Any) -> CredentialRejected:
    with pytest.raises(CredentialRejected) as caught:
        check(token, on, **more)
    return caught.value


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"])
def test_a_good_token_of_each_algorithm_is_verified(alg: str) -> None:
    token = sign(header(alg), claims())
    found = check(token)
    assert (found.issuer, found.profile, found.iss, found.subject) == ("corp", "at+jwt", ISS, "deploy-7")
    assert (found.alg, found.audience, found.jti, found.token_id) == (alg, SYSTEM, "j-1", "j-1")
    assert (found.issued_at, found.expires_at) == (NOW - 10, NOW + 300)
    assert found.claims["client_id"] == "deploy-7"
    assert found.delegation.mode == "autonomous"


def test_a_token_bound_to_a_key_says_to_which() -> None:
    assert check(sign(header(), claims())).confirmation == ""
    assert check(sign(header(), claims(cnf={"jkt": "thumb"}))).confirmation == "thumb"


@pytest.mark.parametrize("cnf", [{}, {"x5t#S256": "a"}, {"jkt": "a", "kid": "b"}, {"jkt": 1}, {"jkt": ""}, "a", []])
def test_a_binding_that_cannot_be_checked_is_refused(cnf: Any) -> None:
    assert refused(sign(header(), claims(cnf=cnf))).code == "cnf"


def test_a_token_that_is_too_long_is_refused_before_it_is_read() -> None:
    started = time.perf_counter()
    assert refused(b"a" * 5_000_000).code == "jwt-size"
    assert time.perf_counter() - started < 0.5
    assert refused(sign(header(), claims(pad="x" * 900)), verifier(max_token_bytes=700)).code == "jwt-size"


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t + b"=", lambda t: t + b"\n", lambda t: b" " + t, lambda t: t + b".x",
        lambda t: t.rpartition(b".")[0],
        lambda t: t.rpartition(b".")[0] + b".", lambda t: b"", lambda t: t.replace(b".", b"..", 1),
        lambda t: t.replace(b".", "․".encode(), 1), lambda t: b"Bearer " + t, lambda t: t + b"AAA",
    ],
)  # fmt: skip
def test_only_three_canonical_base64url_segments(change: Any) -> None:
    assert refused(change(sign(header(), claims()))).code == "jwt-form"


def test_unused_bits_of_a_segment_must_be_zero() -> None:
    token = sign(header(), claims())  # 64 signature bytes: the last character has 4 unused bits
    last = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert refused(token[:-1] + last[last.index(token[-1:]) + 1 :][:1]).code == "jwt-form"


def edited(old: str, new: str) -> str:
    text = json.dumps(claims())
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    "payload",
    [
        edited('"sub": "deploy-7"', '"sub": "deploy-7", "sub": "evil"'),
        edited(f"{NOW + 300}", "NaN"), edited(f"{NOW + 300}", "-Infinity"), edited(f"{NOW + 300}", "1e999"),
        edited(f"{NOW + 300}", "9" * 4000), edited('"j-1"', "[" * 9 + "]" * 9), edited('"j-1"', '"\\ud800"'),
        '{"a":' * 200 + "1" + "}" * 200, "[]", '"text"', "", "{", "\ufeff{}", '{"a":1}x',
    ],
)  # fmt: skip
def test_the_payload_is_a_strict_json_object(payload: str) -> None:
    token = sign(header(), payload or " ")
    assert refused(token).code == "jwt-json"


def test_the_header_is_a_strict_json_object() -> None:
    assert refused(sign('{"alg":"none","alg":"ES256","typ":"at+jwt"}', claims())).code == "jwt-json"


@pytest.mark.parametrize(
    "change",
    [
        {"crit": ["exp"]}, {"b64": True}, {"zip": "DEF"}, {"enc": "A256GCM"}, {"kid": 5}, {"kid": ""}, {"kid": "a\nb"},
        {"kid": "k" * 256}, {"typ": 1},
    ],
)  # fmt: skip
def test_forbidden_and_malformed_headers(change: dict[str, Any]) -> None:
    assert refused(sign(header(**change), claims())).code == "jwt-header"


def test_a_key_that_the_sender_names_is_neither_fetched_nor_used() -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    named = {"jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/", "x5c": ["AA"], "jwk": jwk("ES256", own)}
    assert check(sign(header(**named), claims())).subject == "deploy-7"
    assert refused(sign(header(**named), claims(), own)).code == "signature"


@pytest.mark.parametrize("iss", ["https://idp.example/", "HTTPS://idp.example", "https://evil.example", None])
def test_the_issuer_is_found_by_exact_equality(iss: str | None) -> None:
    assert refused(sign(header(), claims(iss=iss))).code == "issuer-unknown"


def test_an_issuer_that_is_no_text() -> None:
    assert refused(sign(header(), claims(iss=["https://idp.example"]))).code == "iss"


@pytest.mark.parametrize("alg", ["none", "HS256", "es256", "RS512", "ES512", ""])
def test_algorithms_outside_the_list(alg: str) -> None:
    assert refused(sign(header() | {"alg": alg}, claims(), KEYS["ES256"], "ES256")).code == "alg"


def test_the_issuers_own_list_and_the_keys_pin_both_hold() -> None:
    assert refused(sign(header("RS256"), claims()), verifier(algorithms=("ES256",))).code == "alg"
    assert refused(sign(header("PS256", kid="RS256"), claims(), KEYS["RS256"], "PS256")).code == "alg"


def test_the_public_key_as_hmac_secret_gets_nowhere() -> None:
    assert refused(sign(header() | {"alg": "HS256"}, claims(), b"k" * 32, "HS256")).code == "alg"
    oct_key = {"kty": "oct", "k": b64(b"k" * 32), "kid": "mac", "alg": "HS256"}
    assert parse_key_set(key_set(oct_key), algorithms=("ES256",)).named("mac") == []


def test_an_unknown_kid_and_a_missing_one() -> None:
    assert refused(sign(header(kid="other"), claims())).code == "kid-unknown"
    assert check(sign(header(kid=None), claims())).kid == "ES256"
    twice = key_set(jwk("ES256", ec.generate_private_key(ec.SECP256R1()), kid="second"))
    assert refused(sign(header(kid=None), claims()), verifier(twice)).code == "kid-unknown"


@pytest.mark.parametrize(
    ("alg", "key", "more"),
    [
        ("RS256", WEAK, {}), ("ES256", KEYS["ES256"], {"use": "enc"}), ("ES256", KEYS["ES256"], {"key_ops": ["sign"]}),
        ("ES256", KEYS["ES256"], {"d": "AAAA"}), ("ES256", KEYS["ES256"], {"alg": "ES384"}),
        ("ES256", KEYS["ES256"], {"x": 7}), ("ES256", KEYS["ES256"], {"kid": "bad\n"}),
        ("RS256", KEYS["RS256"], {"n": ""}),
    ],
)  # fmt: skip
def test_unfit_keys_are_dropped(alg: str, key: Any, more: dict[str, Any]) -> None:
    document = json.dumps({"keys": [jwk(alg, key, **{"kid": "it", **more})]}).encode()
    assert parse_key_set(document, algorithms=("RS256", "ES256", "ES384")).keys == frozenset()


def test_an_rsa_key_without_alg_has_one_algorithm_only() -> None:
    document = json.dumps({"keys": [jwk("RS256", KEYS["RS256"], alg=None, kid="r")]}).encode()
    for listed, alg in ((("RS256", "PS256"), "RS256"), (("PS256",), "PS256")):
        assert [key.alg for key in parse_key_set(document, algorithms=listed).keys] == [alg]


def test_a_forged_signature() -> None:
    assert refused(sign(header(), claims(), ec.generate_private_key(ec.SECP256R1()))).code == "signature"
    head, _, rest = sign(header(), claims()).partition(b".")
    payload = b64(json.dumps(claims(sub="evil")).encode()).encode()
    assert refused(b".".join([head, payload, rest.rpartition(b".")[2]])).code == "signature"


@pytest.mark.parametrize("typ", ["JWT", None, "id+jwt", "wit+jwt", "at+jwt2", "text/at+jwt"])
def test_a_token_of_another_type(typ: str | None) -> None:
    assert refused(sign(header(typ=typ), claims())).code == "typ"


@pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", "AT+JWT"])
def test_the_type_is_a_media_type(typ: str) -> None:
    assert check(sign(header(typ=typ), claims())).subject == "deploy-7"


@pytest.mark.parametrize(
    "aud", [None, "", [], 5, ["bridge:prod/other"], "bridge:prod/ledger2", BRIDGE, [SYSTEM, "x"], [1]]
)
def test_an_audience_that_is_not_this_system(aud: Any) -> None:
    assert refused(sign(header(), claims(aud=aud))).code == "aud"


def test_audiences_that_the_configuration_adds() -> None:
    assert check(sign(header(), claims(aud=BRIDGE)), verifier(accept_bridge_audience=True)).audience == BRIDGE
    assert (
        check(sign(header(), claims(aud="api://x")), verifier(audiences=frozenset({"api://x"}))).audience == "api://x"
    )
    assert check(sign(header(), claims(aud=["y", SYSTEM])), verifier(multiple_audiences=True)).audience == SYSTEM
    assert refused(sign(header(), claims(aud=BRIDGE)), system=BRIDGE).code == "aud"


@pytest.mark.parametrize("exp", [None, "1800000300", 1.8e9, 1800000300.5, True, -5, 0, [1]])
def test_exp_is_a_positive_integer(exp: Any) -> None:
    found = refused(sign(header(), claims(exp=exp)))
    assert (found.code, found.expired) == ("exp", False)


def test_a_token_past_its_end_is_known_as_expired_only_when_genuine() -> None:
    old = claims(iat=NOW - 400, exp=NOW - 30)
    assert (refused(sign(header(), old)).code, refused(sign(header(), old)).expired) == ("exp", True)
    assert refused(sign(header(), old, ec.generate_private_key(ec.SECP256R1()))).expired is False


def test_the_leeway_moves_the_effective_end() -> None:
    token = sign(header(), claims(exp=NOW))
    assert check(token, now=NOW - 1).expires_at == NOW
    assert check(token, now=NOW + 29).expires_at == NOW + 30
    assert refused(token, now=NOW + 30).expired


@pytest.mark.parametrize("iat", [None, "1", -1, 0, 1.5, True, NOW + 31])
def test_iat(iat: Any) -> None:
    assert refused(sign(header(), claims(iat=iat))).code == "iat"


@pytest.mark.parametrize("nbf", ["1", -1, NOW + 31, 2.5])
def test_nbf(nbf: Any) -> None:
    assert refused(sign(header(), claims(nbf=nbf))).code == "nbf"
    assert check(sign(header(), claims(nbf=NOW + 30))).subject == "deploy-7"


@pytest.mark.parametrize("times", [{"iat": NOW - 700, "exp": NOW + 300}, {"exp": NOW + 931}, {"exp": NOW + 31_536_000}])
def test_a_token_that_lives_too_long(times: dict[str, int]) -> None:
    assert refused(sign(header(), claims(**times))).code == "lifetime"


def test_clamp_takes_a_long_token_while_it_is_young() -> None:
    on = verifier(lifetime="clamp")
    assert check(sign(header(), claims(iat=NOW - 100, exp=NOW + 3600)), on).expires_at == NOW + 800
    assert check(sign(header(), claims(iat=NOW - 100, exp=NOW + 50)), on).expires_at == NOW + 50
    assert refused(sign(header(), claims(iat=NOW - 900, exp=NOW + 3600)), on).expired
    assert refused(sign(header(), claims(iat=NOW - 100, exp=NOW)), on).expired  # no leeway


@pytest.mark.parametrize("name", ["sub", "client_id", "jti"])
@pytest.mark.parametrize("value", [None, "", 7, ["a"], "a\x00b", "a\u202eb", "x" * 256, {"a": "b"}])
def test_claims_that_name_somebody_are_short_clean_texts(name: str, value: Any) -> None:
    assert refused(sign(header(), claims(**{name: value}))).code == "claim"


def test_two_claims_of_one_flat_name() -> None:
    assert refused(sign(header(), claims(**{"a/b": "1", "a": {"b": "2"}}))).code == "claim"


def test_without_jti_the_token_is_known_by_its_signing_input() -> None:
    """(r, n-s) is as good a signature as (r, s): the deny list must not see two tokens."""
    document = claims(jti=None, scope="x")
    on = verifier(legacy_jwt=True)
    token = sign(header(typ="JWT"), document)
    signing_input, _, signature = token.rpartition(b".")
    raw = base64.urlsafe_b64decode(signature + b"==")
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    assert decode_dss_signature(encode_dss_signature(r, s)) == (r, s)
    twin = signing_input + b"." + b64(raw[:32] + (n - s).to_bytes(32, "big")).encode()
    first, second = check(token, on), check(twin, on)
    assert twin != token
    assert first.token_id == second.token_id == first.digest
    assert first.token_id.startswith("sha256:")


def test_a_cached_token_is_judged_anew_for_time_audience_and_key() -> None:
    record = IssuerSettings("corp", ISS, "at+jwt")
    source = FixedKeys(parse_key_set(key_set(), algorithms=record.algorithms))
    on = JWTVerifier([record], {"corp": source}, bridge_audience=BRIDGE, is_agent=lambda issuer, flat: False)
    token = sign(header(), claims())
    check(token, on)
    assert refused(token, on, system="bridge:prod/other").code == "aud"
    assert refused(token, on, now=NOW + 400).expired
    source._keys = parse_key_set(json.dumps({"keys": []}).encode(), algorithms=("ES256",))
    assert refused(token, on).code == "kid-unknown"


def test_the_cache_is_bounded() -> None:
    on = verifier()
    for number in range(1030):
        check(sign(header("EdDSA"), claims(jti=f"j{number}")), on)
    assert len(on._genuine) == 1024


def test_no_byte_of_the_token_is_in_an_error() -> None:
    secret = "canary-4711"
    tokens = [
        sign(header(kid=secret), claims()), sign(header(typ=secret), claims()), sign(header(), claims(iss=secret)),
        sign(header(), claims(aud=secret)), sign(header(), claims(exp=secret)), sign(header(), claims(sub=[secret])),
        sign(header(), claims(act=secret)), sign(header(), '{"' + secret + '":1,"' + secret + '":2}'),
        sign(header() | {"alg": secret}, claims(), KEYS["ES256"], "ES256"), secret.encode(),
    ]  # fmt: skip
    for token in tokens:
        found = refused(token)
        assert secret not in f"{found} {found!r} {found.detail} {found.__cause__!r}"
        assert token.decode()[:20] not in str(found)


@given(st.binary(max_size=300))
def test_random_bytes_are_rejected_and_nothing_else(data: bytes) -> None:
    refused(data, ON)


ON = verifier()
GOOD = sign(header("EdDSA"), claims())


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_mutated_token_is_rejected_or_unchanged(edits: list[tuple[int, int]]) -> None:
    token = bytearray(GOOD)
    for place, byte in edits:
        token[place] = byte
    if bytes(token) != GOOD:
        refused(bytes(token), ON)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "act", "client_id", "azp", "scope", "kubernetes.io"]


@settings(max_examples=200)
@given(
    st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4), st.dictionaries(st.sampled_from(["kid", "typ"]), JSON)
)
def test_genuine_tokens_with_any_claims_raise_nothing_else(changes: dict[str, Any], more: dict[str, Any]) -> None:
    token = sign(header("EdDSA") | more, claims() | changes)
    with contextlib.suppress(CredentialRejected):
        assert check(token, ON).subject
