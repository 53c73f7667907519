"""Client certificates: the leaf says who it is in exactly one way."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from bridge.identity.certificates import CertificateSettings, verify_certificate
from bridge.identity.verifier import CredentialRejected, VerifiedCredential

NOW = 1_800_000_000
SVID = CertificateSettings("spire", trust_domain="corp")
PLAIN = CertificateSettings("pki")
KEY = ec.generate_private_key(ec.SECP256R1())


def usage(**more: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{**dict.fromkeys(names, False), "digital_signature": True, **more})


def leaf(*uris: str, cn: str = "recon", begins: int = NOW - 60, ends: int = NOW + 3600, **more: Any) -> bytes:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])

    builder = (
        x509.CertificateBuilder()
        .subject_name(name(cn))
        .issuer_name(name("Test CA"))
        .public_key(KEY.public_key())
        .serial_number(255)
        .not_valid_before(datetime.datetime.fromtimestamp(begins, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(ends, datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=more.get("ca", False), path_length=None), True)
    )
    if uris:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]), False
        )
    for extension in more.get("extensions", [usage()]):
        builder = builder.add_extension(extension, True)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def verify(der: bytes, settings: CertificateSettings = SVID) -> VerifiedCredential:
    return verify_certificate([der], settings, now=NOW)


def refused(der: bytes, settings: CertificateSettings = SVID) -> CredentialRejected:
    with pytest.raises(CredentialRejected) as caught:
        verify(der, settings)
    return caught.value


def test_a_svid() -> None:
    found = verify(leaf("spiffe://corp/agents/recon"))
    assert (found.profile, found.iss, found.subject) == ("x509-svid", "spiffe://corp", "spiffe://corp/agents/recon")
    assert found.serial == found.claims["serial"]
    assert (found.binding, found.expires_at, found.issued_at) == ("mtls", NOW + 3600, NOW - 60)
    assert found.token_id == found.claims["fingerprint"]


def test_a_plain_certificate_by_its_subject() -> None:
    found = verify(leaf(), PLAIN)
    assert (found.profile, found.iss, found.subject) == ("x509", "CN=Test CA", "CN=recon")
    assert found.claims["serial"] == "ff"


@pytest.mark.parametrize(
    "der",
    [
        leaf(), leaf("spiffe://corp/a", "spiffe://corp/b"), leaf("spiffe://corp/a", "https://x/"),
        leaf("spiffe://other/a"), leaf("spiffe://corp"), leaf("spiffe://corp/a/"), leaf("https://corp/a"),
        leaf("spiffe://corp/a", ca=True), leaf("spiffe://corp/a", extensions=[]),
        leaf("spiffe://corp/a", extensions=[usage(key_cert_sign=True)]),
        leaf("spiffe://corp/a", extensions=[usage(crl_sign=True)]),
        leaf("spiffe://corp/a", extensions=[usage(digital_signature=False, key_agreement=True)]),
        leaf("spiffe://corp/a", extensions=[usage(), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])]),
        b"", b"x" * 20_000, b"\x30\x82",
    ],
)  # fmt: skip
def test_what_is_no_svid_of_the_trust_domain(der: bytes) -> None:
    assert refused(der).code == "certificate"


def test_a_svid_is_no_plain_certificate_and_a_subject_is_needed() -> None:
    assert refused(leaf("spiffe://corp/a"), PLAIN).code == "certificate"
    assert refused(leaf("SPIFFE://corp/a"), PLAIN).code == "certificate"
    assert refused(leaf(cn=""), PLAIN).code == "certificate"


def test_times() -> None:
    expired = refused(leaf("spiffe://corp/a", ends=NOW))
    assert (expired.code, expired.expired) == ("exp", True)
    assert refused(leaf("spiffe://corp/a", begins=NOW + 31)).code == "nbf"
    assert refused(leaf("spiffe://corp/a", ends=NOW + 365 * 86400)).code == "lifetime"


def test_no_chain_at_all() -> None:
    with pytest.raises(CredentialRejected):
        verify_certificate([], SVID, now=NOW)


GOOD = leaf("spiffe://corp/a")


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_mutated_certificate_raises_nothing_else(edits: list[tuple[int, int]]) -> None:
    der = bytearray(GOOD)
    for place, byte in edits:
        der[place] = byte
    try:
        found = verify(bytes(der))
    except CredentialRejected:
        return
    assert found.subject.startswith("spiffe://corp/")
