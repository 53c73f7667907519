"""``idbridge drill``: which agents survive that their token ends."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bridge.cli import showing
from bridge.cli.calling import call, command
from bridge.cli.times import DURATION


@click.group()
def drill() -> None:
    """Shorten the life of tokens for a while, and see which agents cannot fetch a new one."""


@command("idbridge drill start review-bot deploy-7 --for 1h --life 2m")
@click.argument("agents", nargs=-1)
@click.option("--role", help="All active agents with this role.")
@click.option("--for", "seconds", type=DURATION, default="1h", show_default=True, help="How long the drill is.")
@click.option("--life", type=DURATION, default="2m", show_default=True, help="How long a token counts meanwhile.")
def start(config: Path, as_json: bool, agents: tuple[str, ...], role: str | None, seconds: int, life: int) -> None:
    """Begin a drill for AGENTS, or a --role: a token that was issued longer than --life ago counts as expired."""
    given = {"agents": list(agents), "role": role, "seconds": seconds, "life": life}
    answer = call(config, "drill.start", given)
    if as_json:
        showing.as_json(answer)
        return
    showing.say(f"until {showing.moment(answer['until'])} tokens of {len(answer['agents'])} agents count for {life} s")
    showing.say(f"live sessions of theirs: {answer['live_sessions']}; `idbridge drill report` tells who came back")


@command("idbridge drill stop")
def stop(config: Path, as_json: bool) -> None:
    """End the drill at once."""
    answer = call(config, "drill.stop")
    if as_json:
        showing.as_json(answer)
    else:
        showing.say(f"ended for {len(answer['agents'])} agents")


@command("idbridge drill report")
def report(config: Path, as_json: bool) -> None:
    """Say of each agent of the last drill whether it came back with a new token. Exit status 1 when one failed."""
    rows = call(config, "drill.report")
    if as_json:
        showing.as_json(rows)
    else:
        columns = ("agent", "verdict", "sessions", "tokens", "expired", "refused", "last")
        showing.table(rows, columns, empty="no agent was in it")
    sys.exit(1 if any(row["verdict"] == "failed" for row in rows) else 0)


for one in (start, stop, report):
    drill.add_command(one)
