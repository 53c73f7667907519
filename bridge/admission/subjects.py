"""An agent as grants see it."""

from __future__ import annotations

from bridge.identity.agents import Agent
from bridge.policy import Subject
from bridge.policy.emergency import PREFIX, role


def subject(agent: Agent, *, delegated: bool, emergency: str = "") -> Subject:
    """``emergency``: the break-glass whose token it came with; no agent has that role of its own."""
    own = frozenset(name for name in agent.roles if not name.startswith(PREFIX))
    return Subject(
        agent=agent.id,
        roles=own | {role(emergency)} if emergency else own,
        environment=agent.environment,
        owner=agent.owner.id,
        cost_centre=agent.cost_centre,
        delegated=delegated,
        data_classes=frozenset(agent.data_classes),
    )
