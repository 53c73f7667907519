"""``idbridge session``: what is live now."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli import showing
from bridge.cli.calling import call, command


@click.group()
def session() -> None:
    """List the live sessions, show one, end one."""


@command("idbridge session list --agent deploy-7")
@click.option("--agent", help="Only those of this agent.")
@click.option("--owner", help="Only those of this owner's agents.")
@click.option("--system", help="Only those on this system.")
@click.option("--account", help="Only those as this account.")
def list_sessions(config: Path, as_json: bool, **filters: str | None) -> None:
    """List the live sessions, oldest first."""
    rows = call(config, "session.list", filters)
    if as_json:
        showing.as_json(rows)
        return
    columns = ("session", "agent", "owner", "system", "account", "source", "seconds", "idle", "operations")
    showing.table(rows, columns, empty="no live sessions")


@command("idbridge session show ses_v4wcf473jx9cn7qh")
@click.argument("session")
def show(config: Path, as_json: bool, session: str) -> None:
    """Show the live SESSION."""
    row = call(config, "session.show", {"session": session})
    showing.as_json(row) if as_json else showing.fields(row)


@command("idbridge session end ses_v4wcf473jx9cn7qh --reason 'runs wild'")
@click.argument("session")
@click.option("--reason", help="Why; it stands in the log.")
def end(config: Path, as_json: bool, session: str, reason: str | None) -> None:
    """End the live SESSION; its agent hears that an operator did."""
    row = call(config, "session.end", {"session": session, "reason": reason})
    showing.as_json(row) if as_json else click.echo(f"{session} ended")


session.add_command(list_sessions, "list")
session.add_command(show)
session.add_command(end)
