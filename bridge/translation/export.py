"""Events in a format of ``formats`` or as CSV, with facts by which completeness can be checked.

CSV repeats the fields people sort by, and the body in the last column; a value that a
spreadsheet would take for a formula gets an apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bridge.translation.conditions import Selection
from bridge.translation.formats import LINES
from bridge.translation.reading import LoggedEvent, LogReader

FORMATS = (*LINES, "csv")

COLUMNS = (
    "seq", "ts", "type", "phase", "outcome", "reason", "session", "agent", "owner", "system", "account", "verb", "kind",
    "text", "rows", "code", "body",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Export:
    """``count`` events with sequence numbers ``first`` to ``last``; ``lines`` (with line ends) is to be read once, in a
    thread."""

    count: int
    first: int
    last: int
    lines: Iterator[str]


def in_thread_export(reader: LogReader, selection: Selection, format: str) -> Export:
    """Raises ValueError for an unknown format, StorageError."""
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; one of {', '.join(FORMATS)}")
    count, first, last = reader.in_thread_span(selection)
    pages = reader.in_thread_pages(selection, last)
    return Export(count, first, last, _csv(pages) if format == "csv" else _lines(pages, LINES[format]))


def _lines(pages: Iterator[list[LoggedEvent]], line: Callable[[LoggedEvent], str]) -> Iterator[str]:
    for page in pages:
        for event in page:
            yield line(event) + "\n"


def _csv(pages: Iterator[list[LoggedEvent]]) -> Iterator[str]:
    yield _line(COLUMNS)
    for page in pages:
        for event in page:
            yield _line(_values(event))


def _values(event: LoggedEvent) -> list[Any]:
    body = event.fields
    agent, legacy, action = body.get("agent", {}), body.get("legacy", {}), body.get("action", {})
    result = body.get("result", {})
    return [
        event.seq, body["ts"], body["type"], body["phase"], body["outcome"], body["reason"],
        body.get("corr", {}).get("session", ""), agent.get("id", ""), agent.get("owner", ""), legacy.get("system", ""),
        legacy.get("account", ""), action.get("verb", ""), action.get("kind", ""), action.get("text", ""),
        result.get("rows", ""), result.get("code", ""), event.body,
    ]  # fmt: skip


def _line(values: Any) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([_harmless(value) for value in values])
    return line.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
