"""Which text or portal a name means, although answers arrive later than the messages that use it.

A change (Parse, Bind, Close, DEALLOCATE …) counts once the server confirmed it; until then it is in flight, in the
batch (up to the next Sync) that asked for it. A change in the asking message's own batch is safe to build on: if it
fails, the server skips the asking message too. A change of an earlier batch may fail alone: unless that would leave the
name unknown to the server, the answer is ``IN_DOUBT`` and the caller waits until everything in flight is answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")

ALL = b"*"
"""As the name of a change: every name (DEALLOCATE ALL). The protocol and SQL reach no statement named so by accident:
``PREPARE "*"`` is possible, and then forgetting more than needed only makes later uses not understood."""


class Doubt(Enum):
    IN_DOUBT = "in doubt"


IN_DOUBT = Doubt.IN_DOUBT


@dataclass(eq=False, slots=True)
class Change(Generic[T]):
    """``value`` None: the name goes away."""

    names: Names[T]
    name: bytes
    value: T | None
    batch: int

    def confirm(self) -> None:
        self.names.settle(self, kept=True)

    def drop(self) -> None:
        self.names.settle(self, kept=False)


class Names(Generic[T]):
    __slots__ = ("_flying", "known")

    def __init__(self) -> None:
        self.known: dict[bytes, T] = {}
        self._flying: list[Change[T]] = []

    def change(self, name: bytes, value: T | None, batch: int) -> Change[T]:
        change = Change(self, name, value, batch)
        self._flying.append(change)
        return change

    def settle(self, change: Change[T], *, kept: bool) -> None:
        if change not in self._flying:
            return
        self._flying.remove(change)
        if not kept:
            return
        if change.name == ALL and change.value is None:
            self.known.clear()
        elif change.value is None:
            self.known.pop(change.name, None)
        else:
            self.known[change.name] = change.value

    @property
    def settled(self) -> bool:
        """Nothing is in flight."""
        return not self._flying

    def resolve(self, name: bytes, batch: int) -> T | Doubt | None:
        touching = [change for change in self._flying if change.name in (name, ALL)] if self._flying else ()
        if not touching:
            return self.known.get(name)
        last = touching[-1]
        if last.batch == batch:
            return last.value
        if len(touching) == 1 and last.value is not None and name not in self.known:
            return last.value
        return IN_DOUBT
