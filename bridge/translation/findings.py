"""What a verification of the log says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from bridge.translation.identifiers import timestamp
from bridge.translation.tree import EMPTY

MAX_FINDINGS = 1000
"""A log that was rewritten has one for each stretch of events; more would tell nobody more."""

CODES = {
    "changed": "the text of an event is not the one that was logged",
    "missing": "an event is not there, though its place in the tree is",
    "added": "an event is not in the tree",
    "cut": "events at the end are not there any more",
    "rewritten": "events are not those that were signed",
    "forked": "the log does not continue a checkpoint that was kept elsewhere",
    "pruned": "what the log says of a pruning does not agree with what is left",
    "personal": "the name that stands for a salted digest is not the one that was logged",
    "columns": "what stands beside an event, by which searches find it, is not what its text says",
    "archive": "a file of the archive is not what it was, or not there",
    "unreadable": "the database is damaged there",
    "tree": "a kept hash is wrong or missing, though the events may be what they were",
    "signature": "a checkpoint was not signed by a known key",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """``first`` and ``last`` are sequence numbers; 0 where it is about no events."""

    code: str
    first: int
    last: int
    text: str

    def __str__(self) -> str:
        where = f"event {self.first}" if self.first == self.last else f"events {self.first} to {self.last}"
        return f"{where}: {self.text}" if self.first else self.text


@dataclass(frozen=True, slots=True)
class Gone:
    """Of the events ``first`` to ``last``, ``kept`` are left, as event ``event`` says; it was written ``at`` (Unix
    milliseconds). ``unfinished``: how many are still there that were to be deleted."""

    first: int
    last: int
    kept: int
    event: int
    at: int
    unfinished: int

    def __str__(self) -> str:
        kept = f", {self.kept} of them kept" if self.kept else ""
        unfinished = f"; {self.unfinished} are not deleted yet" if self.unfinished else ""
        return (
            f"events {self.first} to {self.last} pruned on {timestamp(self.at)} (event {self.event}){kept}, hashes"
            f" verified{unfinished}"
        )


@dataclass(slots=True)
class Report:
    """``since`` is the size from which on bodies were read. ``signed`` and ``witnessed`` are the sizes of the last
    checkpoints that the log, and a known witness, signed and that agree; ``witnessed_at`` is Unix seconds. ``pruned``:
    what is missing because the log says so; the hashes of it are verified all the same."""

    size: int = 0
    root: bytes = EMPTY
    since: int = 0
    read: int = 0
    checkpoints: int = 0
    signed: int = 0
    witnessed: int = 0
    witnessed_at: int = 0
    pruned: list[Gone] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def found(self, code: str, text: str, first: int = 0, last: int = 0) -> None:
        """Neighbours with the same words become one."""
        last = last or first
        before = self.findings[-1] if self.findings else None
        if before and first and (before.code, before.text, before.last) == (code, text, first - 1):
            self.findings[-1] = Finding(code, before.first, last, text)
        elif len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code, first, last, text))

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "root": self.root.hex(), "verified": not self.findings}
