"""``idbridge agent``: who exists, and who may act."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from bridge.cli import showing
from bridge.cli.calling import call, command
from bridge.cli.times import DURATION, MOMENT

_COLUMNS = ("id", "state", "owner", "roles", "environment", "expires", "purpose")


@click.group()
def agent() -> None:
    """Create agents, show them, suspend, resume, revoke and renew them."""


@command("idbridge agent create deploy-7 --owner payments --purpose 'deploys' --role writer --environment production")
@click.argument("id")
@click.option("--owner", required=True, help="Who answers for it: an owner's id.")
@click.option("--purpose", required=True, help="What it is for, in a sentence.")
@click.option("--role", "roles", multiple=True, required=True, help="A role; may be given several times.")
@click.option("--environment", required=True, help="Where it runs, such as production.")
@click.option("--name", help="A name to show; the id when not given.")
@click.option("--cost-centre", help="Who pays for it.")
@click.option("--data-class", "data_classes", multiple=True, help="A class of data it may touch, such as pii.")
@click.option("--expires-in", type=DURATION, help="Its life, such as 30d; 90d when not given, 365d at most.")
@click.option("--expires", type=MOMENT, help="Its end as a date, instead.")
@click.option(
    "--bind", "bindings", multiple=True, help="ISSUER:claim=value[,claim=value]: an identity that is this agent."
)
@click.option(
    "--public-key", "public_keys", multiple=True, help="An Ed25519 key, or its file, that signs its own tokens."
)
@click.option("--draft", is_flag=True, help="It may not act until `agent resume`.")
def create(config: Path, as_json: bool, expires_in: int | None, expires: int | None, **given: Any) -> None:
    """Create the agent ID. It is active at once unless --draft."""
    end = int(time.time()) + expires_in if expires_in else expires // 1000 if expires else None
    given["bindings"] = [_binding(text) for text in given["bindings"]]
    given["public_keys"] = [_key(text) for text in given["public_keys"]]
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    _changed(call(config, "agent.create", {**listed, "expires": end}), as_json, "created")


@command("idbridge agent list --owner payments --state active")
@click.option("--owner", help="Only those of this owner.")
@click.option("--state", help="draft, active, suspended, revoked, expired or orphaned.")
@click.option("--role", help="Only those with this role.")
@click.option("--environment", help="Only those of this environment.")
def list_agents(config: Path, as_json: bool, **filters: str | None) -> None:
    """List the agents."""
    rows = call(config, "agent.list", filters)
    if as_json:
        showing.as_json(rows)
        return
    showing.table(map(_row, rows), _COLUMNS, empty="no agents")


@command("idbridge agent show deploy-7")
@click.argument("id")
def show(config: Path, as_json: bool, id: str) -> None:
    """Show the agent ID, what it reaches by which grants, and its live sessions."""
    row = call(config, "agent.show", {"id": id})
    if as_json:
        showing.as_json(row)
        return
    shown = {**row, **_row(row), "contact": row["owner"]["contact"], "on_call": row["owner"]["on_call"]}
    names = ("id", "name", "state", "state_reason", "owner", "contact", "on_call", "purpose", "roles", "environment",
             "cost_centre", "data_classes", "expires", "origin", "sessions")  # fmt: skip
    showing.fields(shown, names)
    for binding in row["bindings"]:
        showing.say(f"bound to: {binding['issuer']} with {binding['claims']}")
    showing.table(row["access"], ("system", "account", "actions", "grants"), empty="no grant reaches any system")


def _moving(verb: str, summary: str, done: str) -> click.Command:
    @command(f"idbridge agent {verb} deploy-7 --reason 'ticket 4711'", name=verb, help=summary)
    @click.argument("id")
    @click.option("--reason", help="Why; it stands in the log.")
    def move(config: Path, as_json: bool, id: str, reason: str | None) -> None:
        _changed(call(config, f"agent.{verb}", {"id": id, "reason": reason}), as_json, done)

    return move


@command("idbridge agent renew deploy-7 --expires-in 90d")
@click.argument("id")
@click.option("--expires-in", type=DURATION, help="Its new life from now; 90d when not given, 365d at most.")
def renew(config: Path, as_json: bool, id: str, expires_in: int | None) -> None:
    """Give the agent ID a new end."""
    end = int(time.time()) + expires_in if expires_in else None
    _changed(call(config, "agent.renew", {"id": id, "expires": end}), as_json, "renewed")


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "owner": row["owner"]["id"], "expires": showing.moment(row["expires"])}


def _changed(row: dict[str, Any], as_json: bool, done: str) -> None:
    if as_json:
        showing.as_json(row)
        return
    ended = f"; {row['sessions_ended']} live sessions ended" if row["sessions_ended"] else ""
    showing.say(f"{row['id']} {done}: {row['state']} until {showing.moment(row['expires'])}{ended}")


def _binding(text: str) -> dict[str, Any]:
    issuer, colon, rest = text.partition(":")
    pairs = [part.partition("=") for part in rest.split(",")]
    claims = {name: value for name, _, value in pairs}
    # A claim that was left out by mistake would bind more tokens than were meant.
    if not (issuer and colon) or not all(name and value for name, _, value in pairs) or len(claims) < len(pairs):
        raise click.BadParameter("expected ISSUER:claim=value[,claim=value]", param_hint="--bind")
    return {"issuer": issuer, "claims": claims}


def _key(text: str) -> str:
    """Checked here already, so that a private key given by mistake goes no further."""
    from bridge.identity.agent_keys import KEY_TEXT_LIMIT, normalised

    path = Path(text)
    try:
        if len(text) < 4096 and path.is_file():
            with path.open(encoding="utf-8") as file:
                text = file.read(KEY_TEXT_LIMIT + 1)
        return normalised(text)
    except (OSError, ValueError) as error:
        raise click.BadParameter(str(error), param_hint="--public-key") from None


agent.add_command(create)
agent.add_command(list_agents, "list")
agent.add_command(show)
agent.add_command(_moving("suspend", "Suspend the agent ID; its live sessions end at once.", "suspended"))
agent.add_command(_moving("resume", "Let a draft or suspended agent act (again).", "resumed"))
agent.add_command(_moving("revoke", "Revoke the agent ID for good; its live sessions end at once.", "revoked"))
agent.add_command(renew)
