"""Answers as text for people: plain columns, nothing cut off, no colour that means something alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

_UNSAFE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
"""Control characters, and those that turn the direction of writing: a logged statement must not steer a terminal."""


def clean(text: str) -> str:
    """``text`` with everything that could make a terminal show something else written as an escape."""
    return _UNSAFE.sub(lambda found: ascii(found.group())[1:-1], text)


def say(text: str) -> None:
    """One line for people."""
    click.echo(clean(text))


def as_json(value: Any) -> None:
    click.echo(json_text(value), nl=False)


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    """Aligned columns with a heading; ``empty`` is said when there are no rows."""
    lines = [[_text(row.get(column, "")) for column in columns] for row in rows]
    if not lines:
        click.echo(empty)
        return
    heading = [column.replace("_", " ").upper() for column in columns]
    widths = [max(len(line[index]) for line in [heading, *lines]) for index in range(len(columns))]
    for line in [heading, *lines]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def fields(row: Mapping[str, Any], names: Sequence[str] = ()) -> None:
    """One ``name: value`` a line."""
    for name in names or tuple(row):
        click.echo(f"{name.replace('_', ' ')}: {_text(row.get(name, ''))}")


def extent(answer: Mapping[str, Any]) -> None:
    """How many events an answer has and what it was given from; on standard error, so that the events stand alone."""
    count = answer["count"]
    events = "no events" if not count else "1 event" if count == 1 else f"{count} events"
    between = f", sequence numbers {answer['first']} to {answer['last']}" if count else ""
    more = "; there are more (--limit)" if answer["more"] else ""
    click.echo(f"{events}{between}{more}; {of_log(answer['log'])}", err=True)


def of_log(log: Mapping[str, Any]) -> str:
    """What an answer was given from."""
    gone = log.get("pruned")
    pruned = (
        f"; events up to {gone['last']}, {moment(gone['until'] / 1000)}, were pruned: see the archive" if gone else ""
    )
    if log.get("damaged"):
        return f"from a log of {log['last']} events whose root is not known: {clean(log['damaged'])}{pruned}"
    signed = f", checkpoint of {log['checkpoint_size']}" if log["checkpoint"] else ", no checkpoint yet"
    return f"from a log of {log['last']} events (root {log['root']}{signed}){pruned}"


def yaml(value: Any) -> str:
    """As a value in a YAML file: JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)


SINK_COLUMNS = ("sink", "state", "delivered", "behind", "oldest", "next_try", "error")


def sink(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row about a sink, for a table of ``SINK_COLUMNS``."""
    return {
        **row,
        "oldest": f"{row['oldest_seconds']} s" if row["behind"] else "",
        "next_try": moment(row["next_try"]) if row["next_try"] else "",
    }


def moment(seconds: float) -> str:
    """Unix seconds in local time."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_text(item)}" for name, item in value.items()) or "-"
    return clean(str(value))
