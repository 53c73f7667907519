"""Keys and certificates as strangers send them: a proof or none, and never another exception."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import SSHCertificateBuilder, SSHCertificateType
from hypothesis import given
from hypothesis import strategies as st
from twisted.conch.ssh.keys import Key

from adapters.ssh.fields import string
from adapters.ssh.public_keys import CERTIFICATE, FORMATS, NO_LIMITS, OfferedKey, offered
from bridge.adapter import PeerFault

KEYS: dict[str, Any] = {
    "ssh-ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa-sha2-256": rsa.generate_private_key(65537, 2048),
    "ecdsa-sha2-nistp256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-sha2-nistp384": ec.generate_private_key(ec.SECP384R1()),
    "ecdsa-sha2-nistp521": ec.generate_private_key(ec.SECP521R1()),
}


def plain(key: Any) -> bytes:
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return base64.b64decode(public.split()[1])


def certified(key: Any) -> bytes:
    now = int(time.time())
    builder = SSHCertificateBuilder().public_key(key.public_key()).type(SSHCertificateType.USER).serial(1)
    builder = builder.key_id(b"x").valid_principals([b"x"]).valid_after(now).valid_before(now + 60)
    return base64.b64decode(builder.sign(KEYS["ssh-ed25519"]).public_bytes().split()[1])


SIGNED = b"what is signed"
SAMPLES = [(name, plain(key)) for name, key in KEYS.items()] + [
    (name + CERTIFICATE, certified(key)) for name, key in KEYS.items()
]


@pytest.mark.parametrize(("algorithm", "blob"), SAMPLES, ids=[name for name, _ in SAMPLES])
def test_a_signature_is_good_for_its_text_and_algorithm_only(algorithm: str, blob: bytes) -> None:
    key = offered(algorithm, blob)
    assert key is not None
    name = algorithm.removesuffix(CERTIFICATE)
    signature = Key(KEYS[name]).sign(SIGNED, name.encode())
    assert key.verifies(signature, SIGNED)
    assert not key.verifies(signature, SIGNED + b".")
    for other in set(FORMATS) - {name}:
        assert not key.verifies(string(other) + signature[4 + len(name) :], SIGNED)
    assert (key.limits == NO_LIMITS) == (key.certificate is None)


@given(st.sampled_from(SAMPLES), st.data())
def test_altered_keys_and_signatures_are_refused_in_good_order(sample: tuple[str, bytes], data: st.DataObject) -> None:
    algorithm, blob = sample
    altered = bytearray(blob)
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(altered)))
    for candidate in (bytes(altered), bytes(altered[:cut])):
        key = offered(algorithm, candidate)
        if key is not None:
            _none_or_fault(
                key, string(algorithm.removesuffix(CERTIFICATE)) + string(data.draw(st.binary(max_size=300)))
            )
            assert key.limits is not None
            assert len(key.thumbprint()) == 43


@given(st.sampled_from(SAMPLES), st.binary(max_size=300), st.binary(max_size=200), st.binary(max_size=200))
def test_any_signature_is_refused_in_good_order(sample: tuple[str, bytes], raw: bytes, r: bytes, s: bytes) -> None:
    key = offered(*sample)
    assert key is not None
    head = string(sample[0].removesuffix(CERTIFICATE))
    for signature in (raw, head + string(raw), head + string(string(r) + string(s))):
        _none_or_fault(key, signature)


def _none_or_fault(key: OfferedKey, signature: bytes) -> None:
    try:
        assert not key.verifies(signature, SIGNED)
    except PeerFault:
        return


@pytest.mark.parametrize("algorithm", ["", "ssh-rsa", "ssh-dss", "none", "x" * 300, CERTIFICATE])
def test_other_algorithms_are_not_taken(algorithm: str) -> None:
    assert offered(algorithm, SAMPLES[0][1]) is None


def test_thumbprints_are_those_of_rfc_8037_and_7638() -> None:
    """RFC 8037 appendix A.3, RFC 7638 section 3.1."""
    x = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    blob = string("ssh-ed25519") + string(x)
    key = offered("ssh-ed25519", blob)
    assert key is not None
    assert key.thumbprint() == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj"
        "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ"
        "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK"
        "nqDKgw"
    )
    modulus = base64.urlsafe_b64decode(n + "==")
    key = offered("rsa-sha2-512", string("ssh-rsa") + string(b"\1\0\1") + string(b"\0" + modulus))
    assert key is not None
    assert key.thumbprint() == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
