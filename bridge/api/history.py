"""What counted at a time that is over: the policy and the registry as the log has them, never as they are now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bridge.api.failure import CommandFailed
from bridge.identity.agents import Agent, Directory, agent_of, owner_of
from bridge.identity.lifecycle import REVOKED
from bridge.policy import DocumentUnreadable, Policy, policy_of
from bridge.translation.identifiers import timestamp
from bridge.translation.query import Query, Term
from bridge.translation.reading import LoggedEvent, LogReader
from bridge.translation.vocabulary import INTENT, POLICY_VERSION, REGISTRY_CHANGE, SUCCESS

_OWNER = "owner:"


@dataclass(frozen=True, slots=True)
class Then:
    """Policy and agents at a time, and the events that say so."""

    policy: Policy
    directory: Directory
    policy_event: LoggedEvent
    registry_changes: int

    def basis(self) -> dict[str, Any]:
        event = self.policy_event
        return {
            "policy": self.policy.digest,
            "policy_event": event.seq,
            "policy_since": event.fields["ts"],
            "registry_changes": self.registry_changes,
        }


def in_thread_then(reader: LogReader, at: int) -> Then:
    """``at`` in Unix milliseconds. Raises CommandFailed when the log does not reach so far back, StorageError."""
    event = _policy_event(reader, at)
    try:
        policy = policy_of(event.fields["change"]["after"])
    except (DocumentUnreadable, KeyError) as error:
        raise CommandFailed(f"the policy in event {event.seq} cannot be used: {error}", status=409) from None
    directory, changes = in_thread_directory(reader, at)
    return Then(policy, directory, event, changes)


def _policy_event(reader: LogReader, at: int) -> LoggedEvent:
    versions = (Term("type", (POLICY_VERSION,)),)
    found = reader.in_thread_find(Query((*versions, Term("until", (at,)))), 1)
    if found:
        return found[0]
    first = reader.in_thread_find(Query(versions), 1, oldest_first=True)
    known = f"; the first is of {first[0].fields['ts']}" if first else ""
    raise CommandFailed(f"the log has no policy from before {timestamp(at)}{known}", status=404, field="at")


def in_thread_directory(reader: LogReader, at: int) -> tuple[Directory, int]:
    """All agents as they were at a time (Unix milliseconds), and how many changes made them so."""
    agents: dict[str, Agent] = {}
    changes = 0
    for change in _changes(reader, at):
        changes += 1
        _follow(agents, str(change.get("subject", "")), change["after"])
    return Directory(sorted(agents.values(), key=lambda one: one.id)), changes


def _changes(reader: LogReader, at: int) -> Iterator[Mapping[str, Any]]:
    made = Query((Term("type", (REGISTRY_CHANGE,)), Term("outcome", (SUCCESS,)), Term("until", (at,))))
    for page in reader.in_thread_pages(made, reader.in_thread_extent().size):
        for event in page:
            fields = event.fields
            if fields["phase"] != INTENT and "after" in fields.get("change", {}):
                yield fields["change"]


def _follow(agents: dict[str, Agent], subject: str, after: Mapping[str, Any]) -> None:
    if not subject.startswith(_OWNER):
        agents[subject] = agent_of(after)
    elif "agents" in after:  # the owner left
        for id in after["agents"]:
            if id in agents:
                reason, revision = str(after.get("reason", "")), agents[id].revision + 1
                agents[id] = replace(agents[id], state=REVOKED, state_reason=reason, revision=revision)
    elif "kind" in after:
        owner = owner_of(after)
        for id, agent in agents.items():
            if agent.owner.id == owner.id:
                agents[id] = replace(agent, owner=owner)
