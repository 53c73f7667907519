"""``idbridge owner``: who answers for agents."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bridge.cli import showing
from bridge.cli.calling import call, command


@click.group()
def owner() -> None:
    """Create owners, list them, and revoke all that one has."""


@command("idbridge owner create payments --kind team --contact pay@example.org")
@click.argument("id")
@click.option("--kind", required=True, type=click.Choice(["team", "person", "shared-service"]))
@click.option("--contact", required=True, help="Where a person is reached.")
@click.option("--on-call", help="The rota, for a team or shared service.")
def create(config: Path, as_json: bool, **given: str | None) -> None:
    """Create the owner ID."""
    row = call(config, "owner.create", given)
    showing.as_json(row) if as_json else click.echo(f"owner {row['id']} created")


@command("idbridge owner list")
def list_owners(config: Path, as_json: bool) -> None:
    """List the owners with how many agents each has."""
    rows = call(config, "owner.list")
    if as_json:
        showing.as_json(rows)
        return
    showing.table(rows, ("id", "kind", "agents", "contact", "on_call"), empty="no owners")


@command("idbridge owner leave payments --yes")
@click.argument("owner")
@click.option("--yes", is_flag=True, help="Do it; without, only show what would be revoked (and ask at a terminal).")
@click.option("--reason", help="Why; it stands in the log.")
def leave(config: Path, as_json: bool, owner: str, yes: bool, reason: str | None) -> None:
    """Revoke every agent of OWNER, live sessions included; shows first what that would be."""
    plan: dict[str, Any] = call(config, "owner.leave", {"owner": owner, "dry_run": True})
    if not as_json:
        click.echo(f"{owner} has {len(plan['agents'])} agents: {', '.join(plan['agents']) or '-'}")
    if not yes:
        asked = not as_json and sys.stdin.isatty()
        if not (asked and click.confirm("Revoke them all, for good?")):
            showing.as_json(plan) if as_json else click.echo("nothing was done; --yes revokes them")
            return
    done = call(config, "owner.leave", {"owner": owner, "dry_run": False, "reason": reason})
    if as_json:
        showing.as_json(done)
        return
    click.echo(f"revoked {len(done['agents'])} agents; {done['sessions_ended']} live sessions ended")


owner.add_command(create)
owner.add_command(list_owners, "list")
owner.add_command(leave)
