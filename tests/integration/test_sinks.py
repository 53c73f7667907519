"""Sinks of a real bridge: rsyslogd over TLS, an HTTPS receiver, a file. What was logged is what arrived, after outages
of the receivers and a killed bridge; and a sink that is down stops nobody, unless it is required."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import urllib.request
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.place import Place, free_port
from rig.receiver import Receiver
from rig.rsyslog import Rsyslog, available

MakeBridge = Callable[..., Bridge]
SECRET = "webhook secret"
OCSF = Path(__file__).parents[1] / "bridge" / "translation" / "ocsf_1.8.0.jsonl"


@pytest.fixture
def rsyslog(tmp_path: Path, authority: Authority) -> Iterator[Rsyslog]:
    if not available():
        pytest.skip("no rsyslogd with gtls here")
    server = Rsyslog(tmp_path / "rsyslog", authority)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def receiver(tmp_path: Path, authority: Authority) -> Iterator[Receiver]:
    made = Receiver(tmp_path / "receiver", authority)
    yield made
    made.stop()


@pytest.fixture
def secret(place: Place, tmp_path: Path) -> Path:
    file = tmp_path / "hook.secret"
    file.touch(0o600)
    file.write_text(place.secrets.setdefault(SECRET, b"hook-canary-9d2b41c7").decode())
    return file


def syslog(rsyslog: Rsyslog, authority: Authority, folder: Path, **more: Any) -> dict[str, Any]:
    certificate, key = authority.issue(folder, "idbridge")
    return {"host": "127.0.0.1", "port": rsyslog.port, "ca": str(authority.ca), "certificate": str(certificate),
            "key": str(key), "max_message": "256KiB", **more}  # fmt: skip


def row(bridge: Bridge, sink: str) -> dict[str, Any]:
    (found,) = [one for one in bridge.call("log.sinks") if one["sink"] == sink]
    return dict(found)


def caught_up(bridge: Bridge, *sinks: str) -> None:
    """Everything that the log had when this was called was delivered."""
    latest = bridge.call("log.list", limit=1)["events"][0]["seq"]
    for sink in sinks:
        bridge.wait(lambda sink=sink: row(bridge, sink)["delivered"] >= latest, 60, f"{sink} caught up")


def work(bridge: Bridge, token: str, count: int) -> None:
    with bridge.connect(token) as connection:
        for number in range(count):
            connection.execute(f"select {number} as marker")


def logged(bridge: Bridge) -> dict[int, str]:
    """Every event as it stands in the database."""
    lines = [line for line in bridge.cli("log", "export").splitlines() if line.startswith("{")]
    return {json.loads(line)["seq"]: line for line in lines}


def assert_complete(bridge: Bridge, arrived: dict[int, str]) -> None:
    there = logged(bridge)
    up_to = max(arrived)
    assert sorted(arrived) == list(range(1, up_to + 1))
    assert {seq: there[seq] for seq in arrived} == arrived


def by_seq(lines: list[str]) -> dict[int, str]:
    return {json.loads(line)["seq"]: line for line in lines}


def invalid(event: dict[str, Any]) -> list[str]:
    """What the published OCSF schema has against it."""
    found = ocsf_validators()[event["class_uid"]].iter_errors(event)
    return [f"{event['metadata']['event_code']}: {one.message}" for one in found]


@cache
def ocsf_validators() -> dict[int, Draft202012Validator]:
    """By class_uid."""
    parts = [json.loads(line) for line in OCSF.read_text().splitlines()]
    registry: Registry[Any] = Registry().with_resources([(one["$id"], Resource.from_contents(one)) for one in parts])
    classes = {one["properties"]["class_uid"]["const"]: one for one in parts if "class_uid" in one["properties"]}
    return {uid: Draft202012Validator(one, registry=registry) for uid, one in classes.items()}


def test_what_was_logged_is_what_arrived(
    make_bridge: MakeBridge, rsyslog: Rsyslog, receiver: Receiver, secret: Path, authority: Authority, tmp_path: Path
) -> None:
    """Through an outage of both receivers, a bridge killed with SIGKILL in the middle of work, and another outage."""
    archive = tmp_path / "events.jsonl"
    hook = {"url": f"https://localhost:{receiver.port}/hook", "secret": f"file:{secret}", "ca": str(authority.ca)}
    sinks = {
        "archive": {"file": {"path": str(archive)}},
        "siem": {"syslog": syslog(rsyslog, authority, tmp_path), "longest_pause": "2s", "batch": 50},
        "soc": {"webhook": hook, "format": "ocsf", "longest_pause": "2s", "batch": 50},
    }
    bridge = make_bridge("sinks", sinks=sinks)
    token = bridge.token("reader-1")
    work(bridge, token, 30)
    caught_up(bridge, "archive", "siem", "soc")
    rsyslog.stop()
    receiver.answer(500)
    work(bridge, token, 120)  # nobody notices
    bridge.wait(lambda: row(bridge, "siem")["state"] == row(bridge, "soc")["state"] == "failing", 20, "failing")
    assert row(bridge, "soc")["error"] == "the receiver answered with status 500"
    assert row(bridge, "siem")["behind"] > 100
    assert "status 500" in bridge.cli("log", "sinks", status=1)
    with bridge.connect(token) as connection:
        connection.execute("select 'the last words' as marker")
        bridge.kill()
    bridge.start()
    work(bridge, token, 60)
    rsyslog.start()
    receiver.answer(200)
    bridge.wait(lambda: row(bridge, "siem")["state"] != "failing", 30, "siem back")
    work(bridge, token, 30)
    bridge.kill()  # perhaps in the middle of a batch
    bridge.start()
    caught_up(bridge, "archive", "siem", "soc")

    assert_complete(bridge, by_seq(archive.read_text().splitlines()))
    messages = rsyslog.received()
    assert_complete(bridge, by_seq([message for _, message in messages]))
    assert all(head.split(" ")[1] == "idbridge" and 'meta sequenceId="' in head for head, _ in messages)
    events = [event for request in receiver.taken() for event in json.loads(request["body"])["events"]]
    assert_complete(bridge, by_seq([event["raw_data"] for event in events]))
    assert {problem for event in events for problem in invalid(event)} == set()
    for request in receiver.taken():
        headers, body = request["headers"], request["body"].encode()
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = hmac.new(secret.read_bytes(), signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()


def test_a_receiver_that_cannot_be_trusted_gets_nothing(
    make_bridge: MakeBridge, rsyslog: Rsyslog, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority.create(tmp_path / "other")
    sinks = {
        "other": {"syslog": syslog(rsyslog, authority, tmp_path, ca=str(other.ca))},
        "named": {"syslog": syslog(rsyslog, authority, tmp_path, server_name="elsewhere.example")},
        "nobody": {"syslog": syslog(rsyslog, other, tmp_path / "other", ca=str(authority.ca))},
        "missing": {"syslog": syslog(rsyslog, authority, tmp_path, ca=str(tmp_path / "no.pem"))},
    }
    bridge = make_bridge("distrust", sinks=sinks)
    work(bridge, bridge.token("reader-1"), 1)
    for name in sinks:
        bridge.wait(lambda name=name: row(bridge, name)["failing_since"], 20, f"{name} failing")
    assert "CERTIFICATE_VERIFY_FAILED" in row(bridge, "other")["error"]
    assert "CERTIFICATE_VERIFY_FAILED" in row(bridge, "named")["error"]
    assert "no.pem" in row(bridge, "missing")["error"]
    assert rsyslog.received() == []
    assert all(row(bridge, name)["delivered"] == 0 for name in sinks)


def metric(bridge: Bridge, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{bridge.metrics}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name):
                return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no metric {name}")


def test_only_a_required_sink_stops_sessions(make_bridge: MakeBridge, tmp_path: Path) -> None:
    """The other one is down just the same."""
    down = {"host": "127.0.0.1", "port": free_port(), "tls": "disable"}
    path = tmp_path / "folder" / "events.jsonl"
    sinks = {"down": {"syslog": down}, "kept": {"file": {"path": str(path)}, "required": "10s", "longest_pause": "1s"}}
    path.parent.mkdir()
    bridge = make_bridge("required", sinks=sinks)
    token = bridge.token("reader-1")
    work(bridge, token, 1)
    bridge.wait(lambda: row(bridge, "down")["state"] == "failing", 20, "failing")
    path.parent.rename(tmp_path / "away")
    connection = bridge.connect(token)
    connection.execute("select 1")
    bridge.wait(lambda: row(bridge, "kept")["oldest_seconds"] > 10, 40, "late")
    with pytest.raises(psycopg.OperationalError, match="ref_"):
        bridge.wait(lambda: bridge.connect(token).close(), 10, "refused")
    with pytest.raises(psycopg.OperationalError):
        bridge.wait(lambda: connection.execute("select 2") and False, 10, "ended")
    connection.close()
    assert metric(bridge, 'idbridge_sink_failing{sink="kept"}') == 1
    assert metric(bridge, 'idbridge_sink_behind{sink="kept"}') > 0
    assert any(event["reason"] == "sink-required" for event in bridge.events(type="alarm"))
    (tmp_path / "away").rename(path.parent)
    bridge.wait(lambda: row(bridge, "kept")["state"] == "ok", 20, "caught up")
    bridge.wait(lambda: _works(bridge, token), 10, "admitted again")
    caught_up(bridge, "kept")
    assert_complete(bridge, by_seq(path.read_text().splitlines()))


def _works(bridge: Bridge, token: str) -> bool:
    try:
        work(bridge, token, 1)
    except psycopg.OperationalError:
        return False
    return True


def test_sinks_follow_a_reload_and_send_again(make_bridge: MakeBridge, tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    bridge = make_bridge("sinks-reloaded", sinks={"a": {"file": {"path": str(first)}}})
    caught_up(bridge, "a")
    bridge.document["sinks"] = {"b": {"file": {"path": str(second)}, "start": "now", "format": "cef"}}
    bridge.write()
    bridge.cli("reload")
    work(bridge, bridge.token("reader-1"), 1)
    caught_up(bridge, "b")
    lines = second.read_text().splitlines()
    assert lines
    assert all(line.startswith("CEF:0|identity-bridge|") for line in lines)
    assert "session.open" not in "".join(first.read_text().splitlines()[-3:])
    bridge.cli("log", "resend", "b", "--from", "1")
    caught_up(bridge, "b")
    assert "cn1=1 " in second.read_text().splitlines()[len(lines)]
    assert any(event["detail"].get("first") == 1 for event in bridge.events(type="log.sink"))
    assert "goes on" in bridge.cli("log", "resend", "b", "--from", "2")
    assert "ends before" in bridge.cli("log", "resend", "b", "--from", "999999", status=1)
    assert bridge.stop() == 0
    assert "|log.stop|" in second.read_text().splitlines()[-1]
