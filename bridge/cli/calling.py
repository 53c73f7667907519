"""The options that every command has, and how an admin command is given and its failure told."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from bridge.cli.showing import clean

DEFAULT_CONFIG = "/etc/idbridge/bridge.yaml"

F = TypeVar("F", bound=Callable[..., Any])

_config = click.option(
    "-c",
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="IDBRIDGE_CONFIG",
    default=DEFAULT_CONFIG,
    show_default=True,
    show_envvar=True,
    help="The configuration file.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")


def command(example: str, **settings: Any) -> Callable[[F], click.Command]:
    """A command with ``-c`` and ``--json`` and an example in its help. The function gets ``config`` and ``as_json``."""

    def decorate(function: F) -> click.Command:
        @functools.wraps(function)
        def guarded(**arguments: Any) -> Any:
            try:
                return function(**arguments)
            except BrokenPipeError:
                raise  # the reader has seen enough; click ends quietly
            except Exception as error:
                _tell(error, as_json=arguments["as_json"])

        options: Callable[..., Any] = _config(_json(guarded))
        make: Any = click.command(epilog=f"\b\nExample: {example}", **settings)
        made: click.Command = make(options)
        return made

    return decorate


def call(config: Path, name: str, parameters: Mapping[str, Any] | None = None) -> Any:
    """Gives an admin command to the running bridge, or runs it here when none is running."""
    from bridge.daemon import calling

    given = {key: value for key, value in (parameters or {}).items() if value is not None}
    return calling.call(config, name, given)


def fail(text: str, *, as_json: bool = False, field: str = "", status: int = 1) -> NoReturn:
    """Says it and ends the process."""
    if as_json:
        click.echo(json.dumps({"error": text, "field": field}))
    else:
        click.echo("idbridge: " + "\n".join(map(clean, text.splitlines())), err=True)
    sys.exit(status)


def _tell(error: Exception, *, as_json: bool) -> NoReturn:
    """What is somebody's to mend is said in one line; a defect keeps its traceback."""
    from bridge.adapter import BridgeError
    from bridge.storage import KeyRefused, StorageError
    from bridge.translation.log import LogUnavailable

    if isinstance(error, BridgeError | StorageError | KeyRefused | LogUnavailable | OSError):
        fail(str(error), as_json=as_json, field=getattr(error, "field", ""))
    raise error
