"""Tricks of clients with the relay: what ran must be what was permitted and what the log says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from adapters.postgres import codec
from bridge.adapter import Action, StatementLogging
from tests.adapters.postgres import conversation as R

READ, WRITE = Action.READ, Action.WRITE
Start = Callable[..., Any]


def done(tag: str, status: bytes = R.READY) -> tuple[bytes, bytes]:
    return R.tag(tag), status


@pytest.mark.parametrize("setting", ["transaction_read_only", "default_transaction_read_only"])
def test_on_and_off_written_as_integers_are_not_one_shape(start: Start, setting: str) -> None:
    talk = start(R.FakeAdmission(frozenset({READ})))
    talk.say(R.query(f"set {setting} = 1"))
    talk.answer(*done("SET"))
    talk.say(R.query(f"set {setting} = 0"))
    assert talk.admission.log[-1] == ("sql.set", "refused", "", 0)


def test_the_texts_of_several_statements_are_cut_where_they_really_end(start: Start) -> None:
    talk = start(logging=StatementLogging.FULL)
    talk.say(R.query("select 1; select 2"))
    talk.answer(R.tag("SELECT 1"), *done("SELECT 1"))
    talk.say(R.query("select 1000000; select 2"))
    assert [operation.text for operation in talk.admission.seen[2:]] == ["select 1000000", "select 2"]


@pytest.mark.parametrize("word", ["fetch all from x", "move all in x"])
def test_fetching_from_a_bound_statement_is_running_it(start: Start, word: str) -> None:
    talk = start()
    talk.say(R.query("begin"))
    talk.answer(*done("BEGIN", R.IN_BLOCK))
    talk.say(R.parse("s", "insert into t values (1) returning a"), R.bind("x", "s"), R.SYNC)
    talk.answer(R.PARSED, R.BOUND, R.IN_BLOCK)
    talk.say(R.query(word))
    fetch = talk.admission.seen[-1]
    assert (fetch.action, fetch.objects) == (WRITE, ("t",))
    assert "insert into t" in fetch.details["prepared"]


def test_fetching_from_a_declared_cursor_stays_a_read(start: Start) -> None:
    talk = start()
    talk.say(R.query("begin; declare c cursor for select a from t"))
    talk.answer(R.tag("BEGIN"), *done("DECLARE CURSOR", R.IN_BLOCK))
    talk.say(R.query("fetch 5 from c"))
    assert talk.admission.seen[-1].action is READ


@pytest.mark.parametrize("name", ["A" * 64, "*"])
def test_names_that_the_server_would_cut_or_that_mean_all_are_refused(start: Start, name: str) -> None:
    talk = start()
    talk.say(R.parse(name, "select 1"), R.SYNC)
    assert talk.admission.log == [("sql.malformed", "denied", "08P01", 0)]


def test_names_are_compared_as_the_server_reads_them(start: Start) -> None:
    talk = start()
    talk.answer(codec.parameter_status("client_encoding", "LATIN1"))
    talk.say(codec.query("prepare é as delete from t".encode("latin-1")))
    talk.answer(*done("PREPARE"))
    talk.say(codec.parse_message("é".encode(), b"select 1", ()), R.SYNC)  # two characters in LATIN1: another name
    talk.answer(R.PARSED, R.READY)
    talk.say(codec.query("execute é".encode("latin-1")))
    assert talk.admission.seen[-1].action is WRITE


def test_what_the_server_ignores_after_an_error_does_not_shift_the_outcomes(start: Start) -> None:
    talk = start()
    talk.say(R.parse("", "select 1"), R.FLUSH)
    talk.answer(R.error())
    talk.say(R.query("select 2"), R.SYNC)
    talk.answer(R.READY)
    talk.say(R.query("delete from t"))
    talk.answer(R.error("42P01"), R.READY)
    assert talk.admission.log == [
        ("sql.select", "failure", "42601", 0),  # the Parse
        ("sql.select", "aborted", "", 0),
        ("sql.delete", "failure", "42P01", 0),
    ]
    assert not talk.slot.busy


@pytest.mark.parametrize("early", [True, False])
def test_a_query_in_the_middle_of_copy_in_ends_the_session(start: Start, early: bool) -> None:
    talk = start()
    copy, other = R.query("copy t from stdin"), R.query("delete from t")
    talk.say(*([copy, other] if early else [copy]))
    told = talk.answer(m_copy_in())
    if not early:
        assert talk.say(other) == []
        told = R.kinds(talk.told())
    assert told[-1] == "E"
    assert talk.done
    assert [verb for verb, result, *_ in talk.admission.log if result == "success"] == []


def m_copy_in() -> bytes:
    return R.m("G", b"\0\0\0")


def _toggling(start: Start, actions: frozenset[Action]) -> Any:
    """A session with a prepared statement that turns standard_conforming_strings off, and it is on, as reported."""
    talk = start(R.FakeAdmission(actions))
    texts = [("off", "set standard_conforming_strings = off"), ("on", "set standard_conforming_strings = on")]
    talk.say(*(R.parse(name, text) for name, text in texts), R.SYNC)
    talk.answer(R.PARSED, R.PARSED, R.READY)
    for value in ("off", "on"):
        talk.say(R.bind("", value), R.execute(), R.SYNC)
        report = codec.parameter_status("standard_conforming_strings", value)
        talk.answer(R.BOUND, R.tag("SET"), report, R.READY)
    return talk


HIDING = r"select '\' , ' , lo_unlink(1) --'"


def test_text_behind_a_change_of_the_string_mode_is_not_understood(start: Start) -> None:
    talk = _toggling(start, frozenset({READ, WRITE}))
    talk.say(R.bind("", "off"), R.execute(), R.parse("", HIDING), R.bind(), R.execute(), R.SYNC)
    talk.answer(R.BOUND, R.tag("SET"), R.PARSED, R.BOUND)
    assert ("sql.unparsed", "refused", "", 0) in talk.admission.log


def test_text_behind_a_rollback_of_the_string_mode_waits_until_the_mode_is_known(start: Start) -> None:
    talk = _toggling(start, frozenset({READ, WRITE}))
    talk.say(R.query("rollback"), R.query(HIDING))
    assert [operation.verb for operation in talk.admission.seen][-1] == "sql.rollback"
    talk.answer(R.tag("ROLLBACK"), codec.parameter_status("standard_conforming_strings", "off"), R.READY)
    assert talk.admission.log[-1] == ("sql.unparsed", "refused", "", 0)


def test_with_nothing_in_flight_the_string_mode_is_believed_again(start: Start) -> None:
    talk = _toggling(start, frozenset({READ, WRITE}))
    assert talk.say(R.query(r"select 'a\b'")) == ["Q"]
    assert talk.admission.seen[-1].verb == "sql.select"


def test_one_message_of_a_great_many_statements_is_refused(start: Start) -> None:
    talk = start(R.FakeAdmission(frozenset({READ, WRITE, Action.ADMIN})))
    talk.say(R.query("select 1;" * 1001))
    assert talk.admission.log == [("sql.unparsed", "denied", "42501", 0)]


def test_a_pipeline_waits_for_answers_before_it_fills_the_log(start: Start) -> None:
    talk = start()
    talk.say(*[R.query("select 1")] * 1500)
    assert len(talk.admission.seen) == 1000
    for _ in range(1000):
        talk.answer(R.tag("SELECT 1"), R.READY)
    assert len(talk.admission.seen) == 1500


def test_the_end_of_a_copy_that_never_began_leaves_nothing_in_flight(start: Start) -> None:
    talk = start()
    talk.say(R.query("copy nosuch from stdin"), R.m("c"))
    talk.answer(R.error("42P01"), R.READY)
    assert not talk.slot.busy
