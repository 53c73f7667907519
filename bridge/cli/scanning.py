"""``idbridge scan``: where the static secrets still lie."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from bridge.cli import showing
from bridge.cli.calling import command


@command("idbridge scan ~/src --json")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--no-history", is_flag=True, help="Only the files as they are, not what git remembers.")
def scan(config: Path, as_json: bool, path: Path, no_history: bool) -> None:
    """Find the static secrets of this configuration in files below PATH and in the history of git repositories there.

    As they are, in base64, URL-encoded, in connection strings, in JSON, XML and quotes. Never prints one: only whose,
    where, in which form, and whom to ask. Secrets are read here: env: needs the bridge's environment,
    vault: what the bridge logs in to the vault with. Exit status 1
    when one was found.
    """
    from bridge.daemon.scanning import scanned

    answer = scanned(config, path, time.time(), history=not no_history)
    if as_json:
        showing.as_json(answer)
        sys.exit(1 if answer["findings"] else 0)
    for row in answer["findings"]:
        row["commit"] = row["commit"][:12]
    columns = ("account", "path", "line", "form", "commit", "when", "hint")
    showing.table(answer["findings"], columns, empty="no static secret was found")
    showing.say("")
    showing.table(answer["accounts"], ("account", "places", "sunset", "days_left"), empty="no account is configured")
    for row in answer["not_looked_for"]:
        showing.say(f"not looked for: {row['account']}: {row['cause']}")
    told = f"{answer['files']} files and {answer['objects']} objects of git were read"
    showing.say(f"{told}, {answer['unreadable']} could not be, {answer['skipped']} were too large")
    sys.exit(1 if answer["findings"] else 0)
