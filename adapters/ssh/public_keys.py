"""Agents' keys: proof of possession, certificates, and the name by which a token is bound to a key. No I/O."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import SSHCertificate

from adapters.ssh.fields import Fields
from bridge.adapter import PeerFault
from bridge.wire.ssh_keys import load_identity

CERTIFICATE = "-cert-v01@openssh.com"
SMALLEST_RSA = 2048

FORMATS = {
    "ssh-ed25519": "ssh-ed25519", "rsa-sha2-256": "ssh-rsa", "rsa-sha2-512": "ssh-rsa",
    "ecdsa-sha2-nistp256": "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384": "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521": "ecdsa-sha2-nistp521",
}  # fmt: skip
"""Signature algorithm and the format of its keys (RFC 8332 section 3); ssh-rsa with SHA-1 is not among them."""

_HASHES: dict[str, Any] = {
    "rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512(), "ecdsa-sha2-nistp256": hashes.SHA256(),
    "ecdsa-sha2-nistp384": hashes.SHA384(), "ecdsa-sha2-nistp521": hashes.SHA512(),
}  # fmt: skip
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a certificate allows its session (PROTOCOL.certkeys); a plain credential allows all."""

    command: str | None = None
    pty: bool = True
    forwarding: bool = True


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class OfferedKey:
    """A key or a certificate as announced. ``algorithm`` is the signature's, without the certificate's ending."""

    algorithm: str
    blob: bytes
    certificate: SSHCertificate | None
    key: Any

    @property
    def limits(self) -> Limits:
        if self.certificate is None:
            return NO_LIMITS
        forced = self.certificate.critical_options.get(b"force-command")
        allowed = self.certificate.extensions
        return Limits(
            forced.decode("utf-8", "replace") if forced is not None else None,
            b"permit-pty" in allowed,
            b"permit-port-forwarding" in allowed,
        )

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Whether ``signature`` (string algorithm, string value) is this key's over ``signed``."""
        fields = Fields(signature)
        named, value = fields.name(), fields.string()
        fields.end()
        if named != self.algorithm:  # twisted#12496: another, weaker algorithm than the announced one
            return False
        try:
            self._verify(value, signed)
        except (InvalidSignature, ValueError):
            return False
        return True

    def _verify(self, value: bytes, signed: bytes) -> None:
        if isinstance(self.key, Ed25519PublicKey):
            self.key.verify(value, signed)
        elif isinstance(self.key, RSAPublicKey):
            self.key.verify(value, signed, padding.PKCS1v15(), _HASHES[self.algorithm])
        else:
            fields = Fields(value)  # RFC 5656 section 3.1.2
            r, s = (int.from_bytes(fields.string(80), "big", signed=True) for _ in range(2))
            fields.end()
            self.key.verify(encode_dss_signature(r, s), signed, ECDSA(_HASHES[self.algorithm]))

    def thumbprint(self) -> str:
        """RFC 7638, of the JWK of this key."""
        text = json.dumps(_jwk(self.key), separators=(",", ":"), sort_keys=True)
        return _base64url(hashlib.sha256(text.encode()).digest())


def offered(algorithm: str, blob: bytes) -> OfferedKey | None:
    """None for an algorithm that is not taken, or a blob that is not of it."""
    plain = algorithm.removesuffix(CERTIFICATE)
    if plain not in FORMATS:
        return None
    suffix = CERTIFICATE if algorithm.endswith(CERTIFICATE) else ""
    try:
        if Fields(blob).name() != FORMATS[plain] + suffix:
            return None
        found = load_identity(blob)
        certificate = found if isinstance(found, SSHCertificate) else None
        key = found.public_key() if isinstance(found, SSHCertificate) else found
    except (PeerFault, ValueError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < SMALLEST_RSA:
        return None
    return OfferedKey(plain, blob, certificate, key)


def _jwk(key: Any) -> dict[str, str]:
    """The required members only (RFC 7638 section 3.2, RFC 8037 appendix A.3)."""
    if isinstance(key, Ed25519PublicKey):
        return {"crv": "Ed25519", "kty": "OKP", "x": _base64url(key.public_bytes_raw())}
    if isinstance(key, EllipticCurvePublicKey):
        numbers, size = key.public_numbers(), (key.key_size + 7) // 8
        x, y = (_base64url(value.to_bytes(size, "big")) for value in (numbers.x, numbers.y))
        return {"crv": _CURVES[key.curve.name], "kty": "EC", "x": x, "y": y}
    numbers = key.public_numbers()
    n, e = (_base64url(value.to_bytes((value.bit_length() + 7) // 8, "big")) for value in (numbers.n, numbers.e))
    return {"e": e, "kty": "RSA", "n": n}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
