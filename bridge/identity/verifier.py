"""What a verified credential is, and the one error for everything that is not one.

``CredentialRejected.code`` is stable: it stands in the translation log. The client hears none of it.

==================  ==================================================================================
``jwt-size``        longer than the issuer (or any issuer) allows
``jwt-form``        not three canonical base64url segments
``jwt-json``        header or payload is not a strict JSON object
``jwt-header``      a header parameter that is forbidden or of the wrong kind
``issuer-unknown``  no issuer record for ``iss`` (or, for an agent's own key, no such agent)
``alg``             not allowed for this issuer, or not the algorithm its key is pinned to
``kid-unknown``     the issuer has no such key, or ``kid`` is missing and more than one would do
``keys-unavailable``  the issuer's keys were never fetched, or are older than the limit
``signature``       the signature does not match
``typ``             not the token type of the profile
``iss``             the claim is missing where it must be, or contradicts the profile
``aud``             not made for this system
``exp``             past its end (``expired`` is true) or not an integer
``nbf`` ``iat``     in the future, or not a positive integer
``lifetime``        valid for longer than the issuer record allows
``claim``           a required claim is missing, malformed or contradicts another
``cnf``             bound to a key that was not proven, or in a way that is not known
``act``             the delegation chain is malformed, too deep, or a loop
``certificate``     a client certificate that breaks the rules of its profile
==================  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Delegation:
    """For whom the agent acts. ``mode`` is ``autonomous`` or ``delegated``.

    ``chain`` holds earlier actors as (iss, sub), the most recent first: logged, never used to grant (RFC 8693, 4.1).
    """

    mode: str = "autonomous"
    subject: str = ""
    subject_issuer: str = ""
    chain: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class VerifiedCredential:
    """A credential that passed every rule of its issuer's profile; times are unix seconds.

    ``issuer`` is the name of the issuer record, ``subject`` the agent's external identity after delegation is
    normalised, ``claims`` the flattened claims that bindings match, describing the agent and never its delegator.
    ``token_id`` is the key for the deny list, together with ``iss``. ``expires_at`` is the effective end.
    ``serial`` is a certificate's, as its authority writes it. ``confirmation`` is the thumbprint of the key (RFC 7638)
    without which a bound token is nothing.
    """

    issuer: str
    profile: str
    iss: str
    subject: str
    claims: Mapping[str, str]
    jti: str
    token_id: str
    digest: str
    kid: str
    alg: str
    audience: str
    issued_at: int | None
    expires_at: int
    binding: str = "none"
    serial: str = ""
    confirmation: str = ""
    delegation: Delegation = field(default_factory=Delegation)


class CredentialRejected(Exception):
    """The credential is not good. ``detail`` is for ops and never holds a byte of the credential.

    ``expired`` is true only for a genuine credential that is past its end.
    """

    def __init__(self, code: str, detail: str, *, expired: bool = False) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.expired = expired


class Verifier(Protocol):
    """Checks one bearer token for one system."""

    async def verify(self, token: bytes, *, audiences: frozenset[str], now: float) -> VerifiedCredential:
        """Raises CredentialRejected and nothing else. ``audiences`` are those of the system; ``now`` is unix time.

        The caller asks the deny list, then resolves the agent: a verified credential alone grants nothing.
        """
        ...
