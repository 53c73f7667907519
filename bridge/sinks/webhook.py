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

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.accounts.vaults import SecretReference, Vaults
from bridge.https import CONNECTION_FAILURES, Document, Fetcher, FetchFailed, cause, https_agent
from bridge.sinks.destination import Batch, DeliveryFailed
from bridge.storage import ThreadPool
from bridge.webhooks import signed


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
        id = identifier(batch, self._sink)
        headers = {"Content-Type": "application/json", "Idempotency-Key": f'"{id}"'}
        try:
            headers |= signed(secret.reveal(), id, int(self._now()), body)
            answer: Document = await fetcher.exchange("POST", self._url, headers, body)
        except (ValueError, FetchFailed, *CONNECTION_FAILURES) as failure:
            raise DeliveryFailed(cause(failure)) from None
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
    events = (line if format != "cef" and _is_json(line) else json.dumps(line) for line in batch.lines)
    head = {"log": batch.log, "sink": sink, "first": batch.first, "last": batch.last, "format": format}
    return f'{json.dumps(head, separators=(",", ":"))[:-1]},"events":[{",".join(events)}]}}'.encode()


def identifier(batch: Batch, sink: str) -> str:
    return f"{batch.log}.{sink}.{batch.first}-{batch.last}"


def _is_json(line: str) -> bool:
    """An event that somebody altered may not be; it must not make the whole body unreadable."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
