"""What another policy changes, the past decided again, and the least grants for what was used."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.adapter import Action
from bridge.policy import Effect, Grant, Hours, Mode, Policy, Subject, SystemPolicy
from bridge.policy.changes import Changed, changes
from bridge.policy.replay import ALLOWED, REFUSED, Asked, Past, Times, merged, replay, told_apart_by_time
from bridge.policy.suggestion import MOST_VALUES, Suggested, suggest

BOT = Subject("bot", roles=frozenset({"reader"}))
PG = SystemPolicy("pg", ("ro", "rw"))
NOW = 1_800_000_000.0


def allow(id: str = "g", **more: Any) -> Grant:
    given: dict[str, Any] = {"roles": frozenset({"reader"}), "systems": frozenset({"pg"}), "account": "ro",
                             "actions": frozenset({Action.READ}), **more}  # fmt: skip
    return Grant(id, **given)


def policy(*grants: Grant, system: SystemPolicy = PG) -> Policy:
    return Policy(grants, [system])


def changed(old: Policy, new: Policy, *agents: Subject) -> tuple[Changed, ...]:
    mine = {one.agent: one for one in agents or (BOT,)}
    return changes(old, new, mine, mine, at=NOW)


def test_a_wider_grant_is_a_gain_and_names_the_grant() -> None:
    (row,) = changed(policy(allow()), policy(allow(), allow("more", actions=frozenset({Action.WRITE}))))
    assert (row.what, row.agent, row.system, row.account, row.always) == ("gains", "bot", "pg", "ro", True)
    assert (row.actions, row.grants) == (frozenset({Action.WRITE}), ("more",))


def test_a_narrowing_in_some_circumstances_alone_is_a_loss_and_says_when() -> None:
    hours = Hours.parse(["mon-fri"[:3], "tue"], "08:00", "18:00")
    by_network = changed(policy(allow()), policy(allow(sources=("10.0.0.0/8",))))
    by_database = changed(policy(allow()), policy(allow(targets={"database": frozenset({"app"})})))
    by_hour = changed(policy(allow()), policy(allow(hours=hours)))
    assert [(row.what, row.always) for row in (*by_network, *by_database, *by_hour)] == [("loses", False)] * 3
    assert "source 0.0.0.0" in by_network[0].when
    assert "another database" in by_database[0].when
    assert changed(policy(allow(hours=hours)), policy(allow(hours=hours))) == ()


def test_a_mode_a_deny_a_system_and_an_agent_change_what_is_let_through() -> None:
    observed = policy(allow(), system=replace(PG, mode=Mode.OBSERVE))
    assert {row.what for row in changed(observed, policy(allow()))} == {"loses"}
    deny = Grant("no", effect=Effect.DENY, agents=frozenset({"bot"}))
    assert [row.actions for row in changed(policy(allow()), policy(allow(), deny))] == [frozenset({Action.READ})]
    assert [row.what for row in changed(policy(allow()), Policy([], []))] == ["loses"]
    told = changes(policy(allow()), policy(allow()), {"bot": BOT}, {"new": replace(BOT, agent="new")}, at=NOW)
    assert [(row.agent, row.what) for row in told] == [("bot", "loses"), ("new", "gains")]


def test_a_fleet_is_compared_by_kinds_of_agents() -> None:
    fleet = [Subject(f"agent-{n}", frozenset({"reader"} if n % 2 else {"clerk"})) for n in range(5000)]
    assert len(changed(policy(allow()), policy(), *fleet)) == 2500


def asked(action: Action | None = Action.READ, permitted: bool = True, **more: Any) -> Asked:
    given: dict[str, Any] = {"account": "ro", "target": (), "source": "10.0.0.1", **more}
    return Asked(BOT, "pg", action=action, permitted=permitted, **given)


def past(*every: Asked, count: int = 1) -> Past:
    return {one: Times(count, NOW) for one in every}


def test_the_past_is_decided_again() -> None:
    new = policy(allow(actions=frozenset({Action.WRITE})))
    rows = list(replay(new, past(asked(), asked(Action.WRITE, permitted=False), asked(Action.ADMIN, permitted=False))))
    assert [(row.what, row.asked.action, row.rules) for row in rows] == [
        (REFUSED, Action.READ, ("g",)), (ALLOWED, Action.WRITE, ("g",)),
    ]  # fmt: skip
    assert rows[0].reason == "not covered by grant g: read is not in it"


def test_the_time_of_each_request_counts_where_grants_have_hours() -> None:
    night = allow(hours=Hours.parse([], "22:00", "06:00"))
    assert (told_apart_by_time(policy(allow())), told_apart_by_time(policy(night))) == (False, True)
    midnight = NOW - NOW % 86400
    two = {asked(minute=1): Times(1, midnight + 60), asked(minute=2): Times(1, midnight + 12 * 3600)}
    assert [row.last for row in replay(policy(night), two)] == [midnight + 12 * 3600]


def test_rows_that_differ_in_address_and_minute_are_one() -> None:
    every = past(asked(source="10.0.0.1"), asked(source="10.0.0.2", minute=7), count=3)
    (row,) = merged(replay(policy(), every))
    assert (row.count, row.asked.system) == (6, "pg")


DATABASES, SCHEMAS = ("app", "hr", "x"), ("p", "q")
USES = st.lists(st.tuples(st.sampled_from(list(Action)), st.sampled_from(DATABASES), st.sampled_from(SCHEMAS),
                          st.sampled_from(PG.accounts)), max_size=12)  # fmt: skip


def granted(number: int, one: Suggested) -> Grant:
    targets = {fact: frozenset(values) for fact, values in one.targets.items()}
    return Grant(f"s{number}", agents=frozenset({"bot"}), systems=frozenset({one.system}), account=one.account,
                 actions=one.actions, targets=targets)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(USES)
def test_suggested_grants_cover_what_was_used_and_nothing_else(uses: list[tuple[Action, str, str, str]]) -> None:
    used = past(*(
        asked(action, account=account, target=(("database", database), ("schema", schema)))
        for action, database, schema, account in uses
    ))  # fmt: skip
    made = Policy([granted(number, one) for number, one in enumerate(suggest(used))], [PG])
    for action, database, schema, account in product(Action, DATABASES, SCHEMAS, PG.accounts):
        one = asked(action, account=account, target=(("database", database), ("schema", schema)))
        again = list(replay(made, {replace(one, permitted=(action, database, schema, account) in uses): Times(1, NOW)}))
        assert again == [], (action, database, schema, account)


def test_what_was_refused_is_not_suggested_and_a_bare_session_reads() -> None:
    assert suggest(past(asked(permitted=False))) == []
    (one,) = suggest(past(asked(None, target=(("database", "app"),))))
    assert (one.actions, one.targets) == (frozenset({Action.READ}), {"database": ("app",)})
    (two,) = suggest(past(asked(None), asked(Action.WRITE, target=(("database", "app"),))))
    assert two.actions == frozenset({Action.WRITE})


def test_a_fact_with_too_many_values_is_left_out_and_said() -> None:
    many = [asked(target=(("database", "app"), ("path", f"/srv/{n}"))) for n in range(MOST_VALUES + 1)]
    (one,) = suggest(past(*many))
    assert (one.targets, one.wide, one.count) == ({"database": ("app",)}, ("path",), MOST_VALUES + 1)
