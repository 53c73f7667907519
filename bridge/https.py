"""One small request over HTTPS, bounded in every way: time, size, scheme; no redirects, no decompression.

What fetches keys, reads a vault or delivers to a sink asks through here. The agent is injected; ``https_agent`` makes
one that trusts the system's authorities or only those of a file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    FileBodyProducer,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

MAX_DOCUMENT = 256 * 1024  # 100 keys with certificate chains stay below
FETCH_TIMEOUT = 10.0
CONNECT_TIMEOUT = 5.0

CONNECTION_FAILURES = (ConnectError, ConnectionClosed, DNSLookupError, RequestTransmissionFailed, ResponseFailed)
"""What a request fails with beside FetchFailed."""

_MAX_AGE = re.compile(rb"(?:^|[\s,])max-age=(\d{1,9})(?:$|[\s,])")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_HEADERS = {"Accept": "application/json", "User-Agent": "identity-bridge"}


class FetchFailed(Exception):
    """There was no whole answer, or not the one that was needed. The message says why, for ops."""


def cause(failure: Exception) -> str:
    """What failed, on one line, for ops."""
    reasons = getattr(failure, "reasons", ())  # twisted.web wraps what went wrong below
    said = "; ".join(dict.fromkeys(one.getErrorMessage() for one in reasons)) or str(failure)
    return " ".join(said.split())[:500] or type(failure).__name__


@dataclass(frozen=True, slots=True)
class Document:
    """``max_age`` in seconds as Cache-Control says, None when it does not; ``retry_after`` in seconds, 0 when it does
    not say so (RFC 9110, 10.2.3; a date there is not looked at)."""

    body: bytes
    max_age: int | None
    status: int = 200
    retry_after: int = 0


def https_agent(reactor: Any, authorities: bytes | None = None) -> IAgent:
    """``authorities``: PEM certificates that alone are trusted; None means the system's. Raises ValueError."""
    trusted = None if authorities is None else [Certificate.loadPEM(pem) for pem in _PEM.findall(authorities)]
    if trusted == []:
        raise ValueError("the CA file has no certificate in PEM form")
    root = None if trusted is None else trustRootFromCertificates(trusted)  # type: ignore[no-untyped-call]
    policy = BrowserLikePolicyForHTTPS(trustRoot=root)  # type: ignore[no-untyped-call]
    agent = Agent(reactor, contextFactory=policy, connectTimeout=CONNECT_TIMEOUT)  # type: ignore[no-untyped-call]
    return cast(IAgent, agent)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_url(url: str, *, http_loopback: bool = False) -> None:
    """Raises FetchFailed unless ``url`` is https (or, where allowed, http to this machine) and without credentials."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise FetchFailed("not a URL") from None
    if not host or not url.isascii() or parts.username is not None or parts.fragment:
        raise FetchFailed("not a plain URL")
    if parts.scheme != "https" and not (parts.scheme == "http" and http_loopback and is_loopback(host)):
        raise FetchFailed("only https is fetched")


class Fetcher:
    """Requests to one server: an issuer, a vault, a sink."""

    def __init__(
        self, agent: IAgent, clock: IReactorTime, *, http_loopback: bool = False, timeout: float = FETCH_TIMEOUT
    ) -> None:
        self._agent = agent
        self._clock = clock
        self._http_loopback = http_loopback
        self._timeout = timeout

    async def get(self, url: str) -> Document:
        """The document, and nothing but status 200.

        Fails with FetchFailed, also after the time limit, or with what the connection failed with.
        """
        document = await self.exchange("GET", url)
        if document.status != 200:
            raise FetchFailed(f"status {document.status}")
        return document

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str] = _HEADERS, body: bytes | None = None
    ) -> Awaitable[Document]:
        """Any answer, of whatever status. ``headers`` are added to our own. Fails as ``get`` does."""
        check_url(url, http_loopback=self._http_loopback)
        exchange = Deferred.fromCoroutine(self._exchange(method, url, {**_HEADERS, **headers}, body))
        return exchange.addTimeout(self._timeout, self._clock, self._late)

    def _late(self, _: object, seconds: float) -> NoReturn:
        raise FetchFailed(f"no whole answer within {seconds:g} seconds")

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Document:
        fields = Headers({name: [value] for name, value in headers.items()})
        producer = None if body is None else FileBodyProducer(BytesIO(body))  # type: ignore[no-untyped-call]
        response = await self._agent.request(method.encode("ascii"), url.encode("ascii"), fields, producer)
        collected = _Body()
        response.deliverBody(collected)  # type: ignore[no-untyped-call]
        return Document(await collected.done, _max_age(response), response.code, _retry_after(response))


def _max_age(response: IResponse) -> int | None:
    for value in response.headers.getRawHeaders(b"cache-control", []):
        match = _MAX_AGE.search(value.lower())
        if match:
            return int(match[1])
    return None


def _retry_after(response: IResponse) -> int:
    (value,) = response.headers.getRawHeaders(b"retry-after", [b""])[:1]
    return int(value) if value.isdigit() and len(value) < 7 else 0


class _Body(Protocol):
    """Collects at most MAX_DOCUMENT bytes, then drops the connection."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._drop())
        self._parts: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        self._size += len(data)
        self._parts.append(data)
        if self._size > MAX_DOCUMENT:
            self.done.errback(FetchFailed(f"longer than {MAX_DOCUMENT} bytes"))
            self._drop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):  # type: ignore[no-untyped-call]
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(FetchFailed("the connection broke"))

    def _drop(self) -> None:
        self._parts.clear()
        if self.transport is not None:
            self.transport.loseConnection()
