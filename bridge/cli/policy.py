"""``idbridge explain`` and ``idbridge who-can``: asked of the code that decides."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bridge.cli import showing
from bridge.cli.calling import call, command
from bridge.cli.times import MOMENT

_AT = (
    "At another time: one that is over is answered from the log's own policy and registry. A date is its first moment."
)
ACTION = click.Choice(["read", "write", "admin"])


@command("idbridge explain --agent deploy-7 --system warehouse --action write")
@click.option("--agent", required=True, help="The agent's id.")
@click.option("--system", required=True, help="The system it connects to.")
@click.option("--account", help="The account it asks for; its default when not given.")
@click.option("--action", type=ACTION, help="One action; whether it gets in at all when not given.")
@click.option("--target", "targets", multiple=True, help="NAME=VALUE, such as database=app.")
@click.option("--source", default="127.0.0.1", show_default=True, help="The address it comes from.")
@click.option("--delegated", is_flag=True, help="It acts for somebody else.")
@click.option("--at", type=MOMENT, help=_AT)
def explain(config: Path, as_json: bool, targets: tuple[str, ...], at: int | None, **given: Any) -> None:
    """Say what an agent would become on a system, and which grants decide. Exit status 1 when it is denied."""
    pairs = [one.partition("=") for one in targets]
    if not all(name and equals for name, equals, _ in pairs):
        raise click.BadParameter("expected NAME=VALUE, such as database=app", param_hint="--target")
    target = {name: value for name, _, value in pairs}
    answer = call(config, "policy.explain", {**given, "target": target, "at": at // 1000 if at else None})
    decision = answer["decision"]
    if as_json:
        showing.as_json(answer)
    else:
        _tell(answer, decision)
        _tell_basis(answer["basis"])
    sys.exit(0 if decision["allowed"] and answer["agent_state"] == "active" else 1)


def _tell(answer: dict[str, Any], decision: dict[str, Any]) -> None:
    if answer["agent_state"] != "active":
        showing.say(f"{answer['agent']} is {answer['agent_state']}: nothing is allowed")
    if decision["allowed"]:
        actions = ", ".join(decision["actions"])
        showing.say(f"allowed: {answer['agent']} becomes {decision['account']} on {answer['system']} for {actions}")
    else:
        showing.say(f"denied: {answer['agent']} on {answer['system']}")
    showing.say(f"because: {decision['reason']}")
    if decision["rules"]:
        showing.say(f"deciding grants: {', '.join(decision['rules'])}")
    if decision["would"] != ("allow" if decision["allowed"] else "deny"):
        showing.say(f"mode {decision['mode']}: once enforced, this would be: {decision['would']}")
    columns = ("grant", "effect", "account", "matched", "why")
    showing.table(answer["grants"], columns, empty="no grant is about this system")


@command("idbridge who-can --label pii --action write --at 2026-11-01")
@click.option("--system", help="Who reaches this system.")
@click.option("--label", help="Who reaches a system with this label.")
@click.option("--action", type=ACTION, help="Only those who may do this.")
@click.option("--at", type=MOMENT, help=_AT)
def who_can(config: Path, as_json: bool, at: int | None, **given: str | None) -> None:
    """List every active agent that reaches a system or a label, as which account, and by which grants."""
    if not given["system"] and not given["label"]:
        raise click.UsageError("name a --system or a --label")
    answer = call(config, "policy.who_can", {**given, "at": at // 1000 if at else None})
    if as_json:
        showing.as_json(answer)
        return
    columns = ("agent", "owner", "system", "account", "actions", "grants")
    showing.table(answer["access"], columns, empty="nobody")
    _tell_basis(answer["basis"])


def _tell_basis(basis: dict[str, Any]) -> None:
    """From what it was answered; on standard error, so that the answer stands alone."""
    if basis["source"] == "live":
        text = f"as of {basis['at']}, by the live policy {basis['policy'][:19]}"
    else:
        text = (
            f"as of {basis['at']}, by the policy {basis['policy'][:19]} (event {basis['policy_event']} of"
            f" {basis['policy_since']}) and {basis['registry_changes']} registry changes before then;"
            f" {showing.of_log(basis['log'])}"
        )
    click.echo(text, err=True)
