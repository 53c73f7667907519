"""Owners and agents as a configuration file declares them, in the registry's words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from bridge.identity.agents import Agent, Binding, Owner
from bridge.identity.lifecycle import ACTIVE, ORPHANED, SUSPENDED

GONE = "no longer in the configuration"
OWNER_LEFT = "its owner has left"


class Declared:
    """``owners`` and ``agents`` have the fields of the configuration's entries, whatever class they are of.

    Agents of ``departed`` owners are orphaned: the file cannot bring back what ``owner leave`` took away.
    """

    def __init__(self, owners: Mapping[str, Any], agents: Mapping[str, Any], departed: Collection[str] = ()) -> None:
        self._departed = departed
        self._by_owner = {id: Owner(id, one.kind, one.contact, one.on_call) for id, one in owners.items()}
        self._agents = agents

    @property
    def owners(self) -> list[Owner]:
        return list(self._by_owner.values())

    def agents(self, now: int, known: Mapping[str, Agent]) -> Iterator[Agent]:
        """Each agent as it is to be, those that are gone first, so that their bindings are free again."""
        for agent in known.values():
            if agent.origin == "config" and agent.id not in self._agents and agent.state == ACTIVE:
                yield replace(agent, state=SUSPENDED, state_reason=GONE, bindings=(), revision=agent.revision + 1)
        for id, one in self._agents.items():
            yield self._agent(id, one, now, known.get(id))

    def _agent(self, id: str, one: Any, now: int, known: Agent | None) -> Agent:
        declared = Agent(
            id=id,
            name=one.name or id,
            owner=self._by_owner[one.owner],
            purpose=one.purpose,
            roles=tuple(sorted(set(one.roles))),
            environment=one.environment,
            cost_centre=one.cost_centre,
            data_classes=tuple(sorted(set(one.data_classes))),
            created=known.created if known else now,
            expires=int(one.expires.timestamp()),
            state=ORPHANED if one.owner in self._departed else ACTIVE,
            state_reason=OWNER_LEFT if one.owner in self._departed else "",
            bindings=tuple(sorted((Binding(b.issuer, tuple(sorted(b.claims.items()))) for b in one.bindings), key=str)),
            public_keys=tuple(sorted(set(one.public_keys))),
            revision=known.revision if known else 1,
            origin="config",
        )
        if known is None or known.origin != "config":
            return declared
        by_file = known.state_reason in (GONE, OWNER_LEFT)
        if known.state != ACTIVE and not by_file:  # an operator's suspension outlives a reload
            declared = replace(declared, state=known.state, state_reason=known.state_reason)
        return declared if declared == known else replace(declared, revision=known.revision + 1)
