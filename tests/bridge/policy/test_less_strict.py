"""What counts as less strict: of systems, grants and those who may sign, now and later."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bridge.policy import Effect, Mode
from bridge.policy.phases import GrantPhase, Phase, Phases, SystemPhase, lowered, phases_of, plain

NOW = 1000.0
OBSERVE, WARN, ENFORCE = (Phase(mode) for mode in Mode)
DAY = Phase(Mode.OBSERVE, NOW + 86_400)
WEEK = Phase(Mode.OBSERVE, NOW + 7 * 86_400)
PAST = Phase(Mode.OBSERVE, NOW - 1)
WARN_WEEK = Phase(Mode.WARN, NOW + 7 * 86_400)


def system(phase: Phase, *accounts: str) -> SystemPhase:
    return SystemPhase(phase, frozenset(accounts or {"svc@pg:5432"}))


def grant(phase: Phase | None, effect: Effect = Effect.ALLOW, whom: str = "bots", *systems: str) -> GrantPhase:
    return GrantPhase(phase, effect, frozenset(systems or {"pg"}), whom)


def told(before: Phases, after: Phases) -> list[str]:
    return [str(one) for one in lowered(before, after, NOW)]


@pytest.mark.parametrize(
    ("before", "after", "less"),
    [
        (ENFORCE, OBSERVE, True),
        (ENFORCE, WARN, True),
        (WARN, OBSERVE, True),
        (OBSERVE, WARN, False),
        (OBSERVE, ENFORCE, False),
        (OBSERVE, OBSERVE, False),
        (ENFORCE, DAY, True),
        (ENFORCE, PAST, False),  # it has ended: this enforces
        (PAST, OBSERVE, True),
        (PAST, WEEK, True),
        (DAY, WEEK, True),  # a mode made longer
        (DAY, OBSERVE, True),  # or without an end
        (WEEK, DAY, False),
        (OBSERVE, WEEK, False),
        (DAY, WARN_WEEK, True),  # stricter today, less strict after
        (WEEK, WARN_WEEK, False),
        (WARN_WEEK, DAY, True),
    ],
)
def test_a_system_is_less_strict_when_it_is_so_at_any_time_from_now_on(before: Phase, after: Phase, less: bool) -> None:
    found = told(Phases({"pg": system(before)}), Phases({"pg": system(after)}))
    assert found == ([f"systems.pg.mode: {before} to {after}"] if less else [])
    own = (Phases({"pg": system(ENFORCE)}, {"g": grant(phase)}) for phase in (before, after))
    assert bool(told(*own)) is less


def test_a_new_system_is_free_unless_it_leads_where_another_was_stricter() -> None:
    before = Phases({"pg": system(ENFORCE)})
    assert told(before, Phases({**before.systems, "my": system(OBSERVE, "svc@my:3306")})) == []
    again = Phases({**before.systems, "pg2": system(OBSERVE, "other@pg:5432", "svc@pg:5432")})
    assert told(before, again) == ["systems.pg2.mode: enforce to observe"]
    assert told(before, Phases({"renamed": system(OBSERVE)})) == ["systems.renamed.mode: enforce to observe"]
    moved = Phases({"pg": system(ENFORCE), "my": system(OBSERVE, "x@my:1", "svc@pg:5432")})
    assert told(Phases({"pg": system(ENFORCE), "my": system(OBSERVE, "x@my:1")}), moved)
    assert told(moved, moved) == []


GRANTS: list[tuple[Phase, GrantPhase | None, GrantPhase | None, bool]] = [
    # the system's mode, the grant before and after
    (ENFORCE, None, grant(None), False),
    (ENFORCE, None, grant(ENFORCE), False),
    (ENFORCE, None, grant(OBSERVE), True),  # lets whom it selects do all that its account can
    (OBSERVE, None, grant(OBSERVE), False),
    (ENFORCE, None, grant(OBSERVE, Effect.DENY), False),  # a new restriction, on trial
    (ENFORCE, grant(None, Effect.DENY), grant(OBSERVE, Effect.DENY), True),
    (ENFORCE, grant(ENFORCE, Effect.DENY, "bots"), grant(OBSERVE, Effect.DENY, "others"), True),
    (OBSERVE, grant(ENFORCE), grant(None), True),  # the system's mode counts again
    (OBSERVE, grant(ENFORCE), None, True),
    (OBSERVE, grant(ENFORCE, Effect.DENY), None, True),
    (ENFORCE, grant(ENFORCE), None, False),
    (ENFORCE, grant(None), None, False),
    (ENFORCE, grant(OBSERVE), grant(OBSERVE), False),
    (ENFORCE, grant(OBSERVE, Effect.ALLOW, "bots"), grant(OBSERVE, Effect.ALLOW, "everybody"), True),
    (ENFORCE, grant(OBSERVE), grant(WARN), False),
    (OBSERVE, grant(ENFORCE, Effect.ALLOW, "bots"), grant(OBSERVE, Effect.ALLOW, "others"), True),
    (OBSERVE, grant(ENFORCE), grant(OBSERVE, Effect.DENY), True),
]


@pytest.mark.parametrize(("mode", "before", "after", "less"), GRANTS)
def test_a_grant(mode: Phase, before: GrantPhase | None, after: GrantPhase | None, less: bool) -> None:
    old, new = (Phases({"pg": system(mode)}, {"g": one} if one else {}) for one in (before, after))
    assert bool(told(old, new)) is less


def test_a_grant_on_trial_that_reaches_one_more_system() -> None:
    systems = {"pg": system(OBSERVE), "my": system(ENFORCE, "svc@my:3306")}
    before = Phases(systems, {"g": grant(OBSERVE)})
    after = Phases(systems, {"g": grant(OBSERVE, Effect.ALLOW, "bots", "pg", "my")})
    assert told(before, after) == ["grants.g.mode: enforce to observe"]


def test_who_may_sign_is_not_changed_by_one_person_alone() -> None:
    nobody, two = Phases(), Phases(people={"alice": "A", "bob": "B"}, approvals=2)
    assert told(nobody, two) == []
    assert told(two, two) == []
    for other in ({"alice": "A"}, {"alice": "A", "bob": "X"}, {"alice": "A", "bob": "B", "carol": "C"}, {}):
        assert len(told(two, replace(two, people=other))) == 1
    assert told(two, replace(two, approvals=1)) == ["breakglass: 2 of alice A, bob B to 1 of alice A, bob B"]


def test_phases_survive_being_stored() -> None:
    phases = Phases(
        {"pg": system(WEEK), "my": system(ENFORCE, "a@b:1", "c@d:2")},
        {"g": grant(None), "h": grant(WARN_WEEK, Effect.DENY)},
        {"alice": "A"},
        1,
    )
    stored: Any = json.loads(json.dumps(plain(phases)))
    assert phases_of(stored) == phases
