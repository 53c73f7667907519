"""What an agent can prove itself with. Adapters carry these to ``Door.admit`` and never look inside."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.adapter.secret import Secret


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A JWT (or other bearer token) as the client sent it, white space at the ends removed."""

    token: Secret


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate that the TLS layer has already proven possession of; ``chain`` is DER, leaf first."""

    chain: tuple[bytes, ...]


Credential = BearerToken | ClientCertificate
