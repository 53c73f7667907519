"""``idbridge quota``: what agents have used, and what it cost."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bridge.cli import showing
from bridge.cli.calling import call, command


@click.group()
def quota() -> None:
    """See what agents have used of their quotas, and what their use cost."""


@command("idbridge quota show --reached")
@click.option("--quota", help="One quota alone.")
@click.option("--agent", help="The counters of this agent alone.")
@click.option("--reached", is_flag=True, help="Limits that are reached alone.")
def show(config: Path, as_json: bool, **given: Any) -> None:
    """List every counter with its limit, and when a reached one may be tried again."""
    rows = call(config, "quota.show", given)
    if as_json:
        showing.as_json(rows)
        return
    for row in rows:
        row["reached"] = "yes" if row["reached"] else "no"
        row["again"] = datetime.fromtimestamp(row["again"], UTC).strftime("%Y-%m-%d %H:%M UTC") if row["again"] else ""
    columns = ("quota", "of", "measure", "used", "limit", "reached", "again", "running")
    showing.table(rows, columns, empty="no quota is configured")


@command("idbridge quota costs --since 2026-09 --by owner")
@click.option("--since", help="The first month, such as 2026-09; this month when not given.")
@click.option("--until", help="The last month; this month when not given.")
@click.option(
    "--by", type=click.Choice(["cost_centre", "owner", "agent", "system"]), default="cost_centre", show_default=True
)
def costs(config: Path, as_json: bool, by: str, **given: str | None) -> None:
    """Report what was used of systems that have a price, and what it cost, by month."""
    rows = call(config, "quota.costs", {**given, "by": by})
    if as_json:
        showing.as_json(rows)
        return
    columns = ("month", by, "sessions", "operations", "rows", "bytes", "seconds", "cost")
    showing.table(rows, columns, empty="nothing was used that has a price")


for one in (show, costs):
    quota.add_command(one)
