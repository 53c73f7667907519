"""Decisions, one story each."""

from dataclasses import replace

import pytest

from bridge.adapter import Action
from bridge.policy import ANYONE, Delegated, Effect, Grant, Hours, Mode, Policy, Request, Subject, SystemPolicy
from bridge.policy.access_request import helps, rests_on_temporary

READ, WRITE, ADMIN = Action.READ, Action.WRITE, Action.ADMIN
ORDERS = SystemPolicy("orders", ("svc_reader", "svc_writer"), frozenset({"pii"}))
BOT = Subject("review-bot", frozenset({"reviewer"}), "prod", "team-a", "cc-1")

READERS = Grant(
    id="readers",
    roles=frozenset({"reviewer"}),
    systems=frozenset({"orders"}),
    account="svc_reader",
    actions=frozenset({READ}),
)
WRITERS = replace(READERS, id="writers", account="svc_writer", actions=frozenset({READ, WRITE}))
FREEZE = Grant(
    id="freeze", effect=Effect.DENY, systems=frozenset({"orders"}), actions=frozenset({WRITE}), reason="year end"
)


def ask(*grants, system=ORDERS, subject=BOT, **request):
    return Policy(grants, [system]).admit(Request(subject, system.name, **request))


def test_nothing_is_allowed_without_a_grant():
    decision = ask(account="svc_reader", action=READ)
    assert (decision.allowed, decision.would, decision.rules) == (False, Effect.DENY, ())
    assert decision.reason == "no grant allows read on account svc_reader of system orders"


def test_the_grant_that_allows_is_named_and_bounds_the_actions():
    decision = ask(READERS, account="svc_reader", action=READ)
    assert (decision.allowed, decision.rules, decision.account) == (True, ("readers",), "svc_reader")
    assert decision.actions == {READ}
    assert not ask(READERS, account="svc_reader", action=WRITE).allowed


def test_a_deny_grant_wins_and_its_reason_is_told_to_ops():
    decision = ask(WRITERS, FREEZE, account="svc_writer", action=WRITE)
    assert (decision.allowed, decision.rules, decision.reason) == (
        False,
        ("freeze",),
        "denied by grant freeze: year end",
    )
    assert ask(WRITERS, FREEZE, account="svc_writer").actions == {READ}


def test_the_only_granted_account_is_chosen():
    assert ask(READERS).account == "svc_reader"


def test_several_accounts_are_ambiguous_unless_one_is_the_default():
    decision = ask(READERS, WRITERS)
    assert (decision.allowed, decision.ambiguous, decision.reason) == (False, True, "several accounts: name one")
    assert ask(READERS, replace(WRITERS, default=True)).account == "svc_writer"
    assert ask(replace(READERS, default=True), replace(WRITERS, default=True)).ambiguous


def test_the_account_is_chosen_for_the_action_that_is_asked():
    assert ask(READERS, WRITERS, action=WRITE).account == "svc_writer"


@pytest.mark.parametrize("mode", list(Mode))
def test_an_account_or_system_that_does_not_exist_is_never_admitted(mode):
    system = replace(ORDERS, mode=mode)
    assert not ask(READERS, system=system, account="postgres").allowed
    assert not Policy([READERS], [system]).admit(Request(BOT, "elsewhere", account="svc_reader")).allowed


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.WARN])
def test_a_system_on_trial_lets_through_and_records_what_it_would_refuse(mode):
    decision = ask(READERS, system=replace(ORDERS, mode=mode), account="svc_reader", action=ADMIN)
    assert (decision.allowed, decision.effect, decision.would, decision.mode) == (
        True,
        Effect.ALLOW,
        Effect.DENY,
        mode,
    )
    assert decision.actions == set(Action)


def test_a_system_that_observes_gives_the_only_account_to_an_agent_without_any_grant():
    single = SystemPolicy("orders", ("svc",), mode=Mode.OBSERVE)
    assert ask(system=single).account == "svc"
    assert ask(system=replace(ORDERS, mode=Mode.OBSERVE)).ambiguous


def test_a_deny_grant_on_trial_does_not_bite_and_is_recorded():
    decision = ask(WRITERS, replace(FREEZE, mode=Mode.WARN), account="svc_writer", action=WRITE)
    assert (decision.allowed, decision.would, decision.mode, decision.rules) == (
        True,
        Effect.DENY,
        Mode.WARN,
        ("freeze",),
    )


def test_a_deny_grant_on_trial_does_not_change_which_account_is_chosen():
    trial = Grant(id="trial", effect=Effect.DENY, account="svc_writer", mode=Mode.OBSERVE)
    decision = ask(replace(WRITERS, default=True), READERS, trial)
    assert (decision.account, decision.would) == ("svc_writer", Effect.DENY)


def test_an_allow_grant_on_trial_lets_its_own_agents_go_beyond_it_and_nobody_else():
    trial = replace(READERS, mode=Mode.OBSERVE)
    decision = ask(trial, account="svc_reader", action=WRITE)
    assert (decision.allowed, decision.would, decision.mode) == (True, Effect.DENY, Mode.OBSERVE)
    assert not ask(trial, account="svc_writer", action=READ).allowed
    assert not ask(trial, subject=Subject("stranger"), account="svc_reader", action=READ).allowed


def test_a_deny_grant_that_enforces_bites_where_the_system_only_observes():
    system = replace(ORDERS, mode=Mode.OBSERVE)
    decision = ask(replace(FREEZE, mode=Mode.ENFORCE), system=system, account="svc_writer", action=WRITE)
    assert (decision.allowed, decision.mode) == (False, Mode.ENFORCE)
    assert ask(FREEZE, system=system, account="svc_writer", action=WRITE).allowed


def test_an_expired_grant_gives_nothing_not_even_on_trial():
    for grant in (READERS, replace(READERS, mode=Mode.OBSERVE)):
        until = replace(grant, expires=1000)
        assert ask(until, account="svc_reader", at=999.9).allowed
        assert not ask(until, account="svc_reader", at=1000).allowed


def test_all_that_says_who_must_hold():
    narrow = replace(READERS, owners=frozenset({"team-a"}), cost_centres=frozenset({"cc-1"}))
    assert ask(narrow).allowed
    assert not ask(narrow, subject=replace(BOT, owner="team-b")).allowed
    assert not ask(narrow, subject=replace(BOT, cost_centre="")).allowed
    assert not ask(replace(narrow, agents=frozenset({"other"}))).allowed
    assert ask(replace(narrow, agents=frozenset({ANYONE}))).allowed


def test_environment_delegation_and_hours_narrow():
    assert not ask(replace(READERS, environments=frozenset({"dev"}))).allowed
    assert not ask(replace(READERS, delegated=Delegated.REQUIRED)).allowed
    assert not ask(replace(READERS, delegated=Delegated.NEVER), subject=replace(BOT, delegated=True)).allowed
    office = replace(READERS, hours=Hours.parse(["thu"], "08:00", "10:00"))
    assert ask(office, at=9 * 3600).allowed  # 1970-01-01 was a Thursday
    assert not ask(office, at=10 * 3600).allowed


@pytest.mark.parametrize(
    ("source", "inside"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("11.0.0.1", False), ("fd00::1", True), ("fd01::1", False)],
)
def test_sources_are_networks_of_both_families(source, inside):
    office = replace(READERS, sources=("10.0.0.0/8", "fd00::/16"))
    assert ask(office, source=source).allowed is inside


@pytest.mark.parametrize("source", ["", "not an address", "@"])
def test_an_unknown_source_fails_closed_for_allow_and_deny(source):
    assert not ask(replace(READERS, sources=("0.0.0.0/0", "::/0")), source=source).allowed
    deny = Grant(id="d", effect=Effect.DENY, sources=("192.0.2.0/24",))
    assert not ask(READERS, deny, source=source).allowed
    assert ask(READERS, deny, source="10.0.0.1").allowed


FLEET = replace(ORDERS, operation_targets=frozenset({"command", "base"}))


def test_a_fact_that_only_operations_have_is_not_asked_at_login():
    git = replace(READERS, targets={"command": frozenset({"git *"})})
    deny = Grant(id="d", effect=Effect.DENY, targets={"command": frozenset({"rm *"})})
    assert ask(git, deny, system=FLEET).actions == {READ}
    assert not ask(git, system=ORDERS).allowed, "declared as a fact of the login, it fails closed"


@pytest.mark.parametrize(
    ("command", "allowed"),
    [("git status", True), ("git ", True), ("git", False), ("rm git x", False), ("xgit status", False), ("", False)],
)
def test_a_star_in_a_target_stands_for_anything(command, allowed):
    git = replace(READERS, targets={"command": frozenset({"git *", "uptime"})})
    asked = {"system": FLEET, "account": "svc_reader", "action": READ, "target": {"command": command}}
    assert ask(git, **asked).allowed is allowed
    deny = Grant(id="d", effect=Effect.DENY, targets={"command": frozenset({"git *"})})
    assert ask(READERS, deny, **asked).allowed is not allowed


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        ("*", ["a", "*"], [""]),
        ("a*a", ["aa", "aba"], ["a", "ab"]),
        ("*b*", ["b", "abc"], ["ac"]),
        ("a*b*c", ["abc", "axbxc"], ["acb", "abxbx"]),
        ("x*ab*ab*y", ["xababy", "xabzaby"], ["xaby", "xab ay"]),
    ],
)
def test_patterns(pattern, names, others):
    grant = replace(READERS, targets={"command": frozenset({pattern})})
    for name in names + others:
        asked = {"system": FLEET, "account": "svc_reader", "action": READ, "target": {"command": name}}
        assert ask(grant, **asked).allowed is (name in names), name


def test_of_several_names_of_one_thing_one_must_be_listed():
    people = replace(READERS, targets={"base": frozenset({"ou=people,dc=x"})})
    inside, outside = ("uid=a,ou=people,dc=x", "ou=people,dc=x", "dc=x"), ("uid=a,ou=svc,dc=x", "ou=svc,dc=x", "dc=x")
    asked = {"system": FLEET, "account": "svc_reader", "action": READ}
    assert ask(people, target={"base": inside}, **asked).allowed
    decision = ask(people, target={"base": outside}, **asked)
    assert decision.reason == ("not covered by grant readers: base uid=a,ou=svc,dc=x is not one of ou=people,dc=x")
    assert not ask(people, target={"base": ()}, **asked).allowed


def test_targets_narrow_and_a_target_that_is_not_known_fails_closed():
    app = replace(READERS, targets={"database": frozenset({"app", "shop"})})
    assert ask(app, target={"database": "app"}).allowed
    assert not ask(app, target={"database": "hr"}).allowed
    assert not ask(app).allowed
    deny = Grant(id="d", effect=Effect.DENY, targets={"database": frozenset({"hr"})})
    assert ask(READERS, deny, target={"database": "app"}).allowed
    assert not ask(READERS, deny).allowed


def test_labels_select_systems():
    deny = Grant(id="no-pii", effect=Effect.DENY, labels=frozenset({"pii"}))
    assert not ask(READERS, deny).allowed
    assert ask(READERS, deny, system=replace(ORDERS, labels=frozenset())).allowed


def test_names_must_be_unique():
    with pytest.raises(ValueError, match="unique"):
        Policy([READERS, READERS], [ORDERS])
    with pytest.raises(ValueError, match="unique"):
        Policy([READERS], [ORDERS, ORDERS])


def test_the_digest_changes_with_everything_that_can_change_a_decision():
    base = Policy([READERS], [ORDERS]).digest
    assert base == Policy([replace(READERS)], [replace(ORDERS)]).digest
    changed = [
        replace(READERS, roles=frozenset({"reviewer", "x"})),
        replace(READERS, targets={"database": frozenset({"app"})}),
        replace(READERS, hours=Hours.parse([], "08:00", "09:00")),
        replace(READERS, expires=1),
        replace(READERS, mode=Mode.OBSERVE),
        replace(READERS, default=True),
    ]
    digests = {Policy([grant], [ORDERS]).digest for grant in changed}
    assert len(digests | {base}) == len(changed) + 1
    assert base != Policy([READERS], [replace(ORDERS, mode=Mode.WARN)]).digest
    assert base.startswith("sha256:")


def test_explain_makes_the_live_decision_and_says_of_each_grant_why():
    office = replace(READERS, id="office", hours=Hours.parse(["sun"], "08:00", "09:00"))
    other = replace(READERS, id="other", roles=frozenset({"deployer"}))
    gone = replace(READERS, id="gone", expires=1)
    policy = Policy([READERS, office, other, gone, WRITERS, FREEZE], [ORDERS])
    request = Request(BOT, "orders", account="svc_reader", action=READ, at=50.0)
    explanation = policy.explain(request)
    assert explanation.decision == policy.admit(request)
    assert {trace.grant: (trace.matched, trace.why) for trace in explanation.traces} == {
        "readers": (True, "all of it holds"),
        "office": (False, "outside the grant's hours"),
        "other": (False, "agent has none of the roles deployer"),
        "gone": (False, "the grant has expired"),
        "writers": (False, "is about account svc_writer"),
        "freeze": (False, "action read is not one of write"),
    }


def test_a_refusal_says_what_the_nearest_grant_lacks():
    decision = ask(replace(READERS, targets={"database": frozenset({"app"})}), target={"database": "hr"})
    assert decision.reason == "not covered by grant readers: database hr is not one of app"
    assert ask(READERS, account="svc_reader", action=WRITE).reason == "not covered by grant readers: write is not in it"


def test_a_standing_session_gets_the_decision_of_the_moment():
    office = replace(READERS, hours=Hours.parse(["thu"], "00:00", "00:02"), targets={"database": frozenset({"app"})})
    brief = replace(WRITERS, account="svc_reader", expires=30)
    policy = Policy([office, brief], [ORDERS])
    standing = policy.standing(Request(BOT, "orders"), "svc_reader")
    app = {"database": "app"}
    for at in (0.0, 29.9, 30.0, 59.0, 60.0, 119.9, 120.0, 10.0):
        for action in Action:
            for target in (app, {"database": "hr"}, {}, {"host": "db1", **app}, {"host": "db2", "database": "hr"}):
                request = Request(BOT, "orders", "svc_reader", action, target, at=at)
                assert standing.permit(action, target, at).decision == policy.permit(request), (at, action, target)
    assert standing.permit(READ, app, 5.0) is standing.permit(READ, app, 6.0)


def test_a_standing_session_does_not_remember_without_end():
    app = replace(READERS, targets={"database": frozenset({"app"})})
    standing = Policy([app], [ORDERS]).standing(Request(BOT, "orders"), "svc_reader")
    for number in range(1000):
        standing.permit(READ, {"database": str(number)}, 0.0)
    assert 100 < len(standing._remembered) <= 256


def test_what_no_grant_asks_for_is_decided_once():
    standing = Policy([READERS], [ORDERS]).standing(Request(BOT, "orders"), "svc_reader")
    found = {id(standing.permit(READ, {"database": str(number)}, 0.0)) for number in range(10)}
    assert len(found) == 1


GIVEN = replace(WRITERS, id="request:req_1", agents=frozenset({"review-bot"}), roles=frozenset(), expires=1000)


def test_what_is_given_for_a_time_does_not_change_what_is_chosen_unasked():
    assert ask(READERS, GIVEN, at=0).account == "svc_reader"
    assert ask(READERS, GIVEN, at=0, account="svc_writer").actions == {READ, WRITE}
    assert ask(GIVEN, at=0).account == "svc_writer"  # without any other it is chosen
    assert ask(READERS, GIVEN, at=1000, account="svc_writer").allowed is False


def test_what_is_given_for_a_time_takes_nothing_away_where_a_mode_observes():
    observed = replace(ORDERS, mode=Mode.OBSERVE)
    for grants in ((READERS,), (READERS, GIVEN)):
        assert ask(*grants, system=observed, account="svc_writer", action=ADMIN).allowed


def test_whether_it_would_help_is_asked_of_the_decision_itself():
    hours = replace(FREEZE, hours=Hours.parse(["mon"], "08:00", "09:00"))
    for beside, expected in (((), True), ((FREEZE,), False), ((hours,), True), ((GIVEN,), True)):
        assert helps(Policy([READERS, *beside], [ORDERS]), GIVEN, BOT, 0) is expected
    assert helps(Policy([FREEZE], [ORDERS]), replace(GIVEN, actions=frozenset({READ})), BOT, 0)


def test_it_rests_on_what_is_given_only_where_nothing_else_allows_it():
    assert rests_on_temporary(ask(READERS, GIVEN, at=0, account="svc_writer"))
    assert not rests_on_temporary(ask(WRITERS, GIVEN, at=0, account="svc_writer"))
    assert not rests_on_temporary(ask(READERS, GIVEN, at=2000, account="svc_writer"))
