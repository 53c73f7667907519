"""Access for a time, end to end: refused, asked for, given, used, over; with a real PostgreSQL and over real HTTPS."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import re
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rig.bridge import Bridge
from rig.place import free_port

MakeBridge = Callable[..., Bridge]

ME = pwd.getpwuid(os.getuid()).pw_name
MARKS = re.compile(r"reason=(\S+) reference=(\S+)( request=possible)?")


class Desk:
    """A bridge at which agents may ask for both accounts of the warehouse; ``lead-1`` and whoever runs this approve."""

    def __init__(self, bridge: Bridge, folder: Path) -> None:
        self.bridge = bridge
        self.folder = folder
        self.port = free_port()
        bridge.document["requests"] = {
            "listen": f"127.0.0.1:{self.port}", "approvers": [f"user:{ME}", "lead-1"], "longest": "1h", "pending": 3,
        }  # fmt: skip
        bridge.document["systems"]["warehouse"]["requests"] = {}
        bridge.write()

    def start(self) -> None:
        self.bridge.start()

    def request(self, agent: str, *arguments: str, status: int = 0) -> Any:
        """``idbridge request`` of an agent on another machine: it has an address, an authority and a token."""
        file = self.folder / f"{agent}.token"
        file.write_text(self.bridge.token(agent) + "\n")
        where = ("--url", f"https://127.0.0.1:{self.port}", "--ca", str(self.bridge.authority.ca))
        return self.bridge.cli_json("request", *arguments, *where, "--token-file", str(file), status=status)

    def refusal(self, agent: str, user: str, system: str = "warehouse") -> psycopg.Error:
        with pytest.raises(psycopg.OperationalError) as caught:
            self.bridge.connect(self.bridge.token(agent), system, user)
        return caught.value

    def post(self, command: str, token: str = "", **parameters: Any) -> tuple[int, dict[str, Any]]:
        """Past the command line."""
        context = ssl.create_default_context(cafile=str(self.bridge.authority.ca))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=15, context=context)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("POST", f"/v1/{command}", json.dumps(parameters), headers)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        return answer.status, found


@pytest.fixture
def desk(make_bridge: MakeBridge, tmp_path: Path) -> Desk:
    made = Desk(make_bridge("asked", ("warehouse", "guarded"), start=False), tmp_path)
    made.start()
    for id in ("reader-1", "lead-1"):
        made.bridge.agent(id, "reader")
    return made


def is_over(connection: psycopg.Connection[Any]) -> bool:
    """Whether it was cut; a statement that is refused leaves it open."""
    with contextlib.suppress(psycopg.Error):
        connection.execute("select 1")
    return connection.closed


def count(desk: Desk) -> int:
    return len(desk.bridge.events())


def test_refused_asked_given_used_and_over(desk: Desk) -> None:
    bridge = desk.bridge
    heard = str(desk.refusal("reader-1", "svc_writer"))
    reason, reference, possible = MARKS.search(heard).groups()  # type: ignore[union-attr]
    assert (reason, possible) == ("not-granted", " request=possible")
    assert f"idbridge request ask --reference {reference}" in heard
    assert bridge.refusal(reference)["agent"]["id"] == "reader-1"

    words = (
        "ask",
        "--reference",
        reference,
        "--for",
        "5s",
        "--reason",
        "INC-7",
        "--action",
        "read",
        "--action",
        "write",
    )
    asked = desk.request("reader-1", *words)
    told = {name: asked[name] for name in ("state", "agent", "system", "account", "actions", "targets", "seconds")}
    assert told == {
        "state": "pending", "agent": "reader-1", "system": "warehouse", "account": "svc_writer",
        "actions": ["read", "write"], "targets": {"database": ["app"]}, "seconds": 5,
    }  # fmt: skip
    assert desk.request("reader-1", *words)["id"] == asked["id"]
    assert [row["id"] for row in bridge.cli_json("request", "list", "--state", "pending")] == [asked["id"]]

    given = bridge.cli_json("request", "approve", asked["id"])
    grant = f"request:{asked['id']}"
    assert (given["state"], given["grant"], given["decider"]) == ("approved", grant, f"user:{ME}")
    with bridge.connect(bridge.token("reader-1")) as usual:
        assert usual.execute("select current_user").fetchone() == ("svc_reader",)  # what it gets unasked is the same
    connection = bridge.connect(bridge.token("reader-1"), user="svc_writer")
    connection.execute("insert into bulk values ('asked')")
    session = bridge.session_of(connection)
    asked_of = ("--agent", "reader-1", "--system", "warehouse", "--account", "svc_writer", "--target", "database=app")
    assert bridge.cli_json("explain", *asked_of)["decision"]["rules"] == [grant]
    reach = bridge.call("policy.who_can", system="warehouse")["access"]
    assert [grant] in [row["grants"] for row in reach if row["agent"] == "reader-1"]
    review = bridge.call("report.access")["rows"]
    assert any(grant in str(row) for row in review)

    Bridge.wait(lambda: is_over(connection), 10, "cut")
    connection.close()
    late = time.time() - given["ends"]
    assert late < 3, late  # it is within a second; the machine may be slow
    events = bridge.session_events(
        session, closed=True
    )  # the last can be an alert: what it asked until then was denied
    closed = next(event for event in events if event["type"] == "session.close")
    assert (closed["reason"], closed["detail"]["text"]) == (
        "session-revoked",
        "the access that was given for a time is over",
    )
    assert MARKS.search(str(desk.refusal("reader-1", "svc_writer")))
    Bridge.wait(lambda: desk.request("reader-1", "show", asked["id"])["state"] == "over", 5, "over")

    def states() -> list[str]:
        events = [one for one in bridge.events() if one["type"].startswith("access.") and "after" in one["change"]]
        return [one["change"]["after"]["state"] for one in events]

    Bridge.wait(lambda: states() == ["pending", "approved", "over"], 5, "recorded")
    then = bridge.call("policy.who_can", system="warehouse", at=given["decided"] + 1)  # the log's own answer
    assert [grant] in [row["grants"] for row in then["access"] if row["agent"] == "reader-1"]


def test_revoked_is_gone_at_once_and_a_session_that_does_not_stand_on_it_lives(desk: Desk) -> None:
    bridge = desk.bridge
    standing = bridge.connect(bridge.token("reader-1"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        standing.execute("delete from t")
    detail = caught.value.diag.message_detail or ""
    assert detail == f"reason=action-denied reference={bridge.session_of(standing)} request=possible"
    reference = bridge.session_of(standing)
    asked = desk.request("reader-1", "ask", "--reference", reference, "--reason", "INC-8")
    assert (asked["account"], asked["actions"]) == ("svc_reader", ["write"])
    other = desk.request("reader-1", "ask", "--system", "warehouse", "--account", "svc_writer", "--reason", "INC-8")
    for one in (asked, other):
        bridge.cli_json("request", "approve", one["id"])
    connection = bridge.connect(bridge.token("reader-1"), user="svc_writer")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        connection.execute("insert into bulk values ('asked')")  # only reading was given
    gone = bridge.cli_json("request", "revoke", other["id"])
    assert (gone["state"], gone["sessions_ended"]) == ("revoked", 1)
    began = time.monotonic()
    Bridge.wait(lambda: is_over(connection), 10, "cut")
    assert time.monotonic() - began < 3
    connection.close()
    bridge.cli_json("request", "revoke", asked["id"])
    time.sleep(1.2)  # a review later
    assert standing.execute("select 1").fetchone() == (1,)
    standing.close()


def test_an_approver_with_a_token_approves_and_the_agent_itself_does_not(desk: Desk) -> None:
    asked = desk.request("reader-1", "ask", "--system", "warehouse", "--account", "svc_writer", "--reason", "INC-9")
    own = desk.request("reader-1", "approve", asked["id"], status=1)
    assert own["error"].startswith("nobody approves what they ask for")
    assert [row["id"] for row in desk.request("lead-1", "list")] == [asked["id"]]
    assert desk.request("lead-1", "approve", asked["id"], "--for", "10m")["decider"] == "lead-1"
    mine = desk.request("lead-1", "ask", "--system", "warehouse", "--account", "svc_writer", "--reason", "INC-9")
    assert desk.request("lead-1", "approve", mine["id"], status=1)["error"].startswith("nobody approves")
    assert desk.bridge.cli_json("request", "deny", mine["id"], "--note", "not you")["note"] == "not you"
    event = desk.bridge.events(type="access.grant")[-1]
    assert {"kind": "agent", "id": "lead-1", "via": "api"}.items() <= event["actor"].items()
    assert event["actor"]["source"].startswith("127.0.0.1:")


def test_a_restart_forgets_nothing_and_ends_what_is_over(desk: Desk) -> None:
    bridge = desk.bridge
    ask = ("ask", "--system", "warehouse", "--account", "svc_writer", "--reason", "INC-10", "--for")
    waiting = desk.request("lead-1", *ask, "1h")
    short = desk.request("reader-1", *ask, "5s")
    bridge.cli_json("request", "approve", short["id"])
    bridge.kill()
    assert bridge.cli_json("request", "show", waiting["id"])["state"] == "pending"  # without a daemon
    assert "is not running" in bridge.cli("request", "approve", waiting["id"], status=1)
    ends = bridge.cli_json("request", "show", short["id"])["ends"]
    Bridge.wait(lambda: time.time() > ends, 10, "over")
    bridge.start()
    bridge.cli_json("request", "approve", waiting["id"])
    bridge.stop()
    bridge.start()
    with bridge.connect(bridge.token("lead-1"), user="svc_writer") as connection:
        assert connection.execute("select current_user").fetchone() == ("svc_writer",)
    assert MARKS.search(str(desk.refusal("reader-1", "svc_writer")))
    Bridge.wait(lambda: bridge.call("request.show", id=short["id"])["state"] == "over", 5, "over")


def test_where_nothing_may_be_asked_for_nobody_is_invited(desk: Desk) -> None:
    heard = str(desk.refusal("reader-1", "svc_reader", "guarded"))  # this account is not there
    found = MARKS.search(heard)
    assert found is not None
    assert (found[1], found[3]) == ("not-granted", None)
    assert "idbridge request" not in heard
    ask = ("ask", "--reason", "INC-11", "--system")
    answers = {name: desk.request("reader-1", *ask, name, status=1)["error"] for name in ("guarded", "nowhere")}
    assert answers["guarded"].replace("guarded", "X") == answers["nowhere"].replace("nowhere", "X")


def test_strangers_learn_nothing_and_cannot_fill_the_log(desk: Desk) -> None:
    good = desk.bridge.token("reader-1")
    known = {"system": "warehouse", "account": "svc_writer", "reason": "x"}
    assert "request=possible" not in str(desk_error(desk, "no-token"))

    def heard(command: str, token: str, **given: Any) -> tuple[int, dict[str, Any]]:
        status, told = desk.post(command, token, **given)
        return status, {name: value for name, value in told.items() if name != "reference"}

    answers = [
        heard("request.ask", "no-token", **known),
        heard("request.ask", "no-token", system="nowhere", reason="x"),
        heard("request.show", "no-token", id="req_1"),
        heard("agent.list", "no-token"),
        heard("nothing.there", good[:-4] + "AAAA"),
    ]
    assert answers == [answers[0]] * 5
    assert (answers[0][0], answers[0][1]["reason"]) == (401, "credential-invalid")
    assert heard("request.ask", "", **known)[1]["reason"] == "credential-missing"
    assert heard("agent.list", good)[0] == 404
    assert heard("request.ask", good, reason="x", owner="me")[0] == 400
    before = count(desk)
    statuses = [desk.post("request.ask", "no-token")[0] for _ in range(60)]
    assert set(statuses) == {401, 429}
    assert count(desk) - before < 55
    refusals = [one for one in desk.bridge.events(type="access.request") if one["outcome"] == "denied"]
    assert {one["reason"] for one in refusals} == {"credential-invalid", "credential-missing"}
    assert good not in json.dumps(refusals)


def desk_error(desk: Desk, token: str) -> psycopg.Error:
    with pytest.raises(psycopg.OperationalError) as caught:
        desk.bridge.connect(token, user="svc_writer")
    return caught.value


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /v1/request.ask HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST /v1/request.ask HTTP/1.1\r\nContent-Length: 20000\r\n\r\n", b"413"),
        (b"POST /v1/request.ask HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"411"),
        (b"POST /v1/request.ask HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
        (b"POST /v1/request.ask HTTP/1.1\r\nA: " + b"b" * 40_000, b"431"),
        (b"\x00\xff" * 50 + b"\r\n\r\n", b"404"),
    ],
)
def test_what_is_no_request_gets_an_answer(asking: Desk, sent: bytes, status: bytes) -> None:
    context = ssl.create_default_context(cafile=str(asking.bridge.authority.ca))
    plain = socket.create_connection(("127.0.0.1", asking.port), 15)
    with plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as stream:
        stream.sendall(sent)
        answer = b""
        while data := stream.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]


@pytest.fixture(scope="module")
def asking(bridge: Bridge, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The shared bridge, made to listen by a reload."""
    made = Desk(bridge, tmp_path_factory.mktemp("asking"))
    bridge.cli("reload")
    return made
