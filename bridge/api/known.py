"""What a command names has to be there: found, or the same failure from every command."""

from __future__ import annotations

from bridge.api.failure import CommandFailed
from bridge.identity.agents import Agent, Directory
from bridge.policy import Policy, SystemPolicy


def known_system(policy: Policy, name: str) -> SystemPolicy:
    found = policy.systems.get(name)
    if found is None:
        raise CommandFailed(f"no system {name} is configured", status=404, field="system")
    return found


def known_agent(directory: Directory, id: str, *, field: str = "agent") -> Agent:
    found = directory.by_id(id)
    if found is None:
        raise CommandFailed(f"no agent {id}", status=404, field=field)
    return found
