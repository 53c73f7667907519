"""Agents as the rest of the bridge sees them: plain values, and a snapshot in memory that finds one at once.

A binding says which external identity is an agent: the issuer, and claims that must all be equal. Two bindings of one
issuer overlap when a single token could match both, that is, when they differ in no claim that both name; the registry
refuses that, and a snapshot in which it happens all the same names nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from bridge.identity.lifecycle import ACTIVE, REVOKED, state_at
from bridge.identity.verifier import VerifiedCredential

BY_AGENT_ID = frozenset({"builtin", "agent-key"})
"""Profiles whose subject is the agent's id itself, because the bridge or the agent's registered key signed it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who answers for an agent. ``kind`` is team, person or shared-service; the rest is free text."""

    id: str
    kind: str
    contact: str
    on_call: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """``issuer`` is the name of an issuer record; ``claims`` are exact matches, sorted by name, and all must hold."""

    issuer: str
    claims: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.claims)

    def matches(self, claims: Mapping[str, str]) -> bool:
        return all(claims.get(name) == value for name, value in self.claims)

    def overlaps(self, other: Binding) -> bool:
        """Whether one token could match both."""
        if self.issuer != other.issuer:
            return False
        mine = dict(self.claims)
        return all(mine.get(name, value) == value for name, value in other.claims)

    def __str__(self) -> str:
        return f"{self.issuer}:" + ",".join(f"{name}={value}" for name, value in self.claims)


@dataclass(frozen=True, slots=True)
class Agent:
    """One registered agent. Times are unix seconds; ``public_keys`` are Ed25519, raw base64url (a JWK's ``x``).

    ``state`` is as stored: whether an active agent has expired is a matter of the time, see ``state_at``.
    """

    id: str
    name: str
    owner: Owner
    purpose: str
    roles: tuple[str, ...]
    environment: str
    cost_centre: str
    data_classes: tuple[str, ...]
    created: int
    expires: int
    state: str
    state_reason: str
    bindings: tuple[Binding, ...]
    public_keys: tuple[str, ...]
    revision: int
    origin: str

    def state_at(self, now: float) -> str:
        return state_at(self.state, self.expires, now)

    def refusal(self, now: float) -> str:
        """The word for why this agent may not act at ``now``; "" when it may."""
        state = self.state_at(now)
        return "" if state == ACTIVE else state

    def plain(self) -> dict[str, Any]:
        """The agent as JSON-ready values, for the log and for ``--json``."""
        return {
            "id": self.id,
            "name": self.name,
            "owner": owner_plain(self.owner),
            "purpose": self.purpose,
            "roles": list(self.roles),
            "environment": self.environment,
            "cost_centre": self.cost_centre,
            "data_classes": list(self.data_classes),
            "created": self.created,
            "expires": self.expires,
            "state": self.state,
            "state_reason": self.state_reason,
            "bindings": [{"issuer": b.issuer, "claims": dict(b.claims)} for b in self.bindings],
            "public_keys": list(self.public_keys),
            "revision": self.revision,
            "origin": self.origin,
        }


def agent_of(plain: Mapping[str, Any]) -> Agent:
    """The agent that ``Agent.plain`` described, by this release or another. Raises KeyError, TypeError, ValueError,
    AttributeError for anything else."""
    members: dict[str, Any] = {one.name: plain[one.name] for one in fields(Agent) if one.name in plain}
    lists = {name: tuple(plain[name]) for name in ("roles", "data_classes", "public_keys")}
    bindings = tuple(Binding(one["issuer"], tuple(sorted(one["claims"].items()))) for one in plain["bindings"])
    return Agent(**{**members, **lists, "owner": owner_of(plain["owner"]), "bindings": bindings})


def owner_of(plain: Mapping[str, Any]) -> Owner:
    """The owner that ``owner_plain`` described. Raises TypeError."""
    return Owner(**{one.name: plain[one.name] for one in fields(Owner) if one.name in plain})


def owner_plain(owner: Owner) -> dict[str, Any]:
    return {"id": owner.id, "kind": owner.kind, "contact": owner.contact, "on_call": owner.on_call}


class _Bindings:
    """Bindings by issuer and by the names of their claims, so that a token costs one look-up per set of names."""

    def __init__(self, agents: Iterable[Agent]) -> None:
        self._tables: dict[str, dict[tuple[str, ...], dict[tuple[str, ...], set[str]]]] = {}
        for agent in agents:
            for binding in agent.bindings:
                table = self._tables.setdefault(binding.issuer, {}).setdefault(binding.names, {})
                table.setdefault(tuple(value for _, value in binding.claims), set()).add(agent.id)

    def find(self, issuer: str, claims: Mapping[str, str]) -> set[str]:
        found: set[str] = set()
        for names, table in self._tables.get(issuer, {}).items():
            values = tuple(claims[name] for name in names if name in claims)
            if names and len(values) == len(names):
                found |= table.get(values, set())
        return found


class Directory:
    """All agents at one moment; never changes. ``version`` is the registry's counter at that moment."""

    def __init__(self, agents: Iterable[Agent], version: int = 0) -> None:
        self.version = version
        self._agents = {agent.id: agent for agent in agents}
        self._by_key = {key: agent.id for agent in self for key in agent.public_keys}
        self._live = _Bindings(agent for agent in self if agent.state != REVOKED)
        self._revoked = _Bindings(agent for agent in self if agent.state == REVOKED)

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._agents.values())

    def __len__(self) -> int:
        return len(self._agents)

    def by_id(self, agent_id: str) -> Agent | None:
        return self._agents.get(agent_id)

    def by_key(self, key: str) -> Agent | None:
        """The agent that has registered an Ed25519 key (raw, base64url); the registry keeps them distinct."""
        return self._agents.get(self._by_key.get(key, ""))

    def knows(self, issuer: str, claims: Mapping[str, str]) -> bool:
        """Whether some agent, revoked ones too, is bound to such an identity."""
        return bool(self._live.find(issuer, claims) or self._revoked.find(issuer, claims))

    def resolve(self, credential: VerifiedCredential) -> Agent | None:
        """The agent that the credential proves, whatever its state: ask ``refusal`` next. None when there is no one.

        A workload whose agent was revoked may be registered again: the new agent is found first, and without one the
        revoked agent, so that the log can name it.
        """
        if credential.profile in BY_AGENT_ID:
            return self._agents.get(credential.subject)
        live = self._live.find(credential.issuer, credential.claims)
        if live:
            return self._agents[live.pop()] if len(live) == 1 else None
        revoked = self._revoked.find(credential.issuer, credential.claims)
        return self._agents[min(revoked)] if revoked else None
