"""The bridge's own store of static secrets. Values go in, and never come out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bridge.adapter import Secret
from bridge.api.failure import CommandFailed
from bridge.api.services import Actor, Services
from bridge.translation.record import IndexKeys
from bridge.translation.vocabulary import SECRET_CHANGE


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
