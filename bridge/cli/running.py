"""The daemon: run it, check and reload its configuration, ask how it is, look into legacy accounts."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from bridge.cli import showing
from bridge.cli.calling import call, command


@command("idbridge run -c bridge.yaml")
@click.option("--log-format", type=click.Choice(["json", "text"]), default=None, help="Default: text at a terminal.")
def run(config: Path, as_json: bool, log_format: str | None) -> None:
    """Run the bridge in the foreground until SIGTERM; SIGHUP reloads the configuration."""
    from bridge import daemon

    chosen = log_format or ("text" if sys.stderr.isatty() and not as_json else "json")
    sys.exit(daemon.run(config, log_format=chosen))


@command("idbridge check -c bridge.yaml")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the file instead.")
def check(config: Path, as_json: bool, schema: bool) -> None:
    """Check a configuration file: every problem as file:line:column. Exit status 1 when there is an error."""
    from bridge.config import ConfigErrors, Problem, load
    from bridge.config import schema as schema_of
    from bridge.discovery import find_adapters

    adapters = find_adapters()
    if schema:
        showing.as_json(schema_of(adapters))
        return
    errors: tuple[Problem, ...] = ()
    try:
        warnings = tuple(load(config, adapters).warnings)
    except ConfigErrors as found:
        errors, warnings = found.problems, found.warnings
    if as_json:
        names = ("level", "file", "line", "column", "key", "message", "expected")
        problems = [{name: getattr(one, name) for name in names} for one in (*errors, *warnings)]
        showing.as_json({"ok": not errors, "problems": problems})
    else:
        for problem in (*errors, *warnings):
            showing.say(str(problem))
        if not errors:
            click.echo(f"{config}: ok")
    sys.exit(1 if errors else 0)


@command("idbridge status")
def status(config: Path, as_json: bool) -> None:
    """Show whether the bridge is ready, its listeners, sessions, issuers, sinks and open circuits."""
    answer = call(config, "status")
    if as_json:
        showing.as_json(answer)
        return
    showing.fields(answer, ("name", "version", "ready", "log", "log_pending", "config", "agents", "sessions"))
    systems = [{"system": name, **row} for name, row in answer["systems"].items()]
    showing.table(systems, ("system", "protocol", "listen", "upstream", "sessions"), empty="no systems")
    issuers = [{"issuer": name, **row} for name, row in answer["issuers"].items()]
    showing.table(issuers, ("issuer", "ready", "age"), empty="no issuers")
    if answer["sinks"]:
        sinks = [showing.sink({"sink": name, **row}) for name, row in answer["sinks"].items()]
        showing.table(sinks, showing.SINK_COLUMNS, empty="")
    for name, sink in answer["attestations"].items():
        words = f"has none since: {sink['failure']}" if sink["failure"] else f"has the checkpoint of {sink['size']}"
        showing.say(f"the log's checkpoints: {name} {words}")
    for name, left in answer["open_circuits"].items():
        click.echo(f"not tried for {left} s more, because the static login was refused: {name}")


@command("idbridge reload")
def reload(config: Path, as_json: bool) -> None:
    """Make the bridge take its configuration file again; a bad file changes nothing and says why.

    What becomes less strict must have been approved, see `idbridge demotion`. For what becomes stricter it is said how
    much of the last two weeks would have been refused.
    """
    answer = call(config, "reload")
    answer["readiness"] = [_readiness(config, name) for name in _enforced(answer["changes"])]
    if as_json:
        showing.as_json(answer)
        return
    for warning in answer["warnings"]:
        showing.say(warning)
    showing.table(answer["changes"], ("key", "before", "after"), empty="nothing changed")
    for one in answer["readiness"]:
        told = one.get("error") or (
            f"of {one['asked']} requests of the last two weeks {one['would_refuse']}, of {len(one['agents'])} agents,"
            f" would have been refused; see `idbridge readiness {one['system']}`"
        )
        showing.say(f"{one['system']} is enforced now: {told}")


def _enforced(changes: list[dict[str, Any]]) -> list[str]:
    """The systems that are enforced from now on and were not."""
    names = (one["key"].removeprefix("systems.").removesuffix(".mode") for one in changes)
    return [name for name, one in zip(names, changes, strict=True)
            if one["key"] == f"systems.{name}.mode" and one.get("after") == "enforce" and "before" in one]  # fmt: skip


def _readiness(config: Path, system: str) -> dict[str, Any]:
    from bridge.adapter import BridgeError
    from bridge.daemon.comparing import readiness
    from bridge.moments import unix_ms
    from bridge.storage import StorageError

    try:
        found = readiness(config, system, {"since": unix_ms("14d")}, time.time())
    except (BridgeError, StorageError) as failure:  # the configuration was taken all the same
        return {"system": system, "error": str(failure)}
    refused = found["would_refuse"]
    return {
        "system": system,
        "asked": found["asked"],
        "would_refuse": sum(row["count"] for row in refused),
        "agents": sorted({row["agent"] for row in refused}),
        "grants": sorted({grant for row in refused for grant in row["grants"]}),
    }


@command("idbridge doctor warehouse --account svc_reader")
@click.argument("system")
@click.option("--account", help="Only this account of the system.")
@click.option("--host", default="", help="Which host, where the system is a fleet.")
def doctor(config: Path, as_json: bool, system: str, account: str | None, host: str) -> None:
    """Log in to a legacy SYSTEM as its static accounts and say what they may really do."""
    rows = call(config, "doctor", {"system": system, "account": account, "host": host})
    if as_json:
        showing.as_json(rows)
    else:
        for row in rows:
            detail = f": {row['detail']}" if row["detail"] else ""
            where = f"{row['account']}@{row['host']}" if row["host"] else row["account"]
            showing.say(f"{where}: {row['level']}: {row['title']}{detail}")
    sys.exit(1 if any(row["level"] == "problem" for row in rows) else 0)


@click.group()
def breaker() -> None:
    """Static logins that the bridge stopped trying because the legacy system refused them."""


@command("idbridge breaker reset warehouse svc_reader")
@click.argument("system")
@click.argument("account")
def reset(config: Path, as_json: bool, system: str, account: str) -> None:
    """Let the bridge try the login of ACCOUNT on SYSTEM again at once."""
    answer: dict[str, Any] = call(config, "breaker.reset", {"system": system, "account": account})
    if as_json:
        showing.as_json(answer)
    else:
        click.echo("it will be tried again" if answer["was_open"] else "it was not stopped")


breaker.add_command(reset)
