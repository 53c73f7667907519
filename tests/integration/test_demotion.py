"""Modes become less strict by two persons' signatures alone: with a running bridge, and at its start."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.people import Person
from rig.place import Place
from rig.receivers import Hooks

MakeBridge = Callable[..., Bridge]


@pytest.fixture
def people(tmp_path: Path) -> dict[str, Person]:
    return {name: Person(tmp_path, name) for name in ("alice", "bob", "carol", "mallory")}


@pytest.fixture
def hooks(place: Place, authority: Authority) -> Iterator[Hooks]:
    made = Hooks(place, authority)
    yield made
    made.stop()


@pytest.fixture
def guarded(make_bridge: MakeBridge, people: dict[str, Person], hooks: Hooks, authority: Authority) -> Bridge:
    names = ("security", "leadership")
    channels = {one: {"kind": "webhook", "url": f"{hooks.url}/{one}", "ca": str(authority.ca)} for one in names}
    bridge = make_bridge(
        "demoted",
        breakglass={"people": {name: people[name].public for name in ("alice", "bob", "carol")}},
        alerts={"security": ["security"], "leadership": ["leadership"], "channels": channels},
    )
    assert "nothing becomes less strict" in bridge.cli("demotion", "pending")
    return bridge


def set_mode(bridge: Bridge, mode: str, **more: str) -> None:
    bridge.document["systems"]["warehouse"] |= {"mode": mode, **more}
    bridge.write()


def ask(bridge: Bridge, person: Person, status: int = 0) -> Any:
    return bridge.cli_json("demotion", "request", *person.signs, "--reason", "CHG-12: watch first", status=status)


def approve(bridge: Bridge, id: str, person: Person, status: int = 0) -> Any:
    return bridge.cli_json("demotion", "approve", id, *person.signs, status=status)


def writes(bridge: Bridge) -> bool:
    """Whether the agent gets beyond its grants: as far as the server, which says no in other words."""
    with bridge.connect(bridge.token("reader-1")) as connection:
        try:
            connection.execute("create temp table t (a int)")
        except psycopg.Error as error:
            return "grant" not in str(error)
    return True


def start_refused(bridge: Bridge) -> str:
    command = [sys.executable, "-m", "bridge", "run", "-c", str(bridge.config), "--log-format", "text"]
    done = subprocess.run(command, env=bridge._environment, capture_output=True, timeout=60, check=False)
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 1, said
    return said


def test_it_needs_a_second_person_and_is_good_once(guarded: Bridge, people: dict[str, Person], hooks: Hooks) -> None:
    def titles(name: str) -> list[str]:
        return [one["title"] for one in hooks.bodies(f"/{name}") if one["rule"] == "demotion"]

    assert not writes(guarded)
    set_mode(guarded, "observe")
    refused = guarded.cli_json("reload", status=1)["error"]
    assert "systems.warehouse.mode: enforce to observe" in refused
    assert "one person must ask for it (idbridge demotion request)" in refused
    assert guarded.process is not None
    guarded.process.send_signal(signal.SIGHUP)  # nor so
    guarded.wait(lambda: len(guarded.events(type="demotion.change", outcome="denied")) == 2, 10, "refused")
    guarded.wait(lambda: "nothing changed: this makes less strict" in guarded.daemon_log.read_text(), 10, "told")
    assert not writes(guarded)

    id = ask(guarded, people["alice"])["id"]
    assert f"a second person must approve it: idbridge demotion approve {id}" in guarded.cli("reload", status=1)
    own = approve(guarded, id, people["alice"], status=1)
    assert own["error"] == "nobody approves what they ask for themselves"
    assert "not signed by a key of mallory" in approve(guarded, id, people["mallory"], status=1)["error"]
    guarded.cli("reload", status=1)
    text = guarded.cli("demotion", "statement", id)
    assert "change 1: systems.warehouse.mode: enforce to observe\n" in text
    signature = people["bob"].signature(text)
    guarded.cli("demotion", "approve", id, "--as", "bob", f"--signature={signature}")
    assert not writes(guarded)  # not before the reload
    guarded.cli("reload")
    assert writes(guarded)
    assert guarded.cli_json("demotion", "list")[0]["state"] == "taken"

    def last() -> dict[str, Any]:
        story = guarded.call("log.show", session=id)["events"]
        found: dict[str, Any] = [one for one in story if one["type"] == "demotion.change"][-1]["change"]
        return found

    guarded.wait(lambda: last()["after"].get("taken"), 10, "recorded")
    assert (last()["before"]["state"], last()["after"]["state"]) == ("approved", "taken")
    row = last()["after"]
    assert (row["requester"], row["approver"], row["reason"]) == ("alice", "bob", "CHG-12: watch first")
    assert row["changes"] == [{"key": "systems.warehouse.mode", "before": "enforce", "after": "observe"}]
    assert [line.split()[0] for line in row["signatures"]] == ["alice", "bob"]
    steps = ["a configuration was refused", "requested", "an attempt was refused", "approved", "taken"]
    wanted = [f"demotion: {step}" for step in steps]
    for name in ("security", "leadership"):
        guarded.wait(lambda name=name: titles(name) == wanted, 20, "told")  # type: ignore[misc]

    set_mode(guarded, "enforce")  # free, and it is said what that means
    promoted = guarded.cli_json("reload")
    (ready,) = promoted["readiness"]
    assert (ready["system"], ready["agents"], ready["grants"]) == ("warehouse", ["reader-1"], ["reads"])
    assert 1 <= ready["would_refuse"] <= ready["asked"]
    assert not writes(guarded)
    set_mode(guarded, "observe")
    assert "systems.warehouse.mode: enforce to observe" in guarded.cli("reload", status=1)
    assert "is taken" in approve(guarded, id, people["carol"], status=1)["error"]


def test_a_restart_is_no_way_around_it(guarded: Bridge, people: dict[str, Person]) -> None:
    assert guarded.stop() == 0
    set_mode(guarded, "warn")
    assert "cannot start: this makes less strict: systems.warehouse.mode: enforce to warn" in start_refused(guarded)
    id = ask(guarded, people["alice"])["id"]  # without a bridge that runs
    start_refused(guarded)
    approve(guarded, id, people["carol"])
    guarded.start()
    assert writes(guarded)
    assert guarded.stop() == 0
    guarded.start()  # with what was taken
    assert [one["state"] for one in guarded.cli_json("demotion", "list")] == ["taken"]


def test_later_ends_and_other_signers_need_it_too(guarded: Bridge, people: dict[str, Person]) -> None:
    soon, later = (
        (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds").replace("+00:00", "Z")
        for days in (1, 7)
    )
    set_mode(guarded, "observe", mode_until=soon)
    approve(guarded, ask(guarded, people["alice"])["id"], people["bob"])
    guarded.cli("reload")
    set_mode(guarded, "observe", mode_until=later)
    assert f"observe until {soon} to observe until {later}" in guarded.cli("reload", status=1)
    set_mode(guarded, "observe", mode_until=soon)
    guarded.cli("reload")

    listed = guarded.document["breakglass"]["people"]
    listed |= {"mallory": people["mallory"].public}
    set_mode(guarded, "observe", mode_until=later)
    assert "breakglass: 2 of alice" in guarded.cli("reload", status=1)
    with_mallory = ask(guarded, people["alice"])["id"]
    assert "not signed by a key of mallory" in approve(guarded, with_mallory, people["mallory"], status=1)["error"]
    guarded.cli("reload", status=1)
    approve(guarded, with_mallory, people["bob"])
    guarded.cli("reload")
    assert "mallory" in guarded.cli_json("demotion", "pending")["people"]


def test_an_approval_is_for_this_change_alone(guarded: Bridge, people: dict[str, Person]) -> None:
    set_mode(guarded, "warn")
    approve(guarded, ask(guarded, people["alice"])["id"], people["bob"])
    set_mode(guarded, "observe")
    assert "enforce to observe" in guarded.cli("reload", status=1)
    asked = guarded.cli_json("demotion", "request", "--as", "alice", "--reason", "r")
    set_mode(guarded, "warn")
    moved = ("--id", asked["id"], "--at", str(asked["created"]))
    signature = people["alice"].signature(asked["statement"])
    command = ("demotion", "request", "--as", "alice", "--reason", "r", *moved, f"--signature={signature}")
    assert "not signed by a key of alice" in guarded.cli_json(*command, status=1)["error"]


def test_without_people_modes_only_become_stricter(make_bridge: MakeBridge) -> None:
    bridge = make_bridge("peopleless")
    set_mode(bridge, "observe")
    assert "name people in breakglass.people first" in bridge.cli("reload", status=1)
    assert not writes(bridge)
    set_mode(bridge, "enforce")
    bridge.cli("reload")
