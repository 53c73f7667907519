"""Signing what the log is: when, and with what care.

Ideas:

* The writer's thread signs, in the transaction of the events: a checkpoint is there or its events are not.
* Before it signs, the tree must still contain the last checkpoint: what was taken away or exchanged meanwhile is an
  alarm, and nothing is signed any more that would contradict what was signed before.
* When is counted on the monotonic clock: a clock that jumps neither stops checkpoints nor brings a flood of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine

from bridge.storage import KeyRefused, driver_cursor, load_key, load_or_create_key, reading
from bridge.translation.note import Checkpoint, NoteRefused, Signer, opened
from bridge.translation.stored_tree import StoredTree, TreeDamaged

EVENTS = 1000
INTERVAL = 10.0
IDLE = 3600.0
"""A checkpoint after so many events, or so many seconds after an event without one; heartbeats alone wait an hour."""


class Inconsistent(Exception):
    """The tree does not contain the last checkpoint any more. The message says what is found."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint in the database. ``at`` is Unix milliseconds, of the bridge's clock."""

    size: int
    at: int
    note: str

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint.parse(self.note.partition("\n\n")[0] + "\n")


def last_signed(connection: Connection) -> Signed | None:
    return first_signed(connection, "ORDER BY size DESC")


def first_signed(connection: Connection, which: str, *parameters: int) -> Signed | None:
    """The first that ``which`` (condition and order, in SQL) gives."""
    sql = f"SELECT size, at, note FROM checkpoint {which} LIMIT 1"
    found = connection.exec_driver_sql(sql, parameters).first()
    return Signed(*found) if found else None


class Checkpoints:
    """Of one log. ``append`` and ``seal`` within a writing transaction, in the thread of the writer."""

    def __init__(
        self,
        signer: Signer,
        *,
        events: int = EVENTS,
        interval: float = INTERVAL,
        idle: float = IDLE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.signer = signer
        self.refused = ""
        self._own = ""  # the last that was signed here, whose signature need not be looked at
        self._events = events
        self._interval = interval
        self._idle = idle
        self._monotonic = monotonic
        self._sealed_at = self._monotonic()
        self._unsealed_since: float | None = self._sealed_at  # what an earlier start left without one

    @property
    def wait(self) -> float:
        """Seconds until one is due though nothing more happens."""
        due = self._sealed_at + self._idle
        if self._unsealed_since is not None:
            due = min(due, self._unsealed_since + self._interval)
        return max(0.0, due - self._monotonic())

    def append(self, connection: Connection, size: int, *, idle: bool = False) -> None:
        """The log grew to ``size`` events; ``idle``: by heartbeats only."""
        (signed,) = driver_cursor(connection).execute("SELECT max(size) FROM checkpoint").fetchone()
        if self._unsealed_since is None and not idle:
            self._unsealed_since = self._monotonic()
        if size - (signed or 0) >= self._events or not self.wait:
            self._seal(connection, size)

    def seal(self, connection: Connection) -> None:
        """Signs what there is, if it is more than was signed."""
        self._seal(connection, StoredTree(connection).size())

    def hand_over(self, connection: Connection, new: Signer) -> None:
        """The last checkpoint of this signer names the ``new`` one, which signs it as well. Raises Inconsistent."""
        tree, old = StoredTree(connection), self.signer
        size = tree.size()
        self._check(tree, size, last_signed(connection))
        text = Checkpoint(old.key.name, size, tree.root(size), f"{old.key} {new.key}").text
        self._keep(connection, size, f"{text}\n{old.sign(text)}{new.sign(text)}")

    def _seal(self, connection: Connection, size: int) -> None:
        self._sealed_at, self._unsealed_since = self._monotonic(), None
        last = last_signed(connection)
        if size == (last.size if last else 0):
            return
        tree = StoredTree(connection)
        try:
            self._check(tree, size, last)
            note = Checkpoint(self.signer.key.name, size, tree.root(size)).note(self.signer)
        except (TreeDamaged, Inconsistent, NoteRefused) as problem:
            self.refused = str(problem)
            return
        self.refused, self._own = "", note
        self._keep(connection, size, note)

    @staticmethod
    def _keep(connection: Connection, size: int, note: str) -> None:
        at = time.time_ns() // 1_000_000
        connection.exec_driver_sql("INSERT INTO checkpoint (size, at, note) VALUES (?, ?, ?)", (size, at, note))

    def _check(self, tree: StoredTree, size: int, last: Signed | None) -> None:
        if last is None:
            return
        if size < last.size:
            raise Inconsistent(f"the log has {size} events, but its last checkpoint had {last.size}: it was cut")
        before = last.checkpoint if last.note == self._own else opened(last.note, [self.signer.key])
        if tree.root(before.size) != before.root:
            raise Inconsistent(f"the tree does not agree with the checkpoint of {before.size} events: it was changed")


def _finish_change(state: Path, last: Signed) -> None:
    """The new key takes its place, if a crash came between its first signature and that."""
    draft = state / "log.key.next"
    change = last.checkpoint.change
    if change and draft.exists():
        new = Signer(last.checkpoint.origin, load_key(draft)).key
        if change.endswith(f" {new}"):
            os.replace(draft, state / "log.key")


def load_signer(state: Path, engine: Engine, origin: str) -> Signer:
    """The log's key, made at the first start. Raises KeyRefused, OSError, StorageError, NoteRefused.

    A key that is missing, or another one, while there are checkpoints is refused: they would no longer be one log.
    """
    path = state / "log.key"
    with reading(engine) as connection:
        last = last_signed(connection)
    if last is None:
        return Signer(origin, load_or_create_key(path))
    _finish_change(state, last)
    try:
        signer = Signer(origin, load_key(path))
    except FileNotFoundError:
        raise KeyRefused(f"{path}: is missing, but the log has checkpoints signed with it; restore it") from None
    try:
        opened(last.note, [signer.key])
    except NoteRefused as problem:
        raise KeyRefused(f"{path}: is not the key (or log.origin is not the name) of the log: {problem}") from None
    return signer
