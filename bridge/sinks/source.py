"""The log as a sink reads it: everything, in the order of the sequence. Every method blocks and runs in a thread."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Engine

from bridge.adapter import BridgeError
from bridge.sinks.cursor import Cursor
from bridge.sinks.destination import Batch
from bridge.storage import reading
from bridge.translation.extent import last_seq
from bridge.translation.formats import Line
from bridge.translation.pruned import pruned_upto
from bridge.translation.reading import logged

MAX_SIZE = 2 * 1024 * 1024
"""Characters of events in a batch, beside their number: a few huge statements must not make a huge message."""


class LogExchanged(BridgeError):
    """The log is not the one that was delivered from."""


class Source:
    """Of the log called ``name``. ``engine`` is for reading."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    def in_thread_latest(self) -> int:
        with reading(self._engine) as connection:
            return last_seq(connection)

    def in_thread_look(self, delivered: tuple[int, ...]) -> tuple[int, dict[int, int]]:
        """The latest sequence number, and for each of ``delivered`` when the event after it was made (Unix
        milliseconds), if there is one."""
        following = {}
        with reading(self._engine) as connection:
            latest = last_seq(connection)
            for seq in set(delivered):
                at = connection.exec_driver_sql("SELECT ts FROM event WHERE seq = ?", (seq + 1,)).scalar()
                if at is not None:
                    following[seq] = int(at)
        return latest, following

    def in_thread_cursor(self, delivered: int) -> Cursor:
        """The cursor that says that all up to ``delivered`` was taken. Raises LogExchanged when that is not there."""
        return Cursor(delivered, self._digest(delivered) or "" if delivered else "")

    def in_thread_check(self, cursor: Cursor) -> None:
        """Raises LogExchanged unless the event that was delivered last is still the same."""
        if cursor.delivered and cursor.digest and self._digest(cursor.delivered) not in (cursor.digest, None):
            raise LogExchanged(
                f"event {cursor.delivered} is not the one that was delivered: the log was exchanged or altered;"
                " see `idbridge log verify`"
            )

    def _digest(self, seq: int) -> str | None:
        """None when it was pruned."""
        with reading(self._engine) as connection:
            row = connection.exec_driver_sql("SELECT body FROM event WHERE seq = ?", (seq,)).one_or_none()
            if row is None and seq <= pruned_upto(connection):
                return None
        if row is None:
            raise LogExchanged(
                f"the log ends before event {seq}, which was delivered already: it was restored from a backup or cut;"
                " see `idbridge log verify`, and say where to go on with `idbridge log resend`"
            )
        return _sha256(row[0])

    def in_thread_batch(self, cursor: Cursor, count: int, line: Line) -> Batch | None:
        """The next events, at most ``count`` of them; the very batch that was on its way, if one was."""
        sql = "SELECT seq, body FROM event WHERE seq > ? AND (? = 0 OR seq <= ?) ORDER BY seq LIMIT ?"
        limit = max(count, cursor.sending - cursor.delivered)
        last, size, body = cursor.delivered, 0, ""
        with reading(self._engine) as connection:
            rows = connection.exec_driver_sql(sql, (cursor.delivered, cursor.sending, cursor.sending, limit))
            taken: list[Any] = []
            for seq, body in rows:
                taken.append((seq, body))
                last, size = seq, size + len(body)
                if size >= MAX_SIZE and not cursor.sending:
                    break
            rows.close()
            lines = [line(event) for event in logged(connection, taken)]
        if not lines:
            return None
        return Batch(self._name, cursor.delivered + 1, last, tuple(lines), _sha256(body))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
