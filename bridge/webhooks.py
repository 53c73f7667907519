"""Signing what is posted to somebody's webhook, as Standard Webhooks has it (the symmetric scheme, v1)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_PREFIX = b"whsec_"  # the standard's own form of a secret: base64 follows


def signed(secret: bytes, id: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of a request; without a secret they have no signature. ``at`` is Unix seconds.

    Raises ValueError when the secret is not what it says it is.
    """
    headers = {"webhook-id": id, "webhook-timestamp": str(at)}
    if secret.startswith(_PREFIX):
        try:
            secret = base64.b64decode(secret[len(_PREFIX) :], validate=True)
        except binascii.Error:
            raise ValueError("the secret begins with whsec_, and what follows is not base64") from None
    if secret:
        mac = hmac.new(secret, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = "v1," + base64.b64encode(mac).decode()
    return headers
