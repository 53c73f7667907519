"""Break-glass with a real PostgreSQL: signed by people whose keys stay offline, for minutes, logged in full."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.people import Person
from rig.place import Place
from rig.postgres import Server
from rig.receivers import Hooks

MakeBridge = Callable[..., Bridge]
ASK = ("breakglass", "request", "warehouse", "svc_writer", "--agent", "reader-1", "--reason", "INC-7: orders are stuck")
NO_GRANT = "no grant lets this agent in"


@pytest.fixture
def people(tmp_path: Path) -> dict[str, Person]:
    return {name: Person(tmp_path, name) for name in ("alice", "bob", "carol", "mallory")}


@pytest.fixture
def section(people: dict[str, Person]) -> dict[str, Any]:
    return {"people": {name: people[name].public for name in ("alice", "bob", "carol")}}


@pytest.fixture
def guarded(make_bridge: MakeBridge, section: dict[str, Any]) -> Bridge:
    bridge = make_bridge("guarded", start=False, breakglass=section)
    bridge.start()
    bridge.agent("reader-1", "reader")
    return bridge


def ask(bridge: Bridge, people: dict[str, Person], *more: str, status: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = bridge.cli_json(*ASK, *people["alice"].signs, *more, status=status)
    return answer


def sign(bridge: Bridge, verb: str, id: str, person: Person, *more: str, status: int = 0) -> Any:
    return bridge.cli_json("breakglass", verb, id, *person.signs, *more, status=status)


def use(bridge: Bridge, id: str, person: Person, status: int = 0) -> Any:
    answer = bridge.cli_json("breakglass", "use", id, "--key", str(person.key), status=status, keep=status != 0)
    if status == 0:
        bridge.place.token(answer["token"])
    return answer


def begin(bridge: Bridge, people: dict[str, Person], seconds: int) -> Any:
    id = ask(bridge, people, "--for", f"{seconds}s")["id"]
    for name in ("bob", "carol"):
        sign(bridge, "approve", id, people[name])
    return use(bridge, id, people["alice"])


def as_writer(bridge: Bridge, token: str) -> psycopg.Connection[Any]:
    return bridge.connect(token, user="svc_writer")


def is_cut(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("select 1")
    except psycopg.Error:
        return True
    return False


def wait_for_end(bridge: Bridge, row: dict[str, Any]) -> None:
    bridge.wait(lambda: time.time() > row["ends"], row["seconds"] + 5, "over by the clock")


def test_two_approve_it_is_used_ends_and_is_reviewed(guarded: Bridge, people: dict[str, Person]) -> None:
    with pytest.raises(psycopg.OperationalError, match=NO_GRANT):
        as_writer(guarded, guarded.token("reader-1"))
    id = ask(guarded, people, "--for", "20s")["id"]
    assert sign(guarded, "approve", id, people["bob"])["state"] == "requested"
    assert sign(guarded, "approve", id, people["bob"])["approvals"] == ["bob"]  # counts once
    text = guarded.cli("breakglass", "statement", id, "--verb", "approve")
    signature = people["carol"].signature(text)
    approved = guarded.cli_json("breakglass", "approve", id, "--as", "carol", f"--signature={signature}")
    assert approved["state"] == "approved"

    begun = time.time()
    used = use(guarded, id, people["alice"])
    assert used["token_expires"] <= used["ends"] <= begun + 25
    with pytest.raises(psycopg.OperationalError, match=NO_GRANT):  # the agent's usual tokens open nothing more
        as_writer(guarded, guarded.token("reader-1"))
    with pytest.raises(psycopg.OperationalError, match="this token is for one break-glass"):
        guarded.connect(used["token"], user="svc_reader")
    with as_writer(guarded, used["token"]) as connection:
        assert connection.execute("select current_user, 'in full'").fetchone() == ("svc_writer", "in full")
        session = guarded.session_of(connection)
        guarded.wait(lambda: is_cut(connection), 40, "cut")
        assert used["ends"] - 1 <= time.time() < used["ends"] + 10
    wait_for_end(guarded, used)
    with pytest.raises(psycopg.OperationalError, match="token has expired"):
        as_writer(guarded, used["token"])

    (operation,) = (one for one in guarded.operations(session) if "in full" in json.dumps(one))
    assert operation["outcome"] == "success"
    opened, *_, closed = guarded.session_events(session)
    assert opened["decision"]["rules"] == [f"breakglass:{id}"]
    assert closed["reason"] == "session-expired"
    guarded.wait(lambda: guarded.cli_json("breakglass", "list")[0]["ended"], 10, "written down as over")
    (over,) = guarded.cli_json("breakglass", "list")
    assert (over["state"], over["rotation_due"], over["overdue"]) == ("over", True, False)
    assert over["review_due"] == over["ends"] + 72 * 3600
    own = sign(guarded, "review", id, people["alice"], "--note", "mine", status=1)
    assert own["error"] == "nobody reviews what they asked for themselves"
    done = sign(guarded, "review", id, people["bob"], "--note", "as asked", "--rotated")
    assert (done["state"], done["rotation_due"], done["reviewer"]) == ("reviewed", False, "bob")

    story = [one for one in guarded.call("log.show", session=id)["events"] if one["type"] == "breakglass.change"]
    told = [one["outcome"] for one in story if one["phase"] != "intent"]
    assert told == ["success"] * 6 + ["denied", "success"]
    assert all(one["actor"]["id"] for one in story)
    assert [line.split()[0] for line in story[-1]["change"]["after"]["signatures"]] == ["alice", "bob", "carol"]
    said = guarded.cli("log", "show", id)
    assert "approved (2 of 2); reader-1 as svc_writer on warehouse for alice: INC-7: orders are stuck" in said


def test_nobody_else_opens_it(guarded: Bridge, people: dict[str, Person]) -> None:
    alice, bob, mallory = (people[name] for name in ("alice", "bob", "mallory"))
    id = ask(guarded, people)["id"]
    other = ask(guarded, people, "--for", "1h")["id"]
    refusals = [
        (("approve", id, *alice.signs), "nobody approves what they ask for themselves"),
        (("approve", id, "--as", "bob", "--key", str(alice.key)), "not signed by a key of bob"),
        (("approve", id, *mallory.signs), "not signed by a key of mallory"),
        (("use", id, "--key", str(alice.key)), f"{id} is requested"),
        (("use", id, "--key", str(bob.key)), "not signed by a key of alice"),
        (("review", id, *bob.signs, "--note", "x"), f"{id} is requested"),
        (("approve", "bg_nothere", *bob.signs), "no break-glass bg_nothere"),
    ]
    for arguments, words in refusals:
        assert words in guarded.cli_json("breakglass", *arguments, status=1)["error"]
    elsewhere = bob.signature(guarded.cli("breakglass", "statement", other, "--verb", "approve"))
    moved = guarded.cli_json("breakglass", "approve", id, "--as", "bob", f"--signature={elsewhere}", status=1)
    assert moved["error"] == "not signed by a key of bob"
    old = guarded.cli_json("breakglass", "statement", id, "--verb", "use", "--at", "1000")["statement"]
    assert "at: 1000\n" in old
    stale = ("breakglass", "use", id, f"--signature={alice.signature(old)}", "--at", "1000")
    assert "the signature is too old" in guarded.cli_json(*stale, status=1)["error"]
    assert "it lasts 10 to 3600 seconds" in ask(guarded, people, "--for", "2h", status=1)["error"]
    with pytest.raises(psycopg.OperationalError, match=NO_GRANT):
        as_writer(guarded, guarded.token("reader-1"))
    denied = guarded.events(type="breakglass.change", outcome="denied")
    assert len(denied) == 5


def test_a_signature_opens_it_once_and_the_request_can_be_signed_elsewhere(
    guarded: Bridge, people: dict[str, Person]
) -> None:
    alice = people["alice"]
    asked = guarded.cli_json(*ASK, "--as", "alice")
    again = ("--id", asked["id"], "--at", str(asked["created"]), f"--signature={alice.signature(asked['statement'])}")
    id = guarded.cli_json(*ASK, "--as", "alice", *again)["id"]
    assert "exists already" in guarded.cli_json(*ASK, "--as", "alice", *again, status=1)["error"]
    for name in ("bob", "carol"):
        sign(guarded, "approve", id, people[name])
    at = str(int(time.time()))
    text = guarded.cli("breakglass", "statement", id, "--verb", "use", "--at", at)
    command = ("breakglass", "use", id, f"--signature={alice.signature(text)}", "--at", at)
    guarded.place.token(guarded.cli_json(*command, keep=False)["token"])
    assert "this signature was used" in guarded.cli_json(*command, status=1)["error"]


@pytest.fixture
def hooks(place: Place, authority: Authority) -> Iterator[Hooks]:
    made = Hooks(place, authority)
    yield made
    made.stop()


def test_all_hear_of_it_at_once_and_it_goes_on_after_a_crash(
    make_bridge: MakeBridge, section: dict[str, Any], people: dict[str, Person], hooks: Hooks, authority: Authority
) -> None:
    names = ("owner", "security", "leadership")
    channels = {one: {"kind": "webhook", "url": f"{hooks.url}/{one}", "ca": str(authority.ca)} for one in names}
    alerts = {"security": ["security"], "leadership": ["leadership"], "channels": channels}
    bridge = make_bridge("loud", start=False, breakglass=section, alerts=alerts)
    bridge.document["owners"]["payments"]["on_call"] = "channel:owner"
    bridge.write()
    bridge.start()
    bridge.agent("reader-1", "reader")

    def titles(name: str) -> list[str]:
        return [one["title"].removeprefix("break-glass: ") for one in hooks.bodies(f"/{name}")]

    used = begin(bridge, people, 60)
    steps = ["requested", "approved (1 of 2)", "approved (2 of 2)", "in use"]
    bridge.wait(lambda: all(titles(name) == steps for name in names), 10, "told")
    message = hooks.bodies("/leadership")[-1]
    assert message["stop"] == "idbridge agent suspend reader-1 --reason break-glass"
    assert "INC-7: orders are stuck" in message["text"]
    with as_writer(bridge, used["token"]) as connection:
        assert bridge.process is not None
        bridge.kill()
        bridge.wait(lambda: is_cut(connection), 10, "cut by the crash")
    bridge.start()
    with as_writer(bridge, used["token"]) as connection:
        bridge.wait(lambda: is_cut(connection), 90, "cut at the end")
    assert time.time() >= used["ends"] - 1
    bridge.wait(lambda: all(titles(name)[-1] == "over" for name in names), 20, "told of the end")


def test_a_new_password_clears_the_mark(
    make_bridge: MakeBridge, section: dict[str, Any], people: dict[str, Person], postgres: Server, place: Place
) -> None:
    password = place.new_secret("broken glass")
    with postgres.admin() as admin:
        admin.execute("set log_statement = 'none'")  # the canary searches the server's log
        admin.execute(f"create role svc_glass login password '{password}'".encode())
    bridge = make_bridge("rotated", start=False, breakglass=section)
    bridge.document["systems"]["warehouse"]["accounts"]["svc_writer"] = {"secret": "store:glass", "user": "svc_glass"}
    bridge.write()
    bridge.start()
    bridge.cli("secret", "set", "glass", stdin=password)
    bridge.agent("reader-1", "reader")
    used = begin(bridge, people, 25)
    bridge.cli("account", "rotate", "warehouse", "svc_writer")
    assert bridge.cli_json("breakglass", "list")[0]["rotation_due"]  # it was not over
    wait_for_end(bridge, used)
    bridge.cli("account", "rotate", "warehouse", "svc_writer")
    assert not bridge.cli_json("breakglass", "list")[0]["rotation_due"]
    bridge.wait(lambda: "the static password was changed" in bridge.cli("log", "show", used["id"]), 5, "recorded")


def test_it_needs_people_and_their_keys(make_bridge: MakeBridge, people: dict[str, Person]) -> None:
    bridge = make_bridge("peopleless")
    answer = ask(bridge, people, status=1)
    assert "no break-glass is configured" in answer["error"]
    alice, bob = people["alice"].public, people["bob"].public
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(bob[-1])
    alias = bob[:-1] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last ^ 1]
    for found, words in [
        ({"alice": alice, "bob": bob}, "are too few"),
        ({"alice": alice, "bob": bob, "carol": bob}, "share a key"),
        ({"alice": alice, "bob": bob, "carol": alias}, "not an Ed25519 public key"),
        ({"alice": alice, "bob": bob, "carol": "A" * 43}, "a weak key"),
        ({"alice": alice, "bob": bob, "carol": "no key"}, "is not an Ed25519 public key"),
    ]:
        bridge.document["breakglass"] = {"people": found}
        bridge.write()
        assert words in bridge.cli("check", status=1)
