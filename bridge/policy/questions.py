"""The policy asked backwards: who can, and what can; see ``changes`` for what another policy changes.

Exact, because every answer comes from forward decisions. ``Circumstances`` says for which: one given source, hour,
delegation and target, or *any* that could occur. For "any", one representative is tried of every class of
circumstances that the grants tell apart (each side of each network boundary, each boundary of the hours in a week,
each named target and one that is not named), so the answer is exact as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from itertools import product

from bridge.adapter import Action
from bridge.policy.conditions import BITS, Rule
from bridge.policy.decider import Decider, weigh
from bridge.policy.decision import Request, Subject
from bridge.policy.grants import ANYONE, Delegated, Mode
from bridge.policy.index import SystemIndex
from bridge.policy.verdict import judge

OTHER_TARGET = "\0other"
"""Stands for every target that no grant names."""

_LAST = {4: 2**32 - 1, 6: 2**128 - 1}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Given facts; for what is None every possibility is tried (``delegated`` None: with and without)."""

    source: str | None = None
    target: Mapping[str, str] | None = None
    delegated: bool | None = None
    any_hour: bool = True


@dataclass(frozen=True, slots=True)
class Access:
    """``actions`` is what the bridge lets through, ``granted`` what the grants alone give.

    The two differ where a mode only observes. ``grants`` are the allow grants that give it; ``mode`` is the system's.
    """

    agent: str
    system: str
    account: str
    actions: frozenset[Action]
    granted: frozenset[Action]
    grants: tuple[str, ...]
    mode: Mode


@dataclass(slots=True)
class _Found:
    through: int = 0
    granted: int = 0
    grants: dict[str, None] = field(default_factory=dict)


def who_can(
    decider: Decider,
    subjects: Iterable[Subject],
    *,
    at: float,
    system: str | None = None,
    label: str | None = None,
    action: Action | None = None,
    circumstances: Circumstances | None = None,
) -> tuple[Access, ...]:
    """Who reaches the systems asked for, sorted by agent, system, account. ``at`` counts for expiry (and hours)."""
    given = circumstances or Circumstances()
    asked = timeless(decider, at) if given.any_hour else decider
    indexes = [index for index in map(asked.index, sorted(asked.systems)) if index and _meant(index, system, label)]
    listed = tuple(subjects)
    rows: list[Access] = []
    for index in indexes:
        answers: dict[Subject, list[Access]] = {}
        named = {name for rule in index.rules for name in rule.grant.agents}
        for subject in listed:
            alike = subject if subject.agent in named else replace(subject, agent="", data_classes=frozenset())
            if alike not in answers:
                answers[alike] = _accesses(index, alike, at, given)
            rows += [replace(access, agent=subject.agent) for access in answers[alike]]
    if label is not None:
        rows = [row for row in rows if asked.systems[row.system].labelled(label, row.account)]
    rows = [row for row in rows if action is None or action in row.actions]
    return tuple(sorted(rows, key=lambda row: (row.agent, row.system, row.account)))


def _meant(index: SystemIndex, system: str | None, label: str | None) -> bool:
    asked = index.system
    some = label is None or any(asked.labelled(label, account) for account in asked.accounts)
    return some and (system is None or asked.name == system)


def timeless(decider: Decider, at: float) -> Decider:
    """The grants that live at ``at`` without their expiry, so that hours of the coming week can be tried."""
    live = (grant for grant in decider.grants if grant.expires is None or at < grant.expires)
    return Decider((replace(grant, expires=None) for grant in live), decider.systems.values(), decider.version)


def _accesses(index: SystemIndex, subject: Subject, at: float, given: Circumstances) -> list[Access]:
    found = {account: _Found() for account in index.system.accounts}
    for request in requests(index.rules, subject, index.system.name, at, given):
        weighed = weigh(index, request)
        for account, sum_ in found.items():
            verdict = judge(account, weighed, index.base)
            sum_.through |= verdict.let_through
            sum_.granted |= verdict.granted
            for rule, holds in weighed:
                if holds and not rule.denies and rule.account == account and rule.mask & verdict.granted:
                    sum_.grants[rule.grant.id] = None
    return [
        Access(
            subject.agent,
            index.system.name,
            account,
            actions_of(sum_.through),
            actions_of(sum_.granted),
            tuple(sum_.grants),
            index.system.mode,
        )
        for account, sum_ in found.items()
        if sum_.through
    ]


def actions_of(mask: int) -> frozenset[Action]:
    return frozenset(action for action, bit in BITS.items() if mask & bit)


def requests(
    every: Iterable[Rule], subject: Subject, system: str, at: float, given: Circumstances
) -> Iterator[Request]:
    """One request of every class of circumstances that these rules, all about one system, tell apart."""
    rules = [rule for rule in every if not (rule.grant.agents and not rule.grant.agents & {subject.agent, ANYONE})]
    for source, target, delegated, moment in product(
        _sources(rules) if given.source is None else [given.source],
        _targets(rules) if given.target is None else [given.target],
        _delegations(rules, subject) if given.delegated is None else [given.delegated],
        _moments(rules, at) if given.any_hour else [at],
    ):
        yield Request(replace(subject, delegated=delegated), system, target=target, source=source, at=moment)


def _sources(rules: list[Rule]) -> list[str]:
    edges = {(4, 0), (6, 1)} if any(rule.networks for rule in rules) else {(4, 0)}
    for rule in rules:
        for version, first, last in rule.networks:
            edges.add((version, first))
            if last < _LAST[version]:
                edges.add((version, last + 1))
    return [str(IPv4Address(number) if version == 4 else IPv6Address(number)) for version, number in sorted(edges)]


def _targets(rules: list[Rule]) -> list[Mapping[str, str]]:
    named: dict[str, set[str]] = {}
    for rule in rules:
        for name, values in rule.grant.targets.items():
            named.setdefault(name, {OTHER_TARGET}).update(values)
    choices = product(*(sorted(values) for values in named.values()))
    return [dict(zip(named, values, strict=True)) for values in choices]


def _delegations(rules: list[Rule], subject: Subject) -> list[bool]:
    told_apart = any(rule.grant.delegated is not Delegated.ANY for rule in rules)
    return [False, True] if told_apart else [subject.delegated]


def _moments(rules: list[Rule], at: float) -> list[float]:
    hours = {rule.grant.hours for rule in rules if rule.grant.hours is not None}
    return sorted({at, *(moment for window in hours for moment in window.boundaries(at))})
