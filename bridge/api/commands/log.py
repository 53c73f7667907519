"""Asking the translation log. Each answer is recorded before it is given."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bridge.api.failure import CommandFailed
from bridge.api.services import Actor, Services
from bridge.translation import facts
from bridge.translation.actors import who_acted
from bridge.translation.describe import describe
from bridge.translation.identifiers import timestamp
from bridge.translation.query import Query, QueryError, equals, merged, parse
from bridge.translation.reading import MAX_SESSION_EVENTS, Answer, Filters, LoggedEvent
from bridge.translation.record import Event
from bridge.translation.vocabulary import (
    ALARM,
    FAILURE,
    INTENT,
    LOG_ERASE,
    LOG_SINK,
    LOG_VERIFY,
    OUTCOME,
    PENDING,
    SESSION_RECORDING,
    SUCCESS,
    TREE_DAMAGED,
)

MAX_EVENTS = 10_000
"""Events in one answer; more is what ``log export`` is for."""


def selection(query: str, now: float, **members: Any) -> Query:
    """The query, with what the options say in the same words. Raises CommandFailed."""
    try:
        return Query(tuple(merged((*parse(query, now).terms, *equals(members)))))
    except QueryError as error:
        raise CommandFailed(str(error), field="query" if error.position else "") from None


def list_events(
    services: Services,
    actor: Actor,
    query: str = "",
    agent: str = "",
    owner: str = "",
    system: str = "",
    account: str = "",
    label: str = "",
    outcome: str = "",
    type: str = "",
    action: str = "",
    session: str = "",
    text: str = "",
    since: int | None = None,
    until: int | None = None,
    limit: int = 100,
    oldest_first: bool = False,
    scan: bool = False,
) -> dict[str, Any]:
    """``events`` as they stand in the log, each with ``sentence``; times are Unix milliseconds. See ``answer``.

    ``scan`` reads the log itself from end to end instead of trusting the overview.
    """
    if not 1 <= limit <= MAX_EVENTS:
        raise CommandFailed(f"limit is 1 to {MAX_EVENTS}", field="limit")
    wanted = selection(
        query, services.now(), agent=agent, owner=owner, system=system, account=account, label=label, outcome=outcome,
        type=type, action=action, session=session, text=text, since=since, until=until,
    )  # fmt: skip
    reader = services.reader.scanning() if scan else services.reader
    found = reader.in_thread_answer(wanted, limit, oldest_first=oldest_first)
    services.read(actor, "log.list", wanted, len(found.events))
    return answer(str(wanted), found)


def answer(query: str, found: Answer) -> dict[str, Any]:
    """What every answer from the log says beside its events: how many, from which sequence number to which, whether
    there are ``more``, and in ``log`` what it was given from."""
    seqs = [event.seq for event in found.events]
    return {
        "query": query,
        "count": len(seqs),
        "more": found.more,
        "first": min(seqs, default=0),
        "last": max(seqs, default=0),
        "log": found.extent.plain(),
        "events": [_told(event) for event in found.events],
    }


def actors(services: Services, actor: Actor, query: str = "") -> dict[str, Any]:
    """``actors``: every agent and person that events of the query name, in one list, with what they did."""
    wanted = selection(query, services.now())
    tallies, extent = services.reader.in_thread_tallies(wanted)
    services.read(actor, "log.actors", wanted, sum(one.count for one in tallies))
    rows = who_acted(tallies)
    return {"query": str(wanted), "count": len(rows), "log": extent.plain(), "actors": rows}


def show(services: Services, actor: Actor, session: str) -> dict[str, Any]:
    """All events of a session, a refusal's reference, or one event id, in order. See ``answer``."""
    extent = services.reader.in_thread_extent()
    events = _under(services, actor, "log.show", session, "session")
    return answer(session, Answer(events, len(events) >= MAX_SESSION_EVENTS, extent))


def _under(services: Services, actor: Actor, command: str, id: str, field: str) -> list[LoggedEvent]:
    """The events of a session or a refusal, or the one event, with this id. Recorded; raises CommandFailed."""
    events = services.reader.in_thread_session(id) if id else []
    events = events or _one(services, id)
    services.read(actor, command, Filters(session=id), len(events))
    if not events:
        gone = services.reader.in_thread_extent().pruned
        pruned = f"; what is from before {timestamp(gone.until)} was pruned: see the archive" if gone else ""
        raise CommandFailed(f"nothing in the log under {id}{pruned}", status=404, field=field)
    return events


def _one(services: Services, id: str) -> list[LoggedEvent]:
    try:
        event = services.reader.in_thread_event(id)
    except ValueError:
        return []  # not the form of an event id
    return [event] if event else []


def who(
    services: Services,
    actor: Actor,
    system: str,
    account: str,
    at: int,
    pid: int = 0,
    client_port: int = 0,
    window: int = 2000,
) -> dict[str, Any]:
    """``sessions`` of agents that were open as ``account`` at a time (Unix milliseconds, give or take ``window``)."""
    extent = services.reader.in_thread_extent()
    suspects = services.reader.in_thread_who(system, account, at, pid=pid, client_port=client_port, window=window)
    services.read(actor, "log.who", Filters(system=system, account=account, since=at, until=at), len(suspects))
    return {"count": len(suspects), "log": extent.plain(), "sessions": [asdict(suspect) for suspect in suspects]}


def played(services: Services, actor: Actor, session: str) -> dict[str, Any]:
    """Records that the recordings of a session are about to be read, by the command line from their files."""
    found = services.reader.in_thread_find(Filters(session=session, type=SESSION_RECORDING), MAX_EVENTS)
    services.read(actor, "log.play", Filters(session=session), len(found))
    return {"recorded": True}


def exported(services: Services, actor: Actor, query: str, count: int, format: str) -> dict[str, Any]:
    """Records an export that the command line is about to write from the database itself."""
    services.read(actor, f"log.export {format}", selection(query, services.now()), count)
    return {"recorded": True}


def proved(services: Services, actor: Actor, what: str) -> dict[str, Any]:
    """Records that proofs of a session, or of one event, are about to be written; answers with sequence numbers."""
    events = _under(services, actor, "log.prove", what, "what")
    return {"events": sorted(event.seq for event in events)}


def archived(services: Services, actor: Actor, folder: str) -> dict[str, Any]:
    """Records that the command line is about to write what is new into ``folder``."""
    services.read(actor, f"log.archive {folder}", Filters(), services.reader.in_thread_extent().size)
    return {"recorded": True}


def erased(services: Services, actor: Actor, count: int, request: str = "") -> dict[str, Any]:
    """Records that the command line is about to erase personal data, of which there are ``count``; with the ``request``
    that this answered, that it did. Whose it is stands in neither."""
    sections = {"actor": actor.section(), "detail": facts.detail_section(count=count)}
    if request:
        sections["corr"] = facts.section(request=request)
        services.write(Event(LOG_ERASE, OUTCOME, sections=sections, request=request), done=True)
    else:
        request = services.new_event_id()
        services.write(Event(LOG_ERASE, INTENT, PENDING, sections=sections, id=request))
    return {"request": request}


def verified(services: Services, actor: Actor, size: int, root: str, finding: str = "") -> dict[str, Any]:
    """Records what a verification of the log said; a finding is an alarm too."""
    detail = facts.detail_section(size=size, root=root, text=finding)
    outcome = FAILURE if finding else SUCCESS
    services.write(Event(LOG_VERIFY, outcome=outcome, sections={"actor": actor.section(), "detail": detail}), done=True)
    if finding:
        alarm = {"detail": facts.detail_section(text=finding)}
        services.write(Event(ALARM, outcome=FAILURE, reason=TREE_DAMAGED, sections=alarm), done=True)
    return {"recorded": True}


def sinks(services: Services, actor: Actor) -> list[dict[str, Any]]:
    """How far each sink is, and what is wrong with it."""
    return [{"sink": name, **row} for name, row in services.running().sinks().items()]


def resend(services: Services, actor: Actor, sink: str, first: int) -> dict[str, Any]:
    """Makes a sink go on with event ``first``: sends again what it lost, or skips what it cannot take. Recorded."""
    row = services.running().sinks().get(sink)
    if row is None:
        raise CommandFailed(f"no sink {sink} is configured", status=404, field="sink")
    if first < 1:
        raise CommandFailed("the first event has number 1", field="first")
    detail = facts.detail_section(sink=sink, first=first, delivered=row["delivered"])
    services.write(Event(LOG_SINK, sections={"actor": actor.section(), "detail": detail}))
    services.running().resend(sink, first)
    return {"sink": sink, "first": first, "delivered": row["delivered"]}


def _told(event: LoggedEvent) -> dict[str, Any]:
    fields = event.fields
    return {**fields, "sentence": describe(fields)}
