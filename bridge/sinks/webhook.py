"""Events by POST, signed as Standard Webhooks has it (the symmetric scheme, v1), so that receivers find libraries.

::

    webhook-id: prod-1.soc.101-150          the same for the same events, however often they are sent
    webhook-timestamp: 1795615909           Unix seconds of this attempt
    webhook-signature: v1,base64(HMAC-SHA256(secret, "{id}.{timestamp}.{body}"))
    Idempotency-Key: "prod-1.soc.101-150"

    {"log":"prod-1","sink":"soc","first":101,"last":150,"format":"jsonl","events":[…]}

The events stand in the body as their exact text; those of a format that is no JSON as strings. Any status 2xx means
that the batch was taken; any other, that it was not.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.web.client import RequestTransmissionFailed, ResponseFailed

from bridge.accounts.vaults import SecretReference, Vaults
from bridge.https import Document, Fetcher, FetchFailed, https_agent
from bridge.sinks.destination import Batch, DeliveryFailed
from bridge.storage import ThreadPool

_FAILURES = (FetchFailed, ConnectError, ConnectionClosed, DNSLookupError, RequestTransmissionFailed, ResponseFailed)

_PREFIX = b"whsec_"  # Standard Webhooks: base64 follows


class WebhookDestination:
    """``sink`` and ``format`` are told to the receiver; ``now`` gives Unix seconds; ``ca`` a PEM file, None: the
    system's authorities."""

    def __init__(
        self,
        reactor: Any,
        sink: str,
        format: str,
        url: str,
        secret: SecretReference,
        vaults: Vaults,
        pool: ThreadPool,
        now: Callable[[], float],
        ca: Path | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._reactor = reactor
        self._sink = sink
        self._format = format
        self._url = url
        self._secret = secret
        self._vaults = vaults
        self._pool = pool
        self._now = now
        self._ca = ca
        self._timeout = timeout
        self._fetcher: Fetcher | None = None
        self._authorities: bytes | None = None

    async def deliver(self, batch: Batch) -> None:
        secret = await self._vaults.read(self._secret)
        fetcher = await self._trusting()
        body = payload(batch, self._sink, self._format)
        headers = signed(secret.reveal(), identifier(batch, self._sink), int(self._now()), body)
        try:
            answer: Document = await fetcher.exchange("POST", self._url, headers, body)
        except _FAILURES as failure:
            raise DeliveryFailed(_words(failure)) from None
        if not 200 <= answer.status < 300:
            raise DeliveryFailed(f"the receiver answered with status {answer.status}", answer.retry_after)

    async def _trusting(self) -> Fetcher:
        """For the authorities that the file has now."""
        authorities = await self._pool.run(self._ca.read_bytes) if self._ca is not None else None
        if self._fetcher is None or authorities != self._authorities:
            try:
                agent = https_agent(self._reactor, authorities)
            except ValueError as error:
                raise DeliveryFailed(f"{self._ca}: {error}") from None
            self._fetcher = Fetcher(agent, self._reactor, http_loopback=True, timeout=self._timeout)
            self._authorities = authorities
        return self._fetcher


def payload(batch: Batch, sink: str, format: str) -> bytes:
    """The body; see above."""
    events = batch.lines if format != "cef" else map(json.dumps, batch.lines)
    head = {"log": batch.log, "sink": sink, "first": batch.first, "last": batch.last, "format": format}
    return f'{json.dumps(head, separators=(",", ":"))[:-1]},"events":[{",".join(events)}]}}'.encode()


def identifier(batch: Batch, sink: str) -> str:
    return f"{batch.log}.{sink}.{batch.first}-{batch.last}"


def signed(secret: bytes, id: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of a request. Raises DeliveryFailed when the secret is not what it says it is."""
    if secret.startswith(_PREFIX):
        try:
            secret = base64.b64decode(secret[len(_PREFIX) :], validate=True)
        except binascii.Error:
            raise DeliveryFailed("the secret begins with whsec_, and what follows is not base64") from None
    mac = hmac.new(secret, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
        "Idempotency-Key": f'"{id}"',
    }


def _words(failure: Exception) -> str:
    reasons = getattr(failure, "reasons", ())  # twisted.web wraps what went wrong below
    return "; ".join(dict.fromkeys(one.getErrorMessage() for one in reasons)) or str(failure)
