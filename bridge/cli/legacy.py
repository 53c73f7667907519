"""``idbridge account``, ``idbridge ssh``: looking at what a legacy system has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bridge.cli import showing
from bridge.cli.calling import call, command, fail


@click.group()
def account() -> None:
    """Accounts of legacy systems."""


@command("idbridge account discover directory")
@click.argument("system")
@click.option("--account", help="The static account to look with; without it the first of the system.")
def discover(config: Path, as_json: bool, system: str, account: str | None) -> None:
    """List the accounts of a legacy SYSTEM that could be mapped, as one of its static accounts sees them."""
    rows = call(config, "account.discover", {"system": system, "account": account})
    if as_json:
        showing.as_json(rows)
    else:
        showing.table(rows, tuple(rows[0]) if rows else ("account",), empty="no account was found")


@command("idbridge account rotate warehouse svc_reader")
@click.argument("system")
@click.argument("account")
def rotate(config: Path, as_json: bool, system: str, account: str) -> None:
    """Give ACCOUNT of SYSTEM a new random password: kept in the store, set in the legacy system, proven by a login.

    After it nobody but the bridge knows the password. Where it is an SSH key, a new one takes its place. The account's
    secret must be store:NAME; NAME.next and NAME.previous are there during a change.
    """
    answer = call(config, "account.rotate", {"system": system, "account": account})
    if as_json:
        showing.as_json(answer)
        return
    if answer["recovered"]:
        showing.say(f"a change that was not finished was settled first: the {answer['recovered']} secret counted")
    showing.say(f"{account} on {system} has a new secret, revision {answer['revision']} of {answer['reference']}")


@command("idbridge reconcile warehouse")
@click.argument("system")
@click.option("--account", help="Only this account of the system.")
@click.option("--host", default="", help="Which host, where the system is a fleet.")
def reconcile(config: Path, as_json: bool, system: str, account: str | None, host: str) -> None:
    """Compare the sessions that a legacy SYSTEM lists for its static accounts with those that came through the bridge.

    Exit status 1 when one came past it: foreign, or same-host (from the bridge's own host, yet not through it).
    """
    rows = call(config, "reconcile", {"system": system, "account": account, "host": host})
    if as_json:
        showing.as_json(rows)
    else:
        told = [{**row, "started": showing.moment(row["started"]) if row["started"] else ""} for row in rows]
        columns = ("account", "state", "agent", "session", "address", "port", "backend", "started", "name")
        showing.table(told, columns, empty="no session of these accounts, here or there")
    sys.exit(1 if any(row["state"] in ("foreign", "same-host") for row in rows) else 0)


@click.group()
def ssh() -> None:
    """Legacy hosts that are reached by SSH."""


@command("idbridge ssh trust fleet --host web-1.internal --pin")
@click.argument("system")
@click.option("--host", default="", help="Which host, where the system is a fleet.")
@click.option("--pin", is_flag=True, help="Add the keys that are new to the system's known_hosts file.")
def trust(config: Path, as_json: bool, system: str, host: str, pin: bool) -> None:
    """Show the host keys of a legacy SYSTEM; compare the fingerprints with the host's own console before you pin."""
    rows = call(config, "ssh.trust", {"system": system, "host": host})
    if any(row["state"] == "changed" for row in rows) and pin:
        fail("a pinned key has changed; take the old line out of the file by hand, if that is right", as_json=as_json)
    for row in rows if pin else ():
        if row["state"] == "new":
            _pin(row, as_json)
    if as_json:
        showing.as_json(rows)
    else:
        showing.table(rows, ("state", "type", "fingerprint", "line"), empty="the host showed no key")


def _pin(row: dict[str, Any], as_json: bool) -> None:
    if not row["file"]:
        fail("the system has no known_hosts file (options.known_hosts)", as_json=as_json)
    try:
        with open(row["file"], "a", encoding="ascii") as file:
            file.write(row["line"] + "\n")
    except OSError as error:
        fail(f"{row['file']}: {error.strerror}", as_json=as_json)
    row["state"] = "pinned"


account.add_command(discover)
account.add_command(rotate)
ssh.add_command(trust)
