"""The bridge's own store of static secrets. Values go in, and never come out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bridge.adapter import Secret
from bridge.api.failure import CommandFailed
from bridge.api.services import Actor, Services
from bridge.translation import facts
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import INTENT, OUTCOME, PENDING, SECRET_CHANGE, SECRET_SCAN


def set_secret(services: Services, actor: Actor, name: str, value: str) -> dict[str, Any]:
    """Stores or replaces; accounts refer to it as ``store:NAME``."""
    sealed = Secret(value)
    with services.changing(actor, SECRET_CHANGE, f"store:{name}", widens=True, index=IndexKeys()) as change:
        try:
            before, after = services.store.in_thread_set(name, sealed)
        except ValueError as error:
            raise CommandFailed(str(error)) from None
        change.made(asdict(before) if before else None, asdict(after))
    if services.live is not None:
        services.live.secret_changed(f"store:{name}")
    return asdict(after)


def list_all(services: Services, actor: Actor) -> list[dict[str, Any]]:
    return [asdict(one) for one in services.store.in_thread_list()]


def delete(services: Services, actor: Actor, name: str) -> dict[str, Any]:
    with services.changing(actor, SECRET_CHANGE, f"store:{name}", widens=False, index=IndexKeys()) as change:
        before = services.store.in_thread_delete(name)
        if before is None:
            raise CommandFailed(f"no secret {name} in the store", status=404, field="name")
        change.made(asdict(before), None)
    return {"name": name, "deleted": True}


def scan(services: Services, actor: Actor, path: str) -> dict[str, Any]:
    """Records that the command line is about to search files for the static secrets."""
    request = services.new_event_id()
    sections = {"actor": actor.section(), "detail": facts.detail_section(path=path)}
    services.write(Event(SECRET_SCAN, INTENT, PENDING, sections=sections, id=request))
    return {"request": request}


def scanned(services: Services, actor: Actor, request: str, counts: dict[str, str]) -> dict[str, Any]:
    """Records in how many places the secret of each account was found."""
    sections = {
        "actor": actor.section(),
        "corr": facts.section(request=request),
        "detail": facts.detail_section(counts=counts),
    }
    services.write(Event(SECRET_SCAN, OUTCOME, sections=sections, request=request), done=True)
    return {"recorded": True}
