"""Grants and the systems they speak about, as the configuration states them.

A grant has three parts: *who* (agents, roles, owners, cost centres), *where* (systems or labels, and the account), and
*narrowing* (actions, targets, environments, delegation, sources, hours). All that is given must hold. In one list, one
member is enough.

Modes. The system's mode is the base. A grant may have a mode of its own:

* a **deny** grant in ``observe`` or ``warn`` is on trial: it does not bite, what it would refuse is recorded;
* an **allow** grant in ``observe`` or ``warn`` is on trial as a restriction: what the agents it selects do on its
  account beyond its narrowing is let through and recorded;
* ``enforce`` on a grant takes effect even where the system only observes: for a deny grant always, for an allow grant
  unless another grant that selects the same agent and account is more lenient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_network
from types import MappingProxyType
from zoneinfo import ZoneInfo

from bridge.adapter import Action

ANYONE = "*"
"""In ``Grant.agents``: every agent that has proven itself."""

TEMPORARY = ":"
"""In the id of a grant that somebody gave for a time; no grant of a configuration can have it."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Effect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class Mode(StrEnum):
    """What becomes of a refusal: recorded; recorded and told; applied."""

    OBSERVE = "observe"
    WARN = "warn"
    ENFORCE = "enforce"


class Delegated(StrEnum):
    """Whether the agent must, or must not, act for somebody else."""

    ANY = "any"
    REQUIRED = "required"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Hours:
    """A weekly window in a time zone: from ``start`` to before ``end`` (minutes of the day) on each of ``days``.

    Days count from Monday = 0. When ``end`` is not after ``start`` the window runs past midnight and belongs to the day
    on which it began.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: str = "UTC"

    @classmethod
    def parse(cls, days: Iterable[str], start: str, end: str, zone: str = "UTC") -> Hours:
        """``Hours.parse(["mon", "tue"], "08:00", "18:30", "Europe/Berlin")``. Raises ValueError, saying which part."""
        names = [day.strip().lower()[:3] for day in days] or list(DAYS)
        unknown = [day for day in names if day not in DAYS]
        if unknown:
            raise ValueError(f"unknown day {unknown[0]!r}, expected one of {', '.join(DAYS)}")
        try:
            zoneinfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"unknown time zone {zone!r}, expected a name such as Europe/Berlin") from None
        return cls(frozenset(DAYS.index(day) for day in names), _minutes(start), _minutes(end), zone)

    def contains(self, at: float) -> bool:
        local = datetime.fromtimestamp(at, zoneinfo(self.zone))
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        return (day in self.days and minute >= self.start) or ((day - 1) % 7 in self.days and minute < self.end)

    def boundaries(self, at: float, days: int = 8) -> list[float]:
        """Every instant from ``at`` on, for so many days, at which the answer of ``contains`` may change."""
        zone = zoneinfo(self.zone)
        today = datetime.fromtimestamp(at, zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        instants = (
            (today + timedelta(days=day, minutes=minute)).timestamp()
            for day in range(days)
            for minute in (self.start, self.end)
        )
        return [instant for instant in instants if instant >= at]


@lru_cache(maxsize=256)
def zoneinfo(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _minutes(text: str) -> int:
    hour, colon, minute = text.partition(":")
    if not (colon and hour.isdigit() and minute.isdigit() and len(minute) == 2):
        raise ValueError(f"not a time of day: {text!r}, expected HH:MM")
    total = int(hour) * 60 + int(minute)
    if int(minute) > 59 or total > 24 * 60:
        raise ValueError(f"not a time of day: {text!r}, expected 00:00 to 24:00")
    return total


def is_temporary(grant: str) -> bool:
    """Whether the grant of this id was given for a time, beside those of the configuration."""
    return TEMPORARY in grant


@dataclass(frozen=True, slots=True)
class Grant:
    """One entry of the configuration's ``grants``. An empty set does not ask; ``expires`` is in Unix seconds.

    ``targets`` narrows by facts of the protocol (``{"database": {"app"}}``); ``*`` in a value stands for anything.
    ``environments`` asks for the *agent's* environment; a system's environment can be selected by the label
    ``environment:NAME``. ``default`` marks the account an agent gets when it names none.
    """

    id: str
    effect: Effect = Effect.ALLOW
    agents: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()
    cost_centres: frozenset[str] = frozenset()
    systems: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    account: str | None = None
    default: bool = False
    actions: frozenset[Action] = frozenset(Action)
    targets: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    environments: frozenset[str] = frozenset()
    delegated: Delegated = Delegated.ANY
    sources: tuple[str, ...] = ()
    hours: Hours | None = None
    expires: int | None = None
    mode: Mode | None = None
    reason: str = ""
    ticket: str = ""

    def __post_init__(self) -> None:
        if not self.actions:
            raise ValueError(f"grant {self.id}: names no action")
        if self.effect is Effect.ALLOW:
            self._check_allow()
        elif self.default:
            raise ValueError(f"grant {self.id}: a deny grant cannot make an account the default")
        for source in self.sources:
            ip_network(source)

    def _check_allow(self) -> None:
        if not (self.agents or self.roles or self.owners or self.cost_centres):
            raise ValueError(f"grant {self.id}: allows nobody in particular; to mean every agent write agents: ['*']")
        if not (self.systems or self.labels):
            raise ValueError(f"grant {self.id}: names neither systems nor labels")
        if self.account is None:
            raise ValueError(f"grant {self.id}: an allow grant names the account it leads to")

    def selects(self, system: SystemPolicy) -> bool:
        """By name or by label; a deny grant with neither speaks about every system."""
        return system.meant_by(self.systems, self.labels)


@dataclass(frozen=True, slots=True)
class SystemPolicy:
    """A legacy system as the policy sees it; ``accounts`` are the static accounts that exist for it.

    ``operation_targets`` are the facts that only operations have: at login they are not asked. ``account_labels`` are
    those that an account has beside its system's: grants do not ask for them, "who can" does.
    """

    name: str
    accounts: tuple[str, ...]
    labels: frozenset[str] = frozenset()
    mode: Mode = Mode.ENFORCE
    environment: str = ""
    operation_targets: frozenset[str] = frozenset()
    account_labels: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))

    def meant_by(self, systems: frozenset[str], labels: frozenset[str]) -> bool:
        """Whether it is one of these, by name or by label. Both empty: every system is meant."""
        return not (systems or labels) or self.name in systems or not labels.isdisjoint(self.all_labels)

    def labelled(self, label: str, account: str) -> bool:
        return label in self.all_labels or label in self.account_labels.get(account, frozenset())

    @property
    def all_labels(self) -> frozenset[str]:
        return self.labels | {f"environment:{self.environment}"} if self.environment else self.labels
