"""Ways to reach people, each with its own failure words. Secrets are read when a message is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bridge.accounts.vaults import SecretReference, SecretUnavailable, Vaults
from bridge.alerts import formats
from bridge.alerts.failure import DeliveryFailed
from bridge.alerts.watching import Alert
from bridge.https import CONNECTION_FAILURES, Fetcher, FetchFailed, cause, https_agent
from bridge.webhooks import signed

PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"

_FAILURES = (FetchFailed, *CONNECTION_FAILURES, SecretUnavailable, OSError, ValueError)


class Kind(StrEnum):
    WEBHOOK = "webhook"
    SLACK = "slack"
    PAGERDUTY = "pagerduty"
    MAIL = "mail"


@dataclass(frozen=True, slots=True)
class Channel:
    """``secret``: of a webhook what signs, of PagerDuty the routing key, of Slack the URL itself."""

    kind: Kind
    url: str = ""
    secret: SecretReference | None = None
    to: tuple[str, ...] = ()
    ca: bytes | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """The mail server. ``tls`` is starttls, tls or none; ``ca`` is PEM, None: the system's authorities."""

    host: str
    sender: str
    port: int = 587
    tls: str = "starttls"
    ca: bytes | None = None
    user: str = ""
    password: SecretReference | None = None


class Channels:
    """Sends alerts. ``mail`` None: no mail can be sent. In the reactor's thread."""

    def __init__(
        self, channels: Mapping[str, Channel], mail: Mail | None, bridge: str, vaults: Vaults, reactor: Any,
        now: Callable[[], float],
    ) -> None:  # fmt: skip
        self._channels = dict(channels)
        self._mail = mail
        self._bridge = bridge
        self._vaults = vaults
        self._reactor = reactor
        self._now = now

    async def send(self, name: str, alert: Alert, id: str, suppressed: int) -> None:
        """``name`` is a channel, or ``mailto:ADDRESS``. Raises DeliveryFailed."""
        channel = self._named(name)
        try:
            if channel.kind is Kind.MAIL:
                await self._send_mail(channel.to, alert, id, suppressed)
            else:
                await self._post(channel, alert, id, suppressed)
        except _FAILURES as failure:
            raise DeliveryFailed(cause(failure)) from None

    def _named(self, name: str) -> Channel:
        scheme, _, address = name.partition(":")
        if scheme == "mailto":
            return Channel(Kind.MAIL, to=(address,))
        if name not in self._channels:
            raise DeliveryFailed("no such channel is configured")
        return self._channels[name]

    async def _post(self, channel: Channel, alert: Alert, id: str, suppressed: int) -> None:
        secret = (await self._vaults.read(channel.secret)).reveal() if channel.secret else b""
        url, headers = channel.url, {"Content-Type": "application/json"}
        if channel.kind is Kind.SLACK:
            url, body = secret.decode().strip(), formats.slack(alert, self._bridge, id, suppressed)
        elif channel.kind is Kind.PAGERDUTY:
            url = channel.url or PAGERDUTY
            body = formats.pagerduty(alert, self._bridge, id, suppressed, secret.decode().strip())
        else:
            body = formats.webhook(alert, self._bridge, id, suppressed)
            headers |= signed(secret, id, int(self._now()), body)
        fetcher = Fetcher(https_agent(self._reactor, channel.ca), self._reactor, http_loopback=True)
        answer = await fetcher.exchange("POST", url, headers, body)
        if not 200 <= answer.status < 300:
            raise DeliveryFailed(f"the receiver answered with status {answer.status}")

    async def _send_mail(self, to: tuple[str, ...], alert: Alert, id: str, suppressed: int) -> None:
        from bridge.alerts import mailing  # late: see there

        mail = self._mail
        if mail is None:
            raise DeliveryFailed("no mail server is configured (alerts.mail)")
        password = (await self._vaults.read(mail.password)).reveal() if mail.password else b""
        message = formats.mail(alert, self._bridge, id, suppressed, mail.sender, to)
        server = mailing.Server(mail.host, mail.port, mail.tls, mail.ca, mail.user, password)
        await mailing.send(self._reactor, server, mail.sender, to, message)
