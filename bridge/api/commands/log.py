"""Asking the translation log. Each answer is recorded before it is given."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bridge.api.failure import CommandFailed
from bridge.api.services import Actor, Services
from bridge.translation.describe import describe
from bridge.translation.reading import Filters, LoggedEvent
from bridge.translation.vocabulary import SESSION_RECORDING

MAX_EVENTS = 10_000
"""Events in one answer; more is what ``log export`` is for."""


def filters(
    agent: str, owner: str, system: str, account: str, label: str, outcome: str, type: str, action: str, session: str,
    text: str, since: int | None, until: int | None,
) -> Filters:  # fmt: skip
    """Raises CommandFailed for a type or outcome that does not exist."""
    try:
        return Filters(
            agent=agent, owner=owner, system=system, account=account, label=label, outcome=outcome, type=type,
            action=action, session=session, text=text, since=since, until=until,
        )  # fmt: skip
    except ValueError as error:
        raise CommandFailed(str(error)) from None


def list_events(
    services: Services,
    actor: Actor,
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
) -> list[dict[str, Any]]:
    """Events as they stand in the log, each with ``sentence``; times are Unix milliseconds."""
    if not 1 <= limit <= MAX_EVENTS:
        raise CommandFailed(f"limit is 1 to {MAX_EVENTS}", field="limit")
    wanted = filters(
        agent, owner, system, account, label, outcome, type, action, session, text, since, until
    )  # fmt: skip
    events = services.reader.in_thread_find(wanted, limit, oldest_first=oldest_first)
    services.read(actor, "log.list", wanted, len(events))
    return [_told(event) for event in events]


def show(services: Services, actor: Actor, session: str) -> list[dict[str, Any]]:
    """All events of a session, a refusal's reference, or one event id, in order."""
    events = services.reader.in_thread_session(session) if session else []
    if not events:
        events = _one(services, session)
    services.read(actor, "log.show", Filters(session=session), len(events))
    if not events:
        raise CommandFailed(f"nothing in the log under {session}", status=404, field="session")
    return [_told(event) for event in events]


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
) -> list[dict[str, Any]]:
    """Which agents' sessions were open as ``account`` at a time (Unix milliseconds, give or take ``window``)."""
    suspects = services.reader.in_thread_who(system, account, at, pid=pid, client_port=client_port, window=window)
    services.read(actor, "log.who", Filters(system=system, account=account, since=at, until=at), len(suspects))
    return [asdict(suspect) for suspect in suspects]


def played(services: Services, actor: Actor, session: str) -> dict[str, Any]:
    """Records that the recordings of a session are about to be read, by the command line from their files."""
    found = services.reader.in_thread_find(Filters(session=session, type=SESSION_RECORDING), MAX_EVENTS)
    services.read(actor, "log.play", Filters(session=session), len(found))
    return {"recorded": True}


def exported(services: Services, actor: Actor, filters: dict[str, Any], count: int, format: str) -> dict[str, Any]:
    """Records an export that the command line is about to write from the database itself."""
    try:
        wanted = Filters(**filters)
    except (TypeError, ValueError) as error:
        raise CommandFailed(str(error)) from None
    services.read(actor, f"log.export {format}", wanted, count)
    return {"recorded": True}


def _told(event: LoggedEvent) -> dict[str, Any]:
    fields = event.fields
    return {**fields, "sentence": describe(fields)}
