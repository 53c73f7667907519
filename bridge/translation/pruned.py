"""Which events are not in the log any more on purpose: what its ``log.prune`` events say.

Such an event names a range from the front of the log, what was archived of it, and the few events in it that stay
(``KEPT``); it is durable before the first of the others is deleted. So whatever is missing without one was not pruned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from bridge.translation.parts import at, part
from bridge.translation.vocabulary import LOG_KEY, LOG_PRUNE, POLICY_VERSION, REGISTRY_CHANGE

KEPT = (POLICY_VERSION, REGISTRY_CHANGE, LOG_PRUNE, LOG_KEY)
"""Types that are never deleted: what policy and registry were at a time follows from all of them."""

_STATEMENT = "SELECT seq, body FROM event INDEXED BY event_pruned WHERE type = 'log.prune' ORDER BY seq"


class NotPruned(ValueError):
    """An event of type ``log.prune`` that cannot be read as one."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What event ``seq`` says: of the events ``first`` to ``last`` only ``kept`` are left, those of ``types``.

    ``at`` is its time, ``until`` the time of event ``last`` (Unix milliseconds); ``root`` that of the tree of ``last``
    events; ``kept_digest`` is ``digest`` of the sequence numbers that are left; ``segments`` the archive's files, by
    name, with their SHA-256 (hex).
    """

    seq: int
    at: int
    first: int
    last: int
    until: int
    root: bytes
    types: tuple[str, ...]
    kept: int
    kept_digest: str
    segments: dict[str, str]

    @classmethod
    def parse(cls, seq: int, body: object) -> Pruned:
        """Raises NotPruned."""
        try:
            fields: dict[str, Any] = json.loads(str(body))
            detail = part(fields, "detail")
            found = cls(
                seq, at(fields), int(detail["first"]), int(detail["last"]), int(detail["until"]),
                bytes.fromhex(detail["root"]), tuple(detail["types"]), int(detail["kept"]), str(detail["kept_digest"]),
                {str(name): str(digest) for name, digest in detail["segments"].items()},
            )  # fmt: skip
        except (ValueError, LookupError, TypeError, AttributeError):
            raise NotPruned(f"event {seq} does not say what was pruned") from None
        if fields.get("type") != LOG_PRUNE or fields.get("seq") != seq or not 0 < found.first <= found.last < seq:
            raise NotPruned(f"event {seq} does not say what was pruned")
        return found

    def detail(self) -> dict[str, Any]:
        """As the event has it."""
        return {
            "first": self.first, "last": self.last, "until": self.until, "root": self.root.hex(),
            "types": list(self.types), "kept": self.kept, "kept_digest": self.kept_digest, "segments": self.segments,
        }  # fmt: skip


def digest(seqs: Iterable[int]) -> str:
    """Of sequence numbers in their order, one a line: SHA-256 in hex."""
    return hashlib.sha256("".join(f"{seq}\n" for seq in seqs).encode()).hexdigest()


def last_pruned(connection: Connection) -> Pruned | None:
    """Takes microseconds. An event that says nothing prunes nothing."""
    for seq, body in connection.exec_driver_sql(f"{_STATEMENT} DESC LIMIT 1"):
        try:
            return Pruned.parse(seq, body)
        except NotPruned:
            return None
    return None


def every_pruned(connection: Connection) -> Iterator[Pruned]:
    """Oldest first; each continues the one before it."""
    end = 0
    for seq, body in connection.exec_driver_sql(_STATEMENT).all():
        try:
            one = Pruned.parse(seq, body)
        except NotPruned:
            continue
        if one.first == end + 1:
            end = one.last
            yield one


def pruned_upto(connection: Connection) -> int:
    """The last sequence number of what was pruned; 0 when nothing was."""
    found = last_pruned(connection)
    return found.last if found else 0
