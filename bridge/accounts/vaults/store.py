"""The bridge's own store: AES-256-GCM rows in the registry database, the key in a file outside of it.

A row's name is its additional authenticated data, so that rows cannot be exchanged for one another.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Engine

from bridge.accounts.vaults.reference import SecretUnavailable
from bridge.adapter import BridgeError, Secret
from bridge.storage import NotPrivate, StorageError, create_private, read_private, reading, writing

KEY_SIZE = 32
NONCE_SIZE = 12  # SP 800-38D, 8.2.2: random, safe for 2**32 writes under one key
MAX_SIZE = 64 * 1024
MAX_NAME = 128

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._/-]{{0,{MAX_NAME - 1}}}")


class StoreKeyRefused(BridgeError):
    """The key file cannot be used. The message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What may be shown of a stored secret. Times are Unix seconds."""

    name: str
    created: int
    updated: int
    revision: int


class Store:
    """``in_thread_*`` block. Raises StorageError where the database fails."""

    def __init__(self, engine: Engine, key_file: Path, now: Callable[[], float]) -> None:
        self._engine = engine
        key = _load(key_file) or _create(key_file, engine)
        self._cipher = AESGCM(key)
        self._key_id = hashlib.sha256(b"idbridge store key\0" + key).hexdigest()[:16]
        self._now = now

    def in_thread_set(self, name: str, value: Secret) -> tuple[Stored | None, Stored]:
        """Stores or replaces; returns what was and what is. Raises ValueError for a bad name or size."""
        if not _NAME.fullmatch(name):
            raise ValueError("a name is 1 to 128 of A-Z a-z 0-9 . _ / - and begins with a letter or digit")
        plain = value.reveal()
        if not 0 < len(plain) <= MAX_SIZE:
            raise ValueError(f"a secret has 1 to {MAX_SIZE} bytes")
        nonce = secrets.token_bytes(NONCE_SIZE)
        sealed = self._cipher.encrypt(nonce, plain, name.encode())
        now = int(self._now())
        with writing(self._engine) as connection:
            before = _stored(connection, name)
            after = Stored(name, before.created if before else now, now, before.revision + 1 if before else 1)
            connection.exec_driver_sql(
                "INSERT INTO stored_secret (name, key_id, nonce, ciphertext, created, updated, revision)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET key_id = excluded.key_id,"
                " nonce = excluded.nonce, ciphertext = excluded.ciphertext, updated = excluded.updated,"
                " revision = excluded.revision",
                (name, self._key_id, nonce, sealed, after.created, after.updated, after.revision),
            )
        return before, after

    def in_thread_list(self) -> list[Stored]:
        with reading(self._engine) as connection:
            rows = connection.exec_driver_sql(
                "SELECT name, created, updated, revision FROM stored_secret ORDER BY name"
            )
            return [Stored(*row) for row in rows]

    def in_thread_delete(self, name: str) -> Stored | None:
        """What was deleted; None when there was nothing."""
        with writing(self._engine) as connection:
            before = _stored(connection, name)
            connection.exec_driver_sql("DELETE FROM stored_secret WHERE name = ?", (name,))
        return before

    def in_thread_read(self, path: str) -> Secret:
        try:
            with reading(self._engine) as connection:
                sql = "SELECT key_id, nonce, ciphertext FROM stored_secret WHERE name = ?"
                row = connection.exec_driver_sql(sql, (path,)).one_or_none()
        except StorageError as error:
            raise SecretUnavailable(f"store:{path}: {error}") from None
        if row is None:
            raise SecretUnavailable(f"store:{path}: not in the store; run `idbridge secret set {path}`")
        if row.key_id != self._key_id:
            raise SecretUnavailable(f"store:{path}: was stored under another key file")
        try:
            return Secret(self._cipher.decrypt(row.nonce, row.ciphertext, path.encode()))
        except InvalidTag:
            raise SecretUnavailable(f"store:{path}: the stored row was altered") from None


def _stored(connection: object, name: str) -> Stored | None:
    sql = "SELECT name, created, updated, revision FROM stored_secret WHERE name = ?"
    row = connection.exec_driver_sql(sql, (name,)).one_or_none()  # type: ignore[attr-defined]
    return Stored(*row) if row else None


def _load(path: Path) -> bytes | None:
    """None when there is no such file."""
    try:
        key = read_private(path, KEY_SIZE + 1, links=True)
    except FileNotFoundError:
        return None
    except NotPrivate as problem:
        raise StoreKeyRefused(str(problem)) from None
    if len(key) != KEY_SIZE:
        raise StoreKeyRefused(f"{path}: not a key of {KEY_SIZE} bytes; restore it from your backup")
    return key


def _create(path: Path, engine: Engine) -> bytes:
    """The key of an empty store; a store with rows has lost its key, and a new one would hide that."""
    with reading(engine) as connection:
        if connection.exec_driver_sql("SELECT 1 FROM stored_secret LIMIT 1").first():
            raise StoreKeyRefused(f"{path}: missing, and secrets are stored under it; restore it from your backup")
    try:
        create_private(path, secrets.token_bytes(KEY_SIZE))
        key = _load(path)
    except OSError as error:
        raise StoreKeyRefused(f"{path}: cannot be written: {error.strerror}") from None
    if key is None:
        raise StoreKeyRefused(f"{path}: was removed while it was made")
    return key
