"""``idbridge log pack``: evidence of a period in one signed archive."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bridge.cli.asking import AskingCommand
from bridge.cli.calling import call, command, fail
from bridge.cli.evidence import when_signed
from bridge.cli.times import MOMENT, UNTIL

if TYPE_CHECKING:
    from bridge.translation.pack import Packed


@command("idbridge log pack --since 2026-11-01 --until 2026-11-30 label:finance -o november.tar.gz", cls=AskingCommand)
@click.argument("query", nargs=-1)
@click.option("--since", type=MOMENT, required=True, help="The period's begin: 2026-11-25T09:00, today, or 2h.")
@click.option("--until", type=UNTIL, required=True, help="Its end; a date alone includes its day.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False, writable=True), required=True)
def pack(config: Path, as_json: bool, query: tuple[str, ...], since: int, until: int, output: Path) -> None:
    """Write evidence of a period: events that QUERY picks (see `log list`), proofs, checkpoints, policy and agents.

    One archive, signed with the log's key, that scripts/verify_log.py verifies without the bridge. The same question
    gives the same archive whenever it is asked, once the period is over.
    """
    from bridge.api.commands.log import selection
    from bridge.api.history import in_thread_context
    from bridge.daemon.calling import load_config
    from bridge.daemon.opening import log_signer
    from bridge.translation.pack import Scope, in_thread_pack
    from bridge.translation.reading import LogReader

    if since > until:
        fail("the period ends before it begins", as_json=as_json, field="until")
    wanted = selection(" ".join(query), time.time(), since=since, until=until)
    engine, signer = log_signer(load_config(config))
    reader = LogReader(engine)
    count, _, last = reader.in_thread_span(wanted)
    call(config, "log.exported", {"query": str(wanted), "count": count, "format": "pack"})
    context = in_thread_context(reader, since, until)
    scope = Scope(str(wanted), since, until, context.notes, context.pruned)

    def write() -> Packed:
        events = reader.in_thread_pages(wanted, last)
        return in_thread_pack(
            engine, signer, scope, events, context.pages(), max(last, context.last), context.documents, output
        )

    packed = when_signed(write)
    if as_json:
        click.echo(json.dumps({"file": str(output), "size": packed.size, "root": packed.root, **packed.sections}))
        return
    events = packed.sections["events"]
    click.echo(f"{events['count']} events and {packed.sections['context']['count']} of policy and agents in {output}")
    click.echo(f"under the checkpoint of {packed.size} events, root {packed.root}")
