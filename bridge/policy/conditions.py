"""Whether the conditions of one grant hold: each answers with "" or with what does not hold, in plain words."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Protocol

from bridge.adapter import Action
from bridge.policy.decision import Request, Subject
from bridge.policy.grants import ANYONE, Delegated, Effect, Grant, Mode, is_temporary

BITS = {Action.READ: 1, Action.WRITE: 2, Action.ADMIN: 4}
EVERY_ACTION = 7
STRICTNESS = {Mode.OBSERVE: 0, Mode.WARN: 1, Mode.ENFORCE: 2}
ACTIONS_OF = tuple(frozenset(action for action, bit in BITS.items() if mask & bit) for mask in range(8))

Networks = tuple[tuple[int, int, int], ...]
"""(IP version, first address, last address)"""


class Rule:
    """A grant prepared for deciding. Sets of actions are bit masks: hashing an enum member costs more than the test."""

    __slots__ = (
        "account", "default", "denies", "expires", "grant", "mask", "networks", "order", "patterns", "strictness",
        "temporary",
    )  # fmt: skip

    def __init__(self, order: int, grant: Grant) -> None:
        self.order = order
        self.grant = grant
        self.account = grant.account
        self.default = grant.default
        self.denies = grant.effect is Effect.DENY
        self.expires = grant.expires
        self.mask = sum(BITS[action] for action in grant.actions)
        self.networks = networks(grant.sources)
        self.patterns = {name: _patterns(values) for name, values in grant.targets.items()}
        self.strictness = None if grant.mode is None else STRICTNESS[grant.mode]
        self.temporary = is_temporary(grant.id)


def networks(sources: tuple[str, ...]) -> Networks:
    parsed = (ip_network(source) for source in sources)
    return tuple((net.version, int(net.network_address), int(net.broadcast_address)) for net in parsed)


@lru_cache(maxsize=4096)
def address(source: str) -> tuple[int, int] | None:
    """(IP version, number); an IPv4 address inside IPv6 counts as IPv4; None when it is not an address."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(source.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.version, int(parsed)


class Whom(Protocol):
    """The part of a grant or a quota that says whom it is about: all must hold, an empty set does not ask."""

    @property
    def agents(self) -> frozenset[str]: ...
    @property
    def roles(self) -> frozenset[str]: ...
    @property
    def owners(self) -> frozenset[str]: ...
    @property
    def cost_centres(self) -> frozenset[str]: ...


def who_fails(whom: Whom, subject: Subject) -> str:
    """Why it is not about this agent, "" when it is."""
    if whom.agents and subject.agent not in whom.agents and ANYONE not in whom.agents:
        return f"agent {subject.agent} is not named"
    if whom.roles and whom.roles.isdisjoint(subject.roles):
        return f"agent has none of the roles {_listed(whom.roles)}"
    if whom.owners and subject.owner not in whom.owners:
        return f"owner {subject.owner or '(none)'} is not named"
    if whom.cost_centres and subject.cost_centre not in whom.cost_centres:
        return f"cost centre {subject.cost_centre or '(none)'} is not named"
    return ""


def expiry_fails(rule: Rule, at: float) -> str:
    return "the grant has expired" if rule.expires is not None and at >= rule.expires else ""


def narrowing_fails(rule: Rule, request: Request, operation_targets: frozenset[str]) -> str:
    """All conditions but who, where, account, action and expiry."""
    grant, subject = rule.grant, request.subject
    if grant.environments and subject.environment not in grant.environments:
        return f"agent's environment {subject.environment or '(none)'} is not one of {_listed(grant.environments)}"
    if grant.delegated is not Delegated.ANY and subject.delegated is not (grant.delegated is Delegated.REQUIRED):
        return "agent acts for nobody else" if not subject.delegated else "agent acts for somebody else"
    if grant.targets and (failing := _target_fails(rule, request, operation_targets)):
        return failing
    if rule.networks and (failing := _source_fails(rule, request.source)):
        return failing
    if grant.hours is not None and not grant.hours.contains(request.at):
        return "outside the grant's hours"
    return ""


def _target_fails(rule: Rule, request: Request, operation_targets: frozenset[str]) -> str:
    for name, values in rule.grant.targets.items():
        value = request.target.get(name)
        if value is None:
            late = name in operation_targets
            if late == rule.denies:  # unknown: no allow grant and every deny grant, unless it is not asked yet
                return f"{name} is not named"
            continue
        names = (value,) if isinstance(value, str) else value
        if not values.isdisjoint(names):
            continue
        if not any(_matches(one, pattern) for pattern in rule.patterns[name] for one in names):
            return f"{name} {names[0] if names else ''} is not one of {_listed(values)}"
    return ""


def _patterns(values: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    """The texts between the stars of each value that has some."""
    return tuple(tuple(value.split("*")) for value in sorted(values) if "*" in value)


def _matches(name: str, pattern: tuple[str, ...]) -> bool:
    """Whether ``name``, which is not empty, is these texts with anything between them; in linear time."""
    first, *middle, last = pattern
    if not name or len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for text in middle:
        at = name.find(text, at, end)
        if at < 0:
            return False
        at += len(text)
    return True


def _source_fails(rule: Rule, source: str) -> str:
    found = address(source)
    if found is None:
        return "" if rule.denies else "source address is not known"
    version, number = found
    for family, first, last in rule.networks:
        if family == version and first <= number <= last:
            return ""
    return f"source {source} is not in {', '.join(rule.grant.sources)}"


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
