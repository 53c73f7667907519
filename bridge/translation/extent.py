"""How much of the log an answer was given from, so that it can be checked and given again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Extent:
    """The log as it was when it was asked: events 1 to ``size``."""

    size: int

    def plain(self) -> dict[str, Any]:
        return {"first": min(self.size, 1), "last": self.size}


def extent(connection: Connection) -> Extent:
    """In the transaction of the answer itself."""
    return Extent(int(connection.exec_driver_sql("SELECT coalesce(max(seq), 0) FROM event").scalar() or 0))
