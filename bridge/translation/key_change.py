"""The log's key is replaced: the last checkpoint of the old one names the new one, and both sign it.

A key signs the checkpoints after the one that brought it, up to the one that names its successor. Whoever trusts one
key of a log so knows the others, before and after, and what each may sign; an old key that is stolen later signs
nothing any more. What a stolen key can do is to name a successor: that stands in the log, and no witness that has not
been given the new key cosigns what it signs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine

from bridge.storage import KeyRefused, load_key, load_or_create_key, reading, writing
from bridge.translation.appending import append
from bridge.translation.checkpoints import Checkpoints, Inconsistent, load_signer
from bridge.translation.identifiers import Identifiers, Timestamps
from bridge.translation.note import CHANGE, Checkpoint, Note, NoteRefused, Signer, VerifierKey
from bridge.translation.record import Event, EventEntry

NEXT = "log.key.next"


@dataclass(slots=True)
class Tenure:
    """``key`` signs checkpoints of more than ``since`` and at most ``until`` events (None: it is the present one)."""

    key: VerifierKey
    since: int = 0
    until: int | None = None

    def covers(self, size: int) -> bool:
        return self.since < size and (self.until is None or size <= self.until)


class Keys:
    """What follows from the ``trusted`` keys and the notes of changes, oldest first."""

    def __init__(self, trusted: Sequence[VerifierKey], changes: Iterable[str] = ()) -> None:
        self.trusted = trusted
        self._tenures = {str(key): Tenure(key) for key in trusted}
        found = [change for note in changes if (change := _change(note)) is not None]
        for _, old, new in reversed(found):  # whom a trusted key names as the one before
            if str(new) in self._tenures and str(old) not in self._tenures:
                self._tenures[str(old)] = Tenure(old)
        for size, old, new in found:
            before = self._tenures.get(str(old))
            if before is not None and before.covers(size):
                before.until = size
                self._tenures[str(new)] = Tenure(new, size)

    @property
    def all(self) -> list[VerifierKey]:
        return [tenure.key for tenure in self._tenures.values()]

    def opened(self, note: str) -> Checkpoint:
        """The checkpoint in ``note``, signed by the key that was the log's then. Raises NoteRefused."""
        read = Note.parse(note)
        checkpoint = Checkpoint.parse(read.text)
        signed = [self._tenures[str(key)] for key, _ in read.signed_by(self.all) if key.name == checkpoint.origin]
        if not signed:
            raise NoteRefused(f"no known key of {checkpoint.origin} signed this checkpoint of {checkpoint.size} events")
        if not any(tenure.covers(checkpoint.size) for tenure in signed):
            raise NoteRefused(
                f"the key that signed this checkpoint of {checkpoint.size} events was not the log's then: it signed"
                f" more than {signed[0].since} and at most {signed[0].until}"
            )
        return checkpoint


def _change(note: str) -> tuple[int, VerifierKey, VerifierKey] | None:
    """Size, old and new key of a note that both of them signed."""
    try:
        read = Note.parse(note)
        checkpoint = Checkpoint.parse(read.text)
        old, new = (VerifierKey.parse(one) for one in checkpoint.change.split(" "))
        signed = {str(key) for key, _ in read.signed_by((old, new))}
    except (NoteRefused, ValueError):
        return None
    right = signed == {str(old), str(new)} and old.name == new.name == checkpoint.origin
    return (checkpoint.size, old, new) if right else None


def changes(connection: Connection, upto: int = 2**62) -> list[str]:
    """The notes of at most ``upto`` events that name another key, oldest first."""
    sql = "SELECT note FROM checkpoint WHERE size <= ? AND instr(note, ?) > 0 ORDER BY size"
    return [str(row[0]) for row in connection.exec_driver_sql(sql, (upto, f"\n{CHANGE} "))]


def in_thread_keys(engine: Engine, trusted: Sequence[VerifierKey]) -> Keys:
    """Raises StorageError."""
    with reading(engine) as connection:
        return Keys(trusted, changes(connection))


# -- replacing it


def in_thread_prepare_key(state: Path, origin: str) -> VerifierKey:
    """The key that is to be the next, made if there is none yet. Raises KeyRefused, OSError."""
    return Signer(origin, load_or_create_key(state / NEXT)).key


def in_thread_change_key(engine: Engine, state: Path, log: str, event: Event, origin: str) -> VerifierKey:
    """Records ``event`` and signs it in the last checkpoint of the old key, in one commit; then the file is replaced.

    For a process that owns the state directory. Raises KeyRefused, StorageError, OSError.
    """
    old = load_signer(state, engine, origin)
    in_thread_prepare_key(state, origin)
    new = Signer(origin, load_key(state / NEXT))
    with writing(engine) as connection:
        append(connection, log, [EventEntry(event.stamped(Identifiers())).plain()], Timestamps())
        try:
            Checkpoints(old).hand_over(connection, new)
        except Inconsistent as problem:
            raise KeyRefused(f"{problem}; run `idbridge log verify`") from None
    os.replace(state / NEXT, state / "log.key")  # a start after a crash before this does it
    return new.key
