"""Reports on a log whose content is known: every figure is counted, and none says more than what is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.adapter import Action
from bridge.api.commands import call
from bridge.api.commands.reports import COUNTED, EXCEPTIONS, NOT_COVERED
from bridge.api.failure import CommandFailed
from bridge.api.reports.figures import FIGURES
from bridge.api.reports.requirements import FRAMEWORKS
from bridge.api.services import Actor
from bridge.policy import Grant, Mode, Policy, SystemPolicy, document
from bridge.translation import Event, IndexKeys, facts
from bridge.translation.appending import in_thread_append

from .conftest import NOW

ANNA = Actor("anna", via="socket")
DAY = 86_400
POLICY = Policy(
    [
        Grant("reads", roles=frozenset({"reader"}), systems=frozenset({"orders"}), account="svc", default=True,
              actions=frozenset({Action.READ, Action.WRITE}), reason="nightly"),
        Grant("admins", agents=frozenset({"b"}), systems=frozenset({"stock"}), account="root"),
        Grant("never", agents=frozenset({"a"}), systems=frozenset({"stock"}), account="svc", ticket="T-1",
              actions=frozenset({Action.READ}), expires=int(NOW) + DAY),
    ],
    [SystemPolicy("orders", ("svc",), frozenset({"pii"})), SystemPolicy("stock", ("svc", "root"), mode=Mode.OBSERVE)],
    version="v",
)  # fmt: skip
AGENT = {"owner": "payments", "purpose": "p", "roles": ["reader"], "environment": "test"}


class Scribe:
    """Writes events at a day counted back from ``NOW``."""

    def __init__(self, office: Any) -> None:
        self.office = office
        self.day = 0.0
        office.services.record = self.record
        office.services.policy = POLICY

    def record(self, event: Event) -> int:
        at = int((NOW - self.day * DAY) * 1000)
        return in_thread_append(self.office.log_engine, "office", [replace(event, at=at)])

    def event(
        self, type: str, agent: str = "a", system: str = "orders", *, action: str = "", person: str = "",
        lacks: str = "", **changed: Any
    ) -> None:  # fmt: skip
        account, rules = "svc", ("reads",)
        labels = ("pii",) if system == "orders" else ()
        sections = {
            "agent": facts.agent_section(id=agent, owner="payments", purpose="" if lacks == "purpose" else "p",
                                         roles=("reader",)),
            "delegation": facts.delegation_section(mode="delegated" if person else "autonomous", subject=person),
            "legacy": facts.legacy_section(system=system, account=account, labels=labels),
            "transport": facts.transport_section(protocol="postgresql", source="10.0.0.1:5",
                                                 tls="" if lacks == "tls" else "TLSv1.3"),
            "decision": facts.decision_section(effect="allow", rules=rules, policy=POLICY.digest),
        }  # fmt: skip
        index = IndexKeys(f"ses-{agent}", agent, "payments" if agent else "", system, account, action, labels)
        self.record(Event(type, sections=sections if agent else {}, index=index, **changed))


@pytest.fixture
def told(office: Any) -> Any:
    services, scribe = office.services, Scribe(office)
    scribe.day = 60
    scribe.record(Event("log.start"))
    change = facts.change_section("policy", None, document(POLICY))
    scribe.record(Event("policy.version", sections={"change": change}))
    call(services, ANNA, "owner.create", {"id": "payments", "kind": "team", "contact": "x@corp.example"})
    for id in ("a", "b", "c"):
        call(services, ANNA, "agent.create", {**AGENT, "id": id})
    call(services, ANNA, "agent.suspend", {"id": "c"})
    scribe.day = 50
    scribe.event("session.open")
    scribe.event("operation", action="read")
    scribe.event("operation", action="read", person="alice")
    scribe.event("operation", action="write", phase="intent", outcome="")
    scribe.event("operation", action="write", phase="outcome", outcome="unknown", request="x")
    scribe.event("operation", action="admin", outcome="denied", reason="action-denied")
    scribe.day = 40
    scribe.event("session.open", lacks="purpose")
    scribe.event("session.open", "b", lacks="tls")
    scribe.event("operation", "b", action="read")
    scribe.event("session.refused", "", outcome="denied", reason="credential-invalid")
    scribe.record(Event("log.start"))  # a crash before
    scribe.record(Event("log.recovered", sections={"detail": facts.detail_section(down_ms=40)}))
    scribe.record(Event("log.stop"))
    scribe.record(Event("reconcile", index=IndexKeys(system="stock")))
    scribe.record(Event("alarm", outcome="failure", reason="bypass", index=IndexKeys(system="stock")))
    for seconds, offset in ((0, 3), (60, -1500), (300, None)):
        scribe.day = 20 - seconds / DAY
        node = facts.node_section(id="n", version="0", clock_ms=offset)
        scribe.record(Event("log.heartbeat", sections={"node": node}))
    scribe.day = 0.001
    return office


def numbers(office: Any, **period: Any) -> dict[str, tuple[int, int | None]]:
    found = {}
    for name in FRAMEWORKS:
        for row in call(office.services, ANNA, "report.framework", {"name": name, **period})["rows"]:
            if row["figure"]:
                found[row["figure"]] = row["count"], row["exceptions"]
    return found


def test_every_figure_is_what_the_log_the_registry_and_the_policy_have(told: Any) -> None:
    call(told.services, ANNA, "log.exported", {"query": "agent:a", "count": 1, "format": "csv"})
    call(told.services, ANNA, "report.access", {})
    found = numbers(told)
    assert found == {
        "attributed_sessions": (3, 1),
        "attributed_operations": (5, 0),
        "labelled_access": (5, None),
        "delegated_operations": (1, None),
        "admin_operations": (1, None),
        "refusals": (2, 0),
        "refused_logins": (1, None),
        "unencrypted_sessions": (3, 1),
        "administrative_changes": (5, None),
        "identity_changes": (5, None),
        "changes_with_actor": (5, 0),
        "policy_on_decisions": (3, 0),
        "policy_versions": (1, None),
        "point_in_time": (2, 0),
        "sessions_stopped": (0, None),
        "alarms": (1, None),
        "log_reads": found["log_reads"],
        "log_exports": (1, None),
        "log_starts": (2, 1),
        "log_failures": (1, 1),
        "open_intents": (5, 1),
        "sequence": found["sequence"],
        "append_only": found["append_only"],
        "heartbeats": (3, 1),
        "clock": (3, 2),
        "copies": (1, 0),
        "checkpoints": (0, None),
        "verifications": (0, 1),
        "retained": (60, None),
        "compared_systems": (1, 2),
        "agents": (3, 0),
        "inactive_agents": (2, 0),
        "reach": (6, 5),
        "unused_grants": (3, 2),
        "default_deny": (2, 1),
        "justified_grants": (3, 1),
        "shared_accounts": (3, 0),
        "secret_rotation": (0, 0),
        "access_reviews": (1, 0),
    }
    size = told.services.reader.in_thread_extent().size
    assert size - 20 < found["sequence"][0] <= size
    assert found["sequence"][1] == found["append_only"][1] == 0
    assert found["append_only"][0] >= 3
    assert found["log_reads"][0] >= 3


def test_a_figure_counts_its_period_and_no_other(told: Any) -> None:
    period = {"since": int((NOW - 45 * DAY) * 1000), "until": int((NOW - 30 * DAY) * 1000)}
    found = numbers(told, **period)
    assert found["attributed_sessions"] == (2, 2 - 1)
    assert found["attributed_operations"] == (1, 0)
    assert found["administrative_changes"] == (0, None)
    assert found["log_starts"] == (1, 0)
    assert found["retained"] == (30, None)
    assert found["access_reviews"] == (0, 1)


def test_sinks_that_fail_are_missing_or_cannot_be_asked_are_exceptions(told: Any) -> None:
    told.live.sinks = lambda: {"a": {"state": "ok", "delivered": 7}, "b": {"state": "failing", "delivered": 2}}
    assert numbers(told)["copies"] == (2, 1)
    told.live.sinks = dict
    assert numbers(told)["copies"] == (0, 1)
    told.services.live = None
    assert numbers(told)["copies"] == (0, 1)


def test_a_guard_that_was_taken_out_and_a_missing_event_are_exceptions(told: Any) -> None:
    with told.log_engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER event_no_delete")
        connection.exec_driver_sql("DELETE FROM event WHERE seq = 5")
    found = numbers(told)
    assert found["append_only"][1] == 1
    assert found["sequence"][1] == 1


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_each_requirement_has_its_figure_or_is_not_covered(told: Any, name: str) -> None:
    report = call(told.services, ANNA, "report.framework", {"name": name})
    assert report["count"] == len(report["rows"]) == len(FRAMEWORKS[name][1])
    for row in report["rows"]:
        assert row["status"] == (EXCEPTIONS if row["exceptions"] else COUNTED if row["figure"] else NOT_COVERED)
        assert bool(row["value"]) == bool(row["figure"])
        if row["query"]:
            call(told.services, ANNA, "log.list", {"query": row["query"]})
    assert report["log"]["root"]
    assert report["basis"]["policy"] == POLICY.digest
    assert told.events("log.read")[-1]["detail"]["query"] in (f"report.{name}", "log.list")


@pytest.mark.parametrize(
    ("figure", "events"),
    [("attributed_sessions", 3), ("attributed_operations", 5), ("refusals", 2), ("alarms", 1), ("labelled_access", 5)],
)
def test_the_query_of_a_figure_finds_what_it_counts(told: Any, figure: str, events: int) -> None:
    rows = [row for name in FRAMEWORKS for row in call(told.services, ANNA, "report.framework", {"name": name})["rows"]]
    query = next(row["query"] for row in rows if row["figure"] == figure)
    assert call(told.services, ANNA, "log.list", {"query": query})["count"] == events


def test_every_requirement_of_the_log_is_in_a_framework_and_every_figure_is_used() -> None:
    listed = [one for _, requirements in FRAMEWORKS.values() for one in requirements]
    assert {f"C{number}" for number in range(1, 19)} <= {one.topic for one in listed}
    assert {one.figure for one in listed} - {""} == FIGURES.keys()


def test_the_access_review_says_who_has_what_and_when_it_was_used(told: Any) -> None:
    report = call(told.services, ANNA, "report.access", {})
    rows = {(row["agent"], row["system"], row["account"]): row for row in report["rows"]}
    assert [
        f"{row['agent']} {row['system']} {row['account']} {','.join(row['granted'])}" for row in report["rows"]
    ] == [
        "a orders svc read,write",
        "a stock root ",
        "a stock svc read",
        "b orders svc read,write",
        "b stock root admin,read,write",
        "b stock svc ",
    ], "where the mode observes, also what no grant gives"
    used = rows["a", "orders", "svc"]
    assert (used["actions"], used["grants"], used["labels"], used["sessions"]) == (
        ["read", "write"],
        ["reads"],
        ["pii"],
        2,
    )
    assert used["last_read"] == used["last_write"] == int((NOW - 50 * DAY) * 1000)
    assert used["last_used"] == int((NOW - 40 * DAY) * 1000)
    assert used["unused_actions"] == []
    assert rows["b", "orders", "svc"]["unused_actions"] == ["write"]
    assert (rows["a", "stock", "svc"]["last_used"], rows["a", "stock", "svc"]["sessions"]) == (0, 0)


def test_unused_grants(told: Any) -> None:
    rows = {row["grant"]: row for row in call(told.services, ANNA, "report.unused", {})["rows"]}
    assert rows.keys() == {"admins", "never"}
    assert (rows["never"]["used_by"], rows["never"]["unused_by"], rows["never"]["last_used"]) == ([], ["a"], 0)
    later = call(told.services, ANNA, "report.unused", {"since": int((NOW - 45 * DAY) * 1000)})
    rows = {row["grant"]: row for row in later["rows"]}
    assert (rows["reads"]["used_by"], rows["reads"]["unused_actions"]) == (["a", "b"], ["write"])


def test_a_report_of_the_past_is_of_the_policy_and_registry_then(told: Any) -> None:
    told.services.policy = Policy([], [])
    told.services.registry.in_thread_move("a", "revoke")
    report = call(told.services, ANNA, "report.access", {"until": int((NOW - 30 * DAY) * 1000)})
    assert {row["agent"] for row in report["rows"]} == {"a", "b"}
    assert report["basis"]["source"] == "log"
    assert call(told.services, ANNA, "report.access", {})["rows"] == []


def test_what_is_no_report_is_said(told: Any) -> None:
    with pytest.raises(CommandFailed, match="one of soc2, pci, sox, finra"):
        call(told.services, ANNA, "report.framework", {"name": "iso"})
    with pytest.raises(CommandFailed, match="ends before it begins"):
        call(told.services, ANNA, "report.access", {"since": 5, "until": 4})
    with pytest.raises(CommandFailed, match="no policy from before"):
        call(told.services, ANNA, "report.access", {"since": 4, "until": 5000})
