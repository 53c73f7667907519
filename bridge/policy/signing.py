"""Statements that people sign with Ed25519 keys kept offline (RFC 8032; PureEdDSA, so that openssl can too)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def statement(kind: str, lines: Mapping[str, str | int]) -> bytes:
    """The text to sign: its kind, then a line for each value. No value has a line break."""
    text = "".join(f"{name}: {value}\n" for name, value in lines.items())
    if text.count("\n") != len(lines):
        raise ValueError("a value of a statement is one line")
    return f"identity-bridge {kind} v1\n{text}".encode()


def is_signed(people: Mapping[str, str], person: str, text: bytes, signature: str) -> bool:
    """Whether ``person`` is one of ``people`` (name → public key, base64url) and has signed ``text``."""
    try:
        raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(people.get(person, "") + "="))
        key.verify(raw, text)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
