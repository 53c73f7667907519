"""``idbridge log``: asking the translation log."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bridge.cli import evidence, packing, showing
from bridge.cli.asking import AskingCommand
from bridge.cli.calling import call, command
from bridge.cli.times import DURATION, MOMENT, UNTIL

F = TypeVar("F", bound=Callable[..., Any])

_FILTERS = (
    click.option("--agent", help="An agent's id."),
    click.option("--owner", help="An owner's id."),
    click.option("--system", help="A legacy system."),
    click.option("--account", help="A static account."),
    click.option("--label", help="A label of the system or account, such as pii."),
    click.option("--outcome", help="success, failure, denied, aborted or unknown."),
    click.option("--action", help="read, write or admin."),
    click.option("--type", "type", help="An event type, such as session.refused."),
    click.option("--session", help="One session's id, or a refusal's reference."),
    click.option("--since", type=MOMENT, help="From this time: 2026-11-25T09:00, today, or 2h for two hours ago."),
    click.option("--until", type=UNTIL, help="Up to this time; a date alone includes its day."),
    click.option("--text", help="Text in the statement."),
)


def filtered(function: F) -> F:
    for option in reversed(_FILTERS):
        function = option(function)
    return function


@click.group()
def log() -> None:
    """Ask the translation log who did what; every answer is itself recorded."""


@command(
    "idbridge log list 'agent:deploy-7 action:write -system:sandbox since:2026-11-01 text:\"invoice\"'",
    cls=AskingCommand,
)
@click.argument("query", nargs=-1)
@filtered
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@click.option("--oldest-first", is_flag=True, help="Instead of the newest.")
@click.option("--scan", is_flag=True, help="Read the whole log instead of trusting its overview; slow.")
@click.option("--details", is_flag=True, help="Also the statement, the session and the code of each.")
def list_events(config: Path, as_json: bool, query: tuple[str, ...], details: bool, **given: Any) -> None:
    """List events, one plain sentence each.

    QUERY is terms key:value that must all hold. Commas or a repeated key: any of the values; -key:value: none of
    them; quotation marks around blanks; * for anything. Keys: agent, owner, person (on whose behalf), system, account,
    label, action, outcome, reason, type, phase, verb, object, grant, session, text, since, until. The options say the
    same in other words.
    """
    answer = call(config, "log.list", {"query": " ".join(query), **given})
    if as_json:
        showing.as_json(answer)
        return
    for event in answer["events"]:
        _tell(event, details=details)
    showing.extent(answer)


@command("idbridge log actors 'system:customer-finance since:2026-11-01 until:2026-11-30'", cls=AskingCommand)
@click.argument("query", nargs=-1)
def actors(config: Path, as_json: bool, query: tuple[str, ...]) -> None:
    """List who or what stands behind the events of QUERY (see `log list`): agents and people in one list.

    An agent is named with its owner and the people it acted for; a person with the agents that acted for them.
    """
    answer = call(config, "log.actors", {"query": " ".join(query)})
    if as_json:
        showing.as_json(answer)
        return
    rows = [{**row, **{at: showing.moment(row[at] / 1000) for at in ("first", "last")}} for row in answer["actors"]]
    columns = ("kind", "id", "owner", "people", "agents", "systems", "sessions", "read", "write", "admin", "denied",
               "commands", "first", "last")  # fmt: skip
    showing.table(rows, columns, empty="nobody")
    click.echo(f"{answer['count']} actors; {showing.of_log(answer['log'])}", err=True)


@command("idbridge log show ses_v4wcf473jx9cn7qh")
@click.argument("session")
@click.option("--transcript", is_flag=True, help="Then the text that its terminals showed; see idbridge log play.")
def show(config: Path, as_json: bool, session: str, transcript: bool) -> None:
    """Show all events of SESSION (or of a refusal's reference) in order."""
    answer = call(config, "log.show", {"session": session})
    if transcript:
        from bridge.cli import playing

        answer["transcript"] = "".join(map(playing.transcript, playing.asked_for(config, session)))
    if as_json:
        showing.as_json(answer)
        return
    for event in answer["events"]:
        _tell(event, details=True)
    showing.extent(answer)
    click.echo(answer.get("transcript", ""), nl=False)


@command("idbridge log who --system warehouse --account svc_writer --at 2026-11-25T09:41:07 --pid 16563")
@click.option("--system", required=True, help="The legacy system.")
@click.option("--account", required=True, help="The static account that its log shows.")
@click.option("--at", type=MOMENT, required=True, help="When, as its log shows; now is a time too.")
@click.option("--pid", type=click.IntRange(1), help="Its number of the connection: process, thread or connection id.")
@click.option("--client-port", type=click.IntRange(1, 65535), help="Its client's port.")
@click.option("--window", type=DURATION, default="2s", show_default=True, help="How far the two clocks may differ.")
def who(config: Path, as_json: bool, window: int, **given: Any) -> None:
    """Say which agent stood behind an account at a time: from the legacy system's own log line to the agent."""
    answer = call(config, "log.who", {**given, "window": window * 1000})
    if as_json:
        showing.as_json(answer)
        return
    suspects = answer["sessions"]
    if not suspects:
        click.echo("no session of the bridge: somebody used this account without it, or the time is wrong")
        sys.exit(1)
    rows = [_suspect(one) for one in suspects]
    columns = ("agent", "owner", "session", "backend", "client_port", "opened", "closed", "certain")
    showing.table(rows, columns, empty="")


@command("idbridge log export label:finance since:2026-11-01 --format jsonl --output november.jsonl", cls=AskingCommand)
@click.argument("query", nargs=-1)
@filtered
@click.option(
    "--format", "format", type=click.Choice(["jsonl", "csv", "ocsf", "cef", "syslog"]), default="jsonl",
    show_default=True, help="jsonl has the exact events; ocsf is OCSF 1.8.0, syslog RFC 5424.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False, writable=True), help="A file; default stdout."
)
def export(config: Path, as_json: bool, query: tuple[str, ...], format: str, output: Path | None, **given: Any) -> None:
    """Write all events that QUERY and the options pick (see `log list`), oldest first; the count goes to stderr."""
    from bridge.api.commands.log import selection
    from bridge.daemon.calling import load_config
    from bridge.daemon.opening import reader
    from bridge.translation.export import in_thread_export

    wanted = selection(" ".join(query), time.time(), **given)
    exported = in_thread_export(reader(load_config(config)), wanted, format)
    call(config, "log.exported", {"query": str(wanted), "count": exported.count, "format": format})
    if output is None:
        for line in exported.lines:
            click.echo(line, nl=False)
    else:
        with open(output, "w", encoding="utf-8", opener=_private) as file:
            file.writelines(exported.lines)
    summary = {"count": exported.count, "first": exported.first, "last": exported.last}
    text = f"{exported.count} events, sequence numbers {exported.first} to {exported.last}"
    click.echo(json.dumps(summary) if as_json else text, err=True)


@command("idbridge log play ses_v4wcf473jx9cn7qh --speed 4")
@click.argument("session")
@click.option("--speed", type=click.FloatRange(0.1, 1000), default=1.0, show_default=True, help="Times as fast.")
@click.option(
    "--idle", type=click.FloatRange(0, 3600), default=2.0, show_default=True, help="Longest pause in seconds."
)
@click.option("--cast", is_flag=True, help="Write the asciicast itself (asciinema plays it), without timing.")
@click.option("--transcript", is_flag=True, help="Write the text alone, without timing and control sequences.")
def play(config: Path, as_json: bool, session: str, cast: bool, transcript: bool, **pace: float) -> None:
    """Play what the agent saw in the terminals of SESSION. --json lists the recordings."""
    from bridge.cli import playing

    found = playing.asked_for(config, session)
    if as_json:
        showing.as_json([one.header for one in found])
        return
    if not found:
        click.echo(f"no recording of {session}, or not any more (limits.recordings_age)", err=True)
        sys.exit(1)
    for one in found:
        playing.write(one, "cast" if cast else "transcript" if transcript else "", **pace)


@command("idbridge log sinks")
def sinks(config: Path, as_json: bool) -> None:
    """Show how far each sink is: what was delivered, what was not yet, and why not. Exit status 1 when one fails."""
    rows = call(config, "log.sinks")
    if as_json:
        showing.as_json(rows)
    else:
        showing.table([showing.sink(row) for row in rows], showing.SINK_COLUMNS, empty="no sinks are configured")
    sys.exit(1 if any(row["state"] == "failing" for row in rows) else 0)


@command("idbridge log resend siem --from 4711")
@click.argument("sink")
@click.option("--from", "first", type=click.IntRange(1), required=True, help="The sequence number to go on with.")
def resend(config: Path, as_json: bool, sink: str, first: int) -> None:
    """Make SINK go on with another event: an earlier one to send again what was lost, a later one to skip. Recorded."""
    answer = call(config, "log.resend", {"sink": sink, "first": first})
    if as_json:
        showing.as_json(answer)
    else:
        click.echo(f"{sink} goes on with event {first}; up to {answer['delivered']} was delivered before")


def _private(path: str, flags: int) -> int:
    import os

    return os.open(path, flags, 0o600)


def _tell(event: dict[str, Any], *, details: bool) -> None:
    showing.say(f"{_local(event['ts'])}  {event['sentence']}")
    if not details:
        return
    action, corr, why = event.get("action", {}), event.get("corr", {}), event.get("detail", {})
    parts = {
        "session": corr.get("session"),
        "statement": action.get("text"),
        "code": event.get("result", {}).get("code") or why.get("code"),
        "why": why.get("text") or event.get("decision", {}).get("reason"),
    }
    for name, value in parts.items():
        if value:
            showing.say(f"    {name}: {value}")


def _local(ts: str) -> str:
    from datetime import datetime

    return datetime.fromisoformat(ts).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _suspect(one: dict[str, Any]) -> dict[str, Any]:
    closed = showing.moment(one["closed"] / 1000) if one["closed"] else "still open"
    return {**one, "opened": showing.moment(one["opened"] / 1000), "closed": closed}


log.add_command(list_events, "list")
log.add_command(actors)
log.add_command(show)
log.add_command(who)
log.add_command(export)
log.add_command(play)
log.add_command(evidence.verify)
log.add_command(evidence.prove)
log.add_command(evidence.key)
log.add_command(evidence.archive)
log.add_command(evidence.retention)
log.add_command(evidence.erase)
log.add_command(packing.pack)
log.add_command(sinks)
log.add_command(resend)
