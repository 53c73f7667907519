"""Which events give rise to which alert, and to whom it goes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from bridge.alerts import Alert, Outbox, Rules, Watch
from bridge.alerts.formats import mail, pagerduty, slack, webhook
from bridge.alerts.outbox import GIVEN_UP, SENT, WAITING
from bridge.alerts.routing import Routes
from bridge.alerts.watching import DAY, History
from bridge.identity.agents import Owner
from bridge.policy import Hours
from bridge.storage import open_engine, upgrade

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)  # a Wednesday


def event(type: str, at: datetime = NOON, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": type, "phase": "complete", "outcome": "success", "reason": "ok",
        "ts": at.isoformat().replace("+00:00", "Z"), "agent": {"id": "bot", "name": "Bot", "owner": "pay"},
        "legacy": {"system": "pg", "account": "svc"}, "corr": {"session": "ses_1"},
    }  # fmt: skip
    return {**body, **more}


def told(events: Iterable[dict[str, Any]], rules: Rules | None = None, **history: History) -> list[Alert]:
    watch = Watch(rules or Rules(), history)
    return [alert for one in events for alert in watch.see(one)]


def refusals(count: int, seconds: float = 1.0) -> list[dict[str, Any]]:
    return [
        event("operation", NOON + timedelta(seconds=n * seconds), outcome="denied", reason="action-denied")
        for n in range(count)
    ]


def test_a_burst_of_refusals_is_one_alert_and_the_next_needs_as_many_again() -> None:
    assert [one.rule for one in told(refusals(9))] == ["refused"]
    assert len(told(refusals(10))) == 2
    assert told(refusals(4)) == []
    assert told(refusals(20, seconds=30)) == []
    (alert,) = told(refusals(5))
    assert (alert.agent, alert.owner, alert.system, alert.session) == ("bot", "pay", "pg", "ses_1")
    assert alert.title == "an agent was refused 5 times within 60 s"


def test_each_request_for_access_is_told_with_the_command_that_gives_it() -> None:
    def asked(id: str, state: str, phase: str = "outcome") -> dict[str, Any]:
        return event("access.request", phase=phase, change={"subject": id, "after": {"id": id, "state": state}})

    alerts = told(
        [asked("req_1", "pending"), asked("req_2", "pending"), asked("req_1", "denied"), asked("req_1", "lapsed")]
    )
    assert [(one.rule, one.session, one.owner) for one in alerts] == [
        ("asked", "req_1", "pay"),
        ("asked", "req_2", "pay"),
    ]
    assert alerts[0].text.endswith("; idbridge request approve req_1")
    assert alerts[0].key != alerts[1].key  # the second is not taken for a repetition
    assert told([asked("req_1", "pending")], Rules(asked=False)) == []
    assert told([event("access.request", phase="intent", change={"subject": "req_1"})]) == []
    assert told([event("access.request", outcome="denied")]) == []


def test_a_stranger_that_is_refused_is_nobodys_agent() -> None:
    body = event("session.refused", outcome="denied", reason="credential-invalid")
    del body["agent"]
    assert told([body] * 20) == []


def test_a_new_system_of_a_known_agent() -> None:
    opened = [event("session.open", legacy={"system": name}) for name in ("pg", "pg", "ledger", "ledger")]
    assert [(one.rule, one.system) for one in told(opened)] == [("new-system", "ledger")]
    assert told(opened, bot=History(systems={"pg", "ledger"})) == []


def test_use_outside_hours_and_after_a_long_rest() -> None:
    office = Rules(hours=Hours.parse(["mon", "tue", "wed"], "08:00", "18:00"))
    assert told([event("session.open")], office) == []
    night = event("session.open", NOON + timedelta(hours=9))
    assert [one.rule for one in told([night], office)] == ["hours"]
    long_ago = History(last=NOON.timestamp() - 40 * DAY, systems={"pg"})
    assert [one.title for one in told([event("session.open")], bot=long_ago)] == [
        "an agent is in use again after 40 days"
    ]


def test_volume_far_above_the_agents_own_history_is_told_once_a_day() -> None:
    today = int(NOON.timestamp() // DAY)
    busy = [event("session.close", detail={"operations": {"read": 900}}) for _ in range(4)]
    usual = History(days={today - n: 100 for n in range(1, 6)})
    assert [one.rule for one in told(busy, bot=usual)] == ["volume"]
    assert told(busy, bot=History(days={today - 1: 100})) == []  # too little is known
    assert told(busy, bot=History(days={today - n: 5000 for n in range(1, 6)})) == []


def test_alarms_and_use_past_the_bridge() -> None:
    bypass = event("alarm", outcome="failure", reason="bypass", detail={"text": "connection 7 from 10.0.0.9"})
    del bypass["agent"]
    (one,) = told([bypass])
    assert (one.rule, one.severity, one.account) == ("bypass", "error", "svc")
    assert "10.0.0.9" in one.text
    assert [one.rule for one in told([event("alarm", outcome="failure", reason="stamp-changed")])] == [
        "alarm-stamp-changed"
    ]


def test_a_mode_that_became_less_strict() -> None:
    def change(before: str, after: str, key: str = "systems.pg.mode") -> dict[str, Any]:
        return event("config.change", change={"subject": "f", "before": {key: before}, "after": {key: after}})

    (one,) = told([change("enforce", "observe")])
    assert (one.rule, one.severity, one.text) == ("demoted", "critical", "systems.pg.mode: enforce to observe")
    assert told([change("observe", "enforce"), change("x", "y", "tls.key")]) == []
    assert told([event("config.change")]) == []


def test_every_rule_can_be_switched_off() -> None:
    off = Rules(0, 0, False, None, 0, 0, 0, False, False, False)
    events = [*refusals(9), event("alarm", outcome="failure", reason="bypass"), event("log.recovered"),
              event("session.open", legacy={"system": "x"}), event("session.open", legacy={"system": "y"})]  # fmt: skip
    assert told(events, off) == []


ALERT = Alert("refused", "warning", "an agent was refused", "Bot <b> & co: not-granted", NOON.timestamp(), "bot", "pay",
              "pg", "svc", "ses_1")  # fmt: skip


def test_each_format_says_what_happened_and_how_to_stop_it() -> None:
    stop = "idbridge agent suspend bot --reason refused"
    plain = json.loads(webhook(ALERT, "prod-1", "alr_1", 3))
    assert (plain["stop"], plain["since_last"], plain["at"]) == (stop, 3, "2026-11-25T12:00:00Z")
    incident = json.loads(pagerduty(ALERT, "prod-1", "alr_1", 0, "key"))
    assert (incident["event_action"], incident["dedup_key"]) == ("trigger", "idbridge:prod-1:refused:bot:pg")
    assert incident["payload"]["severity"] in ("critical", "error", "warning", "info")
    assert incident["payload"]["custom_details"]["stop"] == stop
    message = json.loads(slack(ALERT, "prod-1", "alr_1", 3))
    assert "Bot &lt;b&gt; &amp; co" in message["text"]
    assert stop in message["blocks"][1]["text"]["text"]
    letter = message_from_bytes(mail(ALERT, "prod-1", "alr_1", 0, "a@b.example", ("c@d.example",)), policy=default)
    assert letter["Subject"] == "[prod-1] an agent was refused: bot"
    assert stop in letter.get_content()


def test_a_text_from_the_log_cannot_add_a_header() -> None:
    evil = Alert("x", "info", "title\r\nBcc: all@corp.example", "text", 0.0, agent="a\nb")
    letter = message_from_bytes(mail(evil, "b", "alr_1", 0, "a@b.example", ("c@d.example",)), policy=default)
    assert letter["Bcc"] is None


OWNERS = {
    "paged": Owner("paged", "team", "p@corp.example", "channel:oncall"),
    "mailed": Owner("mailed", "team", "m@corp.example", "https://page"),
    "unknown": Owner("unknown", "team", "the people next door", "channel:gone"),
}


@pytest.mark.parametrize(
    ("owner", "rule", "expected"),
    [
        ("paged", "refused", ("oncall",)),
        ("mailed", "refused", ("mailto:m@corp.example",)),
        ("unknown", "refused", ("security",)),
        ("", "refused", ("security",)),
        ("paged", "bypass", ("oncall", "security")),
        ("paged", "break-glass", ("oncall", "security", "boss")),
        ("", "break-glass", ("security", "boss")),
    ],
)
def test_an_alert_goes_by_the_owners_route_and_is_never_swallowed(owner: str, rule: str, expected: Any) -> None:
    routes = Routes(OWNERS, frozenset({"oncall", "security"}), ("security",), ("boss",), mails=True)
    assert routes(Alert(rule, "info", "t", "x", 0.0, owner=owner)) == expected


@pytest.fixture
def outbox(tmp_path: Path) -> Any:
    engine = open_engine(tmp_path / "registry.db", kind="registry")
    upgrade(engine, "registry")
    yield Outbox(engine, 3600)
    engine.dispose()


def put(outbox: Outbox, id: str, at: float, seq: int = 1) -> list[Any]:
    alert = Alert("refused", "warning", "t", "x", at, "bot")
    return outbox.in_thread_put("log", seq, [(id, alert)], {("bot", 5): 7}, lambda alert: ("a", "b"))


def test_alike_alerts_are_counted_and_the_next_tells_how_many(outbox: Outbox) -> None:
    assert [len(put(outbox, f"alr_{n}", 1000.0 + n)) for n in range(4)] == [1, 0, 0, 0]
    assert len(put(outbox, "alr_9", 5000.0)) == 1
    assert [(one.id, one.suppressed) for one in outbox.in_thread_due(5000.0)] == [
        ("alr_0", 0), ("alr_0", 0), ("alr_9", 3), ("alr_9", 3),
    ]  # fmt: skip
    assert [one["suppressed"] for one in outbox.in_thread_list(10)] == [0, 3]


def test_a_delivery_that_fails_is_tried_again_later_and_given_up_after_a_day(outbox: Outbox) -> None:
    put(outbox, "alr_0", 1000.0)
    first, second = outbox.in_thread_due(1000.0)
    assert outbox.in_thread_done(first, "", 1000.0) == SENT
    assert outbox.in_thread_done(second, "status 500", 1000.0) == WAITING
    assert outbox.in_thread_due(1004.0) == []
    (again,) = outbox.in_thread_due(1005.0)
    assert (again.channel, again.attempts) == ("b", 1)
    assert outbox.in_thread_done(again, "status 500", 1000.0 + DAY + 1) == GIVEN_UP
    assert outbox.in_thread_due(10**9) == []
    deliveries = {one["channel"]: (one["state"], one["cause"]) for one in outbox.in_thread_list(1)[0]["deliveries"]}
    assert deliveries == {"a": (SENT, ""), "b": (GIVEN_UP, "status 500")}
    outbox.in_thread_forget(1000.0 + 100 * DAY)
    assert outbox.in_thread_list(1) == []


def glass(before: dict[str, Any] | None, after: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    fixed = {"agent": "bot", "owner": "pay", "system": "pg", "account": "svc", "requester": "alice", "reason": "INC-7",
             "approvals_needed": 2}  # fmt: skip
    change = {"subject": "bg_1"} | {
        name: fixed | one for name, one in (("before", before), ("after", after)) if one is not None
    }
    return event("breakglass.change", change=change, **more)


@pytest.mark.parametrize(
    ("body", "title"),
    [
        (glass(None, {}), "requested"),
        (glass({}, {"approvals": ["bob"]}), "approved (1 of 2)"),
        (glass({"approvals": ["bob"]}, {"approvals": ["bob", "carol"]}), "approved (2 of 2)"),
        (glass({}, {"began": 5, "rotation_due": True}), "in use"),
        (glass({"began": 5, "rotation_due": True}, {"began": 5, "ended": 9, "rotation_due": True}), "over"),
        (glass({"ended": 9}, {"ended": 9, "overdue": True}), "its review is overdue"),
        (glass({"rotation_due": True}, {"rotation_due": False}), "the static password was changed"),
        (glass({"overdue": True, "rotation_due": True}, {"reviewed": 10, "rotation_due": False}), "reviewed"),
        (glass(None, None, outcome="denied"), "an attempt was refused"),
    ],
)
def test_each_step_of_a_break_glass_is_told_whatever_the_rules(body: dict[str, Any], title: str) -> None:
    silent = Rules(0, new_system=False, rest=0, volume=0, alarms=False, demoted=False, log_trouble=False)
    (alert,) = told([body], silent)
    assert alert.title == f"break-glass: {title}"
    assert alert.severity == "critical"
    assert alert.session == "bg_1"
    if "after" in body["change"]:
        assert (alert.agent, alert.owner, alert.system, alert.account) == ("bot", "pay", "pg", "svc")
        assert alert.text.endswith("bot as svc on pg for alice: INC-7")


def test_steps_of_a_break_glass_are_no_repeats_of_each_other(outbox: Outbox) -> None:
    steps = [glass(None, {}), glass({}, {"approvals": ["bob"]}), glass({}, {"began": 5}), glass({}, {"began": 5})]
    alerts = [(f"alr_{number}", alert) for number, alert in enumerate(told(steps))]
    taken = outbox.in_thread_put("b", 9, alerts, {}, lambda alert: ("boss",))
    assert [id for id, _, _ in taken] == ["alr_0", "alr_1", "alr_2"]


def test_what_did_not_come_about_is_not_told() -> None:
    assert told([glass(None, {}, phase="intent", outcome=""), glass(None, None, outcome="failure")]) == []


@pytest.mark.parametrize(
    ("before", "after", "more", "title"),
    [
        (None, {"requester": "alice"}, {}, "requested"),
        ({"requester": "alice"}, {"requester": "alice", "approver": "bob"}, {}, "approved"),
        ({"approver": "bob"}, {"requester": "alice", "approver": "bob", "taken": 5}, {}, "taken"),
        (None, {"changes": []}, {"outcome": "denied"}, "a configuration was refused"),
        (None, None, {"outcome": "denied"}, "an attempt was refused"),
    ],
)
def test_each_step_of_a_demotion_is_told(before: Any, after: Any, more: dict[str, Any], title: str) -> None:
    lower = {"changes": [{"key": "systems.pg.mode", "before": "enforce", "after": "observe"}], "reason": "CHG-1"}
    parts = {name: lower | one for name, one in (("before", before), ("after", after)) if one is not None}
    subject = "configuration" if "configuration" in title else "dem_1"
    body = event("demotion.change", change={"subject": subject, **parts}, **more)
    (alert,) = told([body], Rules(demoted=False))
    assert (alert.rule, alert.severity, alert.title) == ("demotion", "critical", f"demotion: {title}")
    assert alert.session == ("dem_1" if subject == "dem_1" else "")
    if after and "requester" in after:
        assert "systems.pg.mode: enforce to observe; asked for by alice" in alert.text
        assert ("approved by bob" in alert.text) is ("approver" in after)
