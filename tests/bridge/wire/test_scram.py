"""SCRAM against the RFC's own example, and against a server that cheats."""

import base64
import contextlib
import datetime
import hashlib
import hmac

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.scram import (
    MAX_ITERATIONS,
    Challenge,
    KeyCache,
    ScramClient,
    ScramFailure,
    in_thread_derive,
    saslprep,
    tls_server_end_point,
)


def test_rfc_7677_example() -> None:
    """The proof and server signature of RFC 7677, section 3 (its user name is in the bare message, so patched in)."""

    class WithUser(ScramClient):
        @property
        def _bare(self) -> bytes:
            return b"n=user,r=rOprNGfwEbeRWgbNEkqO"

    client = WithUser(nonce=lambda: "rOprNGfwEbeRWgbNEkqO")
    first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    challenge = client.challenged(first)
    final = client.final(in_thread_derive(b"pencil", challenge.salt, challenge.iterations))
    assert final.endswith(b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    client.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


@pytest.mark.parametrize(
    ("given_", "prepared"),
    [
        ("user", "user"),
        ("I\u00adX", "IX"),  # RFC 4013 section 3
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("p\u00e4ss", "p\u00e4ss"),
        ("tab\there", "tab\there"),  # prohibited: stays as it is
        ("\u0627\u0031", "\u0627\u0031"),  # bidirectional rule broken: stays as it is
        ("\u00ad", "\u00ad"),  # nothing would be left
    ],
)
def test_saslprep(given_: str, prepared: str) -> None:
    assert saslprep(given_.encode()) == prepared.encode()


def test_a_password_that_is_not_utf8_stays_as_it_is() -> None:
    assert saslprep(b"\xff\xfe") == b"\xff\xfe"


def server_first(client: ScramClient, salt: bytes = b"salt", count: bytes = b"2") -> bytes:
    nonce = client.first().partition(b"r=")[2]
    return b"r=" + nonce + b"more,s=" + base64.b64encode(salt) + b",i=" + count


@pytest.mark.parametrize("size", [1, 4, 16, 32, 64, 1000])
def test_case_19_any_salt_length_is_taken(size: int) -> None:
    client = ScramClient()
    assert client.challenged(server_first(client, bytes(size))) == Challenge(bytes(size), 2)


@pytest.mark.parametrize("count", [b"0", b"-1", b"", b"x", b"1000001", b"9999999999", "²".encode()])
def test_an_absurd_iteration_count_is_refused(count: bytes) -> None:
    client = ScramClient()
    with pytest.raises(ScramFailure, match=f"between 1 and {MAX_ITERATIONS}"):
        client.challenged(server_first(client, count=count))


def test_a_nonce_that_is_not_ours_or_adds_nothing_is_refused() -> None:
    client = ScramClient(nonce=lambda: "ours")
    for nonce in (b"theirs", b"ours"):
        with pytest.raises(ScramFailure, match="does not extend"):
            client.challenged(b"r=" + nonce + b",s=c2FsdA==,i=1")


def test_a_mandatory_extension_is_refused() -> None:
    with pytest.raises(ScramFailure, match="order"):
        ScramClient(nonce=lambda: "a").challenged(b"m=x,r=ab,s=c2FsdA==,i=1")


def test_a_server_that_does_not_know_the_password_is_found_out() -> None:
    client = ScramClient()
    challenge = client.challenged(server_first(client))
    client.final(in_thread_derive(b"right", challenge.salt, challenge.iterations))
    for wrong in (b"v=" + base64.b64encode(bytes(32)), b"v="):
        with pytest.raises(ScramFailure, match="did not prove"):
            client.verify(wrong)
    with pytest.raises(ScramFailure, match="reports an error"):
        client.verify(b"e=invalid-proof")


def test_a_final_message_before_the_challenge_proves_nothing() -> None:
    with pytest.raises(ScramFailure, match="did not prove"):
        ScramClient().verify(b"v=" + base64.b64encode(hmac.digest(b"", b"", "sha256")))


@pytest.mark.parametrize(
    ("options", "header", "mechanism"),
    [
        ({}, b"n,,", "SCRAM-SHA-256"),
        ({"binding_possible": True}, b"y,,", "SCRAM-SHA-256"),
        ({"binding": b"hash"}, b"p=tls-server-end-point,,", "SCRAM-SHA-256-PLUS"),
    ],
)
def test_the_header_says_whether_the_channel_is_bound(options: dict, header: bytes, mechanism: str) -> None:
    client = ScramClient(**options)
    assert client.first().startswith(header)
    assert client.mechanism == mechanism
    challenge = client.challenged(server_first(client))
    final = client.final(in_thread_derive(b"p", challenge.salt, challenge.iterations))
    assert base64.b64decode(final[2:].partition(b",")[0]) == header + options.get("binding", b"")


@given(st.binary())
def test_no_server_message_raises_anything_but_scram_failure(data: bytes) -> None:
    client = ScramClient(nonce=lambda: "n")
    for call in (client.challenged, client.verify):
        with contextlib.suppress(ScramFailure):
            call(data)


def test_the_key_cache_is_bounded_and_keyed_by_all_three() -> None:
    cache = KeyCache(size=2)
    keys = in_thread_derive(b"p", b"s", 1)
    for count in (1, 2, 3):
        cache.put(b"p", Challenge(b"s", count), keys)
    assert len(cache) == 2
    assert cache.get(b"p", Challenge(b"s", 1)) is None
    assert cache.get(b"p", Challenge(b"s", 3)) is keys
    assert cache.get(b"q", Challenge(b"s", 3)) is None
    assert cache.get(b"p", Challenge(b"t", 3)) is None


def test_keys_are_not_shown() -> None:
    keys = in_thread_derive(b"p", b"s", 1)
    cache = KeyCache()
    cache.put(b"p", Challenge(b"s", 1), keys)
    assert repr(keys.client_key) not in repr(keys) + repr(cache)


def certificate(key, algorithm) -> bytes:  # type: ignore[no-untyped-def]
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "legacy.example")])
    start = datetime.datetime(2026, 1, 1)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + datetime.timedelta(days=9)).sign(
        key, algorithm
    )
    return built.public_bytes(serialization.Encoding.DER)


def test_channel_binding_follows_the_signatures_hash() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    small, large = certificate(key, hashes.SHA256()), certificate(key, hashes.SHA384())
    assert tls_server_end_point(small) == hashlib.sha256(small).digest()
    assert tls_server_end_point(large) == hashlib.sha384(large).digest()


def test_there_is_no_channel_binding_for_ed25519_or_garbage() -> None:
    assert tls_server_end_point(certificate(ed25519.Ed25519PrivateKey.generate(), None)) is None
    assert tls_server_end_point(b"no certificate") is None
