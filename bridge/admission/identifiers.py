"""Ids that a person reads to another over the phone: short, without look-alikes, unguessable."""

from __future__ import annotations

import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_LENGTH = 16  # 80 bits: no collision in the life of a log, and no guessing of another's session


def new_id(prefix: str) -> str:
    """``prefix`` + 16 characters, e.g. ``ses_4k0v…``."""
    number = secrets.randbits(5 * _LENGTH)
    return prefix + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))
