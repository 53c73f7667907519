"""How much agents may use: ``quotas``, and what use costs: ``price`` of a system."""

from __future__ import annotations

from typing import Annotated, Literal

from bridge.config.sections import Section
from bridge.config.values import Amount, Duration, Name, Selector, Size, Some, Text, Units, bounded


class Quota(Section):
    """Whom and where it is about as in a grant; all that are given must hold. ``per``: of what there is a counter.

    Days and months are those of UTC. ``burst`` defaults to ``operations_per_minute``.
    """

    agents: Some[Selector] | None = None
    roles: Some[Name] | None = None
    owners: Some[Name] | None = None
    cost_centres: Some[Text] | None = None
    systems: Some[Name] | None = None
    labels: Some[Text] | None = None
    per: Some[Literal["agent", "role", "owner", "cost_centre", "system"]] = ("agent",)
    sessions: Amount | None = None
    session_starts: Amount | None = None
    period: Annotated[Duration, bounded("1m", "31d")] = 86400.0
    operations_per_minute: Amount | None = None
    burst: Amount | None = None
    rows_per_day: Amount | None = None
    bytes_per_day: Size | None = None
    cost_per_day: Units | None = None
    cost_per_month: Units | None = None
    running: Literal["refuse", "cut", "finish"] = "refuse"


class Price(Section):
    """Cost units of each session, operation, megabyte (10^6 bytes) and minute."""

    session: Units = 0.0
    operation: Units = 0.0
    megabyte: Units = 0.0
    minute: Units = 0.0
