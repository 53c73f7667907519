"""A report as a document: Markdown for people, CSV for spreadsheets. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bridge.cli.showing import clean
from bridge.translation.identifiers import timestamp

_TIMES = ("agent_expires", "expires")
_SPECIAL = str.maketrans({"|": "\\|", "\\": "\\\\", "<": "&lt;", "`": "\\`", "*": "\\*", "_": "\\_", "[": "\\["})


def markdown(answer: Mapping[str, Any], columns: Sequence[str]) -> str:
    """The title, what it rests on, and one table."""
    basis, log = answer["basis"], answer["log"]
    lines = [
        f"# {_escaped(answer['title'])}",
        "",
        f"- bridge: {_escaped(answer['bridge'])}",
        f"- period: {answer['since']} to {answer['until']}",
        f"- policy and registry: as of {basis['at']} ({basis['source']}), policy {basis['policy']}",
        f"- log: events {log['first']} to {log['last']}, root {log['root'] or 'not known: ' + log.get('damaged', '')},"
        f" last checkpoint of {log['checkpoint_size']} events",
        *(f"- {text}" for text in [lacking(answer)] if text),
        f"- rows: {answer['count']}",
        "",
        f"| {' | '.join(name.replace('_', ' ') for name in columns)} |",
        f"|{' --- |' * len(columns)}",
    ]
    lines += [f"| {' | '.join(_escaped(_text(name, row.get(name))) for name in columns)} |" for row in answer["rows"]]
    return "\n".join(lines) + "\n"


def lacking(answer: Mapping[str, Any]) -> str:
    """That the figures lack events of the period which were pruned; "" when they do not."""
    gone = answer["log"].get("pruned")
    if not gone or (until := timestamp(gone["until"])) < answer["since"]:
        return ""
    return f"events up to {gone['last']} ({until}) were pruned: the figures lack them, the archive has them"


def csv_text(answer: Mapping[str, Any], columns: Sequence[str]) -> str:
    """One heading and the rows; a value that a spreadsheet would take for a formula gets an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_harmless(_text(name, row.get(name))) for name in columns] for row in answer["rows"])
    return text.getvalue()


def _text(name: str, value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and (name in _TIMES or name.startswith("last_")):
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if value else "never"
    return str(value)


def _escaped(text: str) -> str:
    return clean(text).translate(_SPECIAL)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


FORMATS = {"markdown": markdown, "csv": csv_text}
