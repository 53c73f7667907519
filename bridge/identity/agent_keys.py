"""An agent's own Ed25519 public key, in the forms that people have it, normalised to a JWK's ``x`` (RFC 8037, 2)."""

from __future__ import annotations

import base64
import json

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_public_key,
)

from bridge.identity.jwk import BadKeySet, ed25519_key

KEY_TEXT_LIMIT = 4096
"""Characters of a key as given; an OpenSSH line with its comment is near 100."""

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
"""The field and the constant of edwards25519 (RFC 8032, 5.1)."""


def normalised(text: str) -> str:
    """``x`` of a key given as PEM, as OpenSSH line, as JWK or as ``x`` itself. Raises ValueError, not quoting it."""
    text = text.strip()
    if not text or len(text) > KEY_TEXT_LIMIT:
        raise ValueError(f"a key has 1 to {KEY_TEXT_LIMIT} characters")
    if "PRIVATE" in text:
        raise ValueError("this is a private key; keep it with the agent and give the public one")
    try:
        x = _x(text)
        ed25519_key(x)
    except (BadKeySet, ValueError, UnsupportedAlgorithm, KeyError, TypeError):
        raise ValueError("not an Ed25519 public key as PEM, OpenSSH line, JWK or base64url") from None
    if _is_weak(base64.urlsafe_b64decode(x + "=")):
        raise ValueError("a weak key, for which anyone can sign; make a new one")
    return x


def _x(text: str) -> str:
    if text.startswith("-----BEGIN"):
        return _raw(load_pem_public_key(text.encode()))
    if text.startswith("ssh-"):
        return _raw(load_ssh_public_key(text.encode()))
    if text.startswith("{"):
        jwk = json.loads(text)
        if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519" or "d" in jwk:
            raise ValueError
        return str(jwk["x"])
    return text


def _raw(key: object) -> str:
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError
    return base64.urlsafe_b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).rstrip(b"=").decode()


def _is_weak(raw: bytes) -> bool:
    """Whether the point has an order of at most 8: OpenSSL takes signatures for it that need no private key.

    The order depends on y alone. Doubling (RFC 8032, 5.1.4) needs only the square of x, (y²-1)/(dy²+1).
    """
    y = (int.from_bytes(raw, "little") & (2**255 - 1)) % _P
    for _ in range(3):
        y2 = y * y % _P
        x2 = (y2 - 1) * pow(_D * y2 + 1, -1, _P) % _P
        below = (1 - _D * x2 * y2) % _P
        if below == 0:
            return True  # not on the curve, where this sum never vanishes: no key at all
        y = (y2 + x2) * pow(below, -1, _P) % _P
    return y == 1
