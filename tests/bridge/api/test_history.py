"""Questions about a time that is over: answered from the log alone, whatever policy and registry are by now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bridge.adapter import Action
from bridge.api.commands import call
from bridge.api.failure import CommandFailed
from bridge.api.history import in_thread_directory, in_thread_then
from bridge.api.services import Actor
from bridge.policy import Grant, Policy, SystemPolicy, document
from bridge.translation import Event, facts
from bridge.translation.appending import in_thread_append

from .conftest import NOW

ANNA = Actor("anna", via="socket")
DAY = 86_400
BEGIN = int(NOW) - 100 * DAY


def policy(*actions: Action) -> Policy:
    grant = Grant("g", roles=frozenset({"reader"}), systems=frozenset({"orders"}), account="svc",
                  actions=frozenset(actions), default=True)  # fmt: skip
    return Policy([grant], [SystemPolicy("orders", ("svc",), frozenset({"pii"}))], version=str(len(actions)))


@pytest.fixture
def past(office: Any) -> Callable[[int], None]:
    """Sets the day on which the next events happen, counted from ``BEGIN``."""
    day = [0]

    def record(event: Event) -> int:
        return in_thread_append(office.log_engine, "office", [replace(event, at=(BEGIN + day[0] * DAY) * 1000)])

    office.services.record = record

    def set_day(number: int) -> None:
        day[0] = number

    return set_day


def version(office: Any, taken: Policy) -> None:
    change = facts.change_section("policy", None, document(taken))
    office.services.record(Event("policy.version", sections={"change": change}))


@pytest.fixture
def told(office: Any, past: Callable[[int], None]) -> Any:
    """Day 1: a policy that lets readers read. 2: two agents. 3: writing too. 4: b is suspended. 5: the owner leaves."""
    services = office.services
    past(1)
    version(office, policy(Action.READ))
    past(2)
    call(services, ANNA, "owner.create", {"id": "payments", "kind": "person", "contact": "x@corp.example"})
    for id in ("a", "b"):
        call(services, ANNA, "agent.create", {
            "id": id, "owner": "payments", "purpose": "p", "roles": ["reader"], "environment": "test",
            "bindings": [{"issuer": "corp", "claims": {"sub": id}}],
        })  # fmt: skip
    past(3)
    version(office, policy(Action.READ, Action.WRITE))
    past(4)
    call(services, ANNA, "agent.suspend", {"id": "b"})
    past(5)
    call(services, ANNA, "owner.leave", {"owner": "payments", "dry_run": False})
    past(90)
    services.policy = policy(Action.ADMIN)
    return office


def who(office: Any, day: float, **asked: str) -> list[str]:
    answer = call(office.services, ANNA, "policy.who_can", {"label": "pii", **asked, "at": int(BEGIN + day * DAY)})
    assert (answer["basis"]["source"], answer["count"]) == ("log", len(answer["access"]))
    return [f"{row['agent']}:{row['owner']}:{'+'.join(row['actions'])}" for row in answer["access"]]


@pytest.mark.parametrize(
    ("day", "reading", "writing"),
    [
        (1.5, [], []),
        (2.5, ["a:payments:read", "b:payments:read"], []),
        (3.5, ["a:payments:read+write", "b:payments:read+write"], ["a:payments:read+write", "b:payments:read+write"]),
        (4.5, ["a:payments:read+write"], ["a:payments:read+write"]),
        (5.5, [], []),
    ],
)
def test_who_could_at_a_time(told: Any, day: float, reading: list[str], writing: list[str]) -> None:
    assert who(told, day) == reading
    assert who(told, day, action="write") == writing


def test_explain_at_a_time_says_what_was_and_from_which_events(told: Any) -> None:
    asked = {"agent": "b", "system": "orders", "action": "write"}
    then = call(told.services, ANNA, "policy.explain", {**asked, "at": int(BEGIN + 2.5 * DAY)})
    assert (then["decision"]["allowed"], then["decision"]["policy"]) == (False, policy(Action.READ).digest)
    assert (then["basis"]["policy_event"], then["basis"]["registry_changes"]) == (1, 3)
    later = call(told.services, ANNA, "policy.explain", {**asked, "at": int(BEGIN + 4.5 * DAY)})
    assert (later["decision"]["allowed"], later["agent_state"], later["owner"]) == (True, "suspended", "payments")
    assert later["basis"]["log"]["last"] >= later["basis"]["policy_event"]


def test_reading_the_past_is_recorded_before_the_answer_and_the_present_is_no_reading(told: Any) -> None:
    before = len(told.events("log.read"))
    call(told.services, ANNA, "policy.who_can", {"label": "pii"})
    call(told.services, ANNA, "policy.who_can", {"label": "pii", "at": int(NOW) + 5})
    assert len(told.events("log.read")) == before
    who(told, 3)
    assert told.events("log.read")[-1]["detail"]["query"] == "policy.who_can"


def test_before_the_log_there_is_no_answer(told: Any) -> None:
    with pytest.raises(CommandFailed, match=r"no policy from before .*; the first is of 20") as caught:
        who(told, 0.5)
    assert caught.value.status == 404


def test_a_policy_that_was_changed_in_the_log_is_not_believed(told: Any) -> None:
    broken = {**document(policy(Action.READ)), "digest": "sha256:0"}
    event = Event("policy.version", sections={"change": facts.change_section("policy", None, broken)})
    told.services.record(event)
    with pytest.raises(CommandFailed, match="cannot be used: its digest is"):
        in_thread_then(told.services.reader, int(NOW * 1000))


def test_the_agents_of_the_log_are_those_of_the_registry(told: Any) -> None:
    logged, changes = in_thread_directory(told.services.reader, int(NOW * 1000))
    assert list(logged) == list(told.services.registry.in_thread_directory())
    assert changes == 5
