"""The modes that were taken last, and the demotions asked for, on the database.

Every method blocks and runs in a thread. Raises StorageError.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import Connection, Engine

from bridge.policy.demotion import Demotion
from bridge.policy.phases import Lowered, Phases, phases_of, plain
from bridge.storage import reading, writing

_COLUMNS = tuple(field.name for field in fields(Demotion))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM demotion"
_PUT = f"INSERT OR REPLACE INTO demotion ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


class Demotions:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def in_thread_phases(self) -> Phases | None:
        """Of the configuration that was taken last; None before the first."""
        with reading(self._engine) as connection:
            body = connection.exec_driver_sql("SELECT body FROM phases").scalar()
        return phases_of(json.loads(body)) if body is not None else None

    def in_thread_keep(self, phases: Phases, now: int, demotion: str = "") -> None:
        """They were taken, by this demotion, whose approval is used up by that."""
        body = json.dumps(plain(phases), sort_keys=True)
        with writing(self._engine) as connection:
            if body != connection.exec_driver_sql("SELECT body FROM phases").scalar():
                connection.exec_driver_sql("DELETE FROM phases")
                connection.exec_driver_sql("INSERT INTO phases (body, taken) VALUES (?, ?)", (body, now))
            if demotion:
                connection.exec_driver_sql("UPDATE demotion SET taken = ? WHERE id = ?", (now, demotion))

    def in_thread_all(self) -> list[Demotion]:
        """The newest first."""
        with reading(self._engine) as connection:
            rows = connection.exec_driver_sql(f"{_SELECT} ORDER BY created DESC, id").all()
        return [_demotion(row) for row in rows]

    def in_thread_find(self, id: str) -> Demotion | None:
        with reading(self._engine) as connection:
            return _find(connection, id)

    def in_thread_add(self, one: Demotion) -> bool:
        """False when the id is taken."""
        with writing(self._engine) as connection:
            if _find(connection, one.id) is not None:
                return False
            _put(connection, one)
        return True

    def in_thread_approve(
        self, id: str, check: Callable[[Demotion], object], person: str, signature: str
    ) -> tuple[Demotion, Demotion] | None:
        """Unless ``check`` raises for it as it stands. Before and after, or None when there is none."""
        with writing(self._engine) as connection:
            found = _find(connection, id)
            if found is None:
                return None
            check(found)
            approved = replace(found, approver=person, approval=signature)
            _put(connection, approved)
        return found, approved


def _find(connection: Connection, id: str) -> Demotion | None:
    row = connection.exec_driver_sql(f"{_SELECT} WHERE id = ?", (id,)).one_or_none()
    return _demotion(row) if row is not None else None


def _put(connection: Connection, one: Demotion) -> None:
    values = {name: getattr(one, name) for name in _COLUMNS} | {"changes": json.dumps(one.changes)}
    connection.exec_driver_sql(_PUT, tuple(values.values()))


def _demotion(row: Any) -> Demotion:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Demotion(**values | {"changes": tuple(Lowered(*one) for one in json.loads(values["changes"]))})
