"""``idbridge witness``: the other side of tamper evidence, on a host of another team."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bridge.cli.calling import command, fail


@command("idbridge witness --name witness.audit.example/w1 --folder witness --log idbridge/prod-1+1f0c7b1e+ATy…")
@click.option("--name", required=True, help="The witness's name, for good: a host name with a path, no spaces.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Its key and memory.")
@click.option("--log", "logs", multiple=True, required=True, help="A log's key (`idbridge log key`); repeat for more.")
@click.option("--listen", default="127.0.0.1:7460", show_default=True, help="Address and port; TLS needs a web server.")
def witness(config: Path, as_json: bool, name: str, folder: Path, logs: tuple[str, ...], listen: str) -> None:
    """Run a witness: cosign the checkpoints of LOGs as long as each continues the last. Needs no configuration file.

    Run it where the bridge's administrators have no access, and give its key, which it prints, to them and to auditors.
    """
    from pydantic_core import PydanticCustomError

    from bridge.config.values import address
    from bridge.daemon.witness_server import open_witness, run_witness
    from bridge.translation.note import VerifierKey

    try:
        where = address(listen)
    except PydanticCustomError:
        fail(f"{listen}: not an address to listen on, such as 127.0.0.1:7460", as_json=as_json)
    opened, key = open_witness(folder, name, [VerifierKey.parse(text) for text in logs])

    def started(address: str) -> None:
        words = {"listening": address, "key": str(key)}
        click.echo(json.dumps(words) if as_json else f"key: {key}\nlistening: {address}")

    run_witness(opened, where, started)
