"""A compact JWS taken apart, before anybody looks for a key (RFC 7515, 3.1; RFC 8725bis, 3.2 and 3.11).

Size first, then the alphabet, then strict JSON. Nothing here is authentic yet: it only says which issuer to ask.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from bridge.identity.strict_json import NotStrictJSON, parse_object
from bridge.identity.text import is_clean
from bridge.identity.verifier import CredentialRejected

_COMPACT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

# An extension we would have to understand (crit, b64: RFC 7797), compression (zip), encryption (enc).
_FORBIDDEN_HEADERS = frozenset({"crit", "b64", "zip", "enc"})


@dataclass(frozen=True, slots=True)
class Envelope:
    """``claims`` are as the sender wrote them; ``digest`` is over the signing input, which cannot be varied.

    An ECDSA signature has two valid forms for one message, so a digest over the whole token names it twice.
    """

    header: dict[str, Any] = field(repr=False)
    claims: dict[str, Any] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    digest: str
    size: int

    @property
    def alg(self) -> str:
        return str(self.header["alg"])

    @property
    def kid(self) -> str:
        """Empty when the header has none."""
        return str(self.header.get("kid", ""))


def open_envelope(token: bytes, *, max_bytes: int) -> Envelope:
    """Splits and parses. Raises CredentialRejected (``jwt-size``, ``jwt-form``, ``jwt-json``, ``jwt-header``)."""
    if len(token) > max_bytes:
        raise CredentialRejected("jwt-size", f"the token is longer than {max_bytes} bytes")
    if _COMPACT.fullmatch(token) is None:
        raise CredentialRejected("jwt-form", "not three base64url segments")
    signing_input, _, signature = token.rpartition(b".")
    header, _, payload = signing_input.partition(b".")
    return Envelope(
        header=_checked_header(_object(header, "header")),
        claims=_object(payload, "payload"),
        signing_input=signing_input,
        signature=_decode(signature),
        digest="sha256:" + hashlib.sha256(signing_input).hexdigest(),
        size=len(token),
    )


def _decode(segment: bytes) -> bytes:
    """Canonical base64url only: unused bits must be zero, else one token has several spellings."""
    if len(segment) % 4 == 1:
        raise CredentialRejected("jwt-form", "a segment of impossible length")
    decoded = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != segment:
        raise CredentialRejected("jwt-form", "a segment is not canonical base64url")
    return decoded


def _object(segment: bytes, what: str) -> dict[str, Any]:
    try:
        return parse_object(_decode(segment))
    except NotStrictJSON as problem:
        raise CredentialRejected("jwt-json", f"{what}: {problem}") from None


def _checked_header(header: dict[str, Any]) -> dict[str, Any]:
    """``jku``, ``x5u``, ``jwk`` and ``x5c`` are neither read nor fetched: a sender does not choose its own key."""
    if not _FORBIDDEN_HEADERS.isdisjoint(header):
        raise CredentialRejected("jwt-header", "crit, b64, zip and enc are not accepted")
    if not isinstance(header.get("alg"), str):
        raise CredentialRejected("jwt-header", "alg is not a string")
    for name in ("kid", "typ"):
        if name in header and not is_clean(header[name]):
            raise CredentialRejected("jwt-header", f"{name} is not a short string")
    return header
