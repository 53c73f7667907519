"""OpenSSH user certificates and registered keys: whose they are, and everything that makes them nobody's."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import SSHCertificateBuilder, SSHCertificateType
from hypothesis import given
from hypothesis import strategies as st

from bridge.identity.ssh import NO_END, Revoked, SSHAuthority, SSHIdentities, authority_keys
from bridge.identity.verifier import CredentialRejected, VerifiedCredential
from bridge.wire.ssh_keys import fingerprint

NOW = 1_800_000_000
CA = ed25519.Ed25519PrivateKey.from_private_bytes(b"c" * 32)
OTHER_CA = ed25519.Ed25519PrivateKey.from_private_bytes(b"o" * 32)
KEY = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def line(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return text.decode()


def wire(text: str) -> bytes:
    return base64.b64decode(text.split()[1])


def certificate(ca: Any = CA, key: Any = KEY, **more: Any) -> bytes:
    builder = (
        SSHCertificateBuilder()
        .public_key(key.public_key())
        .serial(more.get("serial", 7))
        .type(more.get("type", SSHCertificateType.USER))
        .key_id(more.get("key_id", b"deploy-7@ci"))
        .valid_after(more.get("begins", NOW - 60))
        .valid_before(more.get("ends", NOW + 600))
    )
    principals = more.get("principals", [b"deploy"])
    builder = builder.valid_principals(principals) if principals else builder.valid_for_all_principals()
    for name, value in more.get("critical", {}).items():
        builder = builder.add_critical_option(name, value)
    return wire(builder.sign(ca).public_bytes().decode())


def identities(revoked: str = "", **more: Any) -> SSHIdentities:
    keys = authority_keys(f"# the authority\n\n{line(CA)} ca@corp\n")
    return SSHIdentities([SSHAuthority("corp-ssh", keys, revoked=Revoked.parse(revoked), **more)], lambda key: None)


def verify(blob: bytes, source: str = "10.1.2.3", revoked: str = "", **more: Any) -> VerifiedCredential:
    return identities(revoked, **more).certificate(blob, source=source, now=NOW)


def refused(blob: bytes, **more: Any) -> CredentialRejected:
    with pytest.raises(CredentialRejected) as caught:
        verify(blob, **more)
    return caught.value


@pytest.mark.parametrize("key", [KEY, rsa.generate_private_key(65537, 2048)])
def test_a_certificate_of_the_authority(key: Any) -> None:
    found = verify(certificate(key=key))
    assert (found.issuer, found.profile, found.subject) == ("corp-ssh", "ssh-certificate", "deploy-7@ci")
    assert (found.serial, found.kid) == ("7", fingerprint(wire(line(CA))))
    assert found.iss == f"ssh-ca:{fingerprint(wire(line(CA)))}"
    assert (found.issued_at, found.expires_at) == (NOW - 60, NOW + 600)
    assert found.claims == {
        "sub": "deploy-7@ci", "serial": "7", "principal": "deploy", "principals": "deploy",
        "key": fingerprint(wire(line(key))),
    }  # fmt: skip


def test_no_single_principal_is_named_when_there_are_several() -> None:
    claims = verify(certificate(principals=[b"b", b"a"])).claims
    assert claims["principals"] == "a,b"
    assert "principal" not in claims


def test_a_stranger_authority_proves_nothing() -> None:
    assert refused(certificate(OTHER_CA)).code == "issuer-unknown"


def test_a_changed_byte_breaks_the_signature() -> None:
    blob = certificate()
    assert refused(blob.replace(b"deploy-7@ci", b"deploy-8@ci")).code == "signature"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"type": SSHCertificateType.HOST}, "certificate"),
        ({"principals": []}, "certificate"),
        ({"ends": NOW, "begins": NOW - 60}, "exp"),
        ({"begins": NOW + 100, "ends": NOW + 200}, "nbf"),
        ({"ends": NOW + 7200}, "lifetime"),
        ({"ends": NO_END}, "lifetime"),
        ({"critical": {b"verify-required": b""}}, "certificate"),
    ],
)
def test_what_makes_a_certificate_of_the_authority_useless(changes: dict[str, Any], code: str) -> None:
    found = refused(certificate(**changes))
    assert (found.code, found.expired) == (code, code == "exp")


@pytest.mark.parametrize(
    ("listed", "source", "good"),
    [
        (b"10.0.0.0/8,::1", "10.1.2.3", True),
        (b"10.1.2.3", "::ffff:10.1.2.3", True),
        (b"10.0.0.0/8", "192.0.2.1", False),
        (b"not an address", "10.1.2.3", False),
    ],
)
def test_the_source_address_is_obeyed(listed: bytes, source: str, good: bool) -> None:
    blob = certificate(critical={b"source-address": listed})
    if good:
        assert verify(blob, source).subject == "deploy-7@ci"
    else:
        assert refused(blob, source=source).code == "certificate"


def test_force_command_is_left_to_the_adapter() -> None:
    assert verify(certificate(critical={b"force-command": b"uptime"})).subject == "deploy-7@ci"


@pytest.mark.parametrize(
    "revoked", ["serial: 7", "serial: 0x5-9", "id: deploy-7@ci  # left", f"sha256: {fingerprint(wire(line(KEY)))}"]
)
def test_the_revocation_list(revoked: str) -> None:
    assert (
        refused(certificate(), revoked=f"# list\nserial: 99\n{revoked}\n").detail
        == "revoked by issuer corp-ssh (serial 7)"
    )


@pytest.mark.parametrize("text", ["serial: x", "id:", "hash: 1", "7"])
def test_a_bad_line_of_the_revocation_list_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        Revoked.parse(f"serial: 1\n{text}")


@pytest.mark.parametrize("text", ["", "# nothing", "ssh-ed25519 AAAA", "nonsense"])
def test_a_file_without_a_good_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="public key"):
        authority_keys(text)


def test_two_issuers_cannot_share_an_authority() -> None:
    keys = authority_keys(line(CA))
    with pytest.raises(ValueError, match="corp-ssh"):
        SSHIdentities([SSHAuthority("corp-ssh", keys), SSHAuthority("other", keys)], lambda key: None)


@given(st.one_of(st.binary(max_size=200), st.builds(lambda cut: certificate()[:cut], st.integers(0, 300))))
def test_no_bytes_raise_anything_else(blob: bytes) -> None:
    refused(blob)


def test_a_key_that_nobody_registered() -> None:
    for blob in (wire(line(KEY)), wire(line(rsa.generate_private_key(65537, 2048))), b"", b"\0" * 51):
        with pytest.raises(CredentialRejected) as caught:
            identities().key(blob)
        assert caught.value.code == "kid-unknown"
