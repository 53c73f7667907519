"""Rules that every profile shares: times, audience; and claims made flat for bindings.

A token ends for the bridge at one moment, ``expires_at``: ``exp``, or with ``clamp`` the earlier of ``exp`` and
``iat + max_lifetime``. The leeway covers clocks that differ, so with ``reject`` a token is still taken for the leeway
after ``exp``; its effective end is then ``exp + leeway``. A clamped end has no leeway: it is our own promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.identity.settings import IssuerSettings
from bridge.identity.text import is_clean
from bridge.identity.verifier import CredentialRejected

MAX_NESTING = 3  # kubernetes.io/serviceaccount/uid
MAX_FLAT = 256  # claims of one token that bindings can see
_NOT_FLATTENED = frozenset({"exp", "nbf", "iat", "act", "cnf", "jti", "nonce"})


def check_times(claims: Mapping[str, Any], settings: IssuerSettings, now: float, *, iat_required: bool) -> int:
    """The effective end. Raises CredentialRejected (``exp``, ``nbf``, ``iat``, ``lifetime``)."""
    exp = _instant(claims, "exp", required=True)
    iat = _instant(claims, "iat", required=iat_required or settings.lifetime == "clamp")
    nbf = _instant(claims, "nbf", required=False)
    if iat is not None and iat > now + settings.leeway:
        raise CredentialRejected("iat", "issued in the future")
    if nbf is not None and nbf > now + settings.leeway:
        raise CredentialRejected("nbf", "not valid yet")
    if settings.lifetime == "clamp" and iat is not None:
        return _unexpired(min(exp, iat + settings.max_lifetime), 0, now)
    end = _unexpired(exp, settings.leeway, now)
    if exp - now > settings.max_lifetime + settings.leeway or (iat is not None and exp - iat > settings.max_lifetime):
        raise CredentialRejected("lifetime", f"valid for longer than {settings.max_lifetime} seconds")
    return end


def _unexpired(end: int, leeway: int, now: float) -> int:
    if now < end:
        return end
    if now < end + leeway:
        return end + leeway
    raise CredentialRejected("exp", "past its end", expired=True)


def _instant(claims: Mapping[str, Any], name: str, *, required: bool) -> Any:
    """Any: an int, or None when absent and not required. JSON integers only: ``true``, 1e9 and "1" are none."""
    if name not in claims and not required:
        return None
    value = claims.get(name)
    if type(value) is not int or value <= 0:
        raise CredentialRejected(name, "missing or not a positive integer")
    return value


def check_audience(claims: Mapping[str, Any], settings: IssuerSettings, accepted: frozenset[str]) -> str:
    """The audience that matched. Raises CredentialRejected (``aud``)."""
    value = claims.get("aud")
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list) or not named or not all(isinstance(one, str) for one in named):
        raise CredentialRejected("aud", "missing or not a string")
    if len(named) > 1 and not settings.multiple_audiences:
        raise CredentialRejected("aud", "made for more than one audience")
    for one in named:
        if one in accepted:
            return str(one)
    raise CredentialRejected("aud", "not made for this system")


def confirmed_key(claims: Mapping[str, Any]) -> str:
    """The thumbprint of the key that the token is bound to (``cnf.jkt``, RFC 9449 section 6.1); "" when to none.

    Raises CredentialRejected (``cnf``) for every other kind of binding: it could not be checked (RFC 7800 section 3.1).
    """
    confirmation = claims.get("cnf")
    if confirmation is None:
        return ""
    if isinstance(confirmation, dict) and list(confirmation) == ["jkt"] and is_clean(confirmation["jkt"]):
        return str(confirmation["jkt"])
    raise CredentialRejected("cnf", "bound to a key in a way that is not known here")


def flatten(claims: Mapping[str, Any]) -> dict[str, str]:
    """Claims as bindings see them: ``{"sub": …, "kubernetes.io/namespace": …}``.

    Numbers and booleans as JSON writes them; lists, long and unclean texts are left out and so match nothing. Two
    claims of one flat name are an attack on a binding: CredentialRejected (``claim``).
    """
    flat: dict[str, str] = {}
    for name, value in claims.items():
        if name not in _NOT_FLATTENED:
            _flatten_into(flat, name, value, MAX_NESTING)
    return flat


def _flatten_into(flat: dict[str, str], name: str, value: Any, levels: int) -> None:
    if isinstance(value, dict):
        for inner, item in value.items() if levels > 1 else ():
            _flatten_into(flat, f"{name}/{inner}", item, levels - 1)
        return
    text = ("true" if value else "false") if isinstance(value, bool) else str(value) if type(value) is int else value
    if not is_clean(text):
        return
    if name in flat or len(flat) >= MAX_FLAT:
        raise CredentialRejected("claim", "two claims have the same flat name, or there are too many")
    flat[name] = text
