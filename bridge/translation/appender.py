"""Where the log's writer commits: in its own process (here), or in another one (``appender_process``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import Engine
from sqlalchemy import event as event_hooks
from sqlalchemy.exc import SQLAlchemyError

from bridge.storage import StorageError, writing
from bridge.translation.alike import Group, alike
from bridge.translation.appending import append
from bridge.translation.checkpoints import Checkpoints
from bridge.translation.composing import Plain
from bridge.translation.identifiers import Timestamps
from bridge.translation.vocabulary import LOG_HEARTBEAT

CACHE_KIB = 8 * 1024
"""Of the writer's connection, so that its indexes stay in memory."""


FAULTS = (StorageError, SQLAlchemyError, OSError)
"""What the disk or the database refuses."""


def words_of(fault: Exception) -> str:
    """For ops. Only ours are known to hold no parameter of a statement."""
    return str(fault) if isinstance(fault, StorageError) else f"the log: {type(fault).__name__}"


class Appender(Protocol):
    """Used by one thread, which it blocks. Raises FAULTS."""

    @property
    def wait(self) -> float | None:
        """Seconds until a checkpoint is due though nothing more happens; None: never."""
        ...

    @property
    def refused(self) -> str:
        """Why checkpoints are not signed any more; "" when they are."""
        ...

    def append(self, log: str, plains: Sequence[Plain]) -> tuple[int, list[Group]]:
        """Commits events (at least one), and the checkpoint that they make due; the sequence number of the first, and
        which of them are alike (where that is known)."""
        ...

    def seal(self) -> None:
        """Commits the checkpoint that became due without an event."""
        ...

    def close(self) -> None: ...


class OwnAppender:
    """``engine`` is to be the writer's own, so that readers cannot take its connections; who made it disposes of it."""

    def __init__(self, engine: Engine, checkpoints: Checkpoints | None = None) -> None:
        event_hooks.listen(engine, "connect", _prepare)
        engine.dispose()  # what is connected already was not prepared so
        self.engine = engine
        self._checkpoints = checkpoints
        self._timestamps = Timestamps()

    @property
    def wait(self) -> float | None:
        return self._checkpoints.wait if self._checkpoints else None

    @property
    def refused(self) -> str:
        return self._checkpoints.refused if self._checkpoints else ""

    def append(self, log: str, plains: Sequence[Plain]) -> tuple[int, list[Group]]:
        with writing(self.engine) as connection:
            first = append(connection, log, plains, self._timestamps)
            if self._checkpoints is not None:
                self._checkpoints.append(connection, first + len(plains) - 1, idle=all(map(_is_heartbeat, plains)))
        return first, alike(first, plains)

    def seal(self) -> None:
        if self._checkpoints is not None:
            with writing(self.engine) as connection:
                self._checkpoints.seal(connection)

    def close(self) -> None:
        """Nothing is held between commits."""


def _prepare(connection: Any, _record: Any) -> None:
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    # What a statement of many rows notes for its own undoing would else go through a file, made for each commit.
    connection.execute("PRAGMA temp_store=MEMORY")


def _is_heartbeat(plain: Plain) -> bool:
    return plain[0] is None and plain[8] == LOG_HEARTBEAT
