"""Public keys and certificates of SSH in wire form (RFC 4253 section 6.6, PROTOCOL.certkeys of OpenSSH)."""

from __future__ import annotations

import base64
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHPublicKeyTypes,
    load_ssh_public_identity,
)


def fingerprint(key: bytes) -> str:
    """As ssh-keygen -l writes it, of a key in wire form."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def wire_form(key: PublicKeyTypes) -> bytes:
    """The inverse of ``load_identity`` for a key."""
    text = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(text.split()[1])


def load_identity(blob: bytes) -> SSHCertificate | SSHPublicKeyTypes:
    """The key or certificate in wire form. Raises ValueError for what is neither, or of a kind that is not known."""
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")]
    try:
        return load_ssh_public_identity(kind + b" " + base64.b64encode(blob))
    except (UnsupportedAlgorithm, NotImplementedError) as error:  # the last for compressed points
        raise ValueError(str(error)) from None
