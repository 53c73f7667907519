"""``idbridge request``: access for a time, asked for by an agent and given by somebody else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bridge.cli import showing
from bridge.cli.calling import F, call, command
from bridge.cli.policy import ACTION
from bridge.cli.times import DURATION

TOKEN = "IDBRIDGE_TOKEN"  # noqa: S105 - a variable's name
_COLUMNS = ("id", "state", "agent", "system", "account", "actions", "targets", "seconds", "ends", "requester", "reason")
_TIMES = ("created", "lapses", "decided", "ends")

_FILE = click.Path(path_type=Path, dir_okay=False)
_options = (
    click.option(
        "--url",
        envvar="IDBRIDGE_URL",
        show_envvar=True,
        help="Where the bridge's requests.listen is, https://HOST:PORT. Default: this machine's admin socket.",
    ),
    click.option("--token-file", type=_FILE, help=f"With --url: the file with your token. Default: {TOKEN} has it."),
    click.option(
        "--ca",
        type=_FILE,
        envvar="IDBRIDGE_CA",
        show_envvar=True,
        help="With --url: the authority of its certificate, a PEM file. Default: the system's.",
    ),
)


@click.group()
def request() -> None:
    """Ask for access that no grant gives, for a time; approve, deny, withdraw or revoke it.

    Agents and approvers use --url and their own token; ops the admin socket. Nobody approves what they asked for.
    """


def remote(function: F) -> F:
    """Adds where to ask, and as whom."""
    for option in reversed(_options):
        function = option(function)
    return function


def asked(
    config: Path, name: str, given: Mapping[str, Any], *, url: str | None, token_file: Path | None, ca: Path | None
) -> Any:
    """The answer of the bridge at ``url``, or of that of this machine."""
    if url is None:
        return call(config, name, given)
    from bridge.api.client import call_https

    token = token_file.read_text() if token_file else os.environ.get(TOKEN, "")
    if not token.strip():
        raise click.UsageError(f"give --token-file, or {TOKEN} in the environment")
    return call_https(url, token.strip(), ca, name, {key: one for key, one in given.items() if one is not None})


@command("idbridge request ask --reference ref_4k0v9q2m7x1zab3c --for 1h --reason INC-7 --url https://bridge:15443")
@click.option("--reference", default="", help="A refusal of yours: what it says need not be said again.")
@click.option("--system", default="", help="The system.")
@click.option("--account", default="", help="Its account; needed where several can be asked for.")
@click.option("--action", "actions", type=ACTION, multiple=True, help="Read, unless named or refused.")
@click.option("--target", "targets", multiple=True, help="NAME=VALUE, such as database=app; may be repeated.")
@click.option("--for", "seconds", type=DURATION, help="How long from the approval on; 1h, or the longest there.")
@click.option("--reason", required=True, help="Why; whoever approves it and the log see it.")
@click.option("--agent", default="", help="At the admin socket: the agent that is to get it.")
@remote
def ask(config: Path, as_json: bool, actions: tuple[str, ...], targets: tuple[str, ...], **given: Any) -> None:
    """Ask for access. While it waits, and while it lasts, asking for the same again gives the same request."""
    where = _where(given)
    wanted = {**given, "actions": list(actions) or None, "targets": _targets(targets)}
    _tell(asked(config, "request.ask", wanted, **where), as_json)


@command("idbridge request list --state pending")
@click.option("--state", default="", help="pending, approved, over, denied, withdrawn, lapsed or revoked.")
@click.option("--agent", default="", help="Of this agent alone.")
@click.option("--system", default="", help="Of this system alone.")
@remote
def list_all(config: Path, as_json: bool, **given: Any) -> None:
    """List requests, the newest first: all, or with --url your own and those that you may approve."""
    where = _where(given)
    rows = asked(config, "request.list", given, **where)
    if as_json:
        showing.as_json(rows)
    else:
        showing.table(map(_row, rows), _COLUMNS, empty="no requests")


@command("idbridge request show req_4k0v9q2m7x1zab3c")
@click.argument("id")
@remote
def show(config: Path, as_json: bool, **given: Any) -> None:
    """Show the request ID."""
    where = _where(given)
    row = asked(config, "request.show", given, **where)
    if as_json:
        showing.as_json(row)
    else:
        showing.fields(_row(row))


@command("idbridge request approve req_4k0v9q2m7x1zab3c --for 30m")
@click.argument("id")
@click.option("--for", "seconds", type=DURATION, help="A shorter time than was asked for.")
@click.option("--note", default="", help="For the log.")
@remote
def approve(config: Path, as_json: bool, **given: Any) -> None:
    """Give what the request ID asks for, from now on. Approving twice is approving once."""
    where = _where(given)
    _tell(asked(config, "request.approve", given, **where), as_json)


def _deciding(name: str, text: str) -> click.Command:
    @click.argument("id")
    @click.option("--note", default="", help="For the log.")
    @remote
    def decide(config: Path, as_json: bool, **given: Any) -> None:
        where = _where(given)
        _tell(asked(config, f"request.{name}", given, **where), as_json)

    decide.__doc__ = text
    decide.__name__ = name
    return command(f"idbridge request {name} req_4k0v9q2m7x1zab3c --note 'not now'")(decide)


deny = _deciding("deny", "Say no to the request ID: whoever may approve it, or ops.")
withdraw = _deciding("withdraw", "Take back the request ID while it waits: the agent, or ops.")
revoke = _deciding("revoke", "End what the request ID gave; sessions that stand on it alone end within a second.")


def _where(given: dict[str, Any]) -> dict[str, Any]:
    """Takes out of what was given where to ask, and as whom."""
    return {name: given.pop(name) for name in ("url", "token_file", "ca")}


def _targets(pairs: tuple[str, ...]) -> dict[str, list[str]] | None:
    found: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise click.BadParameter("expected NAME=VALUE, such as database=app", param_hint="--target")
        found.setdefault(name, []).append(value)
    return found or None


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, **{name: showing.moment(row[name]) if row[name] else "" for name in _TIMES}}


def _tell(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        showing.as_json(row)
        return
    until = f" until {showing.moment(row['ends'])}" if row["state"] == "approved" else ""
    what = f"{', '.join(row['actions'])} on {row['system']} as {row['account']}"
    showing.say(f"{row['id']} is {row['state']}{until}: {row['agent']} for {what}")
    if row.get("sessions_ended"):
        showing.say(f"sessions ended: {row['sessions_ended']}")


for one in (ask, show, approve, deny, withdraw, revoke):
    request.add_command(one)
request.add_command(list_all, "list")
