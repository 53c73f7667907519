"""The least grants that would have covered what was used: nothing that was not, but for facts with too many values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bridge.adapter import Action
from bridge.policy.replay import Past

MOST_VALUES = 25
"""Different values of one fact (paths, commands) that a grant lists; with more it does not narrow by that fact."""

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Suggested:
    """One grant. ``targets`` are the values of each fact that it narrows by; ``wide`` those facts that had too many."""

    system: str
    account: str
    actions: frozenset[Action]
    targets: Mapping[str, tuple[str, ...]]
    wide: tuple[str, ...]
    count: int


def suggest(past: Past) -> list[Suggested]:
    """For what was permitted in ``past``, whose targets have single values. A session in which nothing was asked needs
    some action to be let in: reading."""
    used: dict[tuple[str, str], dict[Facts, set[Action]]] = defaultdict(lambda: defaultdict(set))
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for asked, times in past.items():
        if not asked.permitted or asked.account is None:
            continue
        place = asked.system, asked.account
        facts = tuple((name, value if isinstance(value, str) else value[0]) for name, value in asked.target if value)
        if asked.action is not None:
            used[place][facts].add(asked.action)
            counts[place] += times.count
        else:
            used[place].setdefault(facts, set())
    return [
        grant for place, uses in sorted(used.items()) for grant in _grants(*place, _with_sessions(uses), counts[place])
    ]


def _with_sessions(uses: Mapping[Facts, set[Action]]) -> dict[Facts, frozenset[Action]]:
    """Openings that some operation implies are left out; any other needs an action of its own."""
    acted = [set(facts) for facts, actions in uses.items() if actions]
    kept: dict[Facts, frozenset[Action]] = {}
    for facts, actions in uses.items():
        if actions:
            kept[facts] = frozenset(actions)
        elif not any(set(facts) <= other for other in acted):
            kept[facts] = frozenset({Action.READ})
    return kept


def _grants(system: str, account: str, uses: Mapping[Facts, frozenset[Action]], count: int) -> list[Suggested]:
    values: dict[str, set[str]] = defaultdict(set)
    for facts in uses:
        for name, value in facts:
            values[name].add(value)
    wide = tuple(sorted(name for name, found in values.items() if len(found) > MOST_VALUES))
    narrowed: dict[Facts, set[Action]] = defaultdict(set)
    for facts, actions in uses.items():
        narrowed[tuple(pair for pair in facts if pair[0] not in wide)] |= actions
    by_actions: dict[frozenset[Action], list[dict[str, frozenset[str]]]] = defaultdict(list)
    for facts, done in narrowed.items():
        by_actions[frozenset(done)].append({name: frozenset({value}) for name, value in facts})
    return [
        Suggested(system, account, actions, {name: tuple(sorted(one)) for name, one in targets.items()}, wide, count)
        for actions, shapes in sorted(by_actions.items(), key=lambda item: sorted(item[0]))
        for targets in _merged(shapes)
    ]


def _merged(shapes: Iterable[dict[str, frozenset[str]]]) -> list[dict[str, frozenset[str]]]:
    """Joins those that differ in the values of one fact, until none do: the join covers no more than both."""
    kept: list[dict[str, frozenset[str]]] = []
    for shape in shapes:
        current = shape
        while (other := next((one for one in kept if _joinable(one, current)), None)) is not None:
            kept.remove(other)
            current = {name: current[name] | other[name] for name in current}
        kept.append(current)
    return kept


def _joinable(one: Mapping[str, frozenset[str]], other: Mapping[str, frozenset[str]]) -> bool:
    return one.keys() == other.keys() and sum(one[name] != other[name] for name in one) <= 1
