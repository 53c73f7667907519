"""Ids that a person reads to another over the phone: short, without look-alikes, unguessable."""

from __future__ import annotations

import secrets

from bridge.translation.identifiers import base32

_LENGTH = 16  # 80 bits: no collision in the life of a log, and no guessing of another's session


def new_id(prefix: str) -> str:
    """``prefix`` + 16 characters of Crockford's base 32, e.g. ``ses_4k0v…``."""
    return prefix + base32(secrets.randbits(5 * _LENGTH), _LENGTH).lower()
