"""What a refusal was about, as the log has it: so that an agent need only name the reference that it was told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from bridge.api.failure import CommandFailed
from bridge.api.services import Services
from bridge.translation.query import Query, Term
from bridge.translation.vocabulary import DENIED

_REFERENCE = re.compile(r"(ref|ses)_[a-z0-9]{16}")


@dataclass(frozen=True, slots=True)
class RefusedAccess:
    """``account`` is "" when none was named; ``actions`` are empty when the agent was not let in at all."""

    system: str
    account: str
    actions: list[str]
    targets: dict[str, list[str]]


def refused_access(services: Services, agent: str, reference: str) -> RefusedAccess:
    """Of the last thing that was refused ``agent`` under a reference: of a session its last refused operation."""
    if not _REFERENCE.fullmatch(reference):
        raise CommandFailed("a reference is ref_ or ses_ and 16 letters and digits", field="reference")
    denied = Query((Term("session", (reference,)), Term("outcome", (DENIED,))))
    for event in services.reader.in_thread_find(denied, 1):
        body = event.fields
        if body.get("agent", {}).get("id") == agent:
            return _access(body)
    raise CommandFailed(f"nothing was refused {agent} under {reference}", status=404, field="reference")


def _access(body: dict[str, Any]) -> RefusedAccess:
    legacy, action = body.get("legacy", {}), body.get("action", {}).get("kind")
    targets = {fact: [value] for fact, value in legacy.get("target", {}).items()}
    return RefusedAccess(legacy.get("system", ""), legacy.get("account", ""), [action] if action else [], targets)
