"""``idbridge breakglass``: an account in an emergency, by several people's signatures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from bridge.cli import showing
from bridge.cli.calling import call, command
from bridge.cli.signing import KEY, SIGNATURE, new_id, sign, signature_of
from bridge.cli.times import DURATION

_COLUMNS = ("id", "state", "agent", "system", "account", "requester", "approvals", "ends", "review_due", "reason")


@click.group()
def breakglass() -> None:
    """Open an account in an emergency: asked for by one, approved by others, for minutes, reviewed after.

    Each step is signed with an Ed25519 key of one of breakglass.people. No identity provider is needed.
    """


@command("idbridge breakglass request warehouse svc_admin --agent oncall-1 --as alice --key alice.pem --reason INC-7")
@click.argument("system")
@click.argument("account")
@click.option("--agent", required=True, help="The agent that is to become the account.")
@click.option("--as", "requester", required=True, help="Who asks: one of breakglass.people.")
@click.option("--for", "seconds", type=DURATION, default="30m", show_default=True, help="From its first use on.")
@click.option("--reason", required=True, help="Why; it stands in the log and in every alert.")
@click.option("--id", default="", help="With --signature: the id that was signed.")
@click.option("--at", "created", type=int, default=0, help="With --signature: the time that was signed.")
@KEY
@SIGNATURE
def request(config: Path, as_json: bool, key: Path | None, signature: str | None, **given: Any) -> None:
    """Ask for ACCOUNT of SYSTEM. Without --key and --signature: print the text to sign, for a key that stays elsewhere.

    \b
    The text names the id and the time (created) to give with the signature:
    idbridge breakglass request … --id bg_k3v9q2m4x7ab --at 1764126000 --signature=…
    """
    from bridge.policy.emergency import Emergency

    given["id"] = given["id"] or new_id("bg_")
    given["created"] = given["created"] or int(time.time())
    given["reason"] = given["reason"].strip()
    if signature is None:
        text = Emergency(**given).statement(call(config, "breakglass.rules")["bridge"], "request")
        if key is None:
            answer = {"id": given["id"], "created": given["created"], "statement": text.decode()}
            showing.as_json(answer) if as_json else click.echo(text.decode(), nl=False)
            return
        signature = sign(key, text)
    _tell(call(config, "breakglass.request", {**given, "signature": signature}), as_json, "requested")


@command("idbridge breakglass statement bg_k3v9q2m4x7ab --verb approve > statement")
@click.argument("id")
@click.option("--verb", type=click.Choice(["approve", "use", "review"]), required=True, help="What is to be signed.")
@click.option("--at", type=int, default=0, help="Of a use: the time as Unix seconds.")
def statement(config: Path, as_json: bool, **given: Any) -> None:
    """Print the text to sign with a key that stays elsewhere.

    \b
    openssl pkeyutl -sign -rawin -inkey bob.pem -in statement | basenc --base64url -w0
    """
    answer = call(config, "breakglass.statement", given)
    showing.as_json(answer) if as_json else click.echo(answer["statement"], nl=False)


@command("idbridge breakglass approve bg_k3v9q2m4x7ab --as bob --key bob.pem")
@click.argument("id")
@click.option("--as", "person", required=True, help="Who approves; not who asked.")
@KEY
@SIGNATURE
def approve(config: Path, as_json: bool, id: str, person: str, key: Path | None, signature: str | None) -> None:
    """Approve the request ID."""
    given = {"id": id, "person": person, "signature": _signature(config, id, "approve", key, signature)}
    _tell(call(config, "breakglass.approve", given), as_json, "approved")


@command("PGPASSWORD=$(idbridge breakglass use bg_k3v9q2m4x7ab --key alice.pem) psql 'host=bridge user=svc_admin'")
@click.argument("id")
@KEY
@SIGNATURE
@click.option("--at", type=int, default=0, help="With --signature: the time that was signed, as Unix seconds.")
def use(config: Path, as_json: bool, id: str, key: Path | None, signature: str | None, at: int) -> None:
    """Print a token for the agent, and nothing else; the first one starts the clock."""
    at = at or int(time.time())
    given = {"id": id, "at": at, "signature": _signature(config, id, "use", key, signature, at)}
    answer = call(config, "breakglass.use", given)
    showing.as_json(answer) if as_json else click.echo(answer["token"])


@command("idbridge breakglass review bg_k3v9q2m4x7ab --as bob --key bob.pem --note 'as asked' --rotated")
@click.argument("id")
@click.option("--as", "person", required=True, help="Who reviews; not who asked.")
@click.option("--note", required=True, help="What was found; it stands in the log.")
@click.option("--rotated", is_flag=True, help="The static password was changed since.")
@KEY
@SIGNATURE
def review(config: Path, as_json: bool, id: str, key: Path | None, signature: str | None, **given: Any) -> None:
    """Close the matter ID after its end."""
    signed = _signature(config, id, "review", key, signature)
    _tell(call(config, "breakglass.review", {"id": id, "signature": signed, **given}), as_json, "reviewed")


@command("idbridge breakglass list --state overdue")
@click.option("--state", help="requested, approved, open, over, reviewed, lapsed, or overdue for a review.")
def list_all(config: Path, as_json: bool, state: str | None) -> None:
    """List what was asked for, the newest first."""
    rows = call(config, "breakglass.list", {"state": state})
    if as_json:
        showing.as_json(rows)
        return
    showing.table(map(_row, rows), _COLUMNS, empty="nothing was asked for")


def _signature(config: Path, id: str, verb: str, key: Path | None, signature: str | None, at: int = 0) -> str:
    asked = {"id": id, "verb": verb, "at": at}
    return signature_of(key, signature, lambda: str(call(config, "breakglass.statement", asked)["statement"]))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    times = {name: showing.moment(row[name]) if row[name] else "" for name in ("ends", "review_due")}
    marks = "".join([" (overdue)" if row["overdue"] else "", " (rotate)" if row["rotation_due"] else ""])
    return {**row, **times, "state": row["state"] + marks}


def _tell(row: dict[str, Any], as_json: bool, done: str) -> None:
    if as_json:
        showing.as_json(row)
        return
    showing.say(
        f"{row['id']} {done}: {row['agent']} as {row['account']} on {row['system']},"
        f" {len(row['approvals'])} of {row['approvals_needed']} approvals, {row['state']}"
    )


for one in (request, statement, approve, use, review, list_all):
    breakglass.add_command(one, "list" if one is list_all else None)
