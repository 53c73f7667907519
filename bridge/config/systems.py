"""Where agents go: ``systems``, each with its upstream and its static accounts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

from bridge.adapter import StatementLogging
from bridge.config.quotas import Price
from bridge.config.requests import Approver, SystemRequests
from bridge.config.sections import Mode, Section, TLSVersion, inherited
from bridge.config.values import (
    Duration,
    FileName,
    Frozen,
    Host,
    HostPattern,
    Listen,
    Many,
    Moment,
    Name,
    Note,
    Port,
    SecretText,
    Some,
    Text,
    bounded,
)

UpstreamTLS = Literal["verify-full", "verify-ca", "require", "prefer", "disable"]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_ONE_LISTEN = {"type": "string", "pattern": "^(\\[[0-9a-fA-F:.]+\\]|[0-9.]+):[0-9]{1,5}$"}
Listeners = Annotated[
    Some[Listen],
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [_ONE_LISTEN, {"type": "array", "minItems": 1, "items": _ONE_LISTEN}]}),
]


class Upstream(Section):
    """The legacy system itself, or (``hosts``, names and patterns) a fleet of them among which the agent chooses.

    ``port`` defaults to the protocol's own, ``server_name`` to ``host``.
    """

    host: Host | None = None
    hosts: Many[HostPattern] = ()
    port: Port = inherited(0)
    tls: UpstreamTLS = "verify-full"
    ca: FileName | None = None
    server_name: Host | None = None
    minimum: TLSVersion = "1.2"
    timeout: Annotated[Duration, bounded("100ms", "5m")] = 10.0


class Account(Section):
    """A static account. ``user`` is its login name there when it differs from the key it has here.

    ``secret`` is a password or a private key; ``passphrase`` belongs to an encrypted private key. After
    ``sunset`` nobody but the bridge should use the account. ``rotate``: how often it gets a new password.
    ``approvers``: who may give it to agents that ask, where ``requests`` of the system lets them.
    """

    secret: SecretText
    passphrase: SecretText | None = None
    user: Text | None = None
    description: Note = ""
    labels: Many[Name] = ()
    sunset: Moment | None = None
    rotate: Annotated[Duration, bounded("1h", "365d")] | None = None
    approvers: Many[Approver] = ()


class System(Section):
    """``mode`` defaults to the bridge's; from ``mode_until`` on it is enforce.

    ``reconcile``: how often to look for sessions past the bridge. ``requests``: whether agents may ask for more.

    ``options`` is an instance of the adapter's own ``Options`` model.
    """

    protocol: Name
    listen: Listeners
    upstream: Upstream
    labels: Many[Name] = ()
    environment: Note = ""
    mode: Mode = inherited("enforce")
    mode_until: Moment | None = None
    statements: StatementLogging = StatementLogging.REDACTED
    audit: Literal["grouped", "strict"] = "grouped"
    plaintext: Literal["refuse", "loopback-only"] = "refuse"
    session_after_expiry: Literal["end", "until-close"] = "end"
    max_session: Annotated[Duration, bounded("1s", "30d")] | None = None
    idle: Annotated[Duration, bounded("1s", "30d")] | None = None
    reconcile: Annotated[Duration, bounded("10s", "30d")] | None = None
    price: Price = Price()
    requests: SystemRequests | None = None
    accounts: Frozen[Account]
    options: Any = None
