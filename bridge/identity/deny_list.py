"""Tokens that are refused although they are genuine: by (iss, token id), never by a hash of the token (research A3, 12).

In memory for the path of every login, in the registry database for the next start. An entry ends when no token that it
could mean can still be valid.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine

from bridge.identity.registry import bump
from bridge.storage import reading, writing

TOKEN = "token"


class DenyList:
    def __init__(self, engine: Engine, now: Callable[[], float]) -> None:
        self._engine = engine
        self._now = now
        self._denied: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._denied)

    def denies(self, iss: str, token_id: str) -> bool:
        return (iss, token_id) in self._denied

    def in_thread_load(self) -> None:
        """Takes what the database has."""
        with reading(self._engine) as connection:
            sql = "SELECT value, token_id, expires FROM denial WHERE kind = ? AND expires > ?"
            rows = connection.exec_driver_sql(sql, (TOKEN, int(self._now()))).all()
        self._denied = {(iss, token_id): expires for iss, token_id, expires in rows}

    def in_thread_add(self, iss: str, token_id: str, expires: int, reason: str, actor: str) -> None:
        """Denies from the return on, here and at every later start; other processes see it within a second."""
        now = int(self._now())
        with writing(self._engine) as connection:
            connection.exec_driver_sql("DELETE FROM denial WHERE expires <= ?", (now,))
            connection.exec_driver_sql(
                "INSERT INTO denial (kind, value, token_id, expires, reason, actor, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (kind, value, token_id) DO UPDATE SET expires = max(expires, excluded.expires)",
                (TOKEN, iss, token_id, expires, reason, actor, now),
            )
            bump(connection)
        self._denied = {**self._denied, (iss, token_id): expires}
