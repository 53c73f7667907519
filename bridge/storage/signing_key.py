"""An Ed25519 private key in a file of its own: PEM (PKCS #8), mode 0600.

Whoever can read it can sign as us, so a file with wider rights, of another owner, or behind a symbolic link is refused,
not repaired.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from bridge.storage.private_file import NotPrivate, create_private, read_private

_MAX_PEM = 4096


class KeyRefused(Exception):
    """The key file cannot be used as it is. The message names the file and what to do."""


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """Reads the key file, or makes it; blocks on the disk. Raises KeyRefused, OSError."""
    try:
        return load_key(path)
    except FileNotFoundError:
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        create_private(path, pem)
    return load_key(path)


def load_key(path: Path) -> Ed25519PrivateKey:
    """Raises KeyRefused, FileNotFoundError."""
    try:
        pem = read_private(path, _MAX_PEM)
    except NotPrivate as problem:
        raise KeyRefused(str(problem)) from None
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise KeyRefused(f"{path}: is not a private key in PEM form") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyRefused(f"{path}: is not an Ed25519 key")
    return key
