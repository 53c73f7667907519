"""The forms in which a static secret stands in files: as it is, encoded, or inside a connection string. Pure.

Base64 depends on where the secret begins (RFC 4648): of each of the three alignments the characters that depend on the
secret alone are looked for, so that it is found inside ``user:password`` too.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

SHORTEST = 6
"""Bytes of a secret that is looked for; shorter ones stand everywhere by chance."""

_LOWER = re.compile("%[0-9A-F]{2}")
PEM = b"-----BEGIN "


def forms(secret: bytes) -> dict[bytes, str]:
    """What to look for, each with the name of its form; empty for a secret that is too short."""
    found: dict[bytes, str] = {}
    for needle, name in _forms(secret):
        if len(needle) >= SHORTEST:
            found.setdefault(needle, name)
    return found if len(secret) >= SHORTEST else {}


def _forms(secret: bytes) -> Iterator[tuple[bytes, str]]:
    if secret.lstrip().startswith(PEM):
        yield from _key_forms(secret)
        return
    yield secret, "plain"
    text = secret.decode("utf-8", "replace")
    escaped = quote(secret, safe="")
    yield escaped.encode(), "URL-encoded"
    yield _LOWER.sub(lambda found: found.group().lower(), escaped).encode(), "URL-encoded"
    yield quote_plus(secret).encode(), "URL-encoded"
    yield quote(secret, safe="!$&'()*+,;=-._~").encode(), "in a connection string"
    yield json.dumps(text)[1:-1].encode(), "in JSON"
    yield text.replace("'", "''").encode(), "quoted"
    yield text.replace("\\", "\\\\").replace("'", "\\'").encode(), "quoted"
    yield text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").encode(), "in XML"
    yield text.encode("utf-16-le"), "UTF-16"
    yield secret.hex().encode(), "hexadecimal"
    yield secret.hex().upper().encode(), "hexadecimal"
    yield from _base64_forms(secret)


def _base64_forms(secret: bytes) -> Iterator[tuple[bytes, str]]:
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret).rstrip(b"=")
        begin = (0, 2, 3)[offset]
        whole = (offset + len(secret)) % 3 == 0
        core = encoded[begin:] if whole else encoded[begin:-1]
        yield core, "base64"
        yield core.translate(bytes.maketrans(b"+/", b"-_")), "base64"


def _key_forms(pem: bytes) -> Iterator[tuple[bytes, str]]:
    """Of a private key the longest lines of its body but the first, which all keys of a kind share."""
    lines = [line.strip() for line in pem.splitlines() if line.strip() and b"-----" not in line and b":" not in line]
    for line in sorted(lines[1:] or lines, key=len, reverse=True)[:3]:
        yield line, "private key"
