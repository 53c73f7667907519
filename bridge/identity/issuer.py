"""The built-in issuer: short-lived Ed25519 tokens for registered agents, so that a newcomer needs no identity provider.

The key is a file in the state directory (``storage.signing_key``). Whoever can read it can be any agent.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridge.identity.jwk import KeySet, VerificationKey, ed25519_key
from bridge.identity.settings import IssuerSettings
from bridge.identity.text import is_agent_id, is_clean
from bridge.identity.verifier import Delegation, VerifiedCredential
from bridge.storage import load_or_create_key

NAME = "builtin"
PROFILE = "builtin"
MAX_LIFETIME = 900
EMERGENCY = "break_glass"
MAX_TOKEN = 699  # characters: fits a psql password prompt's 1 KiB and most password fields of clients


class BuiltinIssuer:
    """Mints tokens of profile ``builtin``. ``iss`` is ``idbridge:<bridge name>``."""

    def __init__(self, bridge_name: str, key: Ed25519PrivateKey) -> None:
        if not is_clean(bridge_name):
            raise ValueError("the bridge's name is a short text")
        self.iss = f"idbridge:{bridge_name}"
        self._key = key
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._public: VerificationKey = ed25519_key(base64.urlsafe_b64encode(raw).rstrip(b"=").decode())

    @classmethod
    def load_or_create(cls, path: Path, bridge_name: str) -> BuiltinIssuer:
        """Reads the key file, or makes it; blocks on the disk. Raises KeyRefused, OSError."""
        return cls(bridge_name, load_or_create_key(path))

    def __repr__(self) -> str:
        return f"<BuiltinIssuer {self.iss}>"

    @property
    def kid(self) -> str:
        return self._public.kid

    def key_set(self) -> KeySet:
        return KeySet(frozenset({self._public}))

    def settings(self, *, accept_bridge_audience: bool = True, max_lifetime: int = MAX_LIFETIME) -> IssuerSettings:
        """The issuer record that accepts our own tokens. Same clock, so ``exp`` needs no leeway."""
        return IssuerSettings(
            name=NAME,
            iss=self.iss,
            profile=PROFILE,
            algorithms=("EdDSA",),
            accept_bridge_audience=accept_bridge_audience,
            multiple_audiences=True,
            max_lifetime=max_lifetime,
            leeway=0,
        )

    def mint(
        self,
        agent_id: str,
        *,
        audiences: Sequence[str],
        ttl: int,
        now: float,
        jti: str | None = None,
        delegation: Delegation | None = None,
        confirmation: str = "",
        emergency: str = "",
    ) -> str:
        """A compact JWT. ``ttl`` is 1 to 900 seconds; a ``jti`` is made when none is given. Raises ValueError.

        ``confirmation`` is the thumbprint (RFC 7638) of the key that the token is bound to (``cnf.jkt``);
        ``emergency`` the break-glass for which alone the token is, see ``emergency_of``.

        A delegated token has the delegator as ``sub`` and the agent as ``act``: the delegator must be of this issuer.
        """
        if not is_agent_id(agent_id):
            raise ValueError("not an agent id")
        if not 1 <= ttl <= MAX_LIFETIME:
            raise ValueError(f"a token lives 1 to {MAX_LIFETIME} seconds")
        if not audiences or not all(map(is_clean, audiences)):
            raise ValueError("an audience is a short text")
        issued = int(now)
        claims: dict[str, Any] = {
            "iss": self.iss,
            "sub": agent_id,
            "client_id": agent_id,
            "aud": audiences[0] if len(audiences) == 1 else list(audiences),
            "iat": issued,
            "exp": issued + ttl,
            "jti": jti or secrets.token_urlsafe(12),
        }
        if delegation is not None and delegation.mode == "delegated":
            claims.update(self._delegated(agent_id, delegation))
        if confirmation:
            claims["cnf"] = {"jkt": confirmation}
        if emergency:
            claims[EMERGENCY] = emergency
        payload = json.dumps(claims, separators=(",", ":")).encode()
        headers = {"typ": "at+jwt", "kid": self.kid}
        token = jwt.api_jws.PyJWS(["EdDSA"]).encode(payload, self._key, "EdDSA", headers)
        if len(token) > MAX_TOKEN:
            raise ValueError(f"the token would be longer than {MAX_TOKEN} characters: fewer audiences or actors")
        return token

    def _delegated(self, agent_id: str, delegation: Delegation) -> dict[str, Any]:
        if not is_clean(delegation.subject) or delegation.subject_issuer not in ("", self.iss):
            raise ValueError("the delegator is not a subject of this issuer")
        act: dict[str, Any] = {"sub": agent_id}
        innermost = act
        for iss, subject in delegation.chain:
            innermost["act"] = {"iss": iss, "sub": subject}
            innermost = innermost["act"]
        return {"sub": delegation.subject, "act": act}


def emergency_of(credential: VerifiedCredential) -> str:
    """The break-glass for which alone it is; "" for any other. Only our own key can say so."""
    return credential.claims.get(EMERGENCY, "") if credential.profile == PROFILE else ""
