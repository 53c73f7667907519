"""The states of an agent and the only ways between them.

::

    draft ──resume──▶ active ◀──resume── suspended        revoke: from every other state, and for good
                      │  ▲ │                ▲
                      │  │ └──suspend───────┤             expired: an active agent past its end; nothing is written
                      │  └──reassign──┐     │             when the time comes, ``renew`` makes it active again
                      └──orphan──▶ orphaned ┘ suspend
"""

from __future__ import annotations

DRAFT, ACTIVE, SUSPENDED, REVOKED, ORPHANED, EXPIRED = (
    "draft",
    "active",
    "suspended",
    "revoked",
    "orphaned",
    "expired",
)
STATES = (DRAFT, ACTIVE, SUSPENDED, REVOKED, EXPIRED, ORPHANED)

TRANSITIONS: dict[str, dict[str, str]] = {
    "resume": {DRAFT: ACTIVE, SUSPENDED: ACTIVE},
    "suspend": {ACTIVE: SUSPENDED, EXPIRED: SUSPENDED, ORPHANED: SUSPENDED},
    "orphan": {ACTIVE: ORPHANED, EXPIRED: ORPHANED},
    "reassign": {ORPHANED: ACTIVE, ACTIVE: ACTIVE, EXPIRED: ACTIVE, SUSPENDED: SUSPENDED, DRAFT: DRAFT},
    "renew": {ACTIVE: ACTIVE, EXPIRED: ACTIVE, SUSPENDED: SUSPENDED, DRAFT: DRAFT},
    "revoke": {DRAFT: REVOKED, ACTIVE: REVOKED, SUSPENDED: REVOKED, EXPIRED: REVOKED, ORPHANED: REVOKED},
}
"""Verb -> state as it is now -> state that is stored. What is not here is refused."""


def state_at(stored: str, expires: int, now: float) -> str:
    """The state as it is at ``now``: an active agent is expired from its end on."""
    return EXPIRED if stored == ACTIVE and now >= expires else stored
