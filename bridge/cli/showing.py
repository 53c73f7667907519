"""Answers as text for people: plain columns, nothing cut off, no colour that means something alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click


def as_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


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
    return str(value)
