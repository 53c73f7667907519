"""Commands that a person signs with a key kept offline: with the key here, or with a signature made elsewhere."""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Callable
from pathlib import Path

import click

KEY = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The Ed25519 private key that signs, a PEM file; it is read here and goes nowhere.",
)
SIGNATURE = click.option("--signature", help="The signature itself (base64url), made elsewhere; see `statement`.")

_LETTERS = string.ascii_lowercase + string.digits


def new_id(prefix: str) -> str:
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(12))


def signature_of(key: Path | None, signature: str | None, text: Callable[[], str]) -> str:
    """The one that was given, or one by ``key`` of the text, which is asked for only then."""
    if (key is None) == (signature is None):
        raise click.UsageError("give --key or --signature")
    return sign(key, text().encode()) if key is not None else signature or ""


def sign(key: Path, text: bytes) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key.read_bytes(), None)
    except (ValueError, TypeError):
        loaded = None
    if not isinstance(loaded, Ed25519PrivateKey):
        raise click.BadParameter(
            f"{key} is no Ed25519 private key in PEM form without a passphrase", param_hint="--key"
        )
    return base64.urlsafe_b64encode(loaded.sign(text)).rstrip(b"=").decode()
