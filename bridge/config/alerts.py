"""Who is told of what: ``alerts``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from bridge.config.grants import Hours
from bridge.config.sections import Section
from bridge.config.values import (
    Amount,
    Duration,
    FileName,
    Flag,
    Frozen,
    Host,
    HttpsURL,
    MailAddress,
    Many,
    Name,
    Port,
    SecretText,
    Text,
    bounded,
)


class Channel(Section):
    """A way to reach people. ``url``: of a webhook (required), and of PagerDuty when it is another than its own.

    ``secret``: signs a webhook; the routing key of PagerDuty; of Slack the URL itself, which is one.
    """

    kind: Literal["webhook", "slack", "pagerduty", "mail"]
    url: HttpsURL | None = None
    secret: SecretText | None = None
    to: Many[MailAddress] = ()
    ca: FileName | None = None


class Mail(Section):
    """``tls: none`` is for a mail server on this machine alone."""

    host: Host
    port: Port = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca: FileName | None = None
    user: Text | None = None
    password: SecretText | None = None
    sender: MailAddress


class Refused(Section):
    count: Annotated[int, Strict(), Field(ge=1, le=1000)] = 5
    within: Annotated[Duration, bounded("1s", "1d")] = 60.0


class Volume(Section):
    times: Annotated[int, Strict(), Field(ge=2, le=1000)] = 10
    least: Amount = 1000


class AlertRules(Section):
    """``null`` or ``false`` switches a rule off."""

    refused: Refused | None = Refused()
    new_system: Flag = True
    outside: Hours | None = None
    rest: Annotated[Duration, bounded("1h", "365d")] | None = 2_592_000.0
    volume: Volume | None = Volume()
    alarms: Flag = True
    demoted: Flag = True
    log_trouble: Flag = True
    asked: Flag = True


class Alerts(Section):
    """``security`` are the channels that hear of what has no owner, or an owner who cannot be reached.

    ``leadership`` hear of every break-glass and every demotion, with security and the owner.
    """

    repeat: Annotated[Duration, bounded("1m", "7d")] = 3600.0
    security: Many[Name] = ()
    leadership: Many[Name] = ()
    channels: Frozen[Channel] = Field(default_factory=dict)
    mail: Mail | None = None
    rules: AlertRules = AlertRules()
