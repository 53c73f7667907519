"""Public keys, each pinned to one algorithm (RFC 7517; RFC 8725bis, 3.1).

A key that is secret, private, too short, for another use or of an unknown kind is dropped from its set, not an error:
issuers publish keys for others too.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import PyJWTError

from bridge.identity.strict_json import NotStrictJSON, parse_object
from bridge.identity.text import is_clean

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
MAX_KEYS = 100  # of one set; a set is searched for every login
RSA_BITS = range(2048, 8193)  # shorter is weak, longer only costs time

_BY_NAME: dict[str, Algorithm] = {name: get_default_algorithms()[name] for name in ALGORITHMS}
_CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1}
_BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "Ed25519": "EdDSA"}
_REFRESH_HINT = "spiffe_refresh_hint"


class BadKeySet(ValueError):
    """The document is not a JWK set. The message names the rule."""


def canonical(alg: str) -> str:
    """``Ed25519`` (RFC 9864) is what ``EdDSA`` means here: no other curve is accepted."""
    return "EdDSA" if alg == "Ed25519" else alg


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """Equal when the name, the algorithm and the key itself are equal. ``fingerprint`` is of the key alone."""

    kid: str
    alg: str
    fingerprint: str
    public: Any = field(compare=False, repr=False)

    def verifies(self, signing_input: bytes, signature: bytes) -> bool:
        try:
            return bool(_BY_NAME[self.alg].verify(signing_input, self.public, signature))
        except (PyJWTError, ValueError, TypeError):
            return False


@dataclass(frozen=True, slots=True)
class KeySet:
    """What one issuer signs with at present. ``refresh_hint``: seconds, None when the issuer gave none."""

    keys: frozenset[VerificationKey] = frozenset()
    refresh_hint: int | None = None

    def named(self, kid: str) -> list[VerificationKey]:
        return [key for key in self.keys if key.kid == kid]

    def for_algorithm(self, alg: str) -> list[VerificationKey]:
        return [key for key in self.keys if key.alg == alg]


def parse_key_set(document: bytes, *, algorithms: Iterable[str], spiffe: bool = False) -> KeySet:
    """The usable keys of a JWK set or SPIFFE bundle. Raises BadKeySet."""
    try:
        data = parse_object(document)
    except NotStrictJSON as problem:
        raise BadKeySet(f"the key set is {problem}") from None
    entries = data.get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise BadKeySet(f"'keys' is not a list of at most {MAX_KEYS}")
    allowed = tuple(canonical(alg) for alg in algorithms)
    uses = _uses(entries, spiffe)
    keys = [_key(entry, allowed, uses) for entry in entries if isinstance(entry, dict)]
    hint = data.get(_REFRESH_HINT)
    return KeySet(frozenset(key for key in keys if key is not None), hint if type(hint) is int and hint > 0 else None)


def _uses(entries: list[Any], spiffe: bool) -> frozenset[str | None]:
    """A SPIFFE bundle marks keys ``jwt-svid`` or ``x509-svid``, unmarked ones are to be ignored (SPIFFE bundle, 4.2).

    SPIRE's discovery endpoint serves the same keys as an ordinary set.
    """
    marked = any(isinstance(entry, dict) and entry.get("use") in ("jwt-svid", "x509-svid") for entry in entries)
    return frozenset({"jwt-svid"}) if spiffe and marked else frozenset({None, "sig"})


def _key(entry: dict[str, Any], allowed: tuple[str, ...], uses: frozenset[str | None]) -> VerificationKey | None:
    kid, use, operations = entry.get("kid", ""), entry.get("use"), entry.get("key_ops", ["verify"])
    alg = _algorithm(entry, allowed)
    if alg not in allowed or "d" in entry or not (kid == "" or is_clean(kid)):
        return None
    if not (use is None or isinstance(use, str)) or use not in uses:
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        public = PyJWK(entry, algorithm=alg).key
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    return VerificationKey(kid, alg, _fingerprint(public), public) if _fits(public, alg) else None


def _algorithm(entry: Mapping[str, Any], allowed: tuple[str, ...]) -> str:
    """``alg`` of the key; without it (Entra) its curve says it, and for RSA the issuer's own list, RS256 first."""
    named = entry.get("alg")
    if named is not None:
        return canonical(named) if isinstance(named, str) else ""
    if entry.get("kty") == "RSA":
        return next((alg for alg in ("RS256", "PS256") if alg in allowed), "")
    curve = entry.get("crv")
    return _BY_CURVE.get(curve, "") if isinstance(curve, str) else ""


def _fits(public: Any, alg: str) -> bool:
    if isinstance(public, rsa.RSAPublicKey):
        return alg in ("RS256", "PS256") and public.key_size in RSA_BITS
    if isinstance(public, ec.EllipticCurvePublicKey):
        return alg in _CURVES and isinstance(public.curve, _CURVES[alg])
    return alg == "EdDSA" and isinstance(public, ed25519.Ed25519PublicKey)


def _fingerprint(public: Any) -> str:
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def ed25519_thumbprint(x: str) -> str:
    """RFC 7638 thumbprint of an Ed25519 key; the ``kid`` of the built-in issuer and of agents' own keys."""
    members = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()
    return base64.urlsafe_b64encode(hashlib.sha256(members).digest()).rstrip(b"=").decode()


@lru_cache(maxsize=4096)
def ed25519_key(x: str) -> VerificationKey:
    """The key with raw public bytes ``x`` (base64url, 43 characters). Raises BadKeySet when it is none."""
    try:
        raw = base64.b64decode(x + "=", altchars=b"-_", validate=True)
        public = ed25519.Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise BadKeySet("not an Ed25519 public key in base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != x:
        raise BadKeySet("not an Ed25519 public key in canonical base64url")
    return VerificationKey(ed25519_thumbprint(x), "EdDSA", _fingerprint(public), public)
