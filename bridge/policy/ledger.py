"""The counters behind the quotas, and the meter of one session.

Pure: times are Unix seconds given by the caller. What has changed is handed out in groups (``changed``), to be stored
off the path of the statements, and taken back at the next start (``restore``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.policy.decision import Subject
from bridge.policy.grants import SystemPolicy
from bridge.policy.quotas import (
    MINUTE,
    USED_UP,
    Exceeded,
    Measure,
    Price,
    Quota,
    Running,
    month_of,
    plain_amount,
    window,
)

MILLI = 1000  # the tokens of a bucket are stored in thousandths

Stored = tuple[str, str, str, int, int]
"""quota, counter, measure, begin of its window, used. Of a token bucket: when it was filled last, and how many
thousandths of tokens were left."""


@dataclass(slots=True)
class Window:
    begin: float = 0.0
    end: float = 0.0
    used: int = 0


class Counter:
    """What one quota has counted of one agent, role, owner …; adds itself to ``waiting`` when it is to be stored."""

    __slots__ = ("changed", "filled", "key", "live", "quota", "tokens", "waiting", "windows")

    def __init__(self, quota: Quota, key: str, waiting: list[Counter]) -> None:
        self.waiting = waiting
        self.quota = quota
        self.key = key
        self.live = 0
        self.windows: dict[Measure, Window] = {}
        self.tokens = float("inf")  # a full bucket
        self.filled = 0.0
        self.changed = False

    def used(self, measure: Measure, now: float) -> int:
        found = self.windows.get(measure)
        return found.used if found is not None and found.begin <= now < found.end else 0

    def use(self, measure: Measure, amount: int, now: float) -> None:
        if measure not in self.quota.limits or not amount:
            return
        found = self.windows.get(measure)
        if found is None or not found.begin <= now < found.end:
            found = self.windows[measure] = Window(*window(measure, self.quota.period, now))
        found.used += amount
        self.change()

    def change(self) -> None:
        if not self.changed:
            self.changed = True
            self.waiting.append(self)

    def exceeded(self, measure: Measure, now: float) -> Exceeded | None:
        """For a measure with a window."""
        limit = self.quota.limits.get(measure)
        if limit is None or self.used(measure, now) < limit:
            return None
        return self._reached(measure, window(measure, self.quota.period, now)[1])

    def full(self) -> Exceeded | None:
        """Whether as many sessions are open as may be."""
        limit = self.quota.limits.get(Measure.SESSIONS)
        return self._reached(Measure.SESSIONS, 0.0) if limit is not None and self.live >= limit else None

    def waits(self, now: float) -> Exceeded | None:
        """Fills the bucket; whether no token is in it."""
        rate = self.quota.limits.get(Measure.OPERATIONS)
        if rate is None:
            return None
        passed = max(0.0, now - self.filled)
        self.tokens = min(float(self.quota.burst or rate), self.tokens + passed * rate / MINUTE)
        self.filled = now
        if self.tokens >= 1.0:
            return None
        return self._reached(Measure.OPERATIONS, now + (1.0 - self.tokens) * MINUTE / rate)

    def take_token(self) -> None:
        if Measure.OPERATIONS in self.quota.limits:
            self.tokens -= 1.0
            self.change()

    def _reached(self, measure: Measure, again: float) -> Exceeded:
        return Exceeded(self.quota.name, self.key, measure, self.quota.limits[measure], again)

    def stored(self) -> list[Stored]:
        name = self.quota.name
        rows = [(name, self.key, str(what), int(one.begin), one.used) for what, one in self.windows.items()]
        if self.filled:
            rows.append((name, self.key, str(Measure.OPERATIONS), int(self.filled), int(self.tokens * MILLI)))
        return rows

    def restore(self, measure: Measure, begin: int, used: int) -> None:
        if measure is Measure.OPERATIONS:
            self.filled, self.tokens = float(begin), used / MILLI
        else:
            self.windows[measure] = Window(*window(measure, self.quota.period, begin), used)

    def rows(self, now: float) -> list[dict[str, Any]]:
        """One a limit, for people."""
        return [self._row(measure, limit, now) for measure, limit in self.quota.limits.items()]

    def _row(self, measure: Measure, limit: int, now: float) -> dict[str, Any]:
        if measure is Measure.SESSIONS:
            used, reached = self.live, self.full()
        elif measure is Measure.OPERATIONS:
            reached = self.waits(now)
            used = int((self.quota.burst or limit) - self.tokens)
        else:
            used, reached = self.used(measure, now), self.exceeded(measure, now)
        return {
            "quota": self.quota.name,
            "of": self.key,
            "measure": str(measure),
            "used": plain_amount(measure, used),
            "limit": plain_amount(measure, limit),
            "reached": reached is not None,
            "again": int(reached.again) if reached and reached.again else None,
            "running": str(self.quota.running),
        }


@dataclass(slots=True)
class Use:
    """What was used of one system by one agent in one month; ``micros`` is what it cost."""

    sessions: int = 0
    operations: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: int = 0
    micros: int = 0

    def add(self, other: Use) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


UseKey = tuple[str, str, str, str, str]
"""month, cost centre, owner, agent, system"""


@dataclass(slots=True)
class Changes:
    """What is to be stored: counters as they stand, and what to add to the costs."""

    counters: list[Stored] = field(default_factory=list)
    uses: dict[UseKey, Use] = field(default_factory=dict)


class Ledger:
    """All counters. ``take`` gives it the quotas and prices of a (new) configuration; what was counted stays."""

    def __init__(self, quotas: Iterable[Quota] = (), prices: Mapping[str, Price] | None = None) -> None:
        self._counters: dict[tuple[str, str], Counter] = {}
        self._waiting: list[Counter] = []
        self._uses: dict[UseKey, Use] = {}
        self.take(quotas, prices or {})

    def take(self, quotas: Iterable[Quota], prices: Mapping[str, Price]) -> None:
        self.quotas = {quota.name: quota for quota in quotas}
        self.prices = dict(prices)
        for key, counter in list(self._counters.items()):
            quota = self.quotas.get(key[0])
            if quota is not None and quota.per == counter.quota.per:
                counter.quota = quota
            else:
                del self._counters[key]

    def meter(self, subject: Subject, system: SystemPolicy) -> Meter | None:
        """For a session; None when no quota and no price applies to it."""
        price = self.prices.get(system.name)
        lines = [
            self._counter(quota, key)
            for quota in self.quotas.values()
            if quota.selects(subject, system)
            for key in quota.counters(subject, system.name)
        ]
        return Meter(self, lines, price, subject, system.name) if lines or price else None

    def _counter(self, quota: Quota, key: str) -> Counter:
        found = self._counters.get((quota.name, key))
        if found is None:
            found = self._counters[quota.name, key] = Counter(quota, key, self._waiting)
        return found

    def use_of(self, key: UseKey) -> Use:
        found = self._uses.get(key)
        if found is None:
            found = self._uses[key] = Use()
        return found

    def changed(self) -> Changes:
        """What has changed since the last call."""
        rows = []
        for counter in self._waiting:
            counter.changed = False
            rows += counter.stored()
        self._waiting.clear()
        uses, self._uses = self._uses, {}
        return Changes(rows, uses)

    def unsaved(self, changes: Changes) -> None:
        """These could not be stored; they are handed out again."""
        for quota, key, *_ in changes.counters:
            if (quota, key) in self._counters:
                self._counters[quota, key].change()
        for use_key, use in changes.uses.items():
            self.use_of(use_key).add(use)

    def restore(self, rows: Iterable[Stored]) -> None:
        """What an earlier run has counted, of the quotas that there still are."""
        for name, key, measure, begin, used in rows:
            quota = self.quotas.get(name)
            if quota is not None and measure in quota.limits:
                self._counter(quota, key).restore(Measure(measure), begin, used)

    def rows(self, now: float) -> list[dict[str, Any]]:
        """Every limit of every counter; a quota that nothing was counted of yet is there with its limits."""
        counted = {name for name, _ in self._counters}
        idle = [Counter(quota, "", []) for name, quota in self.quotas.items() if name not in counted]
        every = sorted([*self._counters.values(), *idle], key=lambda one: (one.quota.name, one.key))
        return [row for counter in every for row in counter.rows(now)]


class Meter:
    """What one session uses. ``open`` once, then any of the others, ``close`` at its end."""

    __slots__ = ("_bytes", "_charged", "_ledger", "_lines", "_opened", "_price", "_seconds", "_subject", "_system")

    def __init__(
        self, ledger: Ledger, lines: list[Counter], price: Price | None, subject: Subject, system: str
    ) -> None:
        self._ledger = ledger
        self._lines = lines
        self._price = price
        self._subject = subject
        self._system = system
        self._opened = 0.0
        self._bytes = 0
        self._seconds = 0
        self._charged = 0

    def open(self, now: float) -> Exceeded | None:
        """Counts a session, or says which limit is reached; then nothing was counted."""
        for line in self._lines:
            reached = line.full() or _first(line, (Measure.STARTS, *USED_UP), now)
            if reached is not None:
                return reached
        self.resume(now)
        for line in self._lines:
            line.use(Measure.STARTS, 1, now)
        self._charge(Use(sessions=1, micros=self._price.session if self._price else 0), now)
        return None

    def resume(self, now: float) -> None:
        """For a session that was counted by the meter before this one, which was closed."""
        self._opened = now
        for line in self._lines:
            line.live += 1

    def operation(self, now: float) -> Exceeded | None:
        """Counts an operation, or says which limit is reached; then nothing was counted."""
        lines = self._lines
        for line in lines:
            finish = line.quota.running is Running.FINISH
            reached = line.waits(now) or (None if finish else _first(line, USED_UP, now))
            if reached is not None:
                return reached
        for line in lines:
            line.take_token()
        self._charge(Use(operations=1, micros=self._price.operation if self._price else 0), now)
        return None

    def outcome(self, rows: int, size: int, now: float) -> None:
        """What an operation has moved."""
        for line in self._lines:
            line.use(Measure.ROWS, rows, now)
            line.use(Measure.BYTES, size, now)
        self._bytes += size
        self._charge(Use(rows=rows, bytes=size, micros=self._grown(now)), now)

    def review(self, now: float) -> Exceeded | None:
        """Charges the time since; the limit for which the session is to be cut, if one is reached."""
        self._charge_time(now)
        cutting = (line for line in self._lines if line.quota.running is Running.CUT)
        return next((found for line in cutting if (found := _first(line, USED_UP, now))), None)

    def close(self, now: float) -> None:
        self._charge_time(now)
        for line in self._lines:
            line.live -= 1

    def _charge_time(self, now: float) -> None:
        seconds = int(now - self._opened)
        passed, self._seconds = seconds - self._seconds, seconds
        if self._price is not None:
            self._charge(Use(seconds=passed, micros=self._grown(now)), now)

    def _grown(self, now: float) -> int:
        """What bytes and time cost beyond what was charged already."""
        if self._price is None:
            return 0
        total = self._price.of_use(self._bytes, max(0.0, now - self._opened))
        grown, self._charged = total - self._charged, max(total, self._charged)
        return max(0, grown)

    def _charge(self, use: Use, now: float) -> None:
        if self._price is None:
            return
        for line in self._lines:
            line.use(Measure.COST_DAY, use.micros, now)
            line.use(Measure.COST_MONTH, use.micros, now)
        who = self._subject
        self._ledger.use_of((month_of(now), who.cost_centre, who.owner, who.agent, self._system)).add(use)


def _first(line: Counter, measures: tuple[Measure, ...], now: float) -> Exceeded | None:
    return next((found for measure in measures if (found := line.exceeded(measure, now))), None)
