"""The log as files that verify without it: segments of events, each under a checkpoint.

A segment is JSON lines: a header, then the exact bodies. The header has the checkpoint that the segment ends at, and
the ``peaks`` of the tree before it (the roots of its perfect subtrees, from the left), so that the root can be computed
from this file alone. It is written whole or not at all, and never again.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from sqlalchemy import Connection, Engine

from bridge.adapter import BridgeError
from bridge.storage import create_private, reading
from bridge.translation.checkpoints import Signed, first_signed
from bridge.translation.proving import cosigned
from bridge.translation.stored_tree import StoredTree

FORMAT = "idbridge-segment-1"

EVENTS = 20_000
"""In a segment, about 20 MB; a checkpoint lies nearer than that."""

_NAME = re.compile(r"(\d{16})-(\d{16})\.jsonl")


class Unarchivable(BridgeError):
    """Events are not there any more. The message says which; `idbridge log verify` says what became of them."""


def in_thread_archive(engine: Engine, folder: Path) -> list[Path]:
    """Writes what ``folder`` does not have yet, up to the last checkpoint; returns the new files.

    Raises Unarchivable, StorageError, OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written: list[Path] = []
    start = max((int(found[2]) for file in folder.iterdir() if (found := _NAME.fullmatch(file.name))), default=0)
    while True:
        with reading(engine) as connection:
            signed = _end(connection, start)
            if signed is None:
                return written
            content = _segment(connection, start, signed)
        path = folder / f"{start + 1:016}-{signed.size:016}.jsonl"
        create_private(path, content)
        written.append(path)
        start = signed.size


def _end(connection: Connection, start: int) -> Signed | None:
    """The last checkpoint within reach of a segment, else the next one."""
    within = first_signed(connection, "WHERE size > ? AND size <= ? ORDER BY size DESC", start, start + EVENTS)
    return within or first_signed(connection, "WHERE size > ? ORDER BY size", start)


def _segment(connection: Connection, start: int, signed: Signed) -> bytes:
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
    }
    return "\n".join([json.dumps(header, ensure_ascii=False), *bodies, ""]).encode()
