"""What an agent can prove itself with. Adapters carry these to ``Door.admit`` and never look inside."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.adapter.secret import Secret


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A JWT (or other bearer token) as the client sent it, white space at the ends removed.

    ``confirmed`` is the thumbprint (RFC 7638) of a key whose possession the protocol has proven beside it: a token that
    is bound to a key (``cnf.jkt``, RFC 7800, RFC 9449 section 6.1) is good with that key only.
    """

    token: Secret
    confirmed: str = ""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate that the TLS layer has already proven possession of; ``chain`` is DER, leaf first."""

    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SSHCertificate:
    """An OpenSSH user certificate (PROTOCOL.certkeys), wire form; the adapter has verified possession of its key."""

    certificate: bytes


@dataclass(frozen=True, slots=True)
class SSHPublicKey:
    """A public key in SSH wire form (RFC 4253 section 6.6) whose possession the adapter has verified."""

    key: bytes


Credential = BearerToken | ClientCertificate | SSHCertificate | SSHPublicKey
