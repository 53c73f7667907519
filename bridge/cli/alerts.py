"""``idbridge alert``: what owners were told, and whether they can be reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bridge.cli import showing
from bridge.cli.calling import call, command


@click.group()
def alert() -> None:
    """See which alerts were raised and delivered; try a channel."""


@command("idbridge alert list --agent review-bot", name="list")
@click.option("--agent", help="An agent's id.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
def list_all(config: Path, as_json: bool, **given: Any) -> None:
    """List alerts, the newest first, with what became of each delivery."""
    rows = call(config, "alert.list", given)
    if as_json:
        showing.as_json(rows)
        return
    for row in rows:
        row["at"] = showing.moment(row["at"])
        row["deliveries"] = [
            f"{one['channel']} {one['state']}" + (f" ({one['cause']})" if one["cause"] else "")
            for one in row["deliveries"]
        ]
    columns = ("at", "rule", "agent", "owner", "system", "title", "suppressed", "deliveries")
    showing.table(rows, columns, empty="no alert was raised")


@command("idbridge alert test payments-oncall")
@click.argument("channel")
def test(config: Path, as_json: bool, channel: str) -> None:
    """Send a test message to CHANNEL, or to mailto:ADDRESS, and say whether it was taken."""
    answer = call(config, "alert.test", {"channel": channel})
    if as_json:
        showing.as_json(answer)
    else:
        showing.say(f"{channel} has taken it")


for one in (list_all, test):
    alert.add_command(one)
