"""``idbridge demotion``: what makes modes less strict needs two persons."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from bridge.cli import showing
from bridge.cli.calling import call, command
from bridge.cli.signing import KEY, SIGNATURE, new_id, sign, signature_of

_COLUMNS = ("id", "state", "requester", "approver", "created", "changes", "reason")


@click.group()
def demotion() -> None:
    """Let the bridge take a configuration that enforces less: asked for by one person, approved by another.

    Both sign with Ed25519 keys of breakglass.people, as the bridge knew them before; then `idbridge reload`.
    """


@command("idbridge demotion pending")
def pending(config: Path, as_json: bool) -> None:
    """Say what the configuration file, as it stands, makes less strict. Exit status 0 either way."""
    answer = call(config, "demotion.pending")
    if as_json:
        showing.as_json(answer)
        return
    showing.table(answer["changes"], ("key", "before", "after"), empty="nothing becomes less strict")


@command("idbridge demotion request --as alice --key alice.pem --reason 'CHG-12: two weeks of watching'")
@click.option("--as", "requester", required=True, help="Who asks: one of breakglass.people.")
@click.option("--reason", required=True, help="Why; it stands in the log and in every alert.")
@click.option("--id", default="", help="With --signature: the id that was signed.")
@click.option("--at", "created", type=int, default=0, help="With --signature: the time that was signed.")
@KEY
@SIGNATURE
def request(config: Path, as_json: bool, key: Path | None, signature: str | None, **given: Any) -> None:
    """Ask for what the file makes less strict (`pending`). Without --key and --signature: print the text to sign."""
    from bridge.policy.demotion import Demotion
    from bridge.policy.phases import Lowered

    given["id"], given["created"] = given["id"] or new_id("dem_"), given["created"] or int(time.time())
    given["reason"] = given["reason"].strip()
    found = call(config, "demotion.pending")
    if signature is None:
        asked = Demotion(changes=tuple(Lowered(**one) for one in found["changes"]), **given)
        text = asked.statement(found["bridge"], "request")
        if key is None:
            answer = {"id": asked.id, "created": asked.created, "statement": text.decode()}
            showing.as_json(answer) if as_json else click.echo(text.decode(), nl=False)
            return
        signature = sign(key, text)
    row = call(config, "demotion.request", {**given, "digest": found["digest"], "signature": signature})
    _tell(row, as_json)


@command("idbridge demotion statement dem_k3v9q2m4x7ab > statement")
@click.argument("id")
def statement(config: Path, as_json: bool, id: str) -> None:
    """Print the text that an approver signs with a key that stays elsewhere.

    \b
    openssl pkeyutl -sign -rawin -inkey bob.pem -in statement | basenc --base64url -w0
    """
    answer = call(config, "demotion.statement", {"id": id})
    showing.as_json(answer) if as_json else click.echo(answer["statement"], nl=False)


@command("idbridge demotion approve dem_k3v9q2m4x7ab --as bob --key bob.pem")
@click.argument("id")
@click.option("--as", "person", required=True, help="Who approves; not who asked.")
@KEY
@SIGNATURE
def approve(config: Path, as_json: bool, id: str, person: str, key: Path | None, signature: str | None) -> None:
    """Approve the demotion ID. It can be taken once, within a day of the request."""
    signature = signature_of(key, signature, lambda: str(call(config, "demotion.statement", {"id": id})["statement"]))
    _tell(call(config, "demotion.approve", {"id": id, "person": person, "signature": signature}), as_json)


@command("idbridge demotion list")
def list_all(config: Path, as_json: bool) -> None:
    """List what was asked for, the newest first."""
    rows = call(config, "demotion.list")
    if as_json:
        showing.as_json(rows)
        return
    for row in rows:
        row["changes"], row["created"] = _changes(row), showing.moment(row["created"])
    showing.table(rows, _COLUMNS, empty="nothing was asked for")


def _changes(row: dict[str, Any]) -> str:
    return "; ".join(f"{one['key']}: {one['before']} to {one['after']}" for one in row["changes"])


def _tell(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        showing.as_json(row)
    else:
        showing.say(f"{row['id']} is {row['state']}: {_changes(row)}")


for one in (pending, request, statement, approve, list_all):
    demotion.add_command(one, "list" if one is list_all else None)
