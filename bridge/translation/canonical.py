"""The one way that values become text in the log: canonical JSON, with credentials kept out.

Ideas:

* Objects are sorted by key, without white space, and hold strings, integers and booleans only. For such data, with
  ASCII keys, this is RFC 8785 (JSON Canonicalization Scheme), so that anyone can recompute the bytes from the values.
* ``quoted`` is the choke point that every string passes: what looks like a JWT becomes ``<token>``, and what UTF-8
  cannot hold (a lone surrogate) is replaced, so that no client can stop the writer with a character.
* A key that names a secret is refused: a secret that is never an argument cannot be logged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from json.encoder import encode_basestring  # type: ignore[attr-defined, unused-ignore]
from typing import Any

MAX_TEXT = 16 * 1024
"""Characters kept of a text that a client wrote. A longer one is a bulk load; its digest still identifies it."""

MAX_DEPTH = 8
"""Nesting of a section; ours have four levels at most."""

MAX_INTEGER = 2**53 - 1
"""RFC 8785 section 3.2.2.3: larger integers do not survive a reader that uses doubles."""

TOKEN = "<token>"  # noqa: S105 - what stands in its place

_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{4,}\.(?:[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*|eyJ[A-Za-z0-9_-]*)")
"""Three base64url segments, the first a JSON object; or two of them where the third was cut off."""

FORBIDDEN_KEYS = frozenset(
    (
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "access_token",
        "refresh_token",
        "id_token",
        "api_key",
        "apikey",
        "private_key",
        "authorization",
        "cookie",
        "client_secret",
        "credential_value",
    )
)


class NotCanonical(ValueError):
    """A value that the log does not take: a float, a secret's name as key, too deep, too large. Names the place."""


def clean(text: str) -> str:
    """``text`` without tokens and without what UTF-8 cannot hold."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    if "eyJ" in text:
        text = _JWT.sub(TOKEN, text)
    return text


def quoted(text: str) -> str:
    """``text`` as a JSON string, cleaned."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    if "eyJ" in text:
        text = _JWT.sub(TOKEN, text)
    quotation: str = encode_basestring(text)
    return quotation


def shortened(text: str) -> str:
    """At most ``MAX_TEXT`` characters of ``text``. Tokens go first: a cut token would no longer look like one."""
    return text if len(text) <= MAX_TEXT else clean(text)[:MAX_TEXT]


def canonical(value: Any) -> str:
    """The canonical JSON of strings, integers, booleans, sequences and mappings. Raises NotCanonical."""
    return _canonical(value, 0)


def _canonical(value: Any, depth: int) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise NotCanonical("an integer of more than 53 bits; write it as text")
        return int.__repr__(value)
    if depth >= MAX_DEPTH:
        raise NotCanonical(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, Mapping):
        return (
            "{" + ",".join(f"{_key(key)}:{_canonical(value[key], depth + 1)}" for key in sorted(value, key=str)) + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_canonical(item, depth + 1) for item in value) + "]"
    if isinstance(value, (set, frozenset)):
        return _canonical(sorted(value), depth)
    raise NotCanonical(f"a value of type {type(value).__name__}; the log takes text, integers and booleans")


def _key(key: object) -> str:
    if not isinstance(key, str) or not key.isascii():
        raise NotCanonical("a key that is not ASCII text")  # RFC 8785 would sort others by UTF-16
    if names_secret(key):
        raise NotCanonical(f"the key {key!r}: secrets are not logged")
    return quoted(key)


def names_secret(key: str) -> bool:
    return key.lower().replace("-", "_") in FORBIDDEN_KEYS
