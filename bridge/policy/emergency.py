"""Break-glass: an agent becomes an account that no grant gives it, for minutes, because several people say so.

Pure. A request, each approval, each use and the review are statements that their authors sign with Ed25519 keys kept
offline, so that nothing here needs an identity provider. What the signatures open is an ordinary grant with an end, and
only for whoever comes with a token of this emergency: deny grants still win, and every operation is decided and
recorded as any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from bridge.adapter import Action
from bridge.policy.grants import TEMPORARY, Grant, Mode
from bridge.policy.signing import is_signed, statement

PREFIX = f"breakglass{TEMPORARY}"
"""Of the id of the grant, and of the role that a session of the emergency has; no configured name has a colon."""

PATIENCE = 4 * 3600
"""Seconds after the request in which it must be approved and first used: an emergency is now."""

CLOCK_STEP = 60
"""Seconds by which a clock may be set back in an emergency; further back, its end cannot be told and it is over."""


class State(StrEnum):
    """``requested`` → ``approved`` → ``open`` → ``over`` → ``reviewed``; ``lapsed``: not approved or used in time."""

    REQUESTED = "requested"
    APPROVED = "approved"
    OPEN = "open"
    OVER = "over"
    REVIEWED = "reviewed"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class Rules:
    """``people``: name → Ed25519 public key (base64url). ``longest`` and ``review`` in seconds.

    ``bridge`` is the bridge's name, which is part of what is signed.
    """

    people: Mapping[str, str] = field(default_factory=dict)
    approvals: int = 2
    longest: int = 3600
    review: int = 72 * 3600
    bridge: str = ""


@dataclass(frozen=True, slots=True)
class Emergency:
    """Times are Unix seconds, 0: not yet. ``approvals`` maps who approved to the signature. ``used`` is the time that
    the last use signed, ``ended`` when the bridge saw the end, ``reminded`` when it last told that the review is
    overdue. ``rotated``: the password was changed after the end.
    """

    id: str
    system: str
    account: str
    agent: str
    requester: str
    reason: str
    seconds: int
    created: int
    signature: str = ""
    approvals: Mapping[str, str] = field(default_factory=dict)
    began: int = 0
    used: int = 0
    ended: int = 0
    reminded: int = 0
    reviewer: str = ""
    reviewed: int = 0
    note: str = ""
    rotated: bool = False

    def state(self, rules: Rules, now: float) -> State:
        if self.reviewed:
            return State.REVIEWED
        if self.began:
            return State.OPEN if self.is_open(now) and self._is_approved(rules) else State.OVER
        if now >= self.created + PATIENCE:
            return State.LAPSED
        return State.APPROVED if self._is_approved(rules) else State.REQUESTED

    def _is_approved(self, rules: Rules) -> bool:
        return len(self.approvers(rules)) >= rules.approvals

    def is_open(self, now: float) -> bool:
        """As far as time goes."""
        return bool(self.began) and not self.ended and self.began - CLOCK_STEP <= now < self.ends

    @property
    def ends(self) -> int:
        return self.began + self.seconds if self.began else 0

    def overdue(self, rules: Rules, now: float) -> bool:
        """Whether its review is."""
        return self.state(rules, now) is State.OVER and now >= self.ends + rules.review

    def approvers(self, rules: Rules) -> list[str]:
        """Who has approved and may, with the keys of now: not who asked, and nobody twice."""
        text = self.statement(rules.bridge, "approve")
        return [
            person
            for person, signature in self.approvals.items()
            if person != self.requester and is_signed(rules.people, person, text, signature)
        ]

    def signatures(self) -> list[tuple[str, str]]:
        """Who signed what stands here: the request first, then the approvals."""
        return [(self.requester, self.signature), *self.approvals.items()]

    def grant(self) -> Grant:
        """What counts from the first use to the end, for sessions that ``role`` marks as this emergency's."""
        return Grant(
            id=role(self.id),
            agents=frozenset({self.agent}),
            roles=frozenset({role(self.id)}),
            systems=frozenset({self.system}),
            account=self.account,
            expires=self.ends,
            mode=Mode.ENFORCE,
            actions=frozenset(Action),
            reason=f"break-glass by {self.requester}, approved by {', '.join(self.approvals)}: {self.reason}",
        )

    def statement(self, bridge: str, verb: str, at: int = 0) -> bytes:
        """What the author of ``verb`` (request, approve, use, review) signs. ``at``: of a use, so that none is old."""
        lines: dict[str, str | int] = {
            "bridge": bridge,
            "id": self.id,
            "verb": verb,
            "system": self.system,
            "account": self.account,
            "agent": self.agent,
            "requester": self.requester,
            "seconds": self.seconds,
            "created": self.created,
            "reason": "sha256:" + sha256(self.reason.encode()).hexdigest(),
        }
        return statement("break-glass", lines | ({"at": at} if at else {}))


def role(emergency: str) -> str:
    """The role of sessions of an emergency, by its id; also the id of its grant."""
    return PREFIX + emergency


def plain(one: Emergency, rules: Rules, now: float, owner: str) -> dict[str, Any]:
    """As commands show it and the log keeps it; ``owner`` is the agent's."""
    due = one.ends + rules.review if one.began and not one.reviewed else 0
    return {
        "id": one.id,
        "state": one.state(rules, now).value,
        "system": one.system,
        "account": one.account,
        "agent": one.agent,
        "owner": owner,
        "requester": one.requester,
        "reason": one.reason,
        "seconds": one.seconds,
        "created": one.created,
        "approvals": one.approvers(rules),
        "approvals_needed": rules.approvals,
        "began": one.began,
        "ends": one.ends,
        "ended": one.ended,
        "review_due": due,
        "overdue": one.overdue(rules, now),
        "reviewer": one.reviewer,
        "reviewed": one.reviewed,
        "note": one.note,
        "rotation_due": bool(one.began) and not one.rotated,
        "signatures": [f"{person} {signature}" for person, signature in one.signatures()],
    }
