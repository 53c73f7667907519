"""Access for a time: who may ask, who may give it, and that asking or deciding twice changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.adapter import Action
from bridge.admission.access_requests import MOST_PER_DAY
from bridge.api.commands import OPEN_TO_AGENTS, call
from bridge.api.failure import CommandFailed
from bridge.api.services import Actor
from bridge.policy import Effect, Grant, Policy
from bridge.policy.access_request import Asking, Terms

ANNA = Actor("anna", via="socket")
BERT = Actor("bert", via="socket")
AGENT = Actor("deploy-7", via="api", kind="agent", source="192.0.2.7:4000", subject="https://idp.example d7")
OTHER = Actor("review-1", via="api", kind="agent")
LEAD = Actor("lead-1", via="api", kind="agent", subject="https://idp.example lead")
ASKING = {"system": "orders", "actions": ["write"], "reason": "INC-7"}


@pytest.fixture
def desk(office: Any) -> Any:
    call(office.services, ANNA, "owner.create", {"id": "payments", "kind": "team", "contact": "pay@corp.example"})
    for id in ("deploy-7", "review-1", "lead-1"):
        given = {"owner": "payments", "purpose": "Tests.", "roles": ["reader"], "environment": "production"}
        call(office.services, ANNA, "agent.create", {"id": id, **given})
    return office


def ask(desk: Any, actor: Actor = AGENT, **changes: Any) -> dict[str, Any]:
    return dict(call(desk.services, actor, "request.ask", {**ASKING, **changes}))


def decide(desk: Any, actor: Actor, verb: str, id: str, **more: Any) -> dict[str, Any]:
    return dict(call(desk.services, actor, f"request.{verb}", {"id": id, **more}))


def refused(desk: Any, actor: Actor, name: str, **given: Any) -> tuple[int, str]:
    with pytest.raises(CommandFailed) as caught:
        call(desk.services, actor, name, given)
    return caught.value.status, str(caught.value)


def test_what_is_given_is_recorded_with_who_and_before_and_after(desk: Any) -> None:
    asked = ask(desk)
    given = decide(desk, ANNA, "approve", asked["id"], note="as agreed")
    assert (asked["state"], given["state"], given["decider"]) == ("pending", "approved", "user:anna")
    assert given["ends"] - given["decided"] == asked["seconds"] == 3600
    intents = [event for event in desk.events() if event["type"].startswith("access.") and event["phase"] == "intent"]
    requested, granted = (desk.events(f"access.{kind}")[-1] for kind in ("request", "grant"))
    assert len(intents) == 2
    assert (requested["actor"]["id"], requested["actor"]["kind"], requested["actor"]["via"]) == (
        "deploy-7",
        "agent",
        "api",
    )
    assert requested["change"]["after"]["state"] == "pending"
    assert (granted["change"]["before"]["state"], granted["change"]["after"]["state"]) == ("pending", "approved")
    assert (granted["actor"]["id"], granted["change"]["after"]["note"]) == ("anna", "as agreed")
    assert "registry" in desk.live.asked  # the running bridge takes it at once


def test_asking_for_the_same_again_gives_the_same_and_records_nothing(desk: Any) -> None:
    first = ask(desk)
    count = len(desk.events())
    assert ask(desk, reason="another reason", seconds=60) == first
    assert ask(desk, ANNA, agent="deploy-7") == first
    assert len(desk.events()) == count
    assert ask(desk, actions=["read"])["id"] != first["id"]
    given = decide(desk, ANNA, "approve", first["id"])
    assert ask(desk)["id"] == given["id"]  # while it lasts


@pytest.mark.parametrize(("verb", "state"), [("approve", "approved"), ("deny", "denied"), ("withdraw", "withdrawn")])
def test_deciding_twice_is_deciding_once(desk: Any, verb: str, state: str) -> None:
    id = ask(desk)["id"]
    first = decide(desk, ANNA, verb, id)
    count = len(desk.events())
    assert decide(desk, ANNA, verb, id)["ends"] == first["ends"]
    assert len(desk.events()) == count
    for other in {"approve", "deny", "withdraw"} - {verb}:
        assert refused(desk, ANNA, f"request.{other}", id=id) == (409, f"{id} is {state}")


def test_nobody_approves_what_they_ask_for(desk: Any) -> None:
    desk.services.asking = Asking({"orders": Terms({"svc": frozenset({"user:anna", "anna", "deploy-7", "lead-1"})})})
    by_agent, by_anna = ask(desk)["id"], ask(desk, ANNA, agent="deploy-7", actions=["read"])["id"]
    own = "nobody approves what they ask for, or what is asked in their name"
    assert refused(desk, AGENT, "request.approve", id=by_agent) == (403, own)
    assert refused(desk, AGENT, "request.approve", id=by_anna) == (403, own)  # asked in its name
    assert refused(desk, ANNA, "request.approve", id=by_anna) == (403, own)
    assert refused(desk, Actor("anna", kind="agent"), "request.approve", id=by_anna) == (403, own)  # the same person
    assert decide(desk, LEAD, "approve", by_anna)["decider"] == "lead-1"


def test_whoever_an_agent_acts_for_does_not_approve(desk: Any) -> None:
    id = ask(desk, replace(AGENT, behalf=LEAD.subject))["id"]
    assert refused(desk, LEAD, "request.approve", id=id)[0] == 403
    status, text = refused(desk, replace(LEAD, subject="https://idp.example x", behalf="i s"), "request.approve", id=id)
    assert (status, text) == (403, "nobody approves on behalf of somebody else")
    assert decide(desk, ANNA, "approve", id)["state"] == "approved"


def test_only_who_the_configuration_names_approves(desk: Any) -> None:
    id = ask(desk)["id"]
    assert refused(desk, BERT, "request.approve", id=id)[0] == 403
    assert refused(desk, OTHER, "request.approve", id=id) == (404, f"no request {id}")  # nor does it see it
    assert decide(desk, BERT, "deny", id)["state"] == "denied"  # ops may always say no


def test_an_agent_sees_its_own_and_an_approver_what_it_may_approve(desk: Any) -> None:
    mine, theirs = ask(desk)["id"], ask(desk, OTHER)["id"]

    def listed(actor: Actor) -> set[str]:
        return {row["id"] for row in call(desk.services, actor, "request.list", {"state": "pending"})}

    assert listed(AGENT) == {mine}
    assert listed(OTHER) == {theirs}
    assert listed(LEAD) == listed(ANNA) == listed(BERT) == {mine, theirs}
    assert refused(desk, AGENT, "request.show", id=theirs) == refused(desk, AGENT, "request.withdraw", id=theirs)
    assert refused(desk, AGENT, "request.ask", **ASKING, agent="review-1")[0] == 403


def test_an_agent_gives_back_what_it_got(desk: Any) -> None:
    id = ask(desk)["id"]
    assert refused(desk, AGENT, "request.deny", id=id)[0] == 403
    decide(desk, ANNA, "approve", id)
    gone = decide(desk, AGENT, "revoke", id, note="done")
    assert (gone["state"], gone["sessions_ended"]) == ("revoked", 1)
    assert desk.services.access_requests.in_thread_given(desk.services.now())[1] == []
    assert desk.events("access.grant")[-1]["change"]["before"]["state"] == "approved"


@pytest.mark.parametrize(
    ("given", "status", "field"),
    [
        ({"system": "vault"}, 404, "system"),
        ({"account": "root"}, 400, "account"),
        ({"actions": ["fly"]}, 400, "actions"),
        ({"targets": {"planet": ["mars"]}}, 400, "targets"),
        ({"targets": {"database": []}}, 400, "targets"),
        ({"targets": {"database": ["x"] * 33}}, 400, "targets"),
        ({"seconds": 3601}, 400, "seconds"),
        ({"seconds": 0}, 400, "seconds"),
        ({"reason": "  "}, 400, "reason"),
        ({"reason": "a\nb"}, 400, "reason"),
        ({"reason": "x" * 1001}, 400, "reason"),
        ({"reference": "ref_*"}, 400, "reference"),
        ({"reference": "ref_" + "0" * 16}, 404, "reference"),
    ],
)
def test_what_cannot_be_asked_for_is_named(desk: Any, given: dict[str, Any], status: int, field: str) -> None:
    terms = Terms({"svc": frozenset({"user:anna"}), "own": frozenset({"user:anna"})}, facts=frozenset({"database"}))
    desk.services.asking = Asking({"orders": terms})
    count = len(desk.events())
    with pytest.raises(CommandFailed) as caught:
        call(desk.services, AGENT, "request.ask", {**ASKING, "account": "svc", **given})
    assert (caught.value.status, caught.value.field) == (status, field)
    assert len(desk.events()) == count


def test_where_nothing_may_be_asked_for_all_systems_look_alike(desk: Any) -> None:
    desk.services.asking = Asking()
    existing, other = refused(desk, AGENT, "request.ask", **ASKING)[1], "nothing can be asked for on a system 'orders'"
    assert existing == other


def test_what_a_deny_grant_forbids_cannot_be_asked_for_nor_given(desk: Any) -> None:
    services = desk.services
    id = ask(desk)["id"]
    deny = Grant("no-changes", Effect.DENY, systems=frozenset({"orders"}), actions=frozenset({Action.WRITE}))
    services.policy = Policy([*services.policy.grants, deny], services.policy.systems.values())
    assert "a deny grant forbids it" in refused(desk, ANNA, "request.approve", id=id)[1]
    assert "a deny grant forbids it" in refused(desk, OTHER, "request.ask", **ASKING)[1]
    assert ask(desk, actions=["read"])["state"] == "pending"


def test_an_approver_may_give_less_time_and_not_more(desk: Any) -> None:
    id = ask(desk, seconds=600)["id"]
    assert refused(desk, ANNA, "request.approve", id=id, seconds=601)[0] == 400
    given = decide(desk, ANNA, "approve", id, seconds=60)
    assert given["ends"] - given["decided"] == 60


def test_requests_are_bounded(desk: Any) -> None:
    desk.services.asking = replace(desk.services.asking, pending=2)
    ids = [ask(desk, actions=[action])["id"] for action in ("read", "write")]
    status, text = refused(desk, AGENT, "request.ask", **{**ASKING, "actions": ["admin"]})
    assert (status, text) == (429, "deploy-7 has 2 requests that wait; withdraw one, or wait for an answer")
    assert ask(desk, OTHER)["state"] == "pending"  # others are not in its way
    for _ in range(MOST_PER_DAY - 2):
        decide(desk, AGENT, "withdraw", ids.pop())
        ids.append(ask(desk)["id"] if len(ids) == 1 else ask(desk, actions=["read"])["id"])
    decide(desk, AGENT, "withdraw", ids.pop())
    count = len(desk.events())
    status, text = refused(desk, AGENT, "request.ask", **{**ASKING, "actions": ["admin"]})
    assert (status, "has asked 100 times within a day; ask again in" in text) == (429, True)
    assert len(desk.events()) == count  # a flood does not fill the log


def test_an_agent_that_may_not_act_gets_nothing(desk: Any) -> None:
    id = ask(desk)["id"]
    call(desk.services, ANNA, "agent.suspend", {"id": "deploy-7"})
    assert refused(desk, ANNA, "request.approve", id=id) == (409, "the agent deploy-7 is suspended")
    assert refused(desk, ANNA, "request.ask", **ASKING, agent="deploy-7")[0] == 409


def test_nobody_decides_without_the_bridge(desk: Any) -> None:
    """Without it the actor is whoever the environment says."""
    id = ask(desk)["id"]
    desk.services.live = None
    assert refused(desk, ANNA, "request.approve", id=id)[0] == 503


def test_agents_get_no_other_command() -> None:
    assert {name.partition(".")[0] for name in OPEN_TO_AGENTS} == {"request"}
