"""Which host keys are a host's: known_hosts lines (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), fingerprints, authorities.

A host of which nothing is pinned is not connected to: the daemon never trusts on first use. Only the kinds of key that
are pinned are asked for, so that a host with several keys shows the one that is known.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import SSHCertificate, SSHCertificateType

from adapters.ssh.fields import Fields
from adapters.ssh.host_exchange import CERTIFICATE, HostKeyRefused
from bridge.adapter import PeerFault
from bridge.wire.ssh_keys import fingerprint, load_identity, wire_form

DEFAULT_PORT = 22
RSA = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa", "ssh-dss")


class KnownHostsDamaged(ValueError):
    """A line of the file cannot be read; the text names it."""


@dataclass(frozen=True, slots=True)
class Line:
    """``marker`` is "", ``@cert-authority`` or ``@revoked``."""

    marker: str
    hosts: tuple[str, ...]
    key: bytes

    @property
    def kind(self) -> str:
        return Fields(self.key).name()


def parse(text: str) -> list[Line]:
    """Raises KnownHostsDamaged."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        marker = parts.pop(0) if parts[0].startswith("@") else ""
        try:
            if marker not in ("", "@cert-authority", "@revoked"):
                raise ValueError
            key = base64.b64decode(parts[2], validate=True)
            if Fields(key).name() != parts[1]:
                raise ValueError
            lines.append(Line(marker, tuple(parts[0].split(",")), key))
        except (ValueError, IndexError, binascii.Error, PeerFault):
            raise KnownHostsDamaged(f"line {number}: expected [@marker] hosts type key") from None
    return lines


def host_name(host: str, port: int) -> str:
    """As it stands in the file."""
    return host if port == DEFAULT_PORT else f"[{host}]:{port}"


def is_for(line: Line, name: str) -> bool:
    """``name`` as of ``host_name``. A negated pattern that matches wins (sshd(8))."""
    matched = False
    for pattern in line.hosts:
        negated, bare = pattern.startswith("!"), pattern.removeprefix("!")
        if _matches(bare, name):
            if negated:
                return False
            matched = True
    return matched


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        try:
            salt, digest = (base64.b64decode(part, validate=True) for part in pattern[3:].split("|"))
        except (ValueError, binascii.Error):
            return False
        return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
    escaped = "".join(f"[{c}]" if c == "[" else c for c in pattern.lower())  # only * and ? are special there
    return fnmatchcase(name.lower(), escaped)


class Pins:
    """What is known of one host. ``now`` is Unix time, for host certificates."""

    def __init__(
        self,
        name: str,
        lines: Iterable[Line],
        *,
        fingerprints: Iterable[str] = (),
        authorities: Iterable[bytes] = (),
        now: Callable[[], float],
    ) -> None:
        mine = [line for line in lines if is_for(line, name)]
        self._name = name
        self._keys = {line.key for line in mine if not line.marker}
        self._revoked = {line.key for line in mine if line.marker == "@revoked"}
        self._authorities = {line.key for line in mine if line.marker == "@cert-authority"} | set(authorities)
        self._fingerprints = {one.rstrip("=") for one in fingerprints}
        self._now = now

    def __bool__(self) -> bool:
        return bool(self._keys or self._authorities or self._fingerprints)

    def algorithms(self) -> tuple[str, ...]:
        """Of signatures, that the pinned keys can make, the best first; a fingerprint tells no kind."""
        pinned = {Fields(key).name() for key in self._keys}
        kinds = [kind for kind in KINDS if self._fingerprints or kind in pinned]
        plain = [name for kind in kinds for name in (RSA if kind == "ssh-rsa" else (kind,))]
        signed = tuple(f"{name}{CERTIFICATE}" for name in (*KINDS[:4], *RSA[:2]))
        return (*(signed if self._authorities else ()), *plain)

    def state(self, key: bytes) -> str:
        """``pinned``; ``new`` where nothing of this kind is known, else ``changed``."""
        if key in self._keys or fingerprint(key) in self._fingerprints:
            return "pinned"
        kind = Fields(key).name()
        return "changed" if any(Fields(one).name() == kind for one in self._keys) else "new"

    def check(self, key: bytes) -> None:
        """Raises HostKeyRefused."""
        if key in self._revoked:
            raise HostKeyRefused(f"{self._name} shows a key that is revoked: {fingerprint(key)}")
        if key in self._keys or fingerprint(key) in self._fingerprints:
            return
        try:
            certified = Fields(key).name().endswith(CERTIFICATE)
        except PeerFault:
            certified = False
        if certified and self._authorities:
            self._check_certificate(key)
            return
        raise HostKeyRefused(f"{self._name} shows a key that is not pinned: {fingerprint(key)}")

    def _check_certificate(self, blob: bytes) -> None:
        try:
            found = load_identity(blob)
            if not isinstance(found, SSHCertificate):
                raise HostKeyRefused(f"{self._name} shows no certificate")
            found.verify_cert_signature()
        except (ValueError, InvalidSignature):
            raise HostKeyRefused(f"{self._name} shows a certificate that is not genuine") from None
        signer = wire_form(found.signature_key())
        if wire_form(found.public_key()) in self._revoked:
            raise HostKeyRefused(f"{self._name} shows a certificate of a key that is revoked")
        if signer not in self._authorities or signer in self._revoked:
            raise HostKeyRefused(f"{self._name} shows a certificate of another authority: {fingerprint(signer)}")
        host = self._name[1:].partition("]")[0] if self._name.startswith("[") else self._name
        if found.type is not SSHCertificateType.HOST or found.critical_options:
            raise HostKeyRefused(f"{self._name} shows a certificate that is not for hosts")
        if not any(fnmatchcase(host, one.decode("utf-8", "replace")) for one in found.valid_principals):
            raise HostKeyRefused(f"{self._name} shows the certificate of another host")
        if not found.valid_after <= self._now() < found.valid_before:
            raise HostKeyRefused(f"{self._name} shows a certificate that is not valid now")
