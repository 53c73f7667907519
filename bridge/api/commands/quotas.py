"""What agents have used of their quotas, and what it cost."""

from __future__ import annotations

import re
from typing import Any

from bridge.admission.usage import BY
from bridge.api.failure import CommandFailed
from bridge.api.services import Actor, Services
from bridge.policy.quotas import month_of

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


def show(
    services: Services, actor: Actor, quota: str = "", agent: str = "", reached: bool = False
) -> list[dict[str, Any]]:
    """One line a counter and limit; ``agent``: those counters alone that a session of this agent would use."""
    rows = services.quotas()
    if quota and not any(row["quota"] == quota for row in rows):
        raise CommandFailed(f"no quota {quota} is configured", status=404, field="quota")
    return [
        row
        for row in rows
        if (not quota or row["quota"] == quota)
        and (not agent or f"agent={agent}" in row["of"].split(" "))
        and (not reached or row["reached"])
    ]


def costs(
    services: Services, actor: Actor, since: str = "", until: str = "", by: str = "cost_centre"
) -> list[dict[str, Any]]:
    """One line a month (``2026-11``, both included; this month when not given) and cost centre, owner, agent or
    system."""
    this = month_of(services.now())
    first, last = since or this, until or this
    for field, month in (("since", first), ("until", last)):
        if not _MONTH.fullmatch(month):
            raise CommandFailed("a month is written 2026-11", field=field)
    if by not in BY:
        raise CommandFailed(f"by is one of {', '.join(BY)}", field="by")
    return services.usage.in_thread_costs(first, last, by)
