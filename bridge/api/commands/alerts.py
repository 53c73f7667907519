"""Alerts that were raised, what became of them, and whether a channel works."""

from __future__ import annotations

from typing import Any

from bridge.api.failure import CommandFailed
from bridge.api.services import Actor, Services

MOST = 1000


def list_all(services: Services, actor: Actor, agent: str = "", limit: int = 50) -> list[dict[str, Any]]:
    """The newest first, each with its deliveries."""
    if not 1 <= limit <= MOST:
        raise CommandFailed(f"limit is 1 to {MOST}", field="limit")
    found = services.outbox.in_thread_list(MOST if agent else limit)
    return [one for one in found if not agent or one["agent"] == agent][:limit]


def test(services: Services, actor: Actor, channel: str) -> dict[str, Any]:
    """Sends a message to a channel, or to ``mailto:ADDRESS``, now."""
    cause = services.running().test_alert(channel)
    if cause:
        raise CommandFailed(f"it did not reach {channel}: {cause}", status=502, field="channel")
    return {"channel": channel, "sent": True}
