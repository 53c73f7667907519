"""Finds the few grants that can be about an agent without looking at all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter

from bridge.policy.conditions import STRICTNESS, Rule, expiry_fails, who_fails
from bridge.policy.decision import Subject
from bridge.policy.grants import ANYONE, Grant, SystemPolicy

_order = attrgetter("order")


class SystemIndex:
    """The rules that select one system, filed under the most telling thing each of them asks of the agent."""

    def __init__(self, system: SystemPolicy, rules: Iterable[Rule]) -> None:
        self.system = system
        self.base = STRICTNESS[system.mode]
        self.rules = tuple(rule for rule in rules if rule.grant.selects(system))
        self._filed: dict[tuple[str, str], list[Rule]] = defaultdict(list)
        for rule in self.rules:
            for key in _keys(rule.grant):
                self._filed[key].append(rule)
        self._filed.default_factory = None

    def selected(self, subject: Subject, at: float) -> list[Rule]:
        """The rules that are about this agent and have not expired, in the order of the configuration."""
        get = self._filed.get
        found = list(get(("", ""), ()))
        found += get(("agent", subject.agent), ())
        found += get(("owner", subject.owner), ())
        found += get(("cost-centre", subject.cost_centre), ())
        for role in subject.roles:
            found += get(("role", role), ())
        if len(subject.roles) > 1:
            found = list({rule.order: rule for rule in found}.values())
        chosen = [rule for rule in found if not expiry_fails(rule, at) and not who_fails(rule.grant, subject)]
        chosen.sort(key=_order)
        return chosen


def _keys(grant: Grant) -> list[tuple[str, str]]:
    if grant.agents and ANYONE not in grant.agents:
        return [("agent", name) for name in grant.agents]
    if grant.roles:
        return [("role", name) for name in grant.roles]
    if grant.owners:
        return [("owner", name) for name in grant.owners]
    if grant.cost_centres:
        return [("cost-centre", name) for name in grant.cost_centres]
    return [("", "")]
