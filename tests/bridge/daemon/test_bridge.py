"""The running bridge: sessions, revocation, reload, health, and its end."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor  # noqa: TID251 - tests own the process
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from bridge.adapter import Address, BridgeError, LegacySession, Reason, StreamClosed
from bridge.api.failure import CommandFailed
from bridge.api.history import in_thread_directory
from bridge.api.services import Actor
from bridge.config import ConfigErrors
from bridge.daemon.bridge import RestartNeeded
from bridge.daemon.health import Health
from bridge.daemon.live import LiveBridge
from bridge.daemon.opening import unrecorded_changes
from bridge.net.listener import Listener
from bridge.policy import policy_of
from bridge.translation.reading import LogReader
from bridge.translation.recording_retention import Retention

DENY = "  - {id: stop, effect: deny, agents: [deploy-7], system: orders}"


async def said(client: Any) -> str:
    """All that is heard until the end."""
    heard = b""
    try:
        while data := await client.receive(5.0):
            heard += data
    except StreamClosed:
        pass
    return heard.decode()


@pytest_twisted.ensureDeferred
async def test_the_start_is_recorded_with_what_the_file_declares(house: Any) -> None:
    await house.until(lambda: len(house.events("registry.change")) == 2)
    kinds = [event["type"] for event in house.events()]
    assert kinds[:2] == ["log.start", "config.change"]
    assert {event["change"]["subject"] for event in house.events("registry.change")} == {"deploy-7", "owner:payments"}


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_a_revoked_agents_session_ends_within_a_second_with_a_goodbye(house: Any) -> None:
    """Also when another process, the command line without a socket, made the change."""
    client, heard = await house.client()
    assert heard == "WELCOME\n"
    ended: list[str] = []
    Deferred.fromCoroutine(said(client)).addCallback(ended.append)
    began = reactor.seconds()  # type: ignore[attr-defined]
    house.bridge.storage.registry.in_thread_move("deploy-7", "revoke", reason="left")
    await house.until(lambda: ended)
    assert ended[0].startswith("BYE the agent's access was revoked")
    assert reactor.seconds() - began < 3  # type: ignore[attr-defined]
    _, heard = await house.client()
    assert "the agent deploy-7 is revoked" in heard


@pytest_twisted.ensureDeferred
async def test_a_stale_registry_never_replaces_a_newer_one(house: Any) -> None:
    """Two readings may come back in the other order."""
    old = house.bridge.storage.registry.in_thread_directory()
    house.bridge.storage.registry.in_thread_move("deploy-7", "suspend")
    await house.bridge.take_registry()
    house.bridge.storage.registry.in_thread_directory = lambda: old
    await house.bridge.take_registry()
    assert house.bridge.core.directory.by_id("deploy-7").state == "suspended"
    del house.bridge.storage.registry.in_thread_directory


@pytest_twisted.ensureDeferred
async def test_a_bad_file_changes_nothing(house: Any) -> None:
    _client, _ = await house.client()
    core = house.bridge.core
    before = (core.policy, core.verifier, core.directory, dict(house.bridge.listeners), house.bridge.config)
    house.path.write_text(house.path.read_text() + "nonsense: 1\n")
    with pytest.raises(ConfigErrors, match="nonsense"):
        await house.bridge.reload()
    assert (core.policy, core.verifier, core.directory, dict(house.bridge.listeners), house.bridge.config) == before
    with pytest.raises(CommandFailed, match="nothing was changed"):
        await deferToThread(LiveBridge(house.bridge).reload, Actor("anna"))
    assert len(house.bridge.core.live) == 1


@pytest_twisted.ensureDeferred
async def test_an_address_in_use_changes_nothing(house: Any) -> None:
    """Although the file itself is good: no grant, agent or listener of it is taken."""
    policy, listeners = house.policy, dict(house.bridge.listeners)
    house.write(systems=house.second(port=house.upstream_port), grants=DENY)
    with pytest.raises(OSError, match="in use"):
        await house.bridge.reload()
    assert (house.policy, dict(house.bridge.listeners)) == (policy, listeners)
    assert (await house.client())[1] == "WELCOME\n"


@pytest_twisted.ensureDeferred
async def test_an_agent_that_clashes_changes_nothing_and_is_recorded(house: Any) -> None:
    house.bridge.storage.registry.in_thread_create(
        "cli-1", owner="payments", purpose="p", roles=["reader"], environment="e"
    )
    clash = f"  cli-1: {{owner: payments, purpose: P., roles: [reader], environment: e, expires: {_expiry(house)}}}"
    house.write(agents=clash, systems=house.second())
    policy = house.policy
    with pytest.raises(BridgeError, match="cli-1"):
        await house.bridge.reload()
    assert house.policy is policy
    assert list(house.bridge.systems) == ["orders"]
    await house.until(lambda: len(house.events("config.change")) == 3)
    assert [event["outcome"] for event in house.events("config.change")] == ["success", "", "failure"]
    with pytest.raises(OSError):
        await _connects(house.other_port)


def _expiry(house: Any) -> str:
    text: str = house.path.read_text()
    return text.partition("expires: ")[2][:10]


async def _connects(port: int) -> None:
    import socket

    with socket.socket() as probe:
        probe.connect(("127.0.0.1", port))


@pytest_twisted.ensureDeferred
async def test_without_a_log_a_reload_changes_nothing(house: Any) -> None:
    house.write(systems=house.second(), grants=DENY)
    policy = house.policy
    house.bridge.translation._fail("played")
    with pytest.raises(CommandFailed, match="nothing was changed"):
        await deferToThread(LiveBridge(house.bridge).reload, Actor("anna"))
    assert house.policy is policy
    assert list(house.bridge.systems) == ["orders"]
    assert not house.bridge.ready


@pytest_twisted.ensureDeferred
async def test_a_good_file_is_taken_and_sessions_live_on(house: Any) -> None:
    """A new listener opens, a removed one closes while its session goes on; grants bite at once."""
    client, _ = await house.client()
    house.write(systems=house.second(), grants=DENY)
    changes = await house.bridge.reload()
    assert changes
    assert len(house.bridge.core.live) == 1
    _, heard = await house.client(port=house.other_port)
    assert heard.startswith("ERROR no grant")
    _, heard = await house.client()
    assert heard.startswith("ERROR no grant")
    house.write(grants="")
    await house.bridge.reload()
    with pytest.raises(OSError):
        await _connects(house.other_port)
    assert len(house.bridge.core.live) == 1
    assert (await house.client())[1] == "WELCOME\n"
    await client.close()
    await house.until(lambda: len(house.bridge.core.live) == 1)
    await house.until(lambda: not house.bridge.translation.pending())
    intents = [event for event in house.events("config.change") if event["phase"] == "intent"]
    outcomes = [event for event in house.events("config.change") if event["phase"] == "outcome"]
    assert [event["id"] for event in intents] == [event["corr"]["request"] for event in outcomes]


@pytest_twisted.ensureDeferred
async def test_an_address_may_go_to_another_system_and_its_sessions_still_end_with_the_bridge(house: Any) -> None:
    house.write(systems=house.second("stock"))
    await house.bridge.reload()
    text = house.path.read_text()
    house.path.write_text(text.replace("  stock:", "  depot:"))
    _client, _ = await house.client()
    await house.bridge.reload()
    assert sorted(house.bridge.systems) == ["depot", "orders"]
    assert ("depot", Address("127.0.0.1", house.other_port)) in house.bridge.listeners
    _, heard = await house.client(port=house.other_port)
    assert heard.startswith("ERROR no grant")


@pytest_twisted.ensureDeferred
async def test_sessions_of_a_removed_listener_end_with_the_bridge(house: Any) -> None:
    client, _ = await house.client()
    text = house.path.read_text()
    house.path.write_text(text.replace(f":{house.port}", f":{house.other_port}"))
    await house.bridge.reload()
    ended: list[str] = []
    Deferred.fromCoroutine(said(client)).addCallback(ended.append)
    house.bridge.core.live.cut(lambda session: True, Reason.SHUTDOWN, "")
    await house.until(lambda: ended)
    assert ended[0].startswith("BYE the bridge is shutting down")


@pytest_twisted.ensureDeferred
async def test_what_needs_a_restart_says_so(house: Any) -> None:
    house.path.write_text(house.path.read_text().replace("name: house", "name: mansion"))
    with pytest.raises(RestartNeeded):
        await house.bridge.reload()


@pytest_twisted.ensureDeferred
async def test_an_agent_taken_out_of_the_file_loses_its_session(house: Any) -> None:
    client, _ = await house.client()
    text = house.path.read_text()
    start, end = text.index("  deploy-7:"), text.index("systems:")
    house.path.write_text(text.replace(text[start:end], "").replace("agents:\n", ""))
    ended: list[str] = []
    Deferred.fromCoroutine(said(client)).addCallback(ended.append)
    await house.bridge.reload()
    await house.until(lambda: ended)
    assert ended[0].startswith("BYE the agent's access was revoked")


@pytest_twisted.ensureDeferred
async def test_a_log_that_fails_ends_all_sessions_and_readiness(house: Any) -> None:
    client, _ = await house.client()
    ended: list[str] = []
    Deferred.fromCoroutine(said(client)).addCallback(ended.append)
    house.bridge.translation._fail("the disk is full")
    await house.until(lambda: ended)
    assert "log cannot be written" in ended[0]
    assert Health(house.bridge).problems()
    house.bridge.translation._recover()
    assert Health(house.bridge).problems() == []


class Asked:
    """As much of a request as the health pages use."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.status = 200
        self.headers: dict[str, Any] = {}

    def setResponseCode(self, status: int) -> None:
        self.status = status

    def setHeader(self, name: str, value: Any) -> None:
        self.headers[name] = value


@pytest_twisted.ensureDeferred
async def test_health_and_metrics_can_be_read(house: Any) -> None:
    await house.client()
    await house.client(b"nonsense")
    health = Health(house.bridge)
    assert json.loads(health.render_GET(Asked(b"/healthz"))) == {"alive": True}
    assert json.loads(health.render_GET(Asked(b"/readyz"))) == {"ready": True, "problems": []}
    missing = Asked(b"/etc/passwd")
    health.render_GET(missing)
    assert missing.status == 404
    text = health.render_GET(Asked(b"/metrics")).decode()
    samples = {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["idbridge_sessions", frozenset({"orders"})] == 1
    assert samples["idbridge_sessions_opened_total", frozenset({"orders"})] == 1
    assert samples["idbridge_refusals_total", frozenset({"orders", "credential-invalid"})] == 1
    assert samples["idbridge_phase_seconds_count", frozenset({"login"})] == 1
    assert samples["idbridge_log_unavailable", frozenset()] == 0


@pytest_twisted.ensureDeferred
async def test_operators_see_and_end_sessions(house: Any) -> None:
    client, _ = await house.client()
    live = LiveBridge(house.bridge)
    (row,) = await deferToThread(live.sessions)
    assert (row["agent"], row["system"], row["account"]) == ("deploy-7", "orders", "svc")
    assert json.dumps(row)
    status = await deferToThread(live.status)
    assert (status["ready"], status["sessions"], status["systems"]["orders"]["sessions"]) == (True, 1, 1)
    assert await deferToThread(live.discover, "orders", "svc") == [{"account": "one"}]
    assert await deferToThread(live.trust, "orders", "") == [{"state": "new"}]
    with pytest.raises(CommandFailed, match="no fleet"):
        await deferToThread(live.trust, "orders", "web-1")
    for ask in (live.examine, live.reconcile):
        with pytest.raises(CommandFailed, match="no fleet"):
            await deferToThread(ask, "orders", "svc", "web-1")
    assert await deferToThread(live.examine, "orders", None) == [
        {"account": "svc", "host": "", "level": "ok", "title": "it answers", "detail": ""}
    ]
    assert house.events("account.check")
    ended: list[str] = []
    Deferred.fromCoroutine(said(client)).addCallback(ended.append)
    assert await deferToThread(live.end_session, row["session"], "lunch") == 1
    await house.until(lambda: ended)
    assert ended[0].startswith("BYE an operator ended the session")


@pytest_twisted.ensureDeferred
async def test_who_comes_past_the_bridge_is_told_once(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.client()
    live = LiveBridge(house.bridge)
    (session,) = house.bridge.core.live
    port = int(session.upstream_facts["local"].rpartition(":")[2])
    ours, other = LegacySession("127.0.0.1", port, 7), LegacySession("192.0.2.9", 5, 8, 1.0, "psql")
    monkeypatch.setattr("bridge.daemon.reconciling.RECHECK", 0.01)
    house.listed[:] = [ours, other]
    for _ in range(2):
        rows = await deferToThread(live.reconcile, "orders", "svc")
        assert [(row["state"], row["agent"]) for row in rows] == [("matched", "deploy-7"), ("foreign", "")]
    (alarm,) = house.events("alarm")
    assert (alarm["reason"], alarm["legacy"]["account"]) == ("bypass", "svc")
    assert alarm["detail"]["text"] == "connection 8 from 192.0.2.9, port 5, which calls itself psql"
    assert [event["detail"]["counts"] for event in house.events("reconcile")] == [{"foreign": 1, "matched": 1}] * 2
    house.listed[:] = []
    (row,) = await deferToThread(live.reconcile, "orders", "svc")
    assert row["state"] == "stale"


@pytest_twisted.ensureDeferred
async def test_a_session_that_was_just_opening_is_no_bypass(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.daemon.reconciling.RECHECK", 0.05)
    house.listed[:] = [LegacySession("192.0.2.9", 5, 8)]
    reactor.callLater(0.01, house.listed.clear)
    assert await deferToThread(LiveBridge(house.bridge).reconcile, "orders", "svc") == []
    assert house.events("alarm") == []


@pytest_twisted.ensureDeferred
async def test_nothing_secret_is_left_on_the_disk(house: Any) -> None:
    await house.client()
    stored = b"".join(path.read_bytes() for path in (house.folder / "state").iterdir() if path.is_file())
    assert b"static-pa55word-canary" not in stored


def test_listeners_are_listeners(house: Any) -> None:
    assert all(isinstance(one, Listener) for one in house.bridge.listeners.values())


@pytest_twisted.ensureDeferred
async def test_the_policy_is_recorded_in_full_when_it_begins_to_count_and_only_then(house: Any) -> None:
    first = house.policy.digest
    house.write(grants=DENY)
    await house.bridge.reload()
    await house.bridge.reload()
    house.write(grants=DENY, more="limits: {connections: 77}")
    await house.bridge.reload()
    await house.until(lambda: len(house.events("policy.version")) == 2)
    logged = [policy_of(event["change"]["after"]) for event in house.events("policy.version")]
    assert [one.digest for one in logged] == [first, house.policy.digest]
    assert (logged[-1].grants, logged[-1].systems) == (house.policy.grants, house.policy.systems)


@pytest_twisted.ensureDeferred
async def test_a_change_of_the_registry_that_the_log_missed_is_recorded_at_the_next_start(house: Any) -> None:
    await house.until(lambda: len(house.events("registry.change")) == 2)
    storage, config = house.bridge.storage, house.bridge.config
    assert unrecorded_changes(config, storage) == []
    storage.registry.in_thread_move("deploy-7", "suspend", reason="behind the log's back")
    (event,) = unrecorded_changes(config, storage)
    await house.bridge.translation.record(event)
    assert unrecorded_changes(config, storage) == []
    change = house.events("registry.change")[-1]["change"]
    assert (change["before"]["state"], change["after"]["state"]) == ("active", "suspended")
    agents, _ = in_thread_directory(LogReader(storage.reading_engine), int(storage.now() * 1000) + 1)
    assert list(agents) == list(storage.registry.in_thread_directory())


@pytest_twisted.ensureDeferred
async def test_recordings_are_removed_after_the_log_says_so(house: Any) -> None:
    folder = house.bridge.config.bridge.state / "recordings"
    folder.mkdir()
    old, new = folder / "ses_old-00.idrec", folder / "ses_new-00.idrec"
    for path in (old, new):
        path.write_bytes(bytes(10))
    os.utime(old, (1, 1))
    pruning = house.bridge._pruning
    assert await pruning.run() == 0, "without a limit they stay"
    pruning.retention = Retention(age=3600.0)
    house.bridge._recordings.open_files.add(old.name)
    assert await pruning.run() == 0
    house.bridge._recordings.open_files.clear()
    assert await pruning.run() == 1
    assert (old.exists(), new.exists()) == (False, True)
    (event,) = house.events("recording.prune")
    assert event["detail"] == {"files": [old.name], "bytes": 10, "counts": {"age": 1, "size": 0}}
