"""How strictly each system and grant is enforced, now and later; and what a change would make less strict.

Pure. Times are Unix seconds. A mode may end: from ``until`` on it is enforce. So "less strict" means: at some time from
now on. What counts is what an agent meets: a grant with a mode of its own that goes away, and an account that another
system reached more strictly, are seen too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bridge.policy.conditions import STRICTNESS
from bridge.policy.grants import Effect, Mode

PEOPLE = "breakglass"
"""The key of a change of who may sign: it would let one person be two."""


@dataclass(frozen=True, slots=True)
class Phase:
    mode: Mode
    until: float | None = None

    def strictness(self, at: float) -> int:
        return STRICTNESS[Mode.ENFORCE if self.until is not None and at >= self.until else self.mode]

    def __str__(self) -> str:
        if self.until is None or self.mode is Mode.ENFORCE:
            return self.mode.value
        end = datetime.fromtimestamp(self.until, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return f"{self.mode.value} until {end}"


@dataclass(frozen=True, slots=True)
class SystemPhase:
    """``accounts`` are the legacy accounts that it leads to, as USER@HOST:PORT."""

    phase: Phase
    accounts: frozenset[str]


@dataclass(frozen=True, slots=True)
class GrantPhase:
    """``phase`` None: that of the system. ``whom`` is whom it selects and for which account, in one text."""

    phase: Phase | None
    effect: Effect
    systems: frozenset[str]
    whom: str


@dataclass(frozen=True, slots=True)
class Phases:
    """Of a whole configuration. ``people`` may sign; ``approvals`` of them are needed for a break-glass."""

    systems: Mapping[str, SystemPhase] = field(default_factory=dict)
    grants: Mapping[str, GrantPhase] = field(default_factory=dict)
    people: Mapping[str, str] = field(default_factory=dict)
    approvals: int = 0

    def floors(self, name: str, new: SystemPhase) -> list[Phase]:
        """How strictly what the system ``name`` will lead to was enforced."""
        own = self.systems.get(name)
        added = new.accounts - (own.accounts if own else frozenset())
        others = (one.phase for other, one in self.systems.items() if other != name and one.accounts & added)
        return ([own.phase] if own else []) + list(others)


class Lowered(NamedTuple):
    key: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.key}: {self.before} to {self.after}"


def lowered(before: Phases, after: Phases, now: float) -> tuple[Lowered, ...]:
    """What ``after`` makes less strict; also who may sign, once somebody may."""
    return (*_systems(before, after, now), *_grants(before, after, now), *_gone(before, after, now),
            *_people(before, after))  # fmt: skip


def _systems(before: Phases, after: Phases, now: float) -> Iterator[Lowered]:
    for name, system in after.systems.items():
        yield from _weaker(f"systems.{name}.mode", before.floors(name, system), system.phase, now)


def _grants(before: Phases, after: Phases, now: float) -> Iterator[Lowered]:
    for id, grant in after.grants.items():
        old = before.grants.get(id)
        if grant.phase is None and (old is None or old.phase is None):
            continue  # its system's, which is seen there
        for name in sorted(grant.systems):
            system = after.systems[name]
            floors = [old.phase or before.systems[name].phase] if old and name in old.systems else []
            if grant.effect is Effect.ALLOW and (old is None or not floors or old.whom != grant.whom):
                floors += before.floors(name, system)  # whom it now lets do more
            found = list(_weaker(f"grants.{id}.mode", floors, grant.phase or system.phase, now))
            if found:
                yield found[0]
                break


def _gone(before: Phases, after: Phases, now: float) -> Iterator[Lowered]:
    for id, old in before.grants.items():
        if old.phase is None or id in after.grants:
            continue
        for name in sorted(old.systems & after.systems.keys()):
            if list(_weaker("", [old.phase], after.systems[name].phase, now)):
                yield Lowered(f"grants.{id}.mode", str(old.phase), f"gone, {after.systems[name].phase}")
                break


def _people(before: Phases, after: Phases) -> Iterator[Lowered]:
    old, new = (_signers(one) for one in (before, after))
    if before.people and old != new:
        yield Lowered(PEOPLE, old, new)


def _signers(phases: Phases) -> str:
    return f"{phases.approvals} of " + ", ".join(f"{name} {key}" for name, key in sorted(phases.people.items()))


def _weaker(key: str, floors: list[Phase], new: Phase, now: float) -> Iterator[Lowered]:
    """Modes change when one of them ends, so these are the times to look at."""
    times = [now] + [one.until for one in (*floors, new) if one.until is not None and one.until > now]
    if floors and any(new.strictness(at) < max(floor.strictness(at) for floor in floors) for at in times):
        strictest = max(floors, key=lambda floor: [floor.strictness(at) for at in sorted(times)])
        yield Lowered(key, str(strictest), str(new))


def plain(phases: Phases) -> dict[str, Any]:
    """As JSON."""
    return {
        "systems": {
            name: {"phase": asdict(one.phase), "accounts": sorted(one.accounts)} for name, one in phases.systems.items()
        },
        "grants": {
            id: {
                "phase": asdict(one.phase) if one.phase else None,
                "effect": one.effect,
                "systems": sorted(one.systems),
                "whom": one.whom,
            }
            for id, one in phases.grants.items()
        },
        "people": dict(phases.people),
        "approvals": phases.approvals,
    }


def phases_of(content: Mapping[str, Any]) -> Phases:
    """What ``plain`` made."""
    systems = {
        name: SystemPhase(_phase(one["phase"]), frozenset(one["accounts"])) for name, one in content["systems"].items()
    }
    grants = {
        id: GrantPhase(
            _phase(one["phase"]) if one["phase"] else None,
            Effect(one["effect"]),
            frozenset(one["systems"]),
            one["whom"],
        )
        for id, one in content["grants"].items()
    }
    return Phases(systems, grants, content["people"], content["approvals"])


def _phase(content: Mapping[str, Any]) -> Phase:
    return Phase(Mode(content["mode"]), content["until"])
