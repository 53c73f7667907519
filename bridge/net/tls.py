"""TLS settings: the listener's certificate, and libpq's six modes towards a legacy system.

Each object builds its OpenSSL context once; to reload certificates make a new object. Tickets are off: clients of
databases do not resume, and a ticket sent to a client that has just closed provokes a reset.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bridge.adapter import BridgeError
from bridge.net.tls_layer import TLSLayer

Mode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]
Minimum = Literal["1.0", "1.1", "1.2", "1.3"]
_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_OLD_CIPHERS = "DEFAULT@SECLEVEL=0"  # OpenSSL 3 speaks TLS 1.0 and 1.1 at security level 0 only


class TLSMisconfigured(BridgeError):
    """A certificate, key or CA file cannot be used. The message names the file and OpenSSL's reason."""


class ContextSettings(ABC):
    """What a ``Connection`` needs of any TLS settings."""

    __slots__ = ()

    @abstractmethod
    def layer(self) -> TLSLayer:
        """A new connection's TLS."""


@dataclass(frozen=True, slots=True)
class ServerTLS(ContextSettings):
    """The listener's side. With ``client_ca`` a client may show a certificate; ``client_required`` makes it have to."""

    certificate: Path
    key: Path
    minimum: Minimum = "1.2"
    client_ca: Path | None = None
    client_required: bool = False
    alpn: tuple[str, ...] = ()
    alpn_required: bool = False
    context: ssl.SSLContext = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(context, self.minimum, self.alpn)
        context.num_tickets = 0
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        with _telling(self.certificate):
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        if self.client_ca is not None:
            with _telling(self.client_ca):
                context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED if self.client_required else ssl.CERT_OPTIONAL
        object.__setattr__(self, "context", context)

    @property
    def server_side(self) -> bool:
        return True

    @property
    def verifies(self) -> bool:
        return self.client_ca is not None

    def with_alpn(self, protocols: tuple[str, ...], *, required: bool = False) -> ServerTLS:
        return replace(self, alpn=protocols, alpn_required=required)

    def layer(self) -> TLSLayer:
        return TLSLayer(self.context, server_side=True, server_name=None, alpn_required=self.alpn_required)


@dataclass(frozen=True, slots=True)
class UpstreamTLS(ContextSettings):
    """Towards a legacy system, as libpq's ``sslmode`` (PostgreSQL 17, 32.19.1).

    ``ca`` None means the system's store. As in libpq, ``require`` with a ``ca`` verifies like ``verify-ca``.
    ``server_name`` is sent as SNI, and checked by ``verify-full``. ``certificate`` and ``key`` are our own, if asked.
    """

    mode: Mode
    server_name: str | None = None
    ca: Path | None = None
    minimum: Minimum = "1.2"
    certificate: Path | None = None
    key: Path | None = None
    alpn: tuple[str, ...] = ()
    alpn_required: bool = False
    context: ssl.SSLContext = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _harden(context, self.minimum, self.alpn)
        context.check_hostname = self.mode == "verify-full"
        context.hostname_checks_common_name = True  # legacy certificates often have nothing else; libpq does so too
        if self.mode in ("verify-ca", "verify-full") or (self.mode == "require" and self.ca is not None):
            self._trust(context)
        else:
            context.verify_mode = ssl.CERT_NONE
        if self.mode == "verify-full" and not self.server_name:
            raise TLSMisconfigured("TLS mode verify-full needs the server's name")
        if self.certificate is not None:
            with _telling(self.certificate):
                context.load_cert_chain(self.certificate, self.key, password=_no_password)
        object.__setattr__(self, "context", context)

    def _trust(self, context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_REQUIRED
        if self.ca is None:
            context.load_default_certs()
            return
        with _telling(self.ca):
            context.load_verify_locations(self.ca)

    @property
    def server_side(self) -> bool:
        return False

    @property
    def verifies(self) -> bool:
        return self.context.verify_mode == ssl.CERT_REQUIRED

    @property
    def wanted(self) -> bool:
        return self.mode != "disable"

    @property
    def optional(self) -> bool:
        """Plaintext will do when the legacy system has no TLS."""
        return self.mode == "prefer"

    def with_alpn(self, protocols: tuple[str, ...], *, required: bool = False) -> UpstreamTLS:
        return replace(self, alpn=protocols, alpn_required=required)

    def layer(self) -> TLSLayer:
        return TLSLayer(self.context, server_side=False, server_name=self.server_name, alpn_required=self.alpn_required)


def _harden(context: ssl.SSLContext, minimum: Minimum, alpn: tuple[str, ...]) -> None:
    context.minimum_version = _VERSIONS[minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if minimum in ("1.0", "1.1"):
        context.set_ciphers(_OLD_CIPHERS)
    if alpn:
        context.set_alpn_protocols(list(alpn))


def _no_password() -> str:
    """OpenSSL would ask at the terminal for the password of an encrypted key."""
    raise TLSMisconfigured("the private key is encrypted; the bridge needs it without a password")


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turns what OpenSSL says about a file into a message that names the file."""
    try:
        yield
    except ssl.SSLError as error:
        raise TLSMisconfigured(f"{path}: {error.reason or 'not a PEM file of the expected kind'}") from None
    except OSError as error:
        raise TLSMisconfigured(f"{path}: {error.strerror}") from None
