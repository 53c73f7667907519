"""What agents have used, on the database: written in groups off the path of the statements, read at the next start."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from sqlalchemy import Engine

from bridge.policy import Changes
from bridge.policy.ledger import Stored
from bridge.policy.quotas import units
from bridge.storage import reading, writing

KEPT = 70 * 86_400
"""Seconds that a counter is kept after the begin of its window: longer than the longest window, a month."""

BY = ("cost_centre", "owner", "agent", "system")
"""What a report can have a line of."""


class UsageStore:
    """Every method blocks and runs in a thread. Raises StorageError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def in_thread_load(self) -> list[Stored]:
        """Every counter as it was stored last."""
        with reading(self._engine) as connection:
            rows = connection.exec_driver_sql('SELECT quota, counter, measure, "begin", used FROM quota_counter')
            return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]

    def in_thread_save(self, changes: Changes) -> None:
        """All of it or nothing."""
        with writing(self._engine) as connection:
            if changes.counters:
                connection.exec_driver_sql(
                    'INSERT INTO quota_counter (quota, counter, measure, "begin", used) VALUES (?, ?, ?, ?, ?)'
                    ' ON CONFLICT (quota, counter, measure) DO UPDATE SET "begin" = excluded."begin",'
                    " used = excluded.used",
                    changes.counters,
                )
            if changes.uses:
                connection.exec_driver_sql(
                    "INSERT INTO use_by_month (month, cost_centre, owner, agent, system, sessions, operations, rows,"
                    " bytes, seconds, micros) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                    " sessions = sessions + excluded.sessions, operations = operations + excluded.operations,"
                    " rows = rows + excluded.rows, bytes = bytes + excluded.bytes,"
                    " seconds = seconds + excluded.seconds, micros = micros + excluded.micros",
                    [(*key, *astuple(use)) for key, use in changes.uses.items()],
                )

    def in_thread_forget(self, now: float) -> None:
        """Drops counters whose window is long over."""
        with writing(self._engine) as connection:
            connection.exec_driver_sql('DELETE FROM quota_counter WHERE "begin" < ?', (int(now) - KEPT,))

    def in_thread_costs(self, first: str, last: str, by: str) -> list[dict[str, Any]]:
        """One line a month and value of ``by`` (one of BY), from month ``first`` to ``last``, both as ``2026-11``."""
        if by not in BY:
            raise ValueError(f"unknown column {by!r}; one of {', '.join(BY)}")
        sql = (
            f"SELECT month, {by}, sum(sessions), sum(operations), sum(rows), sum(bytes), sum(seconds), sum(micros)"
            f" FROM use_by_month WHERE month BETWEEN ? AND ? GROUP BY month, {by} ORDER BY month, {by}"
        )
        names = ("month", by, "sessions", "operations", "rows", "bytes", "seconds")
        with reading(self._engine) as connection:
            rows = connection.exec_driver_sql(sql, (first, last)).all()
        return [{**dict(zip(names, row, strict=False)), "cost": units(row[7])} for row in rows]
