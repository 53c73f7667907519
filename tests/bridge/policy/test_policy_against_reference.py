"""The indexed policy and the plain reference agree, forwards and backwards, on whatever hypothesis thinks up."""

import json
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.adapter import Action
from bridge.policy import (
    ANYONE,
    Circumstances,
    Delegated,
    DocumentUnreadable,
    Effect,
    Grant,
    Hours,
    Mode,
    Policy,
    Request,
    Subject,
    SystemPolicy,
    document,
    policy_of,
)
from bridge.policy.changes import changes
from bridge.translation.canonical import canonical
from tests.bridge.policy import reference


def some(*names, at_least=0):
    return st.frozensets(st.sampled_from(names), min_size=at_least, max_size=2)


AGENTS, ROLES, OWNERS, CENTRES = ("a1", "a2", "a3"), ("r1", "r2"), ("o1", "o2"), ("c1", "c2")
ACCOUNTS, SYSTEMS, LABELS, PLACES = ("ro", "rw"), ("s1", "s2"), ("pii", "fin"), ("dev", "prod")
SOURCES = ("", "10.0.0.1", "10.9.0.1", "192.0.2.7", "fd00::1", "2001:db8::1")
NETWORKS = ("10.0.0.0/8", "10.0.0.0/16", "192.0.2.0/24", "fd00::/16", "0.0.0.0/0")
MOMENTS = (0.0, 3600.0 * 9, 3600.0 * 20, 86400.0 + 60, 500000.0)
HOURS = (
    Hours.parse(["thu"], "08:00", "10:00"),
    Hours.parse(["thu", "fri"], "18:00", "01:00"),
    Hours.parse([], "09:00", "09:00"),
)
TARGETS = ({}, {"database": "app"}, {"database": "hr"}, {"database": "x", "schema": "p"})

NARROWING = {
    "actions": some(*Action, at_least=1),
    "targets": st.sampled_from(
        [{}, {}, {"database": frozenset({"app"})}, {"database": frozenset({"app", "hr"})}, {"schema": frozenset({"p"})}]
    ),
    "environments": some(*PLACES),
    "delegated": st.sampled_from(list(Delegated)),
    "sources": st.lists(st.sampled_from(NETWORKS), max_size=2).map(tuple),
    "hours": st.sampled_from((None, None, *HOURS)),
    "expires": st.sampled_from((None, None, 40000, 90000)),
    "mode": st.sampled_from((None, None, *Mode)),
}
WHO = {"agents": some(*AGENTS, ANYONE), "roles": some(*ROLES), "owners": some(*OWNERS), "cost_centres": some(*CENTRES)}


def grants_of(effect, **extra):
    def build(values):
        if effect is Effect.ALLOW:
            if not any(values[part] for part in WHO):
                values["agents"] = frozenset({ANYONE})
            if not (values["systems"] or values["labels"]):
                values["systems"] = frozenset({"s1"})
        return values

    parts = {**WHO, **NARROWING, "systems": some(*SYSTEMS), "labels": some(*LABELS, "environment:prod"), **extra}
    return st.fixed_dictionaries(parts).map(build).map(lambda values: ("effect", effect, values))


def grant_id(number):
    """Each third one is given for a time."""
    return f"request:g{number}" if number % 3 == 2 else f"g{number}"


allow = grants_of(Effect.ALLOW, account=st.sampled_from(ACCOUNTS), default=st.booleans())
deny = grants_of(Effect.DENY, account=st.sampled_from((None, *ACCOUNTS)))
grant_lists = st.lists(st.one_of(allow, allow, deny), max_size=7).map(
    lambda listed: [Grant(id=grant_id(n), effect=effect, **values) for n, (_, effect, values) in enumerate(listed)]
)
systems = st.tuples(
    st.sampled_from(list(Mode)), st.sampled_from(list(Mode)), some(*LABELS), st.sampled_from(("", *PLACES))
).map(
    lambda parts: [
        SystemPolicy("s1", ACCOUNTS, parts[2], parts[0], parts[3]),
        SystemPolicy("s2", ("ro",), frozenset(LABELS) - parts[2], parts[1]),
    ]
)
subjects = st.builds(
    Subject,
    agent=st.sampled_from(AGENTS),
    roles=some(*ROLES),
    environment=st.sampled_from(("", *PLACES)),
    owner=st.sampled_from(OWNERS),
    cost_centre=st.sampled_from(("", *CENTRES)),
    delegated=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(grant_lists, systems, subjects, st.sampled_from(TARGETS), st.sampled_from(SOURCES), st.sampled_from(MOMENTS))
def test_forward_decisions_equal_the_reference(grants, listed, subject, target, source, at):
    policy = Policy(grants, listed)
    for system, account, action in product(listed, (None, "ro", "rw", "ghost"), (None, *Action)):
        decision = policy.admit(Request(subject, system.name, account, action, target, source, at))
        expected = reference.decide(grants, system, subject, account, action, target, source, at)
        assert (decision.allowed, decision.would is Effect.ALLOW) == expected[1:]
        if decision.allowed or account is not None:
            assert decision.account == expected[0]
        assert decision.allowed or decision.mode is Mode.ENFORCE or not decision.account
        if decision.account:
            through, _, _ = reference.reaches(grants, system, subject, decision.account, target, source, at)
            assert decision.actions == through


@settings(max_examples=40, deadline=None)
@given(
    grant_lists,
    systems,
    st.lists(subjects, max_size=4, unique_by=lambda subject: subject.agent),
    st.sampled_from(TARGETS),
    st.sampled_from(SOURCES),
    st.sampled_from(MOMENTS),
    st.sampled_from((None, *LABELS)),
    st.sampled_from((None, *Action)),
)
def test_the_reverse_answer_equals_forward_decisions_on_all_triples(
    grants, listed, agents, target, source, at, label, action
):
    policy = Policy(grants, listed)
    expected = set()
    for subject, system in product(agents, listed):
        if label is not None and label not in system.all_labels:
            continue
        for account in system.accounts:
            allowed = {
                wanted
                for wanted in Action
                if policy.permit(Request(subject, system.name, account, wanted, target, source, at)).allowed
            }
            if allowed and (action is None or action in allowed):
                expected.add((subject.agent, system.name, account, frozenset(allowed)))
    rows = [
        row
        for subject in agents
        for row in policy.who_can(
            [subject],
            at=at,
            label=label,
            action=action,
            circumstances=Circumstances(source, target, subject.delegated, any_hour=False),
        )
    ]
    assert {(row.agent, row.system, row.account, row.actions) for row in rows} == expected
    assert len(rows) == len(expected)


@settings(max_examples=10, deadline=None)
@given(grant_lists, systems, st.lists(subjects, max_size=3, unique_by=lambda subject: subject.agent))
def test_the_answer_for_any_circumstances_covers_every_given_one(grants, listed, agents):
    policy = Policy(grants, listed)
    anyhow = {(row.agent, row.system, row.account): row.actions for row in policy.who_can(agents, at=0.0)}
    for source, target, delegated in product(SOURCES[1:], TARGETS[1:], (False, True)):
        given_one = Circumstances(source, target, delegated, any_hour=False)
        for row in policy.who_can(agents, at=0.0, circumstances=given_one):
            assert row.actions <= anyhow[row.agent, row.system, row.account]


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(grant_lists, grant_lists, systems, st.lists(subjects, max_size=2, unique_by=lambda subject: subject.agent))
def test_what_changes_is_what_forward_decisions_say_in_each_circumstance(before, after, listed, agents):
    """Nothing that changes anywhere is missed; what is said to change always does so everywhere."""
    old, new = Policy(timeless(before), listed), Policy(timeless(after), listed)
    mine = {one.agent: one for one in agents}
    rows = {(row.what, row.agent, row.system, row.account): row for row in changes(old, new, mine, mine, at=0.0)}
    for agent, system, source, target, at in product(agents, listed, SOURCES[1:], TARGETS[1:], MOMENTS):
        for account in system.accounts:
            asked = Request(agent, system.name, account, None, target, source, at)
            was, will = through(old, asked), through(new, asked)
            for what, actions in (("gains", will - was), ("loses", was - will)):
                row = rows.get((what, agent.agent, system.name, account))
                assert actions <= (row.actions if row else frozenset())
                assert row is None or not row.always or agent.delegated or actions == row.actions


def timeless(grants):
    """Without ends: ``changes`` asks at one time, and of the hours of the week after it."""
    return [replace(grant, expires=None) for grant in grants]


def through(policy, asked):
    decision = policy.admit(asked)
    return decision.actions if decision.allowed else frozenset()


def test_any_circumstances_find_a_grant_that_is_narrow_in_every_way():
    narrow = Grant(
        id="narrow",
        agents=frozenset({"a1"}),
        systems=frozenset({"s1"}),
        account="ro",
        delegated=Delegated.REQUIRED,
        sources=("203.0.113.8/32",),
        hours=Hours.parse(["sun"], "03:00", "03:15", "Pacific/Auckland"),
        targets={"database": frozenset({"hr"})},
        expires=10**9,
    )
    policy = Policy([narrow], [SystemPolicy("s1", ("ro",))])
    agents = [Subject("a1"), Subject("a2")]
    assert [(row.agent, row.grants) for row in policy.who_can(agents, at=1e9 - 1)] == [("a1", ("narrow",))]
    assert policy.who_can(agents, at=1e9) == ()
    assert policy.what_can(agents[1], at=0.0) == ()


def test_a_fleet_is_answered_agent_by_agent():
    grant = Grant(id="g", roles=frozenset({"r1"}), labels=frozenset({"pii"}), account="ro")
    policy = Policy([grant], [SystemPolicy("s1", ("ro",), frozenset({"pii"}))])
    fleet = [Subject(f"agent-{n}", frozenset({"r1"} if n % 2 else {"r2"})) for n in range(10_000)]
    assert len(policy.who_can(fleet, at=0.0, label="pii", action=Action.WRITE)) == 5_000


@settings(max_examples=60, deadline=None)
@given(grant_lists, systems)
def test_a_policy_can_be_made_again_from_its_document(grants, listed):
    """Through the log's own text, which takes no other kinds of values."""
    labelled = [replace(one, account_labels={one.accounts[0]: frozenset({"pii"})}) for one in listed if one.accounts]
    policy = Policy(grants, labelled or listed, version="v")
    read = json.loads(canonical(document(policy)))
    again = policy_of(read)
    assert (again.grants, again.systems, again.digest) == (policy.grants, policy.systems, policy.digest)


def test_a_document_that_is_not_the_one_it_names_is_refused():
    policy = Policy([Grant("g", agents=frozenset({"a"}), systems=frozenset({"s"}), account="x")], [])
    read = document(policy)
    read["grants"][0]["account"] = "root"
    with pytest.raises(DocumentUnreadable, match="its digest is sha256"):
        policy_of(read)
    for broken in (
        {},
        {**read, "grants": [{}]},
        {**read, "grants": [{"id": "g", "nonsense": 1}]},
        {**read, "systems": 1},
    ):
        with pytest.raises(DocumentUnreadable, match="not a policy"):
            policy_of(broken)


def test_the_label_of_an_account_is_asked_for_too():
    grants = [
        Grant(f"g{account}", agents=frozenset({"a1"}), systems=frozenset({"s1"}), account=account)
        for account in ("ro", "rw")
    ]
    policy = Policy(grants, [SystemPolicy("s1", ("ro", "rw"), account_labels={"rw": frozenset({"pii"})})])
    assert [row.account for row in policy.who_can([Subject("a1")], at=0.0, label="pii")] == ["rw"]
    assert policy.who_can([Subject("a1")], at=0.0, label="other") == ()
