"""Break-glass as an object: its states, what is signed, and the grant that it opens."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from bridge.adapter import Action
from bridge.policy import Effect, Grant, Policy, Request, Subject, SystemPolicy
from bridge.policy.emergency import CLOCK_STEP, PATIENCE, Emergency, Rules, State, role
from bridge.policy.signing import is_signed, statement
from bridge.testing.people import PEOPLE, approved, signed

RULES = Rules({name: PEOPLE[name] for name in ("alice", "bob", "carol")}, bridge="b1")
ASKED = Emergency("bg_1", "orders", "svc_admin", "oncall-1", "alice", "INC-7", 1800, 1000)
SYSTEM = SystemPolicy("orders", ("svc", "svc_admin"))


APPROVED = approved(ASKED, "b1", "bob", "carol")
OPEN = replace(APPROVED, began=2000)


@pytest.mark.parametrize(
    ("one", "now", "state"),
    [
        (ASKED, 1000, State.REQUESTED),
        (approved(ASKED, "b1", "bob"), 1000, State.REQUESTED),
        (APPROVED, 1000 + PATIENCE - 1, State.APPROVED),
        (APPROVED, 1000 + PATIENCE, State.LAPSED),
        (ASKED, 1000 + PATIENCE, State.LAPSED),
        (OPEN, 3799, State.OPEN),
        (OPEN, 3800, State.OVER),
        (replace(OPEN, ended=2500), 2600, State.OVER),  # it has ended, whatever the clock says since
        (OPEN, 2000 - CLOCK_STEP, State.OPEN),
        (OPEN, 2000 - CLOCK_STEP - 1, State.OVER),
        (replace(OPEN, reviewed=9000), 9999, State.REVIEWED),
    ],
)
def test_the_states(one: Emergency, now: float, state: State) -> None:
    assert one.state(RULES, now) is state


@pytest.mark.parametrize(
    "one",
    [
        approved(ASKED, "b1", "bob", "alice"),  # nobody approves what they ask for
        approved(ASKED, "b1", "bob", "dave"),  # dave is none of the people
        approved(ASKED, "b2", "bob", "carol"),  # of another bridge
        replace(approved(replace(ASKED, id="bg_2"), "b1", "bob", "carol"), id="bg_1"),  # of another request
        replace(approved(replace(ASKED, seconds=60), "b1", "bob", "carol"), seconds=1800),
        replace(ASKED, approvals={"bob": APPROVED.approvals["bob"], "carol": APPROVED.approvals["bob"]}),
        replace(ASKED, approvals={"bob": APPROVED.approvals["bob"], "carol": ""}),
    ],
)
def test_an_approval_counts_only_with_its_own_signature_under_this_request(one: Emergency) -> None:
    """Also of rows that somebody wrote into the database."""
    assert one.state(RULES, 1000) is State.REQUESTED
    assert replace(one, began=2000).state(RULES, 2001) is State.OVER


def test_who_is_no_longer_among_the_people_has_not_approved() -> None:
    fewer = replace(RULES, people={name: PEOPLE[name] for name in ("alice", "bob", "dave")})
    assert APPROVED.approvers(RULES) == ["bob", "carol"]
    assert APPROVED.approvers(fewer) == ["bob"]
    assert OPEN.state(fewer, 2001) is State.OVER


def test_a_review_is_overdue_when_nobody_did_it_in_time() -> None:
    due = 3800 + RULES.review
    assert not OPEN.overdue(RULES, due - 1)
    assert OPEN.overdue(RULES, due)
    assert not replace(OPEN, reviewed=4000).overdue(RULES, due)
    assert not APPROVED.overdue(RULES, due)


def test_each_verb_object_and_bridge_has_a_statement_of_its_own() -> None:
    """A signature must not be good for anything else than what was signed."""
    made = {ASKED.statement("b1", verb) for verb in ("request", "approve", "use", "review")}
    made |= {ASKED.statement("b2", "approve"), ASKED.statement("b1", "use", 7)}
    changed = {"id": "bg_2", "system": "x", "account": "x", "agent": "x", "requester": "x", "reason": "x"}
    made |= {replace(ASKED, **{name: value}).statement("b1", "approve") for name, value in changed.items()}
    made |= {
        replace(ASKED, seconds=1801).statement("b1", "approve"),
        replace(ASKED, created=1001).statement("b1", "approve"),
    }
    assert len(made) == 6 + len(changed) + 2
    assert len(fields(Emergency)) == 18  # what another field would mean for what is signed is to be thought of


def test_a_value_cannot_pass_for_another_line() -> None:
    with pytest.raises(ValueError, match="one line"):
        statement("break-glass", {"system": "a\nagent: b"})
    assert not is_signed(PEOPLE, "bob", b"text", "no signature")
    assert not is_signed(PEOPLE, "nobody", b"text", signed("bob", b"text"))
    assert is_signed(PEOPLE, "bob", b"text", signed("bob", b"text"))


def policy(*grants: Grant) -> Policy:
    return Policy([*grants, OPEN.grant()], [SYSTEM])


def asked(
    account: str | None = "svc_admin", agent: str = "oncall-1", at: float = 2000, action: Action = Action.ADMIN,
    emergency: str = "bg_1",
) -> Request:  # fmt: skip
    return Request(Subject(agent, frozenset({role(emergency)})), "orders", account, action, at=at)


def test_it_opens_one_account_for_one_agent_with_its_token_until_its_end() -> None:
    assert policy().admit(asked()).allowed
    assert policy().admit(asked(account=None)).account == "svc_admin"
    assert not policy().admit(asked(account="svc")).allowed
    assert not policy().admit(asked(agent="other")).allowed
    assert not policy().admit(asked(emergency="bg_2")).allowed
    assert policy().admit(asked(at=3799)).allowed
    assert not policy().admit(asked(at=3800)).allowed


def test_a_deny_grant_wins() -> None:
    deny = Grant("never", Effect.DENY, systems=frozenset({"orders"}), actions=frozenset({Action.ADMIN}))
    assert not policy(deny).admit(asked()).allowed
    assert policy(deny).admit(asked(action=Action.READ)).allowed
