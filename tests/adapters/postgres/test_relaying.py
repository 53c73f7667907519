"""Conversations through the relay: what each side hears, and what the log is told (research A7, cases C)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from adapters.postgres import codec
from adapters.postgres.worker import Classifier
from bridge.adapter import Action, PeerFault, Reason, Refused, StatementLogging
from tests.adapters.postgres.conversation import (
    BOUND,
    CLOSED,
    FAILED,
    FLUSH,
    IN_BLOCK,
    PARSED,
    READY,
    ROW,
    STAMP,
    SUSPENDED,
    SYNC,
    FakeAdmission,
    Talk,
    bind,
    error,
    execute,
    fields,
    kinds,
    m,
    parse,
    query,
    tag,
)

# -- simple -----------------------------------------------------------------------------------------------------------


def test_a_query_goes_up_and_its_rows_come_back(start: Callable[..., Talk]) -> None:
    talk = start()
    assert talk.say(query("select 1")) == ["Q"]
    assert talk.slot.busy
    assert talk.answer(m("T", b"\0\0"), ROW, ROW, tag("SELECT 2"), READY) == ["T", "D", "D", "C", "Z"]
    assert not talk.slot.busy
    assert talk.admission.log == [("sql.select", "success", "", 2)]


@pytest.mark.parametrize("split", [1, 3, 7])
def test_messages_may_arrive_in_pieces(start: Callable[..., Talk], split: int) -> None:
    talk = start(split=split)
    assert talk.say(query("select 1"), query("insert into t values (1)")) == ["Q", "Q"]
    assert talk.answer(ROW, tag("SELECT 1"), READY, tag("INSERT 0 3"), READY) == ["D", "C", "Z", "C", "Z"]
    assert talk.admission.log == [("sql.select", "success", "", 1), ("sql.insert", "success", "", 3)]


def test_each_statement_of_a_message_has_its_own_outcome(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("begin; insert into t values (1); select 1/0; commit"))
    talk.answer(tag("BEGIN"), tag("INSERT 0 1"), error("22012"), FAILED)
    assert [(verb, result, code) for verb, result, code, _ in talk.admission.log] == [
        ("sql.begin", "success", ""),
        ("sql.insert", "success", ""),
        ("sql.select", "failure", "22012"),
        ("sql.commit", "aborted", ""),
    ]


def test_an_empty_query_is_answered_as_such(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("-- nothing"))
    assert talk.answer(m("I"), READY) == ["I", "Z"]
    assert talk.admission.log == [("sql.empty", "success", "", 0)]


def test_the_log_gets_no_literal_unless_it_asks_for_them(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("select * from t where a = 'secret'"))
    assert talk.admission.seen[0].text == "select * from t where a = ?"
    full = start(logging=StatementLogging.FULL)
    full.say(query("select * from t where a = 'secret'"))
    assert full.admission.seen[0].text == "select * from t where a = 'secret'"
    digest = start(logging=StatementLogging.DIGEST)
    digest.say(query("select * from t where a = 'secret'"))
    assert (digest.admission.seen[0].text, len(digest.admission.seen[0].digest)) == ("", 32)
    assert talk.admission.seen[0].objects == ("t",)


def test_notices_notifications_and_settings_pass_at_any_time(start: Callable[..., Talk]) -> None:
    talk = start()
    notice, status = codec.notice_response("NOTICE", "00000", "n"), codec.parameter_status("TimeZone", "UTC")
    assert talk.answer(notice, m("A", b"\0\0\0\1c\0p\0"), status) == ["N", "A", "S"]
    assert talk.admission.log == []


# -- refused ----------------------------------------------------------------------------------------------------------


def test_a_refused_query_never_goes_up_and_fails_in_its_place(start: Callable[..., Talk]) -> None:
    talk = start(FakeAdmission(frozenset({Action.READ, Action.WRITE})))
    talk.say(query("select 1"), query("drop table secret"), query("select 2"))
    assert b"drop" not in talk.server.waiting + bytes(talk.client.sent[:0])
    assert talk.answer(tag("SELECT 1"), READY) == ["C", "Z"]
    talk._send(talk.server, error() + FAILED)
    said = talk.told()
    assert kinds(said) == ["E", "Z"]
    assert (fields(said)["C"], fields(said)["S"]) == ("42501", "ERROR")
    assert "r1" in fields(said)["M"]
    assert talk.answer(tag("SELECT 1"), READY) == ["C", "Z"]
    assert talk.admission.log[0] == ("sql.ddl.drop_table", "refused", "", 0)


def test_what_went_before_a_refused_statement_of_its_message_is_not_executed(start: Callable[..., Talk]) -> None:
    talk = start(FakeAdmission(frozenset({Action.READ, Action.WRITE})))
    talk._send(talk.client, query("insert into t values (1); drop table t"))
    assert b"insert" not in talk.heard()
    talk.answer(error(), READY)
    assert talk.admission.log == [("sql.ddl.drop_table", "refused", "", 0), ("sql.insert", "aborted", "", 0)]


def test_when_the_log_is_down_nothing_goes_up(start: Callable[..., Talk]) -> None:
    talk = start(FakeAdmission(down=True))
    talk._send(talk.client, query("select 1"))
    assert b"select 1" not in talk.heard()
    talk._send(talk.server, error() + READY)
    assert fields(talk.told())["C"] == "58030"


def test_a_read_only_session_hears_the_same_whatever_others_have_run(start: Callable[..., Talk]) -> None:
    """What was learned about a text in a session that may write is not enough for one that may not."""
    said = []
    for _ in range(2):
        reader = start(FakeAdmission(frozenset({Action.READ})))
        reader._send(reader.client, query("insert into learned values (1)"))
        assert b"insert" not in reader.heard()
        reader._send(reader.server, error() + READY)
        said.append(fields(reader.told())["M"])
        start().say(query("insert into learned values (1)"))
    assert said == ["this session is read-only (reference r1)"] * 2


@pytest.mark.parametrize("text", ["set role x", "reset session authorization", "select set_config('role','x',true)"])
def test_a_change_of_identity_is_refused_and_recorded(start: Callable[..., Talk], text: str) -> None:
    talk = start()
    talk._send(talk.client, query(text))
    assert text.encode() not in talk.heard()
    talk._send(talk.server, error() + READY)
    assert fields(talk.told())["C"] == "42501"
    assert [(result, code) for _, result, code, _ in talk.admission.log] == [("denied", "42501")]


def test_in_the_extended_protocol_the_rest_to_the_sync_is_skipped(start: Callable[..., Talk]) -> None:
    talk = start(FakeAdmission(frozenset({Action.READ})))
    talk._send(talk.client, parse("", "insert into t values (1)") + bind() + execute() + SYNC + query("select 1"))
    up = talk.heard()
    assert kinds(up) == ["P", "S", "Q"]
    assert b"insert" not in up
    talk._send(talk.server, error() + READY)
    said = talk.told()
    assert kinds(said) == ["E", "Z"]
    assert fields(said)["C"] == "42501"
    assert talk.answer(tag("SELECT 1"), READY) == ["C", "Z"]


def test_a_nul_inside_a_query_is_what_it_is_to_the_server(start: Callable[..., Talk]) -> None:
    talk = start()
    talk._send(talk.client, m("Q", b"select 1\0; drop table t\0"))
    assert b"drop" not in talk.heard()
    talk._send(talk.server, error() + READY)
    said = talk.told()
    assert (kinds(said), fields(said)["C"]) == (["E", "Z"], "08P01")


def test_a_warning_is_heard_before_the_result(start: Callable[..., Talk]) -> None:
    talk = start(FakeAdmission(warning="this will be refused from June on"))
    talk.say(query("select 1"))
    said = talk.told()
    assert (kinds(said), fields(said)["S"]) == (["N"], "WARNING")


# -- extended ---------------------------------------------------------------------------------------------------------


def test_parse_bind_execute_is_one_operation_with_its_parameters(start: Callable[..., Talk]) -> None:
    """Teleport#6051, kviklet#534."""
    talk = start(logging=StatementLogging.FULL)
    talk.say(parse("", "select $1, $2"), bind(values=(b"a", None)), m("D", b"P\0"), execute(), SYNC)
    talk.answer(PARSED, BOUND, m("T", b"\0\0"), ROW, tag("SELECT 1"), READY)
    assert talk.admission.log == [("sql.select", "success", "", 1)]
    assert (talk.admission.seen[0].text, talk.admission.seen[0].parameters) == ("select $1, $2", ("a", None))


def test_values_are_not_kept_where_literals_are_not(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(parse("", "select $1"), bind(values=(b"secret",)), execute(), SYNC)
    assert talk.admission.seen[0].parameters is None


def test_two_interleaved_statements_keep_their_texts(start: Callable[..., Talk]) -> None:
    """kviklet#534: portal name first, then the statement's."""
    talk = start()
    talk.say(parse("one", "select 1 from a"), parse("two", "delete from b"), SYNC)
    talk.answer(PARSED, PARSED, READY)
    talk.say(bind("two", "one"), bind("one", "two"), execute("one"), execute("two"), SYNC)
    talk.answer(BOUND, BOUND, tag("DELETE 4"), ROW, tag("SELECT 1"), READY)
    assert talk.admission.log == [("sql.delete", "success", "", 4), ("sql.select", "success", "", 1)]


def test_a_failed_parse_of_a_known_name_leaves_the_old_text(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(parse("s", "delete from b"), SYNC)
    talk.answer(PARSED, READY)
    talk.say(parse("s", "select 1"), SYNC)
    talk.answer(error("42P05"), READY)
    talk.say(bind("", "s"), execute(), SYNC)
    assert talk.admission.seen[-1].verb == "sql.delete"


def test_a_statement_that_is_not_even_prepared_was_asked_all_the_same(start: Callable[..., Talk]) -> None:
    """Drivers that prepare first never execute it: without this, a question after a table would leave no trace."""
    talk = start()
    talk.say(parse("", "select * from secret_plans"), SYNC)
    talk.answer(error("42P01"), READY)
    talk.say(parse("", "select * from secret_plans") + bind() + execute(), SYNC)
    talk.answer(error("42P01"), READY)
    assert [(verb, result, code) for verb, result, code, _ in talk.admission.log] == [
        ("sql.select", "failure", "42P01"),
        ("sql.select", "aborted", ""),
    ]


def test_a_name_in_doubt_waits_for_the_answers(start: Callable[..., Talk]) -> None:
    """The same in one pipeline: which text executes is decided by the server, so the bridge asks and waits."""
    talk = start()
    talk.say(parse("s", "delete from b"), SYNC)
    talk.answer(PARSED, READY)
    assert talk.say(parse("s", "select 1"), SYNC, bind("", "s"), execute(), SYNC) == ["P", "S", "H"]
    talk.answer(error("42P05"), READY)
    assert kinds(talk.heard()) == ["B", "E", "S"]
    assert talk.admission.seen[-1].verb == "sql.delete"


def test_what_is_skipped_after_an_error_was_not_executed(start: Callable[..., Talk]) -> None:
    talk = start()
    one = parse("", "insert into t values (1)") + bind() + execute()
    talk.say(one, parse("", "select 1/0"), bind(), execute(), one, SYNC)
    talk.answer(PARSED, BOUND, tag("INSERT 0 1"), PARSED, BOUND, error("22012"), READY)
    assert [(verb, result) for verb, result, _, _ in talk.admission.log] == [
        ("sql.insert", "success"),
        ("sql.select", "failure"),
        ("sql.insert", "aborted"),
    ]


def test_flush_goes_up_at_once_and_its_answer_comes_back_without_a_sync(start: Callable[..., Talk]) -> None:
    """pgcat#953."""
    talk = start()
    assert talk.say(parse("", "select $1"), m("D", b"S\0"), FLUSH) == ["P", "D", "H"]
    assert talk.answer(PARSED, m("t", b"\0\0"), m("T", b"\0\0")) == ["1", "t", "T"]


def test_executions_with_a_row_limit_are_one_operation(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("begin"))
    talk.answer(tag("BEGIN"), IN_BLOCK)
    talk.say(parse("", "select a from t"), bind("p"), execute("p", 2), SYNC)
    talk.answer(PARSED, BOUND, ROW, ROW, SUSPENDED, IN_BLOCK)
    talk.say(execute("p", 2), SYNC)
    talk.answer(ROW, tag("SELECT 1"), IN_BLOCK)
    assert talk.admission.log[1:] == [("sql.select", "success", "", 3)]


def test_a_portal_that_is_left_is_done_with_its_transaction(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(parse("", "select a from t"), bind("p"), execute("p", 1), SYNC)
    talk.answer(PARSED, BOUND, ROW, SUSPENDED, READY)
    assert talk.admission.log == [("sql.select", "success", "", 1)]


def test_sql_prepare_is_known_to_bind_and_to_execute(start: Callable[..., Talk]) -> None:
    talk = start(FakeAdmission(frozenset({Action.READ, Action.WRITE})))
    talk.say(query("prepare foo as insert into t values (1)"))
    talk.answer(tag("PREPARE"), READY)
    talk.say(bind("", "foo"), execute(), SYNC)
    talk.answer(BOUND, tag("INSERT 0 1"), READY)
    talk.say(query("execute foo"))
    assert [(o.verb, o.action, o.objects) for o in talk.admission.seen[1:]] == [
        ("sql.prepare", Action.WRITE, ("t",)),
        ("sql.execute", Action.WRITE, ("t",)),
    ]


def test_a_cursor_of_declare_is_known_to_execute(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("begin; declare cc cursor for select * from t"))
    talk.answer(tag("BEGIN"), tag("DECLARE CURSOR"), IN_BLOCK)
    talk.say(execute("cc"), SYNC)
    assert (talk.admission.seen[-1].verb, talk.admission.seen[-1].objects) == ("sql.declare", ("t",))


@pytest.mark.parametrize("message", [execute("nobody"), bind("", "nobody") + execute(), query("execute nobody")])
def test_what_the_bridge_has_not_seen_needs_admin(start: Callable[..., Talk], message: bytes) -> None:
    talk = start(FakeAdmission(frozenset({Action.READ, Action.WRITE})))
    talk.say(message, SYNC)
    assert talk.admission.log == [("sql.unparsed", "refused", "", 0)]


# -- copy -------------------------------------------------------------------------------------------------------------


def test_syncs_within_a_copy_are_swallowed(start: Callable[..., Talk]) -> None:
    """pgdog#886: P B E S, d, c, S yields one Z, and the next query is attributed right."""
    talk = start()
    talk.say(parse("", "copy t from stdin"), bind(), execute(), SYNC)
    talk.answer(PARSED, BOUND, m("G", b"\0\0\0"))
    talk.say(m("d", b"1\n"), m("d", b"2\n"), m("c"), SYNC)
    talk.answer(tag("COPY 2"), READY)
    talk.say(query("select 1"))
    talk.answer(tag("SELECT 1"), READY)
    assert talk.admission.log == [("sql.copy_in", "success", "", 2), ("sql.select", "success", "", 1)]


def test_a_copy_sent_in_one_write_is_swallowed_too(start: Callable[..., Talk]) -> None:
    talk = start()
    copy = parse("", "copy t from stdin") + bind() + execute() + SYNC + m("d", b"1\n") + m("c") + SYNC
    talk.say(copy, query("select 1"))
    talk.answer(PARSED, BOUND, m("G", b"\0\0\0"), tag("COPY 1"), READY, tag("SELECT 1"), READY)
    assert talk.admission.log == [("sql.copy_in", "success", "", 1), ("sql.select", "success", "", 1)]


def test_a_copy_that_does_not_start_gets_a_z_for_each_sync(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(parse("", "copy t from stdin"), bind(), execute(), SYNC, m("d", b"1\n"), m("c"), SYNC, query("select 1"))
    assert talk.answer(PARSED, BOUND, error("42P01"), READY, READY) == ["1", "2", "E", "Z", "Z"]
    talk.answer(tag("SELECT 1"), READY)
    assert [(verb, result) for verb, result, _, _ in talk.admission.log] == [
        ("sql.copy_in", "failure"),
        ("sql.select", "success"),
    ]


def test_two_copies_in_one_query(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("copy t from stdin; copy u from stdin"))
    talk.answer(m("G", b"\0\0\0"))
    talk.say(m("d", b"1\n"), m("c"))
    talk.answer(tag("COPY 1"), m("G", b"\0\0\0"))
    talk.say(m("d", b"1\n"), m("f", b"no\0"))
    talk.answer(error("57014"), READY)
    assert [(result, code) for _, result, code, _ in talk.admission.log] == [("success", ""), ("failure", "57014")]


def test_copy_out_is_counted(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("copy t to stdout"))
    talk.answer(m("H", b"\0\0\0"), *[m("d", b"row\n")] * 3, m("c"), tag("COPY 3"), READY)
    assert talk.admission.log == [("sql.copy_out", "success", "", 3)]


def test_a_row_larger_than_any_buffer_is_streamed(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("select 1"))
    talk._send(talk.server, struct.pack(">BI", ord("D"), 4 + 1000) + b"x" * 400)
    assert len(talk.told()) == 405
    talk._send(talk.server, b"x" * 600 + tag("SELECT 1") + READY)
    assert talk.told().startswith(b"x" * 600)
    assert talk.admission.log == [("sql.select", "success", "", 1)]


def test_a_statement_too_large_to_parse_needs_admin_and_is_streamed(start: Callable[..., Talk]) -> None:
    talk = start()
    text = "insert into t values ('" + "secret" * 60_000 + "')"
    talk._send(talk.client, query(text))
    assert talk.heard() == query(text)
    assert talk.admission.seen[0].verb == "sql.unparsed"
    assert "secret" not in talk.admission.seen[0].text


# -- functions --------------------------------------------------------------------------------------------------------


def call(oid: int, *arguments: bytes) -> bytes:
    body = struct.pack(">IHHH", oid, 1, 1, len(arguments))
    return m("F", body + b"".join(struct.pack(">i", len(value)) + value for value in arguments) + b"\0\1")


def test_set_config_by_number_is_refused(start: Callable[..., Talk]) -> None:
    talk = start()
    talk._send(talk.client, call(2078, b"role", b"x", b"\0"))
    assert kinds(talk.heard()) == ["Q"]
    talk._send(talk.server, error() + READY)
    assert fields(talk.told())["C"] == "42501"


@pytest.mark.parametrize(("mode", "goes"), [(0x40000, ["F"]), (0x20000, ["Q"]), (0x60000, ["Q"])])
def test_a_read_only_session_opens_large_objects_for_reading_only(
    start: Callable[..., Talk], mode: int, goes: list[str]
) -> None:
    talk = start(FakeAdmission(frozenset({Action.READ})))
    assert talk.say(call(952, struct.pack(">I", 1), struct.pack(">I", mode))) == goes


def test_a_function_call_is_one_operation(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(call(955, b"\0\0\0\0", b"data"))
    assert talk.answer(m("V", b"\0\0\0\0"), READY) == ["V", "Z"]
    assert talk.admission.log == [("sql.function.lowrite", "success", "", 0)]


# -- the stamp --------------------------------------------------------------------------------------------------------


def test_the_stamp_is_kept_in_front(start: Callable[..., Talk]) -> None:
    talk = start()
    talk._send(talk.client, query("set application_name = 'me'"))
    assert f"'{STAMP} me'".encode() in talk.heard()
    talk._send(talk.client, parse("", "set application_name = 'me'") + bind() + execute() + SYNC)
    assert f"'{STAMP} me'".encode() in talk.heard()


def test_a_stamp_changed_behind_our_back_ends_the_session(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("do $$ begin set application_name = evil; end $$"))
    talk._send(talk.server, tag("DO") + codec.parameter_status("application_name", "evil") + READY)
    said = talk.told()
    assert (fields(said)["S"], fields(said)["C"]) == ("FATAL", "57P01")
    assert talk.admission.alarms == ["session-tampered"]
    assert isinstance(talk.done[0].value, Refused)


# -- ends -------------------------------------------------------------------------------------------------------------


def test_terminate_goes_up(start: Callable[..., Talk]) -> None:
    talk = start()
    assert talk.say(m("X")) == ["X"]


def test_a_fatal_while_idle_is_passed_on_and_ends(start: Callable[..., Talk]) -> None:
    talk = start()
    assert talk.answer(error("57P01", "FATAL")) == ["E"]
    Deferred.fromCoroutine(talk.server.close())
    assert talk.done == [None]
    assert talk.told() == b""


def test_an_upstream_that_dies_is_told_at_a_message_boundary(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("insert into t values (1)"))
    Deferred.fromCoroutine(talk.server.close())
    assert fields(talk.told())["C"] == "08006"
    assert talk.admission.log == [("sql.insert", "unknown", "", 0)]


def test_an_upstream_that_dies_in_a_message_leaves_nothing_to_say(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("select 1"))
    talk._send(talk.server, struct.pack(">BI", ord("D"), 100) + b"x")
    talk.told()
    Deferred.fromCoroutine(talk.server.close())
    assert talk.told() == b""


def test_a_client_that_leaves_in_a_query_has_it_cancelled(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("select pg_sleep(60)"))
    Deferred.fromCoroutine(talk.client.send_eof())
    assert talk.admission.dialled == 1
    assert talk.admission.log == [("sql.cancel", "failure", "", 0)]


def test_a_half_closed_client_still_hears_the_answer(start: Callable[..., Talk]) -> None:
    talk = start()
    talk.say(query("select 1"))
    Deferred.fromCoroutine(talk.client.send_eof())
    assert talk.answer(tag("SELECT 1"), READY) == ["C", "Z"]


def test_a_cut_session_hears_why(start: Callable[..., Talk]) -> None:
    talk = start()
    assert talk.admission.cut is not None
    Deferred.fromCoroutine(talk.admission.cut(Refused(Reason.SESSION_REVOKED, "the agent was revoked")))
    said = talk.told()
    assert (fields(said)["S"], fields(said)["C"]) == ("FATAL", "57P01")


@pytest.mark.parametrize("garbage", [b"Q\0\0\0\3", b"S\0\1\0\0", b"~\0\0\0\4", b"d\xff\xff\xff\xff"])
def test_what_no_server_would_take_ends_the_session(start: Callable[..., Talk], garbage: bytes) -> None:
    talk = start()
    talk._send(talk.client, garbage)
    assert talk.heard() == b""
    assert fields(talk.told())["C"] == "08P01"
    assert isinstance(talk.done[0].value, PeerFault)


_CLIENT = [
    query("select 1"),
    query("begin; select 2"),
    parse("", "select 3"),
    parse("s", "insert into t values (1)"),
    bind(),
    bind("p", "s"),
    execute(),
    execute("p", 1),
    m("D", b"P\0"),
    m("C", b"Ss\0"),
    SYNC,
    FLUSH,
    m("d", b"x\n"),
    m("c"),
    m("Q", b"\0\0"),
    m("B", b"\0"),
]
_SERVER = [
    ROW,
    PARSED,
    BOUND,
    CLOSED,
    SUSPENDED,
    READY,
    IN_BLOCK,
    FAILED,
    error(),
    tag("SELECT 1"),
    m("I"),
    m("n"),
    m("G", b"\0\0\0"),
    m("d", b"y"),
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 13)), max_size=40))
def test_every_operation_has_exactly_one_outcome_whatever_is_said(steps: list[tuple[bool, int]]) -> None:
    talk = Talk(_KNOWING, FakeAdmission(), StatementLogging.REDACTED, 1 << 18)
    for from_client, index in steps:
        if talk.done:
            break
        talk._send(talk.client if from_client else talk.server, (_CLIENT if from_client else _SERVER)[index])
    talk.leave()
    assert talk.done
    assert len(talk.admission.log) == len(talk.admission.seen)


async def _parsed_here(function: Any, text: str) -> Any:
    import json

    from adapters.postgres import parser_child

    return json.loads(parser_child.answer(text))


_KNOWING = Classifier()
_KNOWING.start(_parsed_here)
