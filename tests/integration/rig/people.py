"""People with Ed25519 keys of their own, which the bridge never sees."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

TIMEOUT = 30


class Person:
    def __init__(self, folder: Path, name: str) -> None:
        key = Ed25519PrivateKey.generate()
        self.name = name
        self.key = folder / f"{name}.pem"
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.public = _base64url(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    @property
    def signs(self) -> tuple[str, ...]:
        """The options with which ``idbridge`` signs as this person."""
        return ("--as", self.name, "--key", str(self.key))

    def signature(self, statement: str) -> str:
        """Made without the bridge's help, by openssl."""
        text = self.key.with_suffix(".statement")
        text.write_text(statement)
        command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(self.key), "-in", str(text)]
        return _base64url(subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT).stdout)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
