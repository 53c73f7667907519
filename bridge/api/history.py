"""What counted at a time that is over: the policy and the registry as the log has them, never as they are now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
            if _made(fields):
                yield fields["change"]


def _made(fields: Mapping[str, Any]) -> bool:
    """The event says what became different, not what is about to."""
    return fields["phase"] != INTENT and fields["outcome"] == SUCCESS and "after" in fields.get("change", {})


@dataclass(frozen=True, slots=True)
class Context:
    """What counted in a period: the events that say so (``pages``, up to ``last``), what follows from them at its end
    as JSON files by name, and what is missing; the events of the period up to ``pruned`` are gone."""

    pages: Callable[[], Iterator[list[LoggedEvent]]]
    last: int
    documents: Mapping[str, Any]
    notes: tuple[str, ...]
    pruned: int


def in_thread_context(reader: LogReader, since: int, until: int) -> Context:
    """For an evidence pack: the policies that counted at some time of the period, and all changes of the registry up
    to its end. Times in Unix milliseconds."""
    both = Query((Term("type", (POLICY_VERSION, REGISTRY_CHANGE)), Term("until", (until,))))
    _, _, last = reader.in_thread_span(both)
    directory, changes = in_thread_directory(reader, until)
    gone = reader.in_thread_extent().pruned
    documents: dict[str, Any] = {
        "registry.json": {"at": timestamp(until), "changes": changes, "agents": [one.plain() for one in directory]}
    }
    notes = [] if changes else ["the log has no change of the registry from before the end of the period"]
    pruned = gone.last if gone and gone.until >= since else 0
    if gone and pruned:
        notes.append(
            f"events up to {gone.last} ({timestamp(gone.until)}) were pruned on {timestamp(gone.at)}, event {gone.seq}:"
            " those of the period are in the archive's segments"
        )
    first = _policy_seq(reader, since)
    try:
        event = _policy_event(reader, until)
        fields = event.fields
        documents["policy.json"] = {"event": event.seq, "since": fields["ts"], "policy": fields["change"]["after"]}
    except CommandFailed as failure:
        notes.append(str(failure))

    def pages() -> Iterator[list[LoggedEvent]]:
        for page in reader.in_thread_pages(both, last):
            yield [event for event in page if _counted(event, first)]

    return Context(pages, last, documents, tuple(notes), pruned)


def _policy_seq(reader: LogReader, at: int) -> int:
    """Of the policy that counted then; 0 when the log has none from so early."""
    try:
        return _policy_event(reader, at).seq
    except CommandFailed:
        return 0


def _counted(event: LoggedEvent, first_policy: int) -> bool:
    fields = event.fields
    return event.seq >= first_policy if fields["type"] == POLICY_VERSION else _made(fields)


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
