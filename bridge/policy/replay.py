"""What was asked, decided again by another policy: the same ``admit`` and ``permit``, with the requests of the past."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bridge.adapter import Action, Target
from bridge.policy.decider import Decider
from bridge.policy.decision import Request, Subject

REFUSED, ALLOWED = "newly-refused", "newly-allowed"


@dataclass(frozen=True, slots=True)
class Asked:
    """One distinct thing that was asked. ``action`` None: to be let in. ``permitted``: by the policy of that time.

    ``target`` are (name, value) pairs, sorted; of a value with several names each stands in ``target`` by itself.
    ``minute`` tells times apart where the policy does, else it is 0.
    """

    subject: Subject
    system: str
    account: str | None
    action: Action | None
    target: tuple[tuple[str, str | tuple[str, ...]], ...]
    source: str
    permitted: bool
    minute: int = 0


@dataclass(slots=True)
class Times:
    """How often, and when last (Unix seconds)."""

    count: int = 0
    last: float = 0.0

    def add(self, at: float) -> None:
        self.count += 1
        self.last = max(self.last, at)


Past = dict[Asked, Times]


@dataclass(frozen=True, slots=True)
class Turned:
    """Something that the other policy answers differently. ``rules`` are the grants that decide now."""

    what: str
    asked: Asked
    count: int
    last: float
    rules: tuple[str, ...]
    reason: str


def replay(decider: Decider, past: Past) -> Iterator[Turned]:
    """What ``decider`` would refuse that was permitted, and the other way round."""
    for asked, times in past.items():
        decision = decider.admit(request_of(asked, times.last))
        if decision.allowed is not asked.permitted:
            what = ALLOWED if decision.allowed else REFUSED
            yield Turned(what, asked, times.count, times.last, decision.rules, decision.reason)


def request_of(asked: Asked, at: float) -> Request:
    target: Target = dict(asked.target)
    return Request(asked.subject, asked.system, asked.account, asked.action, target, asked.source, at)


def told_apart_by_time(decider: Decider) -> bool:
    """Whether some grant has hours or an end, so that the time of each request matters."""
    return any(grant.hours is not None or grant.expires is not None for grant in decider.grants)


def merged(rows: Iterable[Turned]) -> list[Turned]:
    """Those that differ in the address and the minute alone are one; the most frequent first."""
    found: dict[tuple[object, ...], Turned] = {}
    for row in rows:
        asked = row.asked
        key = (row.what, asked.subject.agent, asked.system, asked.account, asked.action, asked.target, row.rules)
        known = found.get(key)
        newest = row if known is None or row.last > known.last else known
        count = row.count + (known.count if known else 0)
        found[key] = Turned(row.what, newest.asked, count, newest.last, row.rules, newest.reason)
    return sorted(found.values(), key=lambda row: (-row.count, row.asked.subject.agent, row.asked.system))
