"""From an issuer to its keys: OpenID Connect Discovery 1.0, section 4.

The document must name the very issuer we asked for, and keys may lie only where the issuer does, or at an origin that
the configuration lists: a document does not send us anywhere else.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from bridge.https import Fetcher, FetchFailed, check_url
from bridge.identity.strict_json import NotStrictJSON, parse_object

WELL_KNOWN = "/.well-known/openid-configuration"
_PORTS = {"https": 443, "http": 80}


def origin(url: str) -> tuple[str, str, int]:
    """(scheme, host, port), the default port filled in. Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


async def locate_keys(fetcher: Fetcher, iss: str, *, origins: Collection[str] = (), http_loopback: bool = False) -> str:
    """The ``jwks_uri`` of ``iss``. Raises FetchFailed."""
    document = await fetcher.get(iss.rstrip("/") + WELL_KNOWN)
    try:
        metadata = parse_object(document.body)
    except NotStrictJSON as problem:
        raise FetchFailed(f"the discovery document is {problem}") from None
    if metadata.get("issuer") != iss:
        raise FetchFailed("the discovery document names another issuer")
    uri = metadata.get("jwks_uri")
    if not isinstance(uri, str):
        raise FetchFailed("the discovery document has no jwks_uri")
    check_url(uri, http_loopback=http_loopback)
    if origin(uri) not in {origin(iss), *map(origin, origins)}:
        raise FetchFailed("jwks_uri lies at an origin that is neither the issuer's nor listed")
    return uri
