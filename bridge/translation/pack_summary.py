"""The summary of an evidence pack, for people: what is in it, who did what how often, and what was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.translation.describe import describe
from bridge.translation.identifiers import timestamp
from bridge.translation.parts import Fields, part
from bridge.translation.reading import LoggedEvent
from bridge.translation.vocabulary import ALARM, DENIED, INTENT, OPERATION

LISTED = 200
"""Refusals and alarms that are written out; events.jsonl has them all."""


class Summary:
    def __init__(self, query: str, since: int, until: int, notes: tuple[str, ...]) -> None:
        self._query = query
        self._period = f"{timestamp(since)} to {timestamp(until)}"
        self._notes = notes
        self._types: Counter[tuple[str, str]] = Counter()
        self._work: Counter[tuple[str, str, str, str, str]] = Counter()
        self._striking: list[str] = []
        self._left_out = 0

    def add(self, event: LoggedEvent) -> None:
        body = event.fields
        if body.get("phase") == INTENT:
            return  # its outcome follows
        self._types[str(body.get("type")), str(body.get("outcome"))] += 1
        if body.get("type") == OPERATION:
            self._work[_work(body)] += 1
        if body.get("outcome") == DENIED or body.get("type") == ALARM:
            if len(self._striking) < LISTED:
                self._striking.append(f"- {body.get('ts')}, event {event.seq}: {_plain(describe(body))}")
            else:
                self._left_out += 1

    def text(self, log: str, events: Mapping[str, Any], size: int, root: str) -> str:
        return "\n".join(self._lines(log, events, size, root)) + "\n"

    def _lines(self, log: str, events: Mapping[str, Any], size: int, root: str) -> Iterator[str]:
        yield from ("# Evidence pack", "", f"- log: {log}", f"- period: {self._period}")
        yield f"- query: {_plain(self._query) or 'everything'}"
        yield f"- events: {events['count']}, sequence numbers {events['first']} to {events['last']}{_gaps(events)}"
        yield f"- proven under the checkpoint of {size} events, root {root}"
        yield from (f"- {note}" for note in self._notes)
        yield from (
            "",
            "Verify it without the bridge, with the log's public key from somebody else than its administrators:",
        )
        yield from ("", "    verify_log.py --key KEY FILE", "")
        yield from _table("What happened (intents are counted by their outcomes)", ("type", "outcome"), self._types)
        yield from _table("Who did what", ("agent", "owner", "system", "account", "action"), self._work)
        yield from ("## Refusals and alarms", "")
        yield from self._striking or ["none"]
        if self._left_out:
            yield f"- … and {self._left_out} more in events.jsonl"


def _work(body: Fields) -> tuple[str, str, str, str, str]:
    agent, legacy = part(body, "agent"), part(body, "legacy")
    named = (agent.get("id"), agent.get("owner"), legacy.get("system"), legacy.get("account"))
    kind = part(body, "action").get("kind")
    return (*(str(one or "") for one in named), str(kind or ""))  # type: ignore[return-value]


def _gaps(events: Mapping[str, Any]) -> str:
    if not events["count"]:
        return ""
    return (
        " without a gap"
        if events["gapless"]
        else ", others between them were not asked for or are not in the log any more"
    )


def _table(title: str, columns: tuple[str, ...], counts: Mapping[Any, int]) -> Iterator[str]:
    yield from (f"## {title}", "")
    yield "| " + " | ".join(columns) + " | events |"
    yield "|---" * (len(columns) + 1) + "|"
    for row, count in sorted(counts.items()):
        yield "| " + " | ".join(_plain(one) for one in row) + f" | {count} |"
    yield ""


def _plain(text: str) -> str:
    """On one line, and nothing that Markdown would read as more than text."""
    line = " ".join(text.split())
    return "".join(f"\\{one}" if one in "\\`*_[]<>|#" else one for one in line)
