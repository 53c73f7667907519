"""An agent as grants see it."""

from __future__ import annotations

from bridge.identity.agents import Agent
from bridge.policy import Subject


def subject(agent: Agent, *, delegated: bool) -> Subject:
    return Subject(
        agent=agent.id,
        roles=frozenset(agent.roles),
        environment=agent.environment,
        owner=agent.owner.id,
        cost_centre=agent.cost_centre,
        delegated=delegated,
        data_classes=frozenset(agent.data_classes),
    )
