"""What agents may use at most, and what their use costs: the declarations.

A quota selects agents and systems as a grant does and has a counter per value of ``per``: of each agent, role, owner,
cost centre or system, or of each combination of several. Costs are whole millionths of a unit (``MICRO``), so that sums
are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import product

from bridge.policy.conditions import who_fails
from bridge.policy.decision import Subject
from bridge.policy.grants import SystemPolicy

MICRO = 1_000_000
MEGABYTE = 1_000_000
MINUTE = 60.0
DAY = 86_400.0


class Measure(StrEnum):
    """What is limited. All but the first two and the token bucket are used up in a window of time (UTC)."""

    SESSIONS = "sessions"  # open at the same time
    STARTS = "session-starts"  # in a period
    OPERATIONS = "operations-per-minute"  # a token bucket
    ROWS = "rows-per-day"
    BYTES = "bytes-per-day"
    COST_DAY = "cost-per-day"
    COST_MONTH = "cost-per-month"


USED_UP = (Measure.ROWS, Measure.BYTES, Measure.COST_DAY, Measure.COST_MONTH)
"""What a live session goes on using, and may therefore be stopped for."""


class Running(StrEnum):
    """What becomes of a session that lives when something in USED_UP is used up."""

    REFUSE = "refuse"  # it lives on, its operations are refused until there is something again
    CUT = "cut"
    FINISH = "finish"  # it may go on; new ones are refused


class Per(StrEnum):
    AGENT = "agent"
    ROLE = "role"
    OWNER = "owner"
    COST_CENTRE = "cost_centre"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Quota:
    """``limits`` in sessions, operations, rows, bytes or millionths of a unit. An empty set selects all.

    ``period`` (seconds) is that of STARTS; ``burst`` is how many operations may come at once.
    """

    name: str
    limits: Mapping[Measure, int]
    agents: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()
    cost_centres: frozenset[str] = frozenset()
    systems: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    per: tuple[Per, ...] = (Per.AGENT,)
    period: float = DAY
    burst: int = 0
    running: Running = Running.REFUSE

    def selects(self, subject: Subject, system: SystemPolicy) -> bool:
        """As a grant: all that is given must hold, and of each set one member is enough."""
        return not who_fails(self, subject) and system.meant_by(self.systems, self.labels)

    def counters(self, subject: Subject, system: str) -> list[str]:
        """The counters that a session of this agent on this system uses: ``agent=deploy-7``, ``role=reader`` …"""
        values = [[f"{per}={value}" for value in self._values(per, subject, system)] for per in self.per]
        return [" ".join(parts) for parts in product(*values)]

    def _values(self, per: Per, subject: Subject, system: str) -> list[str]:
        if per is Per.ROLE:
            return sorted(self.roles & subject.roles or subject.roles) or [""]
        named = {Per.AGENT: subject.agent, Per.OWNER: subject.owner, Per.COST_CENTRE: subject.cost_centre}
        return [named.get(per, system)]


@dataclass(frozen=True, slots=True)
class Price:
    """Of one system, in millionths of a unit: each session, operation, megabyte (10^6 bytes) and minute."""

    session: int = 0
    operation: int = 0
    megabyte: int = 0
    minute: int = 0

    def of_use(self, size: int, seconds: float) -> int:
        """What so many bytes and so long a session cost."""
        return self.megabyte * size // MEGABYTE + int(self.minute * seconds / MINUTE)


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that is reached. ``again`` is when it may be tried again (Unix seconds); 0: when a session has ended."""

    quota: str
    counter: str
    measure: Measure
    limit: int
    again: float

    @property
    def code(self) -> str:
        return f"quota-{self.measure}"

    @property
    def detail(self) -> str:
        """For the log: which quota, of what, and its limit."""
        return f"quota {self.quota}, {self.counter}: {self.measure} {plain_amount(self.measure, self.limit)}"

    @property
    def text(self) -> str:
        """For the agent."""
        return f"the quota {self.quota} is used up: {plain_amount(self.measure, self.limit)} {_WORDS[self.measure]}"

    def hint(self, now: float) -> str:
        """For the agent: when to try again."""
        if not self.again:
            return "close sessions that are not needed, or try again when one has ended"
        seconds = max(1, int(self.again - now + 0.999))
        moment = datetime.fromtimestamp(now + seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"try again in {seconds} s, at {moment}"


_WORDS = {
    Measure.SESSIONS: "sessions open at the same time",
    Measure.STARTS: "sessions begun in its period",
    Measure.OPERATIONS: "operations a minute",
    Measure.ROWS: "rows a day",
    Measure.BYTES: "bytes a day",
    Measure.COST_DAY: "cost units a day",
    Measure.COST_MONTH: "cost units a month",
}


def plain_amount(measure: Measure, amount: int) -> str:
    """``amount`` as people read it: costs in units."""
    return units(amount) if measure in (Measure.COST_DAY, Measure.COST_MONTH) else str(amount)


def units(micros: int) -> str:
    """Millionths of a unit as a decimal number: ``12.5``."""
    whole, rest = divmod(micros, MICRO)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def window(measure: Measure, period: float, at: float) -> tuple[float, float]:
    """The begin and the end of the window in which ``at`` lies; days and months are those of UTC."""
    if measure is Measure.COST_MONTH:
        begin = datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return begin.timestamp(), (begin + timedelta(days=32)).replace(day=1).timestamp()
    length = period if measure is Measure.STARTS else DAY
    start = at // length * length
    return start, start + length


def month_of(at: float) -> str:
    """``2026-11``, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m")
