"""People with Ed25519 keys that everybody can know, for tests of what several of them sign."""

from __future__ import annotations

import base64
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.policy.emergency import Emergency

_NAMES = ("alice", "bob", "carol", "dave")
_KEYS = {name: Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number, name in enumerate(_NAMES, 1)}


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


PEOPLE = {name: _base64url(key.public_key().public_bytes_raw()) for name, key in _KEYS.items()}
"""Name → public key, as ``breakglass.people`` has it."""


def signed(person: str, text: bytes) -> str:
    return _base64url(_KEYS[person].sign(text))


def approved(one: Emergency, bridge: str, *people: str) -> Emergency:
    """With an approval of each of ``people``."""
    text = one.statement(bridge, "approve")
    return replace(one, approvals={person: signed(person, text) for person in people})
