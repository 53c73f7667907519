"""Admin commands: what they take, what they record, and what happens when nothing can be recorded."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from typing import Any

import pytest

from bridge.adapter import Action
from bridge.api.commands import COMMANDS, call
from bridge.api.failure import CommandFailed
from bridge.api.services import Actor
from bridge.policy import Changes, Mode, Use
from bridge.policy.demotion import Demotion
from bridge.policy.emergency import Emergency, Rules
from bridge.policy.phases import Phase, Phases, SystemPhase, lowered
from bridge.testing.people import PEOPLE, approved, signed

from .conftest import NOW

ANNA = Actor("anna", via="socket")
AGENT = {
    "id": "deploy-7", "owner": "payments", "purpose": "Deploys.", "roles": ["reader"], "environment": "production",
}  # fmt: skip
OWNER = {"id": "payments", "kind": "team", "contact": "payments@corp.example"}
CANARY = "correct-horse-canary"

ASKED = Emergency("bg_asked1", "orders", "svc", "deploy-7", "alice", "INC-7", 600, int(NOW))


def sign(person: str, one: Emergency, verb: str, at: int = 0) -> str:
    return signed(person, one.statement("office", verb, at))


READY = approved(replace(ASKED, id="bg_ready1"), "office", "bob")
OVER = replace(approved(replace(ASKED, id="bg_over11"), "office", "bob"), began=int(NOW) - 700)
NEW = replace(ASKED, id="bg_fresh1")
ASK = {
    name: getattr(NEW, name)
    for name in ("id", "system", "account", "agent", "requester", "reason", "seconds", "created")
}

STRICT, LAX = (
    Phases({"orders": SystemPhase(Phase(mode), frozenset({"svc@pg:1"}))}, people=PEOPLE, approvals=1)
    for mode in (Mode.ENFORCE, Mode.OBSERVE)
)
LOWER = Demotion("dem_fresh1", lowered(STRICT, LAX, NOW), "alice", "CHG-1", int(NOW))
LOWERING = replace(LOWER, id="dem_asked1")
LOWERING = replace(LOWERING, signature=signed("alice", LOWERING.statement("office", "request")))

GOOD: dict[str, dict[str, Any]] = {
    "agent.create": {**AGENT, "id": "deploy-8"},
    "agent.list": {},
    "agent.show": {"id": "deploy-7"},
    "agent.suspend": {"id": "deploy-7"},
    "agent.resume": {"id": "draft-1"},
    "agent.revoke": {"id": "deploy-7"},
    "agent.renew": {"id": "deploy-7"},
    "owner.create": {**OWNER, "id": "billing"},
    "owner.list": {},
    "owner.leave": {"owner": "payments"},
    "token.issue": {"agent": "deploy-7"},
    "token.deny": {"iss": "idbridge:office", "token_id": "t1"},
    "secret.set": {"name": "orders/svc", "value": CANARY},
    "secret.list": {},
    "secret.delete": {"name": "kept"},
    "secret.scan": {"path": "/srv"},
    "secret.scanned": {"request": "01JDM3", "counts": {"pg/svc": "2"}},
    "policy.explain": {"agent": "deploy-7", "system": "orders"},
    "policy.who_can": {"system": "orders"},
    "request.ask": {"agent": "deploy-7", "system": "orders", "reason": "INC-7"},
    "request.list": {},
    "request.show": {"id": "req_1"},
    "request.approve": {"id": "req_1"},
    "request.deny": {"id": "req_1"},
    "request.withdraw": {"id": "req_1"},
    "request.revoke": {"id": "req_2"},
    "alert.list": {},
    "alert.test": {"channel": "oncall"},
    "drill.start": {"agents": ["deploy-7"]},
    "drill.stop": {},
    "drill.report": {},
    "quota.show": {},
    "quota.costs": {"since": "2026-09", "by": "owner"},
    "breakglass.rules": {},
    "breakglass.statement": {"id": ASKED.id, "verb": "approve"},
    "breakglass.request": {**ASK, "signature": sign("alice", NEW, "request")},
    "breakglass.approve": {"id": ASKED.id, "person": "bob", "signature": sign("bob", ASKED, "approve")},
    "breakglass.use": {"id": READY.id, "at": int(NOW), "signature": sign("alice", READY, "use", int(NOW))},
    "breakglass.review": {"id": OVER.id, "person": "bob", "note": "fine", "signature": sign("bob", OVER, "review")},
    "breakglass.list": {},
    "demotion.pending": {},
    "demotion.request": {
        "id": LOWER.id,
        "requester": "alice",
        "reason": "CHG-1",
        "created": int(NOW),
        "digest": LOWER.digest,
        "signature": signed("alice", LOWER.statement("office", "request")),
    },
    "demotion.statement": {"id": LOWERING.id},
    "demotion.approve": {
        "id": LOWERING.id,
        "person": "bob",
        "signature": signed("bob", LOWERING.statement("office", "approve")),
    },
    "demotion.list": {},
    "log.list": {},
    "log.actors": {"query": "-type:log.read"},
    "log.show": {"session": "ses_1"},
    "log.who": {"system": "orders", "account": "svc", "at": 1},
    "log.exported": {"query": "agent:deploy-7", "count": 3, "format": "csv"},
    "log.played": {"session": "ses_1"},
    "log.proved": {"what": "ses_1"},
    "log.archived": {"folder": "/mnt/log"},
    "log.erased": {"count": 2},
    "log.verified": {"size": 7, "root": "00ff", "finding": "event 3: missing"},
    "log.sinks": {},
    "log.resend": {"sink": "siem", "first": 5},
    "report.framework": {"name": "pci"},
    "report.access": {},
    "report.unused": {},
    "session.list": {},
    "session.show": {"session": "ses_1"},
    "session.end": {"session": "ses_1"},
    "status": {},
    "reload": {},
    "doctor": {"system": "orders"},
    "account.discover": {"system": "orders", "account": "svc"},
    "account.rotate": {"system": "orders", "account": "svc"},
    "reconcile": {"system": "orders"},
    "ssh.trust": {"system": "orders"},
    "breaker.reset": {"system": "orders", "account": "svc"},
}
WIDENING = {"agent.create", "agent.resume", "agent.renew", "owner.create", "token.issue", "secret.set"}
WIDENING |= {"breakglass.request", "breakglass.approve", "breakglass.use", "breakglass.review"}
WIDENING |= {"request.ask", "request.approve"}
WIDENING |= {"demotion.request", "demotion.approve"}
NARROWING = {"agent.suspend", "agent.revoke", "token.deny", "secret.delete", "session.end"}
NARROWING |= {"request.deny", "request.withdraw", "request.revoke"}


@pytest.fixture
def filled(office: Any) -> Any:
    call(office.services, ANNA, "owner.create", OWNER)
    call(office.services, ANNA, "agent.create", AGENT)
    call(office.services, ANNA, "agent.create", {**AGENT, "id": "draft-1", "draft": True})
    call(office.services, ANNA, "secret.set", {"name": "kept", "value": CANARY})
    call(office.services, ANNA, "session.end", {"session": "ses_1", "reason": "setup"})
    call(office.services, ANNA, "drill.start", {"agents": ["deploy-7"]})
    office.services.break_glass = Rules(PEOPLE, approvals=1, bridge="office")
    for one in (ASKED, READY, OVER):
        office.services.emergencies.in_thread_add(one)
    office.add_request("req_1")
    office.given_request("req_2", actions=frozenset({Action.ADMIN}))
    office.services.demotions.in_thread_keep(STRICT, int(NOW))
    office.services.demotions.in_thread_add(LOWERING)
    office.services.planned = lambda: LAX
    return office


def failure(office: Any, name: str, parameters: Any) -> CommandFailed:
    with pytest.raises(CommandFailed) as caught:
        call(office.services, ANNA, name, parameters)
    return caught.value


def test_every_command_has_an_example_here() -> None:
    assert set(GOOD) == set(COMMANDS)


@pytest.mark.parametrize("name", list(GOOD))
def test_every_command_answers_json_without_secrets(filled: Any, name: str) -> None:
    """And stores none in the log or, in any form that reads, in the registry."""
    answer = call(filled.services, ANNA, name, GOOD[name])
    assert CANARY not in json.dumps(answer)
    assert CANARY not in json.dumps(filled.events())
    if name == "token.issue":
        assert answer["token"] not in json.dumps(filled.events())


SIGNATURES = [
    (name, parameter)
    for name, function in COMMANDS.items()
    for parameter in list(inspect.signature(function).parameters.values())[2:]
]
PARAMETERS = [(name, parameter.name) for name, parameter in SIGNATURES]
REQUIRED = [(name, parameter.name) for name, parameter in SIGNATURES if parameter.default is parameter.empty]


def test_what_is_required_is_named(filled: Any) -> None:
    for name, parameter in REQUIRED:
        given = {key: value for key, value in GOOD[name].items() if key != parameter}
        error = failure(filled, name, given)
        assert (error.status, error.field) == (400, parameter), name


@pytest.mark.parametrize("value", [1.5, [[]], [1], "\ud800", 10**30, float("nan")], ids=repr)
def test_a_wrong_type_is_named_and_nothing_is_done(filled: Any, value: Any) -> None:
    """No JSON can be given to any parameter that ends in anything but a plain answer."""
    before = len(filled.events())
    for name, parameter in PARAMETERS:
        error = failure(filled, name, {**GOOD[name], parameter: value})
        assert (error.status, error.field) == (400, parameter), name
    assert len(filled.events()) == before


def test_an_unknown_parameter_is_an_error(filled: Any) -> None:
    for name, given in GOOD.items():
        assert failure(filled, name, {**given, "force": True}).field == "force"


def test_an_unknown_command_is_an_error(office: Any) -> None:
    assert failure(office, "agent.promote", {}).status == 404
    assert failure(office, "__class__", {}).status == 404


@pytest.mark.parametrize("name", sorted(WIDENING))
def test_without_a_log_nobody_gets_more(filled: Any, name: str) -> None:
    before = _state(filled)
    filled.down = True
    error = failure(filled, name, GOOD[name])
    assert error.status == 503
    assert "nothing was done" in str(error)
    filled.down = False
    assert _state(filled) == before


@pytest.mark.parametrize("name", sorted(NARROWING))
def test_without_a_log_access_can_still_be_taken(filled: Any, name: str) -> None:
    """It is done, and the person hears that it is not recorded."""
    before, asked = _state(filled), len(filled.live.asked)
    filled.down = True
    error = failure(filled, name, GOOD[name])
    assert error.status == 503
    assert "done, but not recorded" in str(error)
    filled.down = False
    assert _state(filled) != before or len(filled.live.asked) > asked


def _state(office: Any) -> Any:
    services = office.services
    services.deny_list.in_thread_load()
    return (
        [agent.plain() for agent in services.registry.in_thread_directory()],
        services.registry.in_thread_owners(),
        services.access_requests.in_thread_list(),
        services.store.in_thread_list(),
        services.emergencies.in_thread_all(),
        services.demotions.in_thread_all(),
        len(services.deny_list),
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"person": "alice", "signature": signed("alice", LOWERING.statement("office", "approve"))}, "for themselves"),
        ({"person": "carol"}, "not signed by a key of carol"),
        ({"signature": signed("bob", LOWER.statement("office", "approve"))}, "not signed by a key of bob"),
        ({"signature": signed("bob", LOWERING.statement("other", "approve"))}, "not signed by a key of bob"),
    ],
)
def test_a_demotion_is_approved_by_another_person_for_itself_alone(
    filled: Any, change: dict[str, Any], words: str
) -> None:
    assert words in str(failure(filled, "demotion.approve", {**GOOD["demotion.approve"], **change}))
    event = filled.events("demotion.change")[-1]
    assert (event["outcome"], event["change"]["subject"]) == ("denied", LOWERING.id)
    assert call(filled.services, ANNA, "demotion.list", {})[0]["state"] == "requested"


def test_a_demotion_is_asked_for_as_the_file_stands(filled: Any) -> None:
    asked = GOOD["demotion.request"]
    call(filled.services, ANNA, "demotion.request", asked)
    assert failure(filled, "demotion.request", asked).status == 409  # the same again
    filled.services.planned = lambda: STRICT
    assert "nothing less strict" in str(failure(filled, "demotion.request", {**asked, "id": "dem_other1"}))
    filled.services.planned = Phases
    assert "the file has changed" in str(failure(filled, "demotion.request", {**asked, "id": "dem_other1"}))


def test_a_widening_change_is_recorded_before_and_after(office: Any) -> None:
    """Two events that belong together, with the actor, what was, and what is."""
    call(office.services, ANNA, "owner.create", OWNER)
    intent, outcome = office.events("registry.change")
    assert (intent["phase"], outcome["phase"], outcome["outcome"]) == ("intent", "outcome", "success")
    assert outcome["corr"]["request"] == intent["id"]
    assert [event["actor"] for event in (intent, outcome)] == [{"id": "anna", "kind": "person", "via": "socket"}] * 2
    assert outcome["change"]["after"]["contact"] == "payments@corp.example"


def test_a_change_that_fails_is_recorded_as_such(filled: Any) -> None:
    failure(filled, "agent.create", AGENT)
    assert [event["outcome"] for event in filled.events("registry.change")[-2:]] == ["", "failure"]


def test_a_change_is_recorded_also_when_the_sessions_cannot_be_told(filled: Any) -> None:
    def broken() -> int:
        raise OSError("the registry cannot be read")

    filled.live.registry_changed = broken
    with pytest.raises(OSError, match="cannot be read"):
        call(filled.services, ANNA, "agent.revoke", {"id": "deploy-7"})
    assert filled.events("registry.change")[-1]["change"]["after"]["state"] == "revoked"


def test_a_revocation_tells_the_live_sessions(filled: Any) -> None:
    answer = call(filled.services, ANNA, "agent.revoke", {"id": "deploy-7", "reason": "left"})
    assert (answer["state"], answer["sessions_ended"]) == ("revoked", 1)
    event = filled.events("registry.change")[-1]
    assert (event["change"]["before"]["state"], event["change"]["after"]["state"]) == ("active", "revoked")
    assert failure(filled, "agent.resume", {"id": "deploy-7"}).field == "id"


def test_a_dry_run_changes_and_records_nothing(filled: Any) -> None:
    before, count = _state(filled), len(filled.events())
    answer = call(filled.services, ANNA, "owner.leave", {"owner": "payments"})
    assert (answer["dry_run"], answer["agents"]) == (True, ["deploy-7", "draft-1"])
    assert (_state(filled), len(filled.events())) == (before, count)
    answer = call(filled.services, ANNA, "owner.leave", {"owner": "payments", "dry_run": False})
    assert {agent.state for agent in filled.services.registry.in_thread_directory()} == {"revoked"}


@pytest.mark.parametrize(
    "name",
    [
        "report.framework",
        "report.access",
        "log.list",
        "log.actors",
        "log.show",
        "log.who",
        "log.exported",
        "log.played",
        "log.proved",
    ],
)
def test_reading_the_log_is_recorded_before_the_answer(filled: Any, name: str) -> None:
    call(filled.services, ANNA, name, GOOD[name])
    event = filled.events("log.read")[-1]
    assert event["actor"]["id"] == "anna"
    filled.down = True
    assert failure(filled, name, GOOD[name]).status == 503


def test_a_query_and_options_are_one_query(filled: Any) -> None:
    both = {
        "query": "agent:deploy-* type:registry.change -type:log.read",
        "owner": "payments",
        "since": 0,
        "oldest_first": True,
    }
    answer = call(filled.services, ANNA, "log.list", both)
    assert (
        answer["query"]
        == "agent:deploy-* type:registry.change -type:log.read owner:payments since:1970-01-01T00:00:00.000Z"
    )
    assert {event["change"]["subject"] for event in answer["events"]} == {"deploy-7"}
    assert "log.read" not in {event["type"] for event in answer["events"]}
    assert (answer["count"], answer["more"]) == (len(answer["events"]), False)
    assert answer["first"] == answer["events"][0]["seq"] < answer["last"] <= answer["log"]["last"]
    assert filled.events("log.read")[-1]["detail"]["filters"] == {"query": answer["query"]}


def test_what_is_not_a_query_is_told_with_its_place(filled: Any) -> None:
    failed = failure(filled, "log.list", {"query": "agent:a agnet:b"})
    assert (failed.status, failed.field) == (400, "query")
    assert "position 9 of the query: no key 'agnet', did you mean agent?" in str(failed)
    assert "one of read, write, admin" in str(failure(filled, "log.list", {"action": "x"}))
    assert "since is given twice" in str(failure(filled, "log.list", {"query": "since:1h", "since": 5}))


def test_a_verification_is_recorded_and_its_finding_is_an_alarm(filled: Any) -> None:
    call(filled.services, ANNA, "log.verified", {"size": 7, "root": "00ff"})
    assert filled.events("log.verify")[-1]["outcome"] == "success"
    assert filled.events("alarm") == []
    call(filled.services, ANNA, "log.verified", GOOD["log.verified"])
    assert filled.events("log.verify")[-1]["outcome"] == "failure"
    assert filled.events("alarm")[-1]["detail"]["text"] == "event 3: missing"


@pytest.mark.parametrize("id", ["ses_unknown", "nonsense", "", "01ARZ3NDEKTSV4RRFFQ69G5FAV"])
def test_an_id_that_nothing_has_is_answered(filled: Any, id: str) -> None:
    assert failure(filled, "log.show", {"session": id}).status == 404


def test_a_token_is_recorded_before_it_exists_and_only_for_an_agent_that_may_act(filled: Any) -> None:
    answer = call(filled.services, ANNA, "token.issue", {"agent": "deploy-7", "system": "orders", "ttl": 60})
    (event,) = filled.events("token.issue")
    assert event["detail"]["jti"] == answer["token_id"]
    assert answer["audience"] == "bridge:office/orders"
    assert failure(filled, "token.issue", {"agent": "draft-1"}).status == 409
    assert failure(filled, "token.issue", {"agent": "nobody"}).status == 404
    for ttl in (0, -1, 901):
        assert failure(filled, "token.issue", {"agent": "deploy-7", "ttl": ttl}).field == "ttl"


def test_a_denied_token_is_denied_at_once_and_at_the_next_start(filled: Any) -> None:
    call(filled.services, ANNA, "token.deny", {"iss": "i", "token_id": "t"})
    assert filled.services.deny_list.denies("i", "t")
    filled.services.deny_list.in_thread_load()
    assert filled.services.deny_list.denies("i", "t")


def test_explain_is_the_live_decision(filled: Any) -> None:
    answer = call(filled.services, ANNA, "policy.explain", {"agent": "deploy-7", "system": "orders", "action": "write"})
    assert (answer["decision"]["allowed"], answer["decision"]["account"]) == (False, "svc")
    answer = call(filled.services, ANNA, "policy.who_can", {"label": "pii"})
    rows = answer["access"]
    assert (answer["count"], answer["basis"]["source"]) == (1, "live")
    assert [(row["agent"], row["account"], row["actions"]) for row in rows] == [("deploy-7", "svc", ["read"])]
    assert failure(filled, "policy.who_can", {}).status == 400
    assert failure(filled, "policy.explain", {"agent": "deploy-7", "system": "orders", "action": "x"}).field == "action"


@pytest.mark.parametrize(
    ("binding", "part"),
    [({"issuer": "corp"}, "a binding is"), ({"issuer": "corp", "claims": {"sub": 1}}, "are text"), ([], "wrong type")],
)
def test_a_binding_has_its_form(filled: Any, binding: Any, part: str) -> None:
    error = failure(filled, "agent.create", {**AGENT, "id": "x", "bindings": [binding]})
    assert error.field == "bindings"
    assert part in str(error)


@pytest.mark.parametrize(
    "name", ["session.list", "session.show", "session.end", "status", "reload", "doctor", "account.discover"]
)
def test_what_needs_a_running_bridge_says_so(filled: Any, name: str) -> None:
    filled.services.live = None
    error = failure(filled, name, GOOD[name])
    assert error.status == 503
    assert "idbridge run" in str(error)


def test_counters_are_found_by_quota_and_agent(filled: Any) -> None:
    row = {"quota": "calm", "measure": "sessions", "reached": False}
    rows = [{**row, "of": "agent=a system=orders"}, {**row, "of": "agent=ab", "reached": True}]
    filled.services.quotas = lambda: rows
    assert call(filled.services, ANNA, "quota.show", {"agent": "a"}) == rows[:1]
    assert call(filled.services, ANNA, "quota.show", {"reached": True, "quota": "calm"}) == rows[1:]
    assert failure(filled, "quota.show", {"quota": "loud"}).field == "quota"


def test_costs_are_summed_by_month(filled: Any) -> None:
    use = Use(sessions=1, operations=2, rows=3, bytes=4, seconds=5, micros=1_500_000)
    keys = [
        ("2026-11", "4711", "pay", "a", "pg"),
        ("2026-11", "4711", "pay", "b", "pg"),
        ("2026-10", "", "x", "c", "pg"),
    ]
    for _ in range(2):
        filled.services.usage.in_thread_save(Changes(uses=dict.fromkeys(keys, use)))
    told = call(filled.services, ANNA, "quota.costs", {"since": "2026-10", "until": "2026-11"})
    assert [(row["month"], row["cost_centre"], row["sessions"], row["cost"]) for row in told] == [
        ("2026-10", "", 2, "3"),
        ("2026-11", "4711", 4, "6"),
    ]
    by_agent = call(filled.services, ANNA, "quota.costs", {"since": "2026-11", "until": "2026-11", "by": "agent"})
    assert [row["agent"] for row in by_agent] == ["a", "b"]
    assert failure(filled, "quota.costs", {"since": "November"}).field == "since"
    assert failure(filled, "quota.costs", {"by": "month"}).field == "by"


def test_sending_again_is_recorded_before_it_is_done(office: Any) -> None:
    answer = call(office.services, ANNA, "log.resend", {"sink": "siem", "first": 5})
    assert answer == {"sink": "siem", "first": 5, "delivered": 7}
    event = office.events()[-1]
    assert (event["type"], event["actor"]["id"], event["detail"]) == (
        "log.sink", ANNA.id, {"delivered": 7, "first": 5, "sink": "siem"})  # fmt: skip
    assert failure(office, "log.resend", {"sink": "nowhere", "first": 5}).status == 404
    assert failure(office, "log.resend", {"sink": "siem", "first": 0}).field == "first"
    assert office.live.asked == [("resend", "siem", 5)]
