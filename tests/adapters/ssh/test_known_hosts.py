"""Which keys are a host's: files as OpenSSH writes them, fingerprints and authorities."""

from __future__ import annotations

import base64
import hashlib
import hmac
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import SSHCertificateBuilder, SSHCertificateType
from hypothesis import given
from hypothesis import strategies as st

from adapters.ssh.host_exchange import HostKeyRefused
from adapters.ssh.known_hosts import KnownHostsDamaged, Pins, fingerprint, host_name, parse

HOST = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
AUTHORITY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
NOW = 1_800_000_000


def public(key: Any) -> str:
    encoded: bytes = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return encoded.decode()


def blob(key: Any) -> bytes:
    return base64.b64decode(public(key).split()[1])


def certificate(
    *, names: tuple[bytes, ...] = (b"web-1",), kind: SSHCertificateType = SSHCertificateType.HOST,
    after: int = NOW - 10, before: int = NOW + 10, by: Any = AUTHORITY, options: dict[bytes, bytes] | None = None,
) -> bytes:  # fmt: skip
    builder = (
        SSHCertificateBuilder().public_key(HOST.public_key()).serial(1).type(kind).key_id(b"web-1")
        .valid_principals(list(names)).valid_after(after).valid_before(before)
    )  # fmt: skip
    for name, value in (options or {}).items():
        builder = builder.add_critical_option(name, value)
    return base64.b64decode(builder.sign(by).public_bytes().split()[1])


def pins(text: str, name: str = "web-1", **more: Any) -> Pins:
    return Pins(name, parse(text), now=lambda: NOW, **more)


def accepts(found: Pins, key: bytes) -> bool:
    try:
        found.check(key)
    except HostKeyRefused:
        return False
    return True


# -- names


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("web-1", "web-1", True), ("WEB-1", "web-1", True), ("web-1", "Web-1", True), ("web-1", "web-11", False),
        ("web-*", "web-1", True), ("web-?", "web-1", True), ("web-?", "web-11", False), ("*", "anything", True),
        ("web-*,!web-1", "web-1", False), ("!web-1,web-*", "web-1", False), ("web-*,!web-1", "web-2", True),
        ("!web-1", "web-2", False), ("other,web-1", "web-1", True), ("[web-1]:2222", "[web-1]:2222", True),
        ("[web-1]:2222", "web-1", False), ("web-1", "[web-1]:2222", False), ("[web-*]:2222", "[web-9]:2222", True),
        ("[we]b-1", "web-1", False), ("2001:db8::1", "2001:db8::1", True),
    ],
)  # fmt: skip
def test_names(pattern: str, name: str, matches: bool) -> None:
    """sshd(8): `*` and `?` alone are special; a negation that matches wins; other ports stand in brackets."""
    assert accepts(pins(f"{pattern} {public(HOST)}\n", name), blob(HOST)) is matches


def test_other_ports_stand_in_brackets() -> None:
    assert (host_name("web-1", 22), host_name("web-1", 2222)) == ("web-1", "[web-1]:2222")


def test_hashed_names() -> None:
    salt = b"0123456789abcdefghij"
    digest = hmac.digest(salt, b"[web-1]:2222", hashlib.sha1)
    hashed = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    assert accepts(pins(f"{hashed} {public(HOST)}", "[web-1]:2222"), blob(HOST))
    assert not accepts(pins(f"{hashed} {public(HOST)}", "web-1"), blob(HOST))
    assert not pins(f"|1|AAAA|%%% {public(HOST)}")


def test_a_file_that_ssh_keygen_hashed(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"web-1 {public(HOST)}\n[web-2]:2222 {public(OTHER)}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True, timeout=20)
    assert "web" not in file.read_text()
    assert accepts(pins(file.read_text()), blob(HOST))
    assert accepts(pins(file.read_text(), "[web-2]:2222"), blob(OTHER))
    assert not accepts(pins(file.read_text()), blob(OTHER))


# -- files


def test_comments_and_empty_lines() -> None:
    text = f"# web-1 {public(OTHER)}\n\n   \nweb-1 {public(HOST)} a comment\n"
    assert accepts(pins(text), blob(HOST))
    assert not accepts(pins(text), blob(OTHER))


@pytest.mark.parametrize(
    "line",
    ["web-1", "web-1 ssh-ed25519", "web-1 ssh-ed25519 %%%", f"web-1 ssh-rsa {public(HOST).split()[1]}",
     "@what web-1 x y", "web-1 1024 35 123456", "@revoked"],
    ids=["no key", "no blob", "no base64", "another kind", "an unknown marker", "SSH 1", "a marker alone"],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_named(line: str) -> None:
    """A file that was cut short must not silently pin less."""
    with pytest.raises(KnownHostsDamaged, match="line 2"):
        parse(f"web-1 {public(HOST)}\n{line}\n")


@given(st.text(max_size=200))
def test_arbitrary_files(text: str) -> None:
    try:
        found = pins(text)
    except KnownHostsDamaged:
        return
    assert not accepts(found, blob(HOST))


# -- keys


def test_nothing_pinned() -> None:
    found = pins(f"other {public(HOST)}\n")
    assert not found
    assert not accepts(found, blob(HOST))


def test_another_key() -> None:
    with pytest.raises(HostKeyRefused, match=r"web-1 shows a key that is not pinned: SHA256:"):
        pins(f"web-1 {public(HOST)}").check(blob(OTHER))


def test_several_keys() -> None:
    """sshpiper#554: any of them suffices, and only their kinds are asked for; the best first."""
    found = pins(f"web-1 {public(RSA_KEY)}\nweb-* {public(HOST)}\n")
    assert found.algorithms() == ("ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
    assert accepts(found, blob(HOST))
    assert accepts(found, blob(RSA_KEY))
    assert pins(f"web-1 {public(RSA_KEY)}\n").algorithms() == ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")


def test_revoked_keys() -> None:
    """Even when they are pinned as well."""
    text = f"web-1 {public(HOST)}\n@revoked * {public(HOST)}\n"
    with pytest.raises(HostKeyRefused, match="revoked"):
        pins(text).check(blob(HOST))
    with pytest.raises(HostKeyRefused, match="revoked"):
        pins(text, fingerprints=(fingerprint(blob(HOST)),)).check(blob(HOST))
    assert not pins(f"@revoked * {public(OTHER)}\n")


def test_fingerprints(tmp_path: Path) -> None:
    """As ssh-keygen prints them; they tell no kind, so all are asked for."""
    (tmp_path / "key.pub").write_text(public(HOST))
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(tmp_path / "key.pub")], check=True, capture_output=True, timeout=20
    ).stdout.split()[1]
    assert fingerprint(blob(HOST)) == shown.decode()
    found = pins("", fingerprints=(shown.decode(),))
    assert accepts(found, blob(HOST))
    assert not accepts(found, blob(OTHER))
    assert {"ssh-ed25519", "rsa-sha2-512", "ecdsa-sha2-nistp256"} <= set(found.algorithms())


@pytest.mark.parametrize(
    ("key", "state"), [(HOST, "pinned"), (OTHER, "changed"), (RSA_KEY, "new")], ids=["same", "other", "other kind"]
)
def test_states(key: Any, state: str) -> None:
    assert pins(f"web-1 {public(HOST)}\n").state(blob(key)) == state


@given(st.binary(max_size=100))
def test_arbitrary_keys(key: bytes) -> None:
    found = pins(f"web-1 {public(HOST)}\n@cert-authority * {public(AUTHORITY)}\n")
    assert not accepts(found, key)


# -- host certificates

BY_AUTHORITY = f"@cert-authority web-* {public(AUTHORITY)}\n"


def test_certificate_of_an_authority() -> None:
    found = pins(BY_AUTHORITY)
    assert accepts(found, certificate())
    assert accepts(pins(BY_AUTHORITY.replace("web-*", "[web-*]:2222"), "[web-1]:2222"), certificate())
    assert accepts(pins("", authorities=(blob(AUTHORITY),)), certificate())
    assert accepts(found, certificate(names=(b"web-*",)))
    assert not accepts(found, blob(HOST))
    assert not accepts(found, blob(AUTHORITY))
    assert set(found.algorithms()) >= {"ssh-ed25519-cert-v01@openssh.com", "rsa-sha2-512-cert-v01@openssh.com"}
    assert all(name.endswith("-cert-v01@openssh.com") for name in found.algorithms())


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": (b"web-2",)}, {"kind": SSHCertificateType.USER}, {"after": NOW + 1}, {"before": NOW},
        {"by": OTHER}, {"options": {b"unknown": b""}},
    ],
    ids=["another host", "for users", "not yet valid", "no longer valid", "another authority", "unknown option"],
)  # fmt: skip
def test_certificates_that_do_not_count(wrong: dict[str, Any]) -> None:
    assert not accepts(pins(BY_AUTHORITY), certificate(**wrong))


def test_a_changed_certificate_is_not_genuine() -> None:
    forged = bytearray(certificate())
    forged[-1] ^= 1
    with pytest.raises(HostKeyRefused, match="not genuine"):
        pins(BY_AUTHORITY).check(bytes(forged))


def test_an_authority_that_was_revoked() -> None:
    assert not accepts(pins(BY_AUTHORITY + f"@revoked * {public(AUTHORITY)}\n"), certificate())
    assert not accepts(pins(BY_AUTHORITY + f"@revoked * {public(HOST)}\n"), certificate())
