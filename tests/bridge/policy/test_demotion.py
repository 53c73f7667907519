"""A demotion as an object: who has approved what, and for how long that is good."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from bridge.policy.demotion import PATIENCE, Demotion, State, digest
from bridge.policy.phases import Lowered
from bridge.testing.people import PEOPLE, signed

CHANGES = (Lowered("systems.pg.mode", "enforce", "observe"), Lowered("grants.g.mode", "warn", "observe"))
ASKED = Demotion("dem_1", CHANGES, "alice", "CHG-1", 1000)


def asked(one: Demotion = ASKED, bridge: str = "b1") -> Demotion:
    return replace(one, signature=signed(one.requester, one.statement(bridge, "request")))


def approved(one: Demotion, by: str = "bob", bridge: str = "b1") -> Demotion:
    return replace(one, approver=by, approval=signed(by, one.statement(bridge, "approve")))


DONE = approved(asked())


@pytest.mark.parametrize(
    ("one", "now", "state"),
    [
        (asked(), 1000, State.REQUESTED),
        (DONE, 1000, State.APPROVED),
        (DONE, 1000 + PATIENCE, State.LAPSED),
        (replace(DONE, taken=1001), 1002, State.TAKEN),
        (approved(asked(), by="alice"), 1000, State.REQUESTED),
        (approved(ASKED), 1000, State.REQUESTED),  # nobody signed the request
        (approved(asked(bridge="b2"), bridge="b2"), 1000, State.REQUESTED),
        (replace(DONE, changes=CHANGES[:1]), 1000, State.REQUESTED),
        (replace(DONE, reason="other"), 1000, State.REQUESTED),
        (replace(DONE, approver="carol"), 1000, State.REQUESTED),
        (replace(DONE, id="dem_2"), 1000, State.REQUESTED),
        (replace(DONE, approval=DONE.signature), 1000, State.REQUESTED),
    ],
)
def test_the_states(one: Demotion, now: float, state: State) -> None:
    assert one.state(PEOPLE, "b1", now) is state


def test_the_keys_of_now_count() -> None:
    assert DONE.state({"alice": PEOPLE["alice"], "bob": PEOPLE["carol"]}, "b1", 1000) is State.REQUESTED
    assert DONE.state({}, "b1", 1000) is State.REQUESTED


def test_the_digest_is_of_these_changes_in_any_order() -> None:
    assert digest(CHANGES) == digest(CHANGES[::-1])
    assert digest(CHANGES) != digest(CHANGES[:1])
    assert digest((Lowered("a", "b", "c"),)) != digest((Lowered("a", "b,c", ""),))
    assert len(fields(Demotion)) == 9  # what another field would mean for what is signed is to be thought of
