"""The log as files that verify without it: segments of events, each under a checkpoint.

A segment is JSON lines: a header, then the exact bodies. The header has the checkpoint that the segment ends at, and
the ``peaks`` of the tree before it (the roots of its perfect subtrees, from the left), so that the root can be computed
from this file alone. It is written whole, read again, and never written again unless it is found damaged.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine

from bridge.adapter import BridgeError
from bridge.storage import reading, replace_private
from bridge.translation.checkpoints import Signed, first_signed
from bridge.translation.key_change import changes
from bridge.translation.proving import cosigned
from bridge.translation.pruned import pruned_upto
from bridge.translation.stored_tree import StoredTree
from bridge.translation.tree import leaf_hash

FORMAT = "idbridge-segment-1"

EVENTS = 20_000
"""In a segment, about 20 MB; a checkpoint lies nearer than that."""

SIZE = 64 * 1024 * 1024
"""Characters of bodies in a segment, which is written and read as a whole; a few huge statements end it sooner."""

_NAME = re.compile(r"(\d{16})-(\d{16})\.jsonl")
_DRAFT = re.compile(r"\.\d{16}-\d{16}\.jsonl\.[0-9a-f]{16}")


class Unarchivable(BridgeError):
    """Events are not there any more. The message says which; `idbridge log verify` says what became of them."""


class SegmentDamaged(BridgeError):
    """A file of the archive does not have the events that its name says. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A file with the events ``first`` to ``last``."""

    path: Path
    first: int
    last: int


def segments(folder: Path) -> list[Segment]:
    """What the names in the folder say, by the first event. Raises OSError."""
    found = ((file, _NAME.fullmatch(file.name)) for file in folder.iterdir())
    return sorted(
        (Segment(file, int(name[1]), int(name[2])) for file, name in found if name), key=lambda one: one.first
    )


class Archive:
    """A folder of segments, each of about ``events``. Methods block, and raise Unarchivable, SegmentDamaged,
    StorageError, OSError. ``intact``: the files (name, size, time) that were read and are right."""

    def __init__(self, engine: Engine, folder: Path, events: int = EVENTS) -> None:
        self.folder = folder
        self.events = events
        self.intact: set[tuple[str, int, int]] = set()
        self._engine = engine

    def in_thread_write(self, least: int = 1, stopping: Callable[[], bool] = lambda: False) -> list[Segment]:
        """Writes what the folder does not have yet up to the last checkpoint, once that is ``least`` events, and again
        what a crash or a full disk left by halves; returns the new segments. Ends early when it is ``stopping``."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in self.folder.iterdir():
            if _DRAFT.fullmatch(file.name):
                file.unlink()  # of a writer that was killed; there is one writer
        present = {one.first: one for one in segments(self.folder)}
        newest = max(present, default=0)
        written: list[Segment] = []
        start = 0
        while not stopping():
            one = present.pop(start + 1, None)
            if one is not None and (one.first != newest or self._looks_intact(one)):
                start = one.last
                continue
            following = min((first for first in present if first > start), default=0)
            made = self._next(start, following - 1 if following else one.last if one else 0, least, damaged=one)
            if isinstance(made, int):
                if made <= start:
                    return written
                start = made
            else:
                written.append(made)
                start = made.last
        return written

    def in_thread_check(self, one: Segment) -> str:
        """Whether the file has the very events of the log, whose bodies may be gone meanwhile; returns its SHA-256.

        Raises SegmentDamaged.
        """
        data = one.path.read_bytes()
        problem = self._problem(one, data)
        if problem:
            raise SegmentDamaged(f"{one.path}: {problem}; `idbridge log archive` writes it again while the log has it")
        return hashlib.sha256(data).hexdigest()

    def _looks_intact(self, one: Segment) -> bool:
        """Once for each file as it is."""
        state = one.path.stat()
        mark = (one.path.name, state.st_size, state.st_mtime_ns)
        if mark not in self.intact:
            if self._problem(one, one.path.read_bytes()):
                return False
            self.intact.add(mark)
        return True

    def _problem(self, one: Segment, data: bytes) -> str:
        """What is wrong with a segment; "" when nothing is."""
        try:
            top, *bodies = data.split(b"\n")
            header = json.loads(top)
            note, ends = str(header["checkpoint"]), (header["format"], header["first"], header["last"])
        except (ValueError, LookupError, TypeError):
            return "is not a segment"
        if bodies[-1:] != [b""] or len(bodies) - 1 != one.last - one.first + 1:
            return "was cut, or written by halves"
        with reading(self._engine) as connection:
            tree = StoredTree(connection)
            signed = first_signed(connection, "WHERE size = ?", one.last)
            growing = tree.growing(one.first - 1)
            peaks = [hash.hex() for _, hash in growing.peaks]
            root = tree.root(one.last)
        for body in bodies[:-1]:
            growing.add(leaf_hash(body))
        if ends != (FORMAT, one.first, one.last) or header.get("peaks") != peaks or growing.root() != root:
            return "has not the events that were logged"
        return "" if signed is not None and note.startswith(signed.note) else "is not under a checkpoint of this log"

    def _next(self, start: int, limit: int, least: int, damaged: Segment | None) -> Segment | int:
        """Writes the segment after ``start``, up to ``limit`` if that is not 0; else from where to go on."""
        with reading(self._engine) as connection:
            gone = pruned_upto(connection)
            if start < gone and damaged is not None:
                raise SegmentDamaged(f"{damaged.path}: is damaged, and the log has its events no more; restore a copy")
            if start < gone:
                return min(limit, gone) if limit else gone
            signed = self._end(connection, start, limit)
            if signed is None or (not limit and signed.size - start < least):
                return start
            content = _content(connection, start, signed)
        one = Segment(self.folder / f"{start + 1:016}-{signed.size:016}.jsonl", start + 1, signed.size)
        replace_private(one.path, content)
        if not self._looks_intact(one):
            raise SegmentDamaged(f"{one.path}: cannot be read again as it was written; is the disk sound?")
        return one

    def _end(self, connection: Connection, start: int, limit: int) -> Signed | None:
        """The last checkpoint within reach of a segment, else the next one."""
        most = limit or 2**62
        reach = _reach(connection, start, min(start + self.events, most))
        within = first_signed(connection, "WHERE size > ? AND size <= ? ORDER BY size DESC", start, reach)
        return within or first_signed(connection, "WHERE size > ? AND size <= ? ORDER BY size", start, most)


def _reach(connection: Connection, start: int, end: int) -> int:
    """The last of the events up to ``end`` with which a segment is not larger than it may be."""
    sizes = "SELECT seq, sum(length(body)) OVER (ORDER BY seq) AS size FROM event WHERE seq > ? AND seq <= ?"
    sql = f"SELECT max(seq) FROM ({sizes}) WHERE size <= ?"
    return int(connection.exec_driver_sql(sql, (start, end, SIZE)).scalar() or start)


def _content(connection: Connection, start: int, signed: Signed) -> bytes:
    sql = "SELECT body FROM event WHERE seq > ? AND seq <= ? ORDER BY seq"
    bodies = list(connection.exec_driver_sql(sql, (start, signed.size)).scalars())
    if len(bodies) != signed.size - start:
        raise Unarchivable(f"of the events {start + 1} to {signed.size} there are only {len(bodies)}")
    header = {
        "format": FORMAT,
        "first": start + 1,
        "last": signed.size,
        "peaks": [hash.hex() for _, hash in StoredTree(connection).growing(start).peaks],
        "checkpoint": cosigned(connection, signed),
        **({"keys": notes} if (notes := changes(connection, signed.size)) else {}),
    }
    return "\n".join([json.dumps(header, ensure_ascii=False), *bodies, ""]).encode()
