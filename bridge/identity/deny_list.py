"""Tokens that are refused although they are genuine: by (iss, token id), never by a hash of the token, which has two
valid texts where the signature is ECDSA.

In memory for the path of every login, in the registry database for the next start. An entry ends when no token that it
could mean can still be valid.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import Engine

from bridge.identity.registry import bump
from bridge.storage import reading, writing

TOKEN = "token"  # noqa: S105  the kind of an entry

KEPT_AFTER_END = 120
"""Seconds that an entry outlives its token: an issuer's leeway, at most 60, lets the token in for so long."""


class DenyList:
    def __init__(self, engine: Engine, now: Callable[[], float]) -> None:
        self._engine = engine
        self._now = now
        self._denied: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()  # a load must not put an older state over an entry just added

    def __len__(self) -> int:
        return len(self._denied)

    def denies(self, iss: str, token_id: str) -> bool:
        return (iss, token_id) in self._denied

    def in_thread_load(self) -> None:
        """Takes what the database has."""
        with self._lock, reading(self._engine) as connection:
            sql = "SELECT value, token_id, expires FROM denial WHERE kind = ? AND expires > ?"
            rows = connection.exec_driver_sql(sql, (TOKEN, int(self._now()) - KEPT_AFTER_END)).all()
            self._denied = {(iss, token_id): expires for iss, token_id, expires in rows}

    def in_thread_add(self, iss: str, token_id: str, expires: int, reason: str, actor: str) -> None:
        """Denies from the return on, here and at every later start; other processes see it within a second."""
        now = int(self._now())
        with self._lock:
            self._add(iss, token_id, expires, reason, actor, now)
            self._denied = {**self._denied, (iss, token_id): max(expires, self._denied.get((iss, token_id), 0))}

    def _add(self, iss: str, token_id: str, expires: int, reason: str, actor: str, now: int) -> None:
        with writing(self._engine) as connection:
            connection.exec_driver_sql("DELETE FROM denial WHERE expires <= ?", (now - KEPT_AFTER_END,))
            connection.exec_driver_sql(
                "INSERT INTO denial (kind, value, token_id, expires, reason, actor, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (kind, value, token_id) DO UPDATE SET expires = max(expires, excluded.expires)",
                (TOKEN, iss, token_id, expires, reason, actor, now),
            )
            bump(connection)
