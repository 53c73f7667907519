"""Break-glass objects on the database. Every method blocks and runs in a thread. Raises StorageError."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import Connection, Engine

from bridge.policy.emergency import Emergency
from bridge.storage import reading, writing

_COLUMNS = tuple(field.name for field in fields(Emergency))
_CHANGING = _COLUMNS[_COLUMNS.index("approvals") :]
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM break_glass"
_PUT = (
    f"INSERT INTO break_glass ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _CHANGING)}"
)

Change = Callable[[Emergency], Emergency]


class Emergencies:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def in_thread_all(self) -> list[Emergency]:
        """The newest first."""
        with reading(self._engine) as connection:
            rows = connection.exec_driver_sql(f"{_SELECT} ORDER BY created DESC, id").all()
        return [_emergency(row) for row in rows]

    def in_thread_unsettled(self) -> list[Emergency]:
        """Those that began and whose review or new password is still to come."""
        sql = f"{_SELECT} WHERE began > 0 AND (reviewed = 0 OR rotated = 0) ORDER BY created, id"
        with reading(self._engine) as connection:
            return [_emergency(row) for row in connection.exec_driver_sql(sql).all()]

    def in_thread_find(self, id: str) -> Emergency | None:
        with reading(self._engine) as connection:
            return _find(connection, id)

    def in_thread_add(self, one: Emergency) -> bool:
        """False when the id is taken."""
        with writing(self._engine) as connection:
            if _find(connection, one.id) is not None:
                return False
            _put(connection, one)
        return True

    def in_thread_change(self, id: str, change: Change) -> tuple[Emergency, Emergency] | None:
        """Puts what ``change`` makes of it as it stands; before and after, or None when there is none."""
        with writing(self._engine) as connection:
            found = _find(connection, id)
            if found is None:
                return None
            changed = change(found)
            if changed != found:
                _put(connection, changed)
        return found, changed

    def in_thread_rotated(self, system: str, account: str, at: int) -> list[tuple[Emergency, Emergency]]:
        """The account got a new password: marks those of its emergencies that were over by then."""
        due = [one for one in self.in_thread_unsettled() if (one.system, one.account) == (system, account)]
        over = [one.id for one in due if not one.rotated and not one.is_open(at)]
        changed = (self.in_thread_change(id, lambda one: replace(one, rotated=True)) for id in over)
        return [pair for pair in changed if pair is not None]


def _find(connection: Connection, id: str) -> Emergency | None:
    row = connection.exec_driver_sql(f"{_SELECT} WHERE id = ?", (id,)).one_or_none()
    return _emergency(row) if row is not None else None


def _put(connection: Connection, one: Emergency) -> None:
    values = {name: getattr(one, name) for name in _COLUMNS} | {"approvals": json.dumps(dict(one.approvals))}
    connection.exec_driver_sql(_PUT, tuple(values.values()))


def _emergency(row: Any) -> Emergency:
    values = dict(zip(_COLUMNS, row, strict=True))
    values |= {"approvals": json.loads(values["approvals"]), "rotated": bool(values["rotated"])}
    return Emergency(**values)
