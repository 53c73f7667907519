"""What is to be sent, and what was: with the cursor on the log in one transaction, so that a crash loses no alert.

Every method blocks and runs in a thread. Raises StorageError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from bridge.alerts.watching import DAY, HISTORY_DAYS, Alert, History
from bridge.storage import reading, writing
from bridge.translation.extent import last_seq

WAITING, SENT, GIVEN_UP = "waiting", "sent", "given up"

FIRST_PAUSE = 5
"""Seconds after the first failure; doubled at each further one, up to LONGEST_PAUSE."""

LONGEST_PAUSE = 1800
PATIENCE = DAY
"""Seconds after which a delivery is given up."""

KEPT = 90 * DAY
MOST_DUE = 20
"""Deliveries taken at a time."""

Route = Callable[[Alert], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One alert to one channel. ``suppressed``: alike ones that were not sent since the alert before it."""

    id: str
    channel: str
    alert: Alert
    attempts: int
    suppressed: int


class Outbox:
    """``repeat``: seconds within which an alert of the same key is counted instead of sent."""

    def __init__(self, engine: Engine, repeat: float) -> None:
        self._engine = engine
        self.repeat = repeat

    def in_thread_start(self, log: str, log_engine: Engine) -> tuple[int, dict[str, History]]:
        """From which sequence number on to watch (the end of the log, when it was never watched), and the history."""
        with reading(self._engine) as connection:
            sql = "SELECT seq FROM watched WHERE log = ?"
            seq = connection.exec_driver_sql(sql, (log,)).scalar_one_or_none()
            days = connection.exec_driver_sql("SELECT agent, day, operations FROM agent_day").all()
        with reading(log_engine) as connection:
            latest = last_seq(connection)
            start = latest if seq is None else min(seq, latest)
            sql = (
                "SELECT agent, system, max(opened) FROM session WHERE opened_seq <= ? GROUP BY agent, system"
                " ORDER BY agent"
            )
            used = connection.exec_driver_sql(sql, (start,)).all()
        history: dict[str, History] = {}
        for agent, system, opened in used:
            known = history.setdefault(agent, History())
            known.systems.add(system)
            known.last = max(known.last, opened / 1000)
        for agent, day, operations in days:
            history.setdefault(agent, History()).days[day] = operations
        return int(start), history

    def in_thread_put(
        self, log: str, seq: int, alerts: Iterable[tuple[str, Alert]], days: Mapping[tuple[str, int], int], route: Route
    ) -> list[tuple[str, Alert, tuple[str, ...]]]:
        """Takes alerts with their ids, and that the log was watched up to ``seq``. Returns those that will be sent,
        each with its channels."""
        taken = []
        with writing(self._engine) as connection:
            for id, alert in alerts:
                if not self._is_repeated(connection, alert):
                    channels = route(alert)
                    self._insert(connection, id, alert, channels)
                    taken.append((id, alert, channels))
            for (agent, day), operations in days.items():
                connection.exec_driver_sql(
                    "INSERT INTO agent_day (agent, day, operations) VALUES (?, ?, ?) ON CONFLICT (agent, day)"
                    " DO UPDATE SET operations = excluded.operations",
                    (agent, day, operations),
                )
            connection.exec_driver_sql(
                "INSERT INTO watched (log, seq) VALUES (?, ?) ON CONFLICT (log) DO UPDATE SET seq = excluded.seq",
                (log, seq),
            )
        return taken

    def _is_repeated(self, connection: Connection, alert: Alert) -> bool:
        sql = "SELECT id FROM alert WHERE key = ? AND at > ? ORDER BY at DESC LIMIT 1"
        lately = connection.exec_driver_sql(sql, (alert.key, int(alert.at - self.repeat))).scalar()
        if lately is not None:
            connection.exec_driver_sql("UPDATE alert SET suppressed = suppressed + 1 WHERE id = ?", (lately,))
        return lately is not None

    def _insert(self, connection: Connection, id: str, alert: Alert, channels: tuple[str, ...]) -> None:
        sql = "SELECT suppressed FROM alert WHERE key = ? ORDER BY at DESC LIMIT 1"
        told = connection.exec_driver_sql(sql, (alert.key,)).scalar() or 0
        connection.exec_driver_sql(
            "INSERT INTO alert (id, key, at, body, suppressed, told) VALUES (?, ?, ?, ?, 0, ?)",
            (id, alert.key, int(alert.at), json.dumps(asdict(alert)), told),
        )
        for channel in dict.fromkeys(channels):
            connection.exec_driver_sql(
                "INSERT INTO alert_delivery (alert, channel, state, attempts, due, cause) VALUES (?, ?, ?, 0, 0, '')",
                (id, channel, WAITING),
            )

    def in_thread_due(self, now: float) -> list[Delivery]:
        sql = (
            "SELECT d.alert, d.channel, a.body, d.attempts, a.told FROM alert_delivery d JOIN alert a ON a.id = d.alert"
            " WHERE d.state = ? AND d.due <= ? ORDER BY d.due LIMIT ?"
        )
        with reading(self._engine) as connection:
            rows = connection.exec_driver_sql(sql, (WAITING, int(now), MOST_DUE)).all()
        return [Delivery(row[0], row[1], Alert(**json.loads(row[2])), row[3], row[4]) for row in rows]

    def in_thread_done(self, delivery: Delivery, cause: str, now: float) -> str:
        """``cause`` "": it was sent. Returns its state."""
        attempts = delivery.attempts + 1
        pause = min(FIRST_PAUSE * 2 ** min(delivery.attempts, 16), LONGEST_PAUSE)
        over = now - delivery.alert.at > PATIENCE
        state = SENT if not cause else GIVEN_UP if over else WAITING
        with writing(self._engine) as connection:
            connection.exec_driver_sql(
                "UPDATE alert_delivery SET state = ?, attempts = ?, due = ?, cause = ? WHERE alert = ? AND channel = ?",
                (state, attempts, int(now + pause), cause, delivery.id, delivery.channel),
            )
        return state

    def in_thread_list(self, limit: int) -> list[dict[str, Any]]:
        """The newest first, each with its ``deliveries``."""
        with reading(self._engine) as connection:
            sql = "SELECT id, body, suppressed FROM alert ORDER BY at DESC, id DESC LIMIT ?"
            rows = connection.exec_driver_sql(sql, (limit,)).all()
            sql = "SELECT channel, state, attempts, cause FROM alert_delivery WHERE alert = ? ORDER BY channel"
            names = ("channel", "state", "attempts", "cause")
            found = {
                row[0]: [dict(zip(names, one, strict=True)) for one in connection.exec_driver_sql(sql, (row[0],))]
                for row in rows
            }
        return [
            {"id": id, **json.loads(body), "suppressed": suppressed, "deliveries": found[id]}
            for id, body, suppressed in rows
        ]

    def in_thread_forget(self, now: float) -> None:
        """Drops what is long over."""
        old = int(now) - KEPT
        with writing(self._engine) as connection:
            ended = "SELECT id FROM alert WHERE at < ?"
            connection.exec_driver_sql(f"DELETE FROM alert_delivery WHERE alert IN ({ended})", (old,))
            connection.exec_driver_sql("DELETE FROM alert WHERE at < ?", (old,))
            today = int(now // DAY)
            connection.exec_driver_sql("DELETE FROM agent_day WHERE day < ?", (today - HISTORY_DAYS - 1,))
