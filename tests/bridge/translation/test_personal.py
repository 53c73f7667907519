"""Names of people beside the log: found while they are there, gone when erased, and the log what it was."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from twisted.internet.defer import Deferred

from bridge.sinks.cursor import Cursor
from bridge.sinks.source import Source
from bridge.storage import open_engine, reading, writing
from bridge.translation import Event, LogReader, SessionFacts, SQLLog, facts, in_thread_append, in_thread_close_open
from bridge.translation.checkpoints import Checkpoints
from bridge.translation.describe import describe
from bridge.translation.formats import LINES
from bridge.translation.note import Signer
from bridge.translation.overview import Overview
from bridge.translation.personal import PREFIX, in_thread_erasable, in_thread_erase, salted_event, token
from bridge.translation.proving import in_thread_prove
from bridge.translation.query import parse
from bridge.translation.verifying import in_thread_verify

ALICE = "alice@corp.example"


@pytest.fixture
def signer() -> Signer:
    return Signer("logs.example/prod-1", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.fixture
def delegated(session_facts: SessionFacts) -> SessionFacts:
    delegation = facts.delegation_section(
        mode="delegated", subject=ALICE, subject_issuer="https://idp", chain=[("https://idp", "bob")]
    )
    return replace(session_facts, sections={**session_facts.sections, "delegation": delegation})


@pytest.fixture
def worked(log: SQLLog, delegated: SessionFacts, engine: Engine) -> Engine:
    """A session on behalf of Alice, and what Carol did to the registry."""
    log.salted = True

    async def work() -> None:
        session = log.session(delegated)
        await session.opened()
        session.operation(facts.action_section("sql.select", "read", text="SELECT 1"), "read").finish()
        session.closed()
        after = {"id": "dave", "kind": "person", "contact": "dave@corp.example", "on_call": ""}
        change = facts.change_section("owner:dave", None, after)
        actor = facts.actor_section(kind="person", id="carol", via="cli")
        await log.record(Event("registry.change", sections={"actor": actor, "change": change}))

    pytest_twisted.blockon(Deferred.fromCoroutine(work()))
    pytest_twisted.blockon(log.stop())
    return engine


def bodies(engine: Engine) -> str:
    with reading(engine) as connection:
        return "\n".join(connection.exec_driver_sql("SELECT body FROM event ORDER BY seq").scalars())


def test_bodies_have_digests_and_readers_see_names(worked: Engine) -> None:
    text = bodies(worked)
    for name in (ALICE, "bob", "carol", "dave@corp.example"):
        assert f'"{name}"' not in text
    assert "dave" in text  # the owner's id
    reader = LogReader(worked)
    events = reader.in_thread_session("ses_1")
    assert len(events) == 3
    assert {event.fields["delegation"]["subject"]["sub"] for event in events} == {ALICE}
    assert events[0].fields["delegation"]["chain"] == [{"iss": "https://idp", "sub": "bob"}]
    assert f", for {ALICE}," in describe(events[1].fields)
    (change,) = reader.in_thread_find(parse("type:registry.change"))
    assert change.fields["actor"]["id"] == "carol"
    assert change.fields["change"]["after"]["contact"] == "dave@corp.example"


def test_one_salt_for_a_session_and_another_for_the_next(worked: Engine) -> None:
    with reading(worked) as connection:
        rows = connection.exec_driver_sql("SELECT token, salt, value FROM personal").all()
    assert all(one == token(salt, value) for one, salt, value in rows)
    salts = {value: salt for _, salt, value in rows}
    assert salts[ALICE] == salts["bob"] != salts["carol"] == salts["dave@corp.example"]


def test_people_are_searched_and_listed_by_name(worked: Engine, tmp_path: Path) -> None:
    own = open_engine(tmp_path / "overview.db", kind="translation")
    overview = Overview(own, worked, block=2)
    for reader in (LogReader(worked), LogReader(worked, overview)):
        assert len(reader.in_thread_find(parse(f"person:{ALICE}"))) == 3
        assert len(reader.in_thread_find(parse("person:alice*"))) == 3
        assert len(reader.in_thread_find(parse("-person:alice*,carol"))) == 2
        tallies, _ = reader.in_thread_tallies(parse("person:*"))
        assert {one.person for one in tallies} == {ALICE, "carol"}
        overview.in_thread_catch_up()
    own.dispose()


def test_exports_to_a_siem_have_the_names_and_the_exact_text_does_not(worked: Engine) -> None:
    source = Source(worked, "test-log")
    for format in ("ocsf", "cef"):
        batch = source.in_thread_batch(Cursor(), 100, LINES[format])
        assert batch is not None
        assert ALICE in "".join(batch.lines)
    batch = source.in_thread_batch(Cursor(), 100, LINES["jsonl"])
    assert batch is not None
    assert "\n".join(line for line in batch.lines) == bodies(worked)


# -- erasing


def test_what_was_erased_is_gone_and_everything_verifies(
    path: Path, worked: Engine, signer: Signer, tmp_path: Path
) -> None:
    own = open_engine(tmp_path / "overview.db", kind="translation")
    overview = Overview(own, worked, block=2)
    overview.in_thread_catch_up()
    before = bodies(worked)
    assert in_thread_erasable(worked, ALICE).tokens == 1
    in_thread_append(worked, "test-log", [Event("log.erase", "intent", "", id="01J00000000000000000000000")])
    assert in_thread_erase(worked, ALICE) == 1
    in_thread_append(worked, "test-log", [Event("log.erase", "outcome", request="01J00000000000000000000000")])
    assert bodies(worked).startswith(before)
    reader = LogReader(worked, overview)
    assert reader.in_thread_find(parse(f"person:{ALICE}")) == []
    assert reader.in_thread_session("ses_1")[0].fields["delegation"]["subject"]["sub"].startswith(PREFIX)
    assert reader.in_thread_session("ses_1")[0].fields["delegation"]["chain"][0]["sub"] == "bob"
    overview.in_thread_catch_up()
    tallies, _ = reader.in_thread_tallies(parse("person:*"))
    assert ALICE not in {one.person for one in tallies}
    with writing(worked) as connection:
        Checkpoints(signer).seal(connection)
    assert in_thread_verify(worked, [signer.key]).findings == []
    for engine in (worked, own):
        engine.dispose()
    for file in (path, tmp_path / "overview.db"):
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert ALICE.encode() not in file.read_bytes()


def test_who_was_meant_can_be_proven_while_it_is_there(worked: Engine, signer: Signer, checker: ModuleType) -> None:
    with writing(worked) as connection:
        Checkpoints(signer).seal(connection)
    (opening,) = LogReader(worked).in_thread_find(parse("type:session.open"))
    proof = in_thread_prove(worked, [opening.seq], signer.key)
    people = {one["value"] for event in proof["events"] for one in event["personal"]}
    assert people == {ALICE, "bob"}
    keys = [checker.Key(str(signer.key))]
    checker.verify_proofs(proof, keys, [], print)
    forged = json.loads(json.dumps(proof).replace(ALICE, "mallory"))
    with pytest.raises(checker.Wrong, match="is not the person that the event has a digest of"):
        checker.verify_proofs(forged, keys, [], print)
    in_thread_erase(worked, ALICE)
    proof = in_thread_prove(worked, [opening.seq], signer.key)
    assert [one["value"] for one in proof["events"][0]["personal"]] == ["bob"]


def test_a_name_that_was_exchanged_is_found(path: Path, worked: Engine, signer: Signer) -> None:
    with pytest.raises(IntegrityError, match="erased, never changed"), writing(worked) as connection:
        connection.exec_driver_sql("UPDATE personal SET value = 'mallory'")
    with writing(worked) as connection:
        Checkpoints(signer).seal(connection)
        connection.exec_driver_sql("DROP TRIGGER personal_no_update")
        connection.exec_driver_sql("UPDATE personal SET value = 'mallory' WHERE value = ?", (ALICE,))
    report = in_thread_verify(worked, [signer.key])
    assert [(one.code, one.first) for one in report.findings] == [("personal", 2)]


@pytest_twisted.ensureDeferred
async def test_a_crash_repeats_the_digests(engine: Engine, log: SQLLog, delegated: SessionFacts) -> None:
    log.salted = True
    await log.session(delegated).opened()
    await log.stop()
    assert in_thread_close_open(engine, "test-log") == (1, 0)
    first, last = LogReader(engine).in_thread_session("ses_1")
    assert first.fields["delegation"] == last.fields["delegation"]
    assert json.loads(first.body)["delegation"] == json.loads(last.body)["delegation"]
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM personal").scalar() == 2


# -- without it


def _about(value: str) -> Event:
    actor = facts.actor_section(kind="person", id=value, via="cli")
    return Event("log.read", sections={"actor": actor})


def test_in_clear_nothing_changes_but_for_who_would_pass_for_a_digest() -> None:
    plain = _about("carol")
    assert salted_event(plain, all=False) is plain
    sly = salted_event(_about(f"{PREFIX}x"), all=False)
    assert sly.personal is not None
    assert [one.value for one in sly.personal] == [f"{PREFIX}x"]


def test_the_bridge_and_agents_are_no_people() -> None:
    event = Event("log.read", sections={"actor": facts.actor_section(kind="bridge", id="retention")})
    assert salted_event(event, all=True) is event


def test_a_changed_configuration_hides_how_owners_are_reached() -> None:
    change = facts.change_section(
        "bridge.yaml", {"owners.dave.contact": "a@b.example"}, {"owners.dave.contact": "c@d.example", "bridge.drain": 3}
    )
    event = salted_event(Event("config.change", sections={"change": change}), all=True)
    after = json.loads(event.sections["change"])["after"]
    assert (after["bridge.drain"], after["owners.dave.contact"].startswith(PREFIX)) == (3, True)


@given(st.text(max_size=40))
def test_whatever_the_name(value: str) -> None:
    event = salted_event(_about(value or "x"), all=True)
    assert event.personal is not None
    (one,) = event.personal
    assert json.loads(event.sections["actor"])["id"] == one.token == token(one.salt, one.value)


def test_who_asked_for_access_and_who_gave_it_are_people_and_agents_are_not() -> None:
    asked = {"requester": "user:carol", "decider": "lead-1", "behalf": "https://idp alice"}
    change = facts.change_section("req_1", {"requester": "deploy-7", "decider": "", "behalf": ""}, asked)
    found = salted_event(Event("access.grant", sections={"change": change}), all=True)
    assert {one.value for one in found.personal or ()} == {"user:carol", "https://idp alice"}
    after = json.loads(found.sections["change"])["after"]
    assert (after["requester"].startswith(PREFIX), after["decider"]) == (True, "lead-1")
    assert json.loads(found.sections["change"])["before"] == {"requester": "deploy-7", "decider": "", "behalf": ""}
