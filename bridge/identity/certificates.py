"""A TLS client certificate as the credential: an X.509-SVID, or a plain certificate by its subject.

The TLS layer has checked the path to the listener's client authorities and the possession of the key. Here the leaf
must say who it is in one way only (X509-SVID, sections 2, 4 and 5.2). A listener that trusts the authorities of several
trust domains must not take SVIDs: the path does not tell which authority may speak for which domain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from bridge.identity.text import is_clean, trust_domain_of
from bridge.identity.verifier import CredentialRejected, VerifiedCredential

MAX_LIFETIME = 24 * 3600  # an SVID usually lives one hour; a certificate of a year is a static password
_MAX_CERTIFICATE = 16384


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """What a system takes. With ``trust_domain``: only SVIDs of it; without: only certificates without SPIFFE ID."""

    name: str
    trust_domain: str = ""
    max_lifetime: int = MAX_LIFETIME
    leeway: int = 30


def verify_certificate(chain: Sequence[bytes], settings: CertificateSettings, *, now: float) -> VerifiedCredential:
    """The identity of the leaf of ``chain`` (DER, leaf first). Raises CredentialRejected (``certificate`` …)."""
    leaf = _load(chain)
    begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    if now >= ends:
        raise CredentialRejected("exp", "the certificate is past its end", expired=True)
    if begins > now + settings.leeway:
        raise CredentialRejected("nbf", "the certificate is not valid yet")
    if ends - begins > settings.max_lifetime + settings.leeway:
        raise CredentialRejected("lifetime", f"valid for longer than {settings.max_lifetime} seconds")
    _check_usage(leaf)
    issuer = leaf.issuer.rfc4514_string()
    subject, iss = _svid(leaf, settings) if settings.trust_domain else _plain(leaf, issuer)
    digest = "sha256:" + hashlib.sha256(chain[0]).hexdigest()
    claims = {"sub": subject, "issuer_dn": issuer, "serial": f"{leaf.serial_number:x}", "fingerprint": digest}
    return VerifiedCredential(
        issuer=settings.name,
        profile="x509-svid" if settings.trust_domain else "x509",
        iss=iss,
        subject=subject,
        claims=claims,
        jti="",
        token_id=digest,
        digest=digest,
        kid="",
        alg="x509",
        audience="",
        issued_at=int(begins),
        expires_at=int(ends),
        binding="mtls",
        serial=claims["serial"],
    )


def _load(chain: Sequence[bytes]) -> x509.Certificate:
    if not chain or len(chain[0]) > _MAX_CERTIFICATE:
        raise CredentialRejected("certificate", "none was sent, or it is too large")
    try:
        leaf = x509.load_der_x509_certificate(chain[0])
        _ = leaf.extensions, leaf.subject, leaf.issuer  # parsed on first use
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise CredentialRejected("certificate", "not an X.509 certificate") from None
    return leaf


def _check_usage(leaf: x509.Certificate) -> None:
    """A leaf for signing: no authority, digitalSignature, and for clients if it says for what."""
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise CredentialRejected("certificate", "belongs to an authority")
        if isinstance(value, x509.KeyUsage) and (value.key_cert_sign or value.crl_sign or not value.digital_signature):
            raise CredentialRejected("certificate", "its key usage is not digitalSignature alone of the signing ones")
        if isinstance(value, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CLIENT_AUTH not in value:
            raise CredentialRejected("certificate", "not for TLS clients")


def _uris(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _svid(leaf: x509.Certificate, settings: CertificateSettings) -> tuple[str, str]:
    uris = _uris(leaf)
    if len(uris) != 1 or trust_domain_of(uris[0]) != settings.trust_domain:
        raise CredentialRejected("certificate", "not exactly one URI name, a SPIFFE ID of the trust domain")
    if ExtensionOID.KEY_USAGE not in {extension.oid for extension in leaf.extensions}:
        raise CredentialRejected("certificate", "an SVID states its key usage")
    return uris[0], f"spiffe://{settings.trust_domain}"


def _plain(leaf: x509.Certificate, issuer: str) -> tuple[str, str]:
    subject = leaf.subject.rfc4514_string()
    if any(uri.lower().startswith("spiffe:") for uri in _uris(leaf)):
        raise CredentialRejected("certificate", "an SVID, but no trust domain is configured")
    if not is_clean(subject) or not is_clean(issuer):
        raise CredentialRejected("certificate", "its subject or issuer is empty or not a short text")
    return subject, issuer
