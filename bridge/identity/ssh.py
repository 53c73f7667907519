"""OpenSSH user certificates and registered keys as credentials; the adapter has verified possession of the key.

A certificate proves an identity at one issuer record (profile ``ssh-certificate``) whose authorities' keys are listed
in a file (one OpenSSH public key a line). Format and meaning: PROTOCOL.certkeys of OpenSSH. Revoked are the lines of
another file, in the words of ssh-keygen(1), KEY REVOCATION LISTS: ``serial: N``, ``serial: N-M``, ``id: TEXT``,
``sha256: SHA256:…``. The file is read at each (re)load.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import SSHCertificate, SSHCertificateType

from bridge.identity.agents import Agent
from bridge.identity.text import is_clean
from bridge.identity.verifier import CredentialRejected, VerifiedCredential
from bridge.wire.ssh_keys import fingerprint, load_identity, wire_form

PROFILE = "ssh-certificate"
KEY_ISSUER = "agent-key"
"""The name in the log of what an agent proved with a key that it has registered."""

ED25519 = b"ssh-ed25519"
MAX_CERTIFICATE = 16 * 1024  # a certificate of RSA keys with 256 principals is below
NO_END = 2**64 - 1  # PROTOCOL.certkeys: "valid before" of a certificate for ever

CRITICAL = frozenset({b"force-command", b"source-address"})
"""Those that are obeyed, the first by the adapter; a certificate with another one is refused (PROTOCOL.certkeys)."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """What the issuer has taken back."""

    serials: tuple[tuple[int, int], ...] = ()
    ids: frozenset[str] = frozenset()
    fingerprints: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Revoked:
        """Raises ValueError, naming the line."""
        serials, ids, fingerprints = [], set(), set()
        for number, line in enumerate(text.splitlines(), 1):
            kind, colon, value = line.partition("#")[0].partition(":")
            kind, value = kind.strip().lower(), value.strip()
            if not colon and not kind:
                continue
            try:
                if kind == "serial":
                    first, _, last = value.partition("-")
                    serials.append((int(first, 0), int(last or first, 0)))
                elif kind == "id" and value:
                    ids.add(value)
                elif kind == "sha256" and value:
                    fingerprints.add("SHA256:" + value.removeprefix("SHA256:").rstrip("="))
                else:
                    raise ValueError(kind)
            except ValueError:
                raise ValueError(f"line {number}: expected serial: N, serial: N-M, id: TEXT or sha256: HASH") from None
        return cls(tuple(serials), frozenset(ids), frozenset(fingerprints))

    def names(self, serial: int, key_id: str, fingerprint: str) -> bool:
        by_serial = any(first <= serial <= last for first, last in self.serials)
        return by_serial or key_id in self.ids or fingerprint in self.fingerprints


@dataclass(frozen=True, slots=True)
class SSHAuthority:
    """One issuer record of profile ``ssh-certificate``. ``keys`` are the fingerprints of those that sign for it."""

    name: str
    keys: frozenset[str]
    max_lifetime: int = 900
    leeway: int = 30
    revoked: Revoked = Revoked()


def authority_keys(text: str) -> frozenset[str]:
    """Fingerprints of the public keys in a file of them. Raises ValueError, naming the line."""
    found = set()
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        try:
            serialization.load_ssh_public_key(" ".join(parts[:2]).encode())
            found.add(fingerprint(base64.b64decode(parts[1], validate=True)))
        except (ValueError, IndexError, UnsupportedAlgorithm):
            raise ValueError(f"line {number}: not an OpenSSH public key") from None
    if not found:
        raise ValueError("holds no public key")
    return frozenset(found)


class SSHIdentities:
    """``by_key`` finds the agent that has registered an Ed25519 key (raw, base64url)."""

    def __init__(self, authorities: Iterable[SSHAuthority], by_key: Callable[[str], Agent | None]) -> None:
        self._by_signer: dict[str, SSHAuthority] = {}
        for authority in authorities:
            for key in authority.keys:
                if self._by_signer.setdefault(key, authority) is not authority:
                    raise ValueError(f"issuer {authority.name} has an authority of {self._by_signer[key].name}")
        self._by_key = by_key

    def certificate(self, blob: bytes, *, source: str, now: float) -> VerifiedCredential:
        """The identity of a certificate in wire form, used from the address ``source``. Raises CredentialRejected."""
        certificate = _load(blob)
        signer = fingerprint(wire_form(certificate.signature_key()))
        authority = self._by_signer.get(signer)
        if authority is None:
            raise CredentialRejected("issuer-unknown", "no issuer record has this certificate authority")
        try:
            certificate.verify_cert_signature()
        except InvalidSignature:
            raise CredentialRejected("signature", "the authority's signature does not match") from None
        _check_kind(certificate, source)
        begins, ends = _check_times(certificate, authority, now)
        key_id, key = certificate.key_id.decode("utf-8", "replace"), fingerprint(wire_form(certificate.public_key()))
        if authority.revoked.names(certificate.serial, key_id, key):
            raise CredentialRejected("certificate", f"revoked by issuer {authority.name} (serial {certificate.serial})")
        digest = "sha256:" + hashlib.sha256(blob).hexdigest()
        return VerifiedCredential(
            issuer=authority.name,
            profile=PROFILE,
            iss=f"ssh-ca:{signer}",
            subject=key_id,
            claims=_claims(certificate, key_id, key),
            jti="",
            token_id=digest,
            digest=digest,
            kid=signer,
            alg=blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode("ascii", "replace"),
            audience="",
            issued_at=begins,
            expires_at=ends,
            binding=key,
            serial=str(certificate.serial),
        )

    def key(self, blob: bytes) -> VerifiedCredential:
        """The agent that has registered this Ed25519 key. It is good for as long as the agent. CredentialRejected."""
        agent = self._by_key(_raw_ed25519(blob))
        if agent is None:
            raise CredentialRejected("kid-unknown", "no agent has registered this key")
        name = fingerprint(blob)
        return VerifiedCredential(
            issuer=KEY_ISSUER,
            profile=KEY_ISSUER,
            iss=f"{KEY_ISSUER}:{agent.id}",
            subject=agent.id,
            claims={"sub": agent.id},
            jti="",
            token_id=name,
            digest="sha256:" + hashlib.sha256(blob).hexdigest(),
            kid=name,
            alg="ssh-ed25519",
            audience="",
            issued_at=None,
            expires_at=agent.expires,
            binding=name,
        )


def _load(blob: bytes) -> SSHCertificate:
    if not 4 < len(blob) <= MAX_CERTIFICATE:
        raise CredentialRejected("certificate", "none, or too large")
    try:
        found = load_identity(blob)
    except ValueError:
        raise CredentialRejected("certificate", "not an OpenSSH certificate") from None
    if not isinstance(found, SSHCertificate):
        raise CredentialRejected("certificate", "a key without a certificate")
    return found


def _raw_ed25519(blob: bytes) -> str:
    """base64url of the 32 bytes of a key in wire form (RFC 8709, section 4)."""
    if len(blob) != 51 or blob[4:15] != ED25519:
        raise CredentialRejected("kid-unknown", "agents register Ed25519 keys only")
    return base64.urlsafe_b64encode(blob[19:]).decode().rstrip("=")


def _check_kind(certificate: SSHCertificate, source: str) -> None:
    if certificate.type is not SSHCertificateType.USER:
        raise CredentialRejected("certificate", "not a user certificate")
    if not certificate.valid_principals:
        raise CredentialRejected("certificate", "names no principal")
    unknown = certificate.critical_options.keys() - CRITICAL
    if unknown:
        raise CredentialRejected("certificate", "has a critical option that is not known")
    listed = certificate.critical_options.get(b"source-address")
    if listed is not None and not _from(listed.decode("ascii", "replace"), source):
        raise CredentialRejected("certificate", "is not for this source address")


def _from(listed: str, source: str) -> bool:
    try:
        address = ip_address(source.removeprefix("::ffff:"))
        return any(address in ip_network(one.strip(), strict=False) for one in listed.split(","))
    except ValueError:
        return False


def _check_times(certificate: SSHCertificate, authority: SSHAuthority, now: float) -> tuple[int, int]:
    begins, ends = certificate.valid_after, certificate.valid_before
    if now >= ends:
        raise CredentialRejected("exp", "the certificate is past its end", expired=True)
    if begins > now + authority.leeway:
        raise CredentialRejected("nbf", "the certificate is not valid yet")
    if ends == NO_END or ends - begins > authority.max_lifetime + authority.leeway:
        raise CredentialRejected("lifetime", f"valid for longer than {authority.max_lifetime} seconds")
    return begins, ends


def _claims(certificate: SSHCertificate, key_id: str, key: str) -> dict[str, str]:
    """What bindings match: ``principal`` only when there is one, because a binding must not depend on their order."""
    principals = sorted(one.decode("utf-8", "replace") for one in certificate.valid_principals)
    claims = {"sub": key_id, "serial": str(certificate.serial), "key": key, "principals": ",".join(principals)}
    if len(principals) == 1:
        claims["principal"] = principals[0]
    return {name: value for name, value in claims.items() if is_clean(value)}
