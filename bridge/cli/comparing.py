"""``idbridge diff``, ``simulate`` and ``suggest``: what a change of the grants would do, and which are needed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from bridge.cli import showing
from bridge.cli.calling import call, command
from bridge.cli.times import MOMENT

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
SINCE = click.option("--since", type=MOMENT, default="30d", show_default=True, help="From this time on.")


@command("idbridge diff bridge.yaml bridge.new.yaml")
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
def diff(config: Path, as_json: bool, old: Path, new: Path) -> None:
    """Say which agents gain or lose what when NEW replaces OLD, and what else is different.

    Agents of the registry come from the bridge of -c, when that file exists; those that OLD or NEW declare, from there.
    Exit status 1 when somebody gains something.
    """
    from bridge.daemon.comparing import diff as compared

    registry = call(config, "agent.list") if config.exists() else []
    answer = compared(old, new, registry, time.time())
    if as_json:
        showing.as_json(answer)
    else:
        showing.say(f"asked for {answer['agents']} agents" + ("" if config.exists() else f"; no registry: no {config}"))
        for row in answer["access"]:
            row["when"] = "always" if row["always"] else row["when"]
        columns = ("agent", "change", "system", "account", "actions", "when", "grants")
        showing.table(answer["access"], columns, empty="nobody gains or loses anything")
        for one in answer["settings"]:
            showing.say(f"{one['key']}: {one.get('before', '(none)')} -> {one.get('after', '(none)')}")
    sys.exit(1 if any(row["change"] == "gains" for row in answer["access"]) else 0)


@command("idbridge simulate bridge.new.yaml --since 30d")
@click.argument("new", type=FILE)
@SINCE
@click.option("--agent", help="One agent alone.")
@click.option("--system", help="One system alone.")
def simulate(config: Path, as_json: bool, new: Path, **members: Any) -> None:
    """Decide again, by NEW, all that the log of -c has: what would be newly refused, and newly allowed.

    Agents are taken as NEW declares them, others as the log has them. Exit status 1 when something is newly refused.
    """
    from bridge.daemon.comparing import simulate as simulated

    answer = simulated(config, new, members, time.time())
    if as_json:
        showing.as_json(answer)
    else:
        showing.say(f"decided again: {answer['sessions']} sessions and {answer['operations']} operations")
        columns = ("agent", "system", "account", "action", "target", "count", "last", "grants", "reason")
        for name in ("newly_refused", "newly_allowed"):
            for row in answer[name]:
                row["last"] = showing.moment(row["last"])
            showing.say(f"{name.replace('_', ' ')}:")
            showing.table(answer[name], columns, empty="nothing")
    sys.exit(1 if answer["newly_refused"] else 0)


@command("idbridge suggest review-bot --since 14d")
@click.argument("agent", required=False)
@click.option("--role", help="All agents with this role together, in place of one.")
@SINCE
def suggest(config: Path, as_json: bool, agent: str | None, role: str | None, **members: Any) -> None:
    """Write the least grants that would have covered what AGENT, or a --role, has used, as YAML for `grants:`."""
    from bridge.daemon.comparing import suggestions

    if (agent is None) is (role is None):
        raise click.UsageError("name an AGENT or a --role")
    grants = suggestions(config, agent or "", role or "", members)
    if as_json:
        showing.as_json(grants)
        return
    if not grants:
        showing.say("nothing was used")
    for grant in grants:
        for number, (key, value) in enumerate(grant.items()):
            showing.say(f"{'- ' if not number else '  '}{key}: {showing.yaml(value)}")


@command("idbridge readiness warehouse --since 14d")
@click.argument("system")
@click.option("--since", type=MOMENT, default="14d", show_default=True, help="From this time on.")
def readiness(config: Path, as_json: bool, system: str, **members: Any) -> None:
    """Before SYSTEM is enforced: what would have been refused, by agent and grant. Exit status 1 when anything."""
    from bridge.daemon.comparing import readiness as asked

    answer = asked(config, system, members, time.time())
    rows = answer["would_refuse"]
    if as_json:
        showing.as_json(answer)
    else:
        agents = len({row["agent"] for row in rows})
        refused = f"{sum(row['count'] for row in rows)} of {answer['asked']} requests, of {agents} agents"
        showing.say(f"{system} is in mode {answer['mode']}; enforced, {refused}, would be refused")
        for row in rows:
            row["last"] = showing.moment(row["last"])
        columns = ("agent", "owner", "account", "action", "target", "count", "last", "grants", "reason")
        showing.table(rows, columns, empty="it can be enforced: nothing that was done would be refused")
    sys.exit(1 if rows else 0)
