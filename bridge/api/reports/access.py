"""Who has what, when it was last used, and what was never used: by agent, system and account, and by grant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bridge.api.reports.evidence import Evidence
from bridge.policy import Effect
from bridge.translation.searching import Tally
from bridge.translation.vocabulary import DENIED, SESSION_OPEN

ACTIONS = ("read", "write", "admin")

Place = tuple[str, str, str]
"""agent, system, account"""


def review(evidence: Evidence) -> list[dict[str, Any]]:
    """One row for each account that an agent reaches. Times are Unix milliseconds, 0 for never in the period."""
    actions = _last_actions(evidence.operations)
    sessions = _sessions(evidence)
    agents = {one.id: one for one in evidence.basis.directory}
    rows = []
    for given in evidence.access:
        place = given["agent"], given["system"], given["account"]
        used, (count, opened) = actions.get(place, {}), sessions.get(place, (0, 0))
        system = evidence.basis.policy.systems[given["system"]]
        rows.append({
            **given,
            "agent_expires": agents[given["agent"]].expires * 1000,
            "labels": sorted(system.labels | system.account_labels.get(given["account"], frozenset())),
            "last_used": max([opened, *used.values()]),
            **{f"last_{action}": used.get(action, 0) for action in ACTIONS},
            "sessions": count,
            "unused_actions": [action for action in given["actions"] if action not in used],
        })  # fmt: skip
    return rows


def unused(evidence: Evidence) -> list[dict[str, Any]]:
    """One row for each allow grant of which something was not used in the period: itself, some of its actions, or by
    some of the agents that it reaches.

    Used is: an agent was let in to the account when the grant allowed it, and did what the grant allows. Where two
    grants allow the same, both count as used.
    """
    actions = _last_actions(evidence.operations)
    reached: dict[str, set[Place]] = {}
    for row in evidence.access:
        for grant in row["grants"]:
            reached.setdefault(grant, set()).add((row["agent"], row["system"], row["account"]))
    used: dict[str, dict[Place, int]] = {}
    for one in evidence.used:
        used.setdefault(one.grant, {})[one.agent, one.system, one.account] = one.last_at
    rows = []
    for grant in evidence.basis.policy.grants:
        if grant.effect is not Effect.ALLOW:
            continue
        places = used.get(grant.id, {})
        done = {action for place in places for action in actions.get(place, ())}
        idle = [action for action in ACTIONS if action in grant.actions and action not in done]
        users = {place[0] for place in places}
        others = sorted({place[0] for place in reached.get(grant.id, ())} - users)
        if not places or idle or others:
            rows.append({
                "grant": grant.id, "account": grant.account, "actions": sorted(grant.actions),
                "used_by": sorted(users), "last_used": max(places.values(), default=0), "unused_actions": idle,
                "unused_by": others, "expires": (grant.expires or 0) * 1000, "reason": grant.reason,
                "ticket": grant.ticket,
            })  # fmt: skip
    return rows


def _last_actions(operations: Iterable[Tally]) -> dict[Place, dict[str, int]]:
    """When each kind of operation was last permitted, by place."""
    found: dict[Place, dict[str, int]] = {}
    for one in operations:
        if one.outcome != DENIED and one.action in ACTIONS:
            last = found.setdefault((one.agent, one.system, one.account), {})
            last[one.action] = max(last.get(one.action, 0), one.last_at)
    return found


def _sessions(evidence: Evidence) -> dict[Place, tuple[int, int]]:
    """How many sessions were opened, and when the last."""
    found: dict[Place, tuple[int, int]] = {}
    for one in evidence.tallies:
        if one.type == SESSION_OPEN:
            place = one.agent, one.system, one.account
            count, last = found.get(place, (0, 0))
            found[place] = count + one.count, max(last, one.last_at)
    return found
