"""What another policy, or other agents, change: who gains or loses what, exactly.

Both policies decide the same requests: one of every class of circumstances that the grants of either tell apart (see
``questions``). An access that a change narrows or widens in some circumstances only is a change as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bridge.adapter import Action
from bridge.policy.decider import Decider, weigh
from bridge.policy.decision import Request, Subject
from bridge.policy.index import SystemIndex
from bridge.policy.questions import OTHER_TARGET, Circumstances, actions_of, requests, timeless
from bridge.policy.verdict import Weighed, judge

GAINS, LOSES = "gains", "loses"


@dataclass(frozen=True, slots=True)
class Changed:
    """``what`` an agent gains or loses on an account. ``when``: the first circumstances in which it does.

    ``always``: in all circumstances that the grants tell apart. ``grants``: those that give it where it is given.
    """

    what: str
    agent: str
    system: str
    account: str
    actions: frozenset[Action]
    always: bool
    when: str
    grants: tuple[str, ...]


def changes(
    old: Decider,
    new: Decider,
    before: Mapping[str, Subject],
    after: Mapping[str, Subject],
    *,
    at: float,
) -> tuple[Changed, ...]:
    """Sorted by agent, system and account. ``before`` and ``after`` are the agents by id that there were and are."""
    sides = timeless(old, at), timeless(new, at)
    rows: list[Changed] = []
    for system in sorted({*old.systems, *new.systems}):
        pair = _Pair(sides[0].index(system), sides[1].index(system))
        for agent in sorted({*before, *after}):
            found = pair.changed(before.get(agent), after.get(agent), at)
            rows += [replace(one, agent=agent, system=system) for one in found]
    return tuple(sorted(rows, key=lambda row: (row.agent, row.system, row.account, row.what)))


class _Pair:
    """One system under both policies; agents that no grant names and that are otherwise alike are asked once."""

    def __init__(self, old: SystemIndex | None, new: SystemIndex | None) -> None:
        self._old = old
        self._new = new
        self._rules = [rule for index in (old, new) if index for rule in index.rules]
        self._named = {name for rule in self._rules for name in rule.grant.agents}
        self._accounts = sorted({name for index in (old, new) if index for name in index.system.accounts})
        self._answers: dict[tuple[Subject | None, Subject | None], list[Changed]] = {}

    def changed(self, before: Subject | None, after: Subject | None, at: float) -> list[Changed]:
        alike = self._alike(before), self._alike(after)
        if alike not in self._answers:
            self._answers[alike] = list(self._compare(*alike, at))
        return self._answers[alike]

    def _alike(self, subject: Subject | None) -> Subject | None:
        if subject is None or subject.agent in self._named:
            return subject
        return replace(subject, agent="", data_classes=frozenset())

    def _compare(self, before: Subject | None, after: Subject | None, at: float) -> Iterator[Changed]:
        subject = after or before
        assert subject is not None
        tried = list(requests(self._rules, subject, self._system(), at, Circumstances()))
        for account in self._accounts:
            pairs = [
                (one, _given(self._old, before, account, one), _given(self._new, after, account, one)) for one in tried
            ]
            yield from _side(GAINS, account, [(one, new, old) for one, old, new in pairs])
            yield from _side(LOSES, account, pairs)

    def _system(self) -> str:
        index = self._new or self._old
        return index.system.name if index else ""


_Given = tuple[int, Weighed]
"""Bits of the actions that are let through, and the rules that were weighed."""


def _given(index: SystemIndex | None, subject: Subject | None, account: str, asked: Request) -> _Given:
    if index is None or subject is None or account not in index.system.accounts:
        return 0, ()
    own = replace(subject, delegated=asked.subject.delegated)
    weighed = weigh(index, replace(asked, subject=own))
    return judge(account, weighed, index.base).let_through, weighed


def _giving(weighed: Weighed, account: str, bits: int) -> tuple[str, ...]:
    return tuple(
        rule.grant.id
        for rule, holds in weighed
        if holds and not rule.denies and rule.account == account and rule.mask & bits
    )


def _side(what: str, account: str, pairs: list[tuple[Request, _Given, _Given]]) -> Iterator[Changed]:
    """``pairs``: of each request what the one side gives, and the other."""
    beyond = [(asked, mine[0] & ~other[0], mine[1]) for asked, mine, other in pairs]
    found = [one for one in beyond if one[1]]
    if not found:
        return
    bits = 0
    grants: dict[str, None] = {}
    for _, some, weighed in found:
        bits |= some
        grants |= dict.fromkeys(_giving(weighed, account, some))
    always = len(found) == len(pairs) and all(some == bits for _, some, _ in found)
    when = "" if always else _words(found[0][0])
    yield Changed(what, "", "", account, actions_of(bits), always, when, tuple(grants))


def _words(asked: Request) -> str:
    """Circumstances for people: ``source 10.0.0.0, database=app, at 2026-11-25 07:00 UTC``."""
    parts = [f"source {asked.source}"]
    for name, value in asked.target.items():
        parts.append(f"another {name}" if value == OTHER_TARGET else f"{name}={value}")
    if asked.subject.delegated:
        parts.append("on behalf of someone")
    parts.append(datetime.fromtimestamp(asked.at, UTC).strftime("%a %H:%M UTC"))
    return ", ".join(parts)
