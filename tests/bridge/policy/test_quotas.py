"""What is counted, when a limit is reached, and when it may be tried again."""

from __future__ import annotations

import timeit
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.policy import Ledger, Measure, Meter, Per, Price, Quota, Running, Subject, SystemPolicy
from bridge.policy.quotas import MICRO, units, window

NOW = datetime(2026, 11, 25, 22, 0, tzinfo=UTC).timestamp()
MIDNIGHT = datetime(2026, 11, 26, tzinfo=UTC).timestamp()
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
BOT = Subject("bot", roles=frozenset({"reader", "clerk"}), owner="pay", cost_centre="4711")
OTHER = Subject("other", roles=frozenset({"clerk"}), owner="pay")
PG = SystemPolicy("pg", ("svc",), frozenset({"pii"}), environment="prod")


def quota(name: str = "q", limits: dict[Measure, int] | None = None, **more: Any) -> Quota:
    return Quota(name, limits or {Measure.OPERATIONS: 60}, **more)


def meter(ledger: Ledger, subject: Subject = BOT, system: SystemPolicy = PG) -> Meter:
    made = ledger.meter(subject, system)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("who", "selected"),
    [
        ({}, True),
        ({"agents": frozenset({"*"})}, True),
        ({"agents": frozenset({"other"})}, False),
        ({"roles": frozenset({"reader", "x"})}, True),
        ({"roles": frozenset({"x"})}, False),
        ({"owners": frozenset({"pay"}), "cost_centres": frozenset({"1"})}, False),
        ({"systems": frozenset({"pg"})}, True),
        ({"systems": frozenset({"x"}), "labels": frozenset({"pii"})}, True),
        ({"labels": frozenset({"environment:prod"})}, True),
        ({"systems": frozenset({"x"})}, False),
    ],
)
def test_a_quota_selects_as_a_grant_does(who: dict[str, Any], selected: bool) -> None:
    assert quota(**who).selects(BOT, PG) is selected


def test_a_counter_of_each_value_and_of_each_combination() -> None:
    assert quota().counters(BOT, "pg") == ["agent=bot"]
    assert quota(per=(Per.ROLE, Per.SYSTEM)).counters(BOT, "pg") == ["role=clerk system=pg", "role=reader system=pg"]
    assert quota(per=(Per.ROLE,), roles=frozenset({"reader"})).counters(BOT, "pg") == ["role=reader"]
    assert quota(per=(Per.OWNER, Per.COST_CENTRE)).counters(BOT, "pg") == ["owner=pay cost_centre=4711"]


def test_nothing_is_metered_where_nothing_applies() -> None:
    ledger = Ledger([quota(systems=frozenset({"x"}))], {"y": Price(session=1)})
    assert ledger.meter(BOT, PG) is None


def test_sessions_at_once_are_free_again_when_one_ends() -> None:
    ledger = Ledger([quota(limits={Measure.SESSIONS: 2}, per=(Per.OWNER,))])
    first, second, third = meter(ledger), meter(ledger, OTHER), meter(ledger)
    assert first.open(NOW) is None
    assert second.open(NOW) is None
    reached = third.open(NOW)
    assert reached is not None
    assert (reached.code, reached.again) == ("quota-sessions", 0)
    assert reached.text == "the quota q is used up: 2 sessions open at the same time"
    assert "close sessions" in reached.hint(NOW)
    second.close(NOW)
    assert third.open(NOW) is None


def test_sessions_in_a_period_and_when_the_next_begins() -> None:
    ledger = Ledger([quota(limits={Measure.STARTS: 1}, period=3600)])
    begun = meter(ledger)
    assert begun.open(NOW + 10) is None
    begun.close(NOW + 11)
    reached = meter(ledger).open(NOW + 20)
    assert reached is not None
    assert reached.again == NOW + 3600
    assert reached.hint(NOW + 20) == "try again in 3580 s, at 2026-11-25 23:00:00 UTC"
    assert meter(ledger).open(NOW + 3600) is None


def test_operations_are_a_token_bucket() -> None:
    ledger = Ledger([quota(limits={Measure.OPERATIONS: 60}, burst=3)])
    one = meter(ledger)
    one.open(NOW)
    assert [one.operation(NOW) is None for _ in range(4)] == [True, True, True, False]
    reached = one.operation(NOW + 0.25)
    assert reached is not None
    assert reached.again == pytest.approx(NOW + 1)
    assert one.operation(NOW + 1) is None
    assert one.operation(NOW + 1.5) is not None
    assert [one.operation(NOW + 600) is None for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("running", list(Running))
def test_what_a_session_uses_up_refuses_cuts_or_lets_finish(running: Running) -> None:
    ledger = Ledger([quota(limits={Measure.ROWS: 10}, running=running)])
    one = meter(ledger)
    one.open(NOW)
    assert one.operation(NOW) is None
    one.outcome(25, 0, NOW)
    reached = one.operation(NOW)
    assert (reached is None) is (running is Running.FINISH)
    assert (one.review(NOW) is not None) is (running is Running.CUT)
    begun = meter(ledger).open(NOW)
    assert begun is not None
    assert begun.again == MIDNIGHT
    assert one.operation(MIDNIGHT) is None
    assert meter(ledger).open(MIDNIGHT) is None


def test_costs_add_up_by_session_operation_megabyte_and_minute() -> None:
    price = Price(session=MICRO, operation=1000, megabyte=2 * MICRO, minute=MICRO // 2)
    ledger = Ledger([quota(limits={Measure.COST_MONTH: 100 * MICRO}, per=(Per.COST_CENTRE,))], {"pg": price})
    one = meter(ledger)
    one.open(NOW)
    for _ in range(3):
        one.operation(NOW)
        one.outcome(7, 500_000, NOW)
    one.review(NOW + 90)
    one.close(NOW + 120)
    ((key, use),) = ledger.changed().uses.items()
    assert key == ("2026-11", "4711", "pay", "bot", "pg")
    assert (use.sessions, use.operations, use.rows, use.bytes, use.seconds) == (1, 3, 21, 1_500_000, 120)
    assert units(use.micros) == "5.003"  # 1 + 3 x 0.001 + 1.5 x 2 + 2 x 0.5
    (row,) = ledger.rows(NOW)
    assert (row["of"], row["used"], row["limit"]) == ("cost_centre=4711", "5.003", "100")


def test_a_cap_on_cost_holds_until_the_month_is_over() -> None:
    caps = quota(limits={Measure.COST_MONTH: MICRO}, per=(Per.COST_CENTRE,))
    ledger = Ledger([caps], {"pg": Price(operation=MICRO)})
    one = meter(ledger)
    one.open(NOW)
    assert one.operation(NOW) is None
    reached = one.operation(NOW)
    assert reached is not None
    assert (reached.again, reached.detail) == (DECEMBER, "quota q, cost_centre=4711: cost-per-month 1")
    assert one.operation(DECEMBER) is None


def test_what_was_refused_is_counted_nowhere() -> None:
    loose, tight = quota("loose", {Measure.STARTS: 5}), quota("tight", {Measure.STARTS: 1})
    ledger = Ledger([loose, tight])
    meter(ledger).open(NOW)
    assert meter(ledger).open(NOW) is not None
    assert [row["used"] for row in ledger.rows(NOW)] == ["1", "1"]


def test_a_restart_takes_up_what_was_counted() -> None:
    quotas = [quota(limits={Measure.OPERATIONS: 60, Measure.ROWS: 100, Measure.SESSIONS: 9}, burst=10)]
    ledger = Ledger(quotas)
    one = meter(ledger)
    one.open(NOW)
    for _ in range(9):
        one.operation(NOW)
    one.outcome(99, 0, NOW)
    after = Ledger(quotas)
    after.restore([*ledger.changed().counters, ("gone", "x", "rows-per-day", 0, 1), ("q", "x", "bytes-per-day", 0, 1)])
    used = {row["measure"]: row["used"] for row in after.rows(NOW)}
    assert used == {"operations-per-minute": "9", "rows-per-day": "99", "sessions": "0"}
    again = meter(after)
    assert again.operation(NOW) is None
    assert again.operation(NOW) is not None


def test_what_could_not_be_stored_is_handed_out_again() -> None:
    ledger = Ledger([quota(limits={Measure.ROWS: 100})], {"pg": Price(operation=1)})
    one = meter(ledger)
    one.operation(NOW)
    one.outcome(5, 0, NOW)
    lost = ledger.changed()
    assert ledger.changed().counters == []
    one.outcome(2, 0, NOW)
    ledger.unsaved(lost)
    again = ledger.changed()
    assert [row[4] for row in again.counters] == [7]
    assert next(iter(again.uses.values())).rows == 7


def test_a_reload_keeps_what_was_counted_and_live_sessions_follow() -> None:
    ledger = Ledger([quota(limits={Measure.SESSIONS: 1, Measure.ROWS: 10})])
    one = meter(ledger)
    one.open(NOW)
    one.outcome(5, 0, NOW)
    ledger.take([quota(limits={Measure.SESSIONS: 1, Measure.ROWS: 5})], {})
    one.close(NOW)
    one = meter(ledger)
    one.resume(NOW)
    assert one.operation(NOW) is not None
    assert {row["measure"]: row["used"] for row in ledger.rows(NOW)} == {"sessions": "1", "rows-per-day": "5"}
    ledger.take([quota(limits={Measure.ROWS: 5}, per=(Per.OWNER,))], {})
    assert [(row["of"], row["used"]) for row in ledger.rows(NOW)] == [("", "0")]


Step = tuple[str, int, int]
STEPS: st.SearchStrategy[Iterable[Step]] = st.lists(
    st.tuples(st.sampled_from(["operation", "rows", "wait"]), st.integers(0, 50), st.integers(0, 40_000)), max_size=60
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_never_more_than_the_limit_is_begun(steps: Iterable[Step]) -> None:
    """Against the plain sum of what was permitted: in no day are operations permitted once the rows are used up, and
    in no minute more than the bucket gives."""
    ledger = Ledger([quota(limits={Measure.ROWS: 100, Measure.OPERATIONS: 5}, burst=5)])
    one, now = meter(ledger), NOW
    rows: dict[float, int] = {}
    permitted: list[float] = []
    for what, amount, seconds in steps:
        day = window(Measure.ROWS, 0, now)[0]
        if what == "wait":
            now += seconds
        elif what == "rows":
            one.outcome(amount, 0, now)
            rows[day] = rows.get(day, 0) + amount
        elif one.operation(now) is None:
            assert rows.get(day, 0) < 100
            permitted.append(now)
    for begin in permitted:
        assert sum(1 for at in permitted if begin <= at < begin + 60) <= 10  # a full bucket, and a minute's tokens


def test_a_meter_costs_little() -> None:
    """A bound for a slow machine; where no quota applies there is no meter at all."""
    ledger = Ledger([quota(limits={Measure.OPERATIONS: 10**9, Measure.ROWS: 10**9})])
    one = meter(ledger)
    assert min(timeit.repeat(lambda: one.operation(NOW), number=2000, repeat=5)) / 2000 < 100e-6
