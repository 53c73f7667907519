"""Alerts of a real bridge, as real receivers get them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.people import Person
from rig.place import Place
from rig.receivers import Hooks, Post

MakeBridge = Callable[..., Bridge]


@pytest.fixture
def hooks(place: Place, authority: Authority) -> Iterator[Hooks]:
    made = Hooks(place, authority)
    yield made
    made.stop()


@pytest.fixture
def post(place: Place, authority: Authority) -> Iterator[Post]:
    made = Post(place, authority)
    yield made
    made.stop()


@pytest.fixture
def watched(make_bridge: MakeBridge, hooks: Hooks, post: Post, authority: Authority) -> Bridge:
    ca = str(authority.ca)
    alerts = {
        "security": ["security"],
        "channels": {
            "security": {"kind": "slack", "secret": "env:SLACK_URL", "ca": ca},
            "oncall": {"kind": "pagerduty", "url": f"{hooks.url}/v2/enqueue", "secret": "env:PD_KEY", "ca": ca},
            "desk": {"kind": "webhook", "url": f"{hooks.url}/desk", "secret": "env:DESK_SECRET", "ca": ca},
        },
        "mail": {
            "host": "localhost", "port": post.port, "ca": ca, "user": Post.USER, "password": "env:MAIL_PASSWORD",
            "sender": "idbridge@example.org",
        },
        "rules": {"refused": {"count": 3, "within": "1m"}},
    }  # fmt: skip
    bridge = make_bridge("watched", only=("warehouse", "observed"), alerts=alerts, start=False)
    bridge._environment |= {
        "SLACK_URL": f"{hooks.url}/slack-canary-path", "PD_KEY": "pd-key-canary", "DESK_SECRET": "desk-secret-canary",
        "MAIL_PASSWORD": Post.PASSWORD,
    }  # fmt: skip
    bridge.document["owners"]["desk"] = {"kind": "team", "contact": "the desk", "on_call": "channel:desk"}
    bridge.document["owners"]["paged"] = {"kind": "team", "contact": "x@example.org", "on_call": "channel:oncall"}
    bridge.write()
    bridge.start()
    return bridge


def refuse(bridge: Bridge, agent: str, times: int = 3) -> None:
    with bridge.connect(bridge.token(agent)) as connection:
        for _ in range(times):
            with pytest.raises(psycopg.Error):
                connection.execute("delete from ledger")


def test_each_owner_hears_by_its_own_route(watched: Bridge, hooks: Hooks, post: Post) -> None:
    for agent, owner in (("by-mail", "payments"), ("by-hook", "desk"), ("by-page", "paged")):
        watched.agent(agent, "reader", owner=owner)
        refuse(watched, agent, 7)
    Bridge.wait(lambda: post.letters and len(hooks.received) >= 2, 20, "told")

    (to, letter) = post.letters[0]
    assert (to, letter["Subject"]) == (
        ["pay@example.org"],
        f"[{watched.name}] an agent was refused 3 times within 60 s: by-mail",
    )
    assert "idbridge agent suspend by-mail --reason refused" in letter.get_content()

    (page,) = hooks.bodies("/v2/enqueue")
    assert (page["routing_key"], page["event_action"]) == ("pd-key-canary", "trigger")
    assert page["payload"]["custom_details"]["agent"] == "by-page"

    _, headers, body = next(one for one in hooks.received if one[0] == "/desk")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signature = hmac.new(b"desk-secret-canary", signed, hashlib.sha256)
    assert headers["webhook-signature"] == "v1," + base64.b64encode(signature.digest()).decode()

    rows = {row["agent"]: row for row in watched.cli_json("alert", "list")}
    Bridge.wait(lambda: all(one["deliveries"][0]["state"] == "sent" for one in watched.call("alert.list")), 5, "sent")
    assert rows["by-mail"]["suppressed"] == 1  # the second three of seven
    assert len(post.letters) == 1
    events = watched.events(type="alert")
    assert {event["detail"]["rule"] for event in events} == {"refused"}
    everything = watched.daemon_log.read_text() + str(watched.events())
    assert "canary" not in everything

    session = rows["by-mail"]["session"]
    assert any(event["outcome"] == "denied" for event in watched.call("log.show", session=session)["events"])


def test_security_hears_of_a_mode_made_less_strict_and_a_restart_forgets_nothing(
    watched: Bridge, hooks: Hooks, tmp_path: Path
) -> None:
    hooks.status = 500
    people = {name: Person(tmp_path, name) for name in ("alice", "bob", "carol")}
    watched.document["breakglass"] = {"people": {name: one.public for name, one in people.items()}}
    watched.write()
    watched.cli("reload")
    watched.document["systems"]["warehouse"]["mode"] = "observe"
    watched.write()
    asked = watched.cli_json("demotion", "request", *people["alice"].signs, "--reason", "watch first")
    watched.cli("demotion", "approve", asked["id"], *people["bob"].signs)
    watched.cli("reload")
    Bridge.wait(lambda: hooks.received, 10, "tried")
    assert watched.stop() == 0
    hooks.status = 200
    before = len(hooks.received)
    watched.start()
    Bridge.wait(lambda: len(hooks.received) > before, 20, "tried again")
    texts = [message["text"] for message in hooks.bodies("/slack-canary-path")]
    assert any("systems.warehouse.mode: enforce to observe" in text for text in texts)
    assert [event["detail"]["rule"] for event in watched.events(type="alert")].count("demoted") == 1


def test_a_channel_can_be_tried_and_a_failure_is_told_without_its_secret(
    watched: Bridge, hooks: Hooks, post: Post
) -> None:
    assert watched.cli_json("alert", "test", "oncall") == {"channel": "oncall", "sent": True}
    assert watched.cli_json("alert", "test", "mailto:who@example.org")["sent"]
    assert post.letters[-1][0] == ["who@example.org"]
    hooks.status = 403
    said = watched.cli("alert", "test", "security", status=1)
    assert "status 403" in said
    assert "canary" not in said
    assert "no such channel" in watched.cli("alert", "test", "nowhere", status=1)
    hooks.stop()
    post.stop()
    assert "canary" not in watched.cli("alert", "test", "desk", status=1)
    assert "canary" not in watched.cli("alert", "test", "mailto:who@example.org", status=1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"channels": {"a": {"kind": "slack"}}}, "alerts.channels.a.secret: is missing"),
        ({"channels": {"a": {"kind": "mail", "to": ["x@y.example"]}}, "mail": None}, "there is no alerts.mail"),
        ({"security": ["nobody"]}, "names no channel of alerts.channels"),
        ({"mail": {"host": "mail.example", "sender": "a@b.example", "tls": "none"}}, "in plaintext"),
        ({"mail": {"host": "mail.example", "sender": "A <a@b.example>"}}, "is not a mail address"),
    ],
)
def test_mistakes_are_named(make_bridge: MakeBridge, change: dict[str, Any], expected: str) -> None:
    alerts = {key: value for key, value in change.items() if value is not None}
    bridge = make_bridge("mistaken", alerts=alerts, start=False)
    assert expected in bridge.cli("check", status=1)


def test_the_owner_and_those_who_approve_hear_that_an_agent_asks(watched: Bridge, hooks: Hooks, post: Post) -> None:
    watched.document["systems"]["warehouse"]["requests"] = {"approvers": ["lead-1"], "tell": ["desk"]}
    watched.write()
    watched.cli("reload")
    watched.agent("asks-1", "reader")
    given = {"agent": "asks-1", "system": "warehouse", "account": "svc_writer", "reason": "INC-7"}
    ids = [watched.call("request.ask", **given, actions=[action])["id"] for action in ("read", "write")]
    Bridge.wait(lambda: len(post.letters) == 2 and len(hooks.bodies("/desk")) == 2, 20, "told")
    told = hooks.bodies("/desk")
    assert [(one["rule"], one["agent"], one["owner"], one["session"]) for one in told] == [
        ("asked", "asks-1", "payments", id) for id in ids
    ]
    assert told[0]["text"].endswith(f": INC-7; idbridge request approve {ids[0]}")
    assert {to for letter in post.letters for to in letter[0]} == {"pay@example.org"}
