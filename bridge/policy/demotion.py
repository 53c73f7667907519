"""A demotion: a change that makes modes less strict. One person asks for exactly this change, another one approves it.

Pure. Both sign (see ``signing``) with keys that the bridge knew before the change. An approval is good for one change,
once, and for a day.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from bridge.policy.phases import Lowered
from bridge.policy.signing import is_signed, statement

PATIENCE = 86_400
"""Seconds after the request in which it must be approved and the configuration taken."""


class State(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    TAKEN = "taken"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class Demotion:
    """Times are Unix seconds, 0: not yet. ``signature`` is the requester's, ``approval`` the approver's."""

    id: str
    changes: tuple[Lowered, ...]
    requester: str
    reason: str
    created: int
    signature: str = ""
    approver: str = ""
    approval: str = ""
    taken: int = 0

    @property
    def digest(self) -> str:
        return digest(self.changes)

    def state(self, people: Mapping[str, str], bridge: str, now: float) -> State:
        if self.taken:
            return State.TAKEN
        if now >= self.created + PATIENCE:
            return State.LAPSED
        return State.APPROVED if self._is_approved(people, bridge) else State.REQUESTED

    def _is_approved(self, people: Mapping[str, str], bridge: str) -> bool:
        """By the keys of now, whatever the database says."""
        asked, approved = (self.statement(bridge, verb) for verb in ("request", "approve"))
        return (
            self.approver != self.requester
            and is_signed(people, self.requester, asked, self.signature)
            and is_signed(people, self.approver, approved, self.approval)
        )

    def statement(self, bridge: str, verb: str) -> bytes:
        """What the author of ``verb`` (request, approve) signs; the changes stand in it to be read."""
        lines: dict[str, str | int] = {
            "bridge": bridge,
            "id": self.id,
            "verb": verb,
            "requester": self.requester,
            "created": self.created,
            "reason": "sha256:" + sha256(self.reason.encode()).hexdigest(),
            "changes": self.digest,
        }
        read = {f"change {number}": str(one) for number, one in enumerate(sorted(self.changes), 1)}
        return statement("demotion", lines | read)


def digest(changes: Iterable[Lowered]) -> str:
    """Of exactly these changes, in any order."""
    text = json.dumps(sorted(changes), separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + sha256(text.encode()).hexdigest()


def plain(one: Demotion, people: Mapping[str, str], bridge: str, now: float) -> dict[str, Any]:
    """As commands show it and the log keeps it."""
    signatures = [f"{one.requester} {one.signature}"] + ([f"{one.approver} {one.approval}"] if one.approver else [])
    return {
        "id": one.id,
        "state": one.state(people, bridge, now).value,
        "changes": rows(one.changes),
        "digest": one.digest,
        "requester": one.requester,
        "reason": one.reason,
        "created": one.created,
        "approver": one.approver,
        "taken": one.taken,
        "signatures": signatures,
    }


def rows(changes: Iterable[Lowered]) -> list[dict[str, str]]:
    return [one._asdict() for one in changes]
