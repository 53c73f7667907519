"""How much of the log an answer was given from, so that it can be checked and given again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from bridge.translation.note import hash_line
from bridge.translation.proving import root_in
from bridge.translation.pruned import Pruned, last_pruned
from bridge.translation.stored_tree import TreeDamaged


@dataclass(frozen=True, slots=True)
class Extent:
    """The log as it was when it was asked: events 1 to ``size`` under ``root`` (base64, as in a checkpoint).

    ``checkpoint`` is the last signed note, "" before the first; ``damaged`` says why there is no root. What was
    ``pruned`` at its front stands in the archive only.
    """

    size: int
    root: str = ""
    checkpoint: str = ""
    checkpoint_size: int = 0
    damaged: str = ""
    pruned: Pruned | None = None

    def plain(self) -> dict[str, Any]:
        return {
            "first": min(self.size, self.pruned.last + 1 if self.pruned else 1),
            "last": self.size,
            "root": self.root,
            "checkpoint_size": self.checkpoint_size,
            "checkpoint": self.checkpoint,
            **({"damaged": self.damaged} if self.damaged else {}),
            **({"pruned": _told(self.pruned)} if self.pruned else {}),
        }


def _told(pruned: Pruned) -> dict[str, Any]:
    """Times in Unix milliseconds: of the pruning, and of the last event that went."""
    return {"last": pruned.last, "until": pruned.until, "at": pruned.at, "event": pruned.seq}


def extent(connection: Connection) -> Extent:
    """In the transaction of the answer itself. A damaged tree keeps no answer back, it is told."""
    size, pruned = last_seq(connection), last_pruned(connection)
    try:
        found = root_in(connection)
    except TreeDamaged as failure:
        return Extent(size, damaged=str(failure), pruned=pruned)
    if found.size != size:
        damaged = f"the tree has {found.size} of {size} events; run `idbridge log verify`"
        return Extent(size, damaged=damaged, pruned=pruned)
    return Extent(size, hash_line(found.root), found.checkpoint, found.checkpoint_size, pruned=pruned)


def last_seq(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT coalesce(max(seq), 0) FROM event").scalar() or 0)
