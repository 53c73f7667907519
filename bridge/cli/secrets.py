"""``idbridge secret``: the encrypted store for static passwords."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bridge.cli import showing
from bridge.cli.calling import call, command, fail

MAX_VALUE = 64 * 1024
"""Characters read from standard input; keys and certificates fit."""


@click.group()
def secret() -> None:
    """Keep static passwords in the bridge's encrypted store; accounts name them as store:NAME."""


@command("pass show warehouse | idbridge secret set warehouse/reader")
@click.argument("name")
def set_secret(config: Path, as_json: bool, name: str) -> None:
    """Store the secret NAME, read from standard input or asked for at a terminal; never from the command line."""
    if sys.stdin.isatty():
        value = click.prompt("Secret", hide_input=True, confirmation_prompt=True)
    else:
        value = sys.stdin.read(MAX_VALUE + 1).removesuffix("\n")
    if not value or len(value) > MAX_VALUE:
        fail(f"a secret has 1 to {MAX_VALUE} characters; nothing was stored", as_json=as_json, field="value")
    row = call(config, "secret.set", {"name": name, "value": value})
    showing.as_json(row) if as_json else click.echo(f"{name} stored, revision {row['revision']}")


@command("idbridge secret list")
def list_secrets(config: Path, as_json: bool) -> None:
    """List the names in the store, never the values."""
    rows = call(config, "secret.list")
    if as_json:
        showing.as_json(rows)
        return
    shown = [{**row, "updated": showing.moment(row["updated"])} for row in rows]
    showing.table(shown, ("name", "revision", "updated"), empty="the store is empty")


@command("idbridge secret delete warehouse/reader")
@click.argument("name")
def delete(config: Path, as_json: bool, name: str) -> None:
    """Delete the secret NAME."""
    row = call(config, "secret.delete", {"name": name})
    showing.as_json(row) if as_json else click.echo(f"{name} deleted")


secret.add_command(set_secret, "set")
secret.add_command(list_secrets, "list")
secret.add_command(delete)
