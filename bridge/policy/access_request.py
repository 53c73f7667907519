"""Access for a time: what an agent asks for beyond its grants, and the grant that it becomes when somebody gives it.

Pure. What is given is an ordinary grant with an end: deny grants still win, the mode is the system's, and every
operation is decided and recorded as any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from bridge.adapter import Action
from bridge.policy.decider import Decider
from bridge.policy.decision import Decision, Subject
from bridge.policy.grants import TEMPORARY, Effect, Grant, is_temporary
from bridge.policy.questions import who_can

PREFIX = f"request{TEMPORARY}"
"""Of the id of the grant."""


class State(StrEnum):
    """``pending`` → ``approved`` → ``over``; by people ``denied``, ``withdrawn`` (while pending) and ``revoked``.

    ``lapsed``: nobody decided in time.
    """

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    WITHDRAWN = "withdrawn"
    LAPSED = "lapsed"
    REVOKED = "revoked"
    OVER = "over"


OPEN = (State.PENDING, State.APPROVED)


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Times are Unix seconds; ``decided`` and ``ends`` 0: not yet. ``lapses``: until when it must be decided.

    ``requester`` is who asked: the agent itself, or ``user:NAME`` in its name. ``behalf`` is for whom the agent acted
    then, as ``ISSUER SUBJECT``. ``reference`` is the refusal that it is about.
    """

    id: str
    agent: str
    system: str
    account: str
    actions: frozenset[Action]
    seconds: int
    reason: str
    requester: str
    created: int
    lapses: int
    targets: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    behalf: str = ""
    reference: str = ""
    state: State = State.PENDING
    decider: str = ""
    decided: int = 0
    note: str = ""
    ends: int = 0

    def state_at(self, now: float) -> State:
        if self.state is State.PENDING and now >= self.lapses:
            return State.LAPSED
        if self.state is State.APPROVED and now >= self.ends:
            return State.OVER
        return self.state

    @property
    def what(self) -> tuple[object, ...]:
        """Two open requests for the same are one."""
        targets = tuple(sorted((name, tuple(sorted(values))) for name, values in self.targets.items()))
        return self.agent, self.system, self.account, tuple(sorted(self.actions)), targets

    def plain(self, now: float) -> dict[str, Any]:
        """As JSON, for the log and for answers."""
        return {
            "id": self.id,
            "state": self.state_at(now).value,
            "agent": self.agent,
            "system": self.system,
            "account": self.account,
            "actions": sorted(self.actions),
            "targets": {name: sorted(values) for name, values in sorted(self.targets.items())},
            "seconds": self.seconds,
            "reason": self.reason,
            "requester": self.requester,
            "behalf": self.behalf,
            "reference": self.reference,
            "created": self.created,
            "lapses": self.lapses if self.state is State.PENDING else 0,
            "decider": self.decider,
            "decided": self.decided,
            "note": self.note,
            "ends": self.ends,
            "grant": self.grant().id if self.ends else "",
        }

    def grant(self) -> Grant:
        """Whoever asked for it and gave it stands in the log under its id."""
        return Grant(
            id=PREFIX + self.id,
            agents=frozenset({self.agent}),
            systems=frozenset({self.system}),
            account=self.account,
            actions=self.actions,
            targets=self.targets,
            expires=self.ends or None,
            reason=self.reason,
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """What may be asked for on one system. ``approvers`` by account, of those accounts that may be asked for at all.

    ``facts`` are what the protocol can narrow by; ``longest`` in seconds.
    """

    approvers: Mapping[str, frozenset[str]]
    actions: frozenset[Action] = frozenset(Action)
    facts: frozenset[str] = frozenset()
    longest: int = 3600


@dataclass(frozen=True, slots=True)
class Asking:
    """Where agents may ask. ``waiting``: seconds in which a request must be decided; ``pending``: of one agent."""

    systems: Mapping[str, Terms] = field(default_factory=lambda: MappingProxyType({}))
    waiting: int = 86_400
    pending: int = 10

    def allows(self, system: str, account: str) -> bool:
        """``account`` "": any of them."""
        terms = self.systems.get(system)
        return terms is not None and (not account or account in terms.approvers)


def helps(decider: Decider, grant: Grant, subject: Subject, at: float) -> bool:
    """Whether ``grant`` would give all its actions in some circumstances: no deny grant takes one of them away."""
    system = decider.systems[str(*grant.systems)]
    beside = [one for one in decider.grants if one.selects(system) and one.id != grant.id]
    rows = who_can(Decider([*beside, grant], [system]), (subject,), at=at)
    return any(row.account == grant.account and grant.actions <= row.granted for row in rows)


def rests_on_temporary(decision: Decision) -> bool:
    """Whether it is allowed by grants alone that were given for a time."""
    return decision.would is Effect.ALLOW and all(map(is_temporary, decision.rules))
