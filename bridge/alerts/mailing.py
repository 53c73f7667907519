"""One message to a mail server (RFC 5321), over STARTTLS, TLS, or plaintext on this machine.

To be imported when the reactor runs: ``twisted.mail.smtp`` takes the reactor at its import, and would make one.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.mail.smtp import ESMTPSenderFactory, SMTPClientError

from bridge.alerts.failure import DeliveryFailed
from bridge.https import cause

TIMEOUT = 30.0
_NAME = b"idbridge.invalid"  # EHLO: this machine's name is nobody's business


@dataclass(frozen=True, slots=True)
class Server:
    """``tls`` is starttls, tls or none; ``ca`` is PEM, None: the system's authorities; ``user`` "": no login."""

    host: str
    port: int
    tls: str
    ca: bytes | None
    user: str
    password: bytes


async def send(reactor: Any, server: Server, sender: str, to: tuple[str, ...], message: bytes) -> None:
    """Raises DeliveryFailed."""
    done: Deferred[object] = Deferred()
    options = _options(server)
    factory = ESMTPSenderFactory(  # type: ignore[no-untyped-call]
        server.user.encode() or None, server.password, sender, list(to), BytesIO(message), done, retries=0,
        timeout=TIMEOUT, contextFactory=options, heloFallback=False, requireAuthentication=bool(server.user),
        requireTransportSecurity=server.tls == "starttls", hostname=server.host,
    )  # fmt: skip
    factory.domain = _NAME
    if server.tls == "tls":
        connector = reactor.connectSSL(server.host, server.port, factory, options, timeout=TIMEOUT)
    else:
        connector = reactor.connectTCP(server.host, server.port, factory, timeout=TIMEOUT)
    done.addTimeout(TIMEOUT, reactor, onTimeoutCancel=_too_late)
    try:
        await done
    except SMTPClientError as failure:
        raise DeliveryFailed(cause(failure)) from None
    finally:
        factory.sendFinished = True  # else it would tell of the connection's end to who waits no more
        connector.disconnect()


def _options(server: Server) -> Any:
    if server.ca is None:
        return optionsForClientTLS(server.host, trustRoot=platformTrust())  # type: ignore[no-untyped-call]
    authority = Certificate.loadPEM(server.ca)
    trust = trustRootFromCertificates([authority])  # type: ignore[no-untyped-call]
    return optionsForClientTLS(server.host, trustRoot=trust)


def _too_late(result: object, timeout: float) -> None:
    raise DeliveryFailed(f"no answer within {timeout:g} seconds")
