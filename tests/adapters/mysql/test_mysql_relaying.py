"""Conversations through the relay: what each side hears, and what the log is told (research B5, cases C)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.python.failure import Failure

from adapters.mysql.codec import Cap, ok, packets
from adapters.mysql.options import Options
from bridge.adapter import Action, PeerFault, Reason, Refused, StatementLogging
from tests.adapters.mysql import conversation as play
from tests.adapters.mysql.conversation import (
    ERR,
    OK,
    FakeAdmission,
    Talk,
    captured,
    execute,
    packet,
    prepare,
    query,
    refusal,
    row_answer,
)

Start = Callable[..., Talk]


@pytest.fixture
def start() -> Iterator[Start]:
    talks = []

    def begin(*args: object, **kwargs: object) -> Talk:
        talks.append(Talk(*args, **kwargs))
        return talks[-1]

    yield begin
    for talk in talks:
        talk.leave()
        assert talk.done, "the relay did not end"


# -- a query ----------------------------------------------------------------------------------------------------------


def test_a_query_goes_up_as_it_is_and_its_rows_come_back(start: Start) -> None:
    talk = start()
    assert talk.say(query("select 1")) == query("select 1")
    answer = row_answer(b"1", b"2")
    assert talk.answer(answer) == answer
    assert talk.admission.log == [("sql.select", "success", "", 2)]


def test_before_the_first_text_the_bridge_asks_how_the_server_reads(start: Start) -> None:
    talk = start(settled=False)
    assert b"sql_mode" in talk.say(query("select 1"))
    assert talk.answer(play.modes_answer()) == b""
    assert talk.heard_now == query("select 1")


@pytest.mark.parametrize("split", [1, 2, 3, 7])
@pytest.mark.parametrize("flags", ["eof", "deprecate", "track"])
def test_every_captured_answer_passes_unchanged_in_pieces(start: Start, flags: str, split: int) -> None:
    """MariaDB's own bytes: whatever the borders of what is read, the client hears the same."""
    talk = start(capabilities=play.FLAGS[flags] & ~Cap.DEPRECATE_EOF, split=split)
    talk.leave()
    talk = start(capabilities=play.FLAGS[flags], split=split, settled=False)
    talk.say(query("select 0"))
    talk.answer(captured(flags, "modes"))
    assert talk.answer(captured(flags, "empty_result")) == captured(flags, "empty_result")
    talk.admission.log.clear()
    for key, text, expected in (
        ("select", "select a, b from t", [("sql.select", "success", "")]),
        ("error", "select b from", [("sql.select", "failure", "1064")]),
        ("insert", "insert into t values (1)", [("sql.insert", "success", "")]),
        ("multi", "select 1; insert into t values (12,'q'); select 2",
         [("sql.select", "success", ""), ("sql.insert", "success", ""), ("sql.select", "success", "")]),
        ("multi_error", "select 1; insert into t; select 2",
         [("sql.select", "success", ""), ("sql.insert", "failure", "1064"), ("sql.select", "aborted", "")]),
        ("call", "call p()", [("sql.call", "success", "")]),
    ):  # fmt: skip
        assert talk.say(query(text)) == query(text)
        assert talk.answer(captured(flags, key)) == captured(flags, key)
        assert [entry[:3] for entry in talk.admission.log] == expected
        talk.admission.log.clear()


@pytest.mark.parametrize("flags", ["eof", "deprecate"])
def test_commands_without_sql(start: Start, flags: str) -> None:
    talk = start(capabilities=play.FLAGS[flags], settled=False)
    for key, command in (("ping", b"\x0e"), ("statistics", b"\x09"), ("field_list", b"\x04t\0")):
        assert talk.say(packet(command)) == packet(command)
        assert talk.answer(captured(flags, key)) == captured(flags, key)
    assert [entry[:2] for entry in talk.admission.log] == [("sql.statistics", "success"), ("sql.field_list", "success")]


def test_rows_and_affected_rows_are_counted(start: Start) -> None:
    talk = start()
    talk.say(query("insert into t values (1)"))
    talk.answer(packet(ok(affected=300), 1))
    assert talk.admission.log == [("sql.insert", "success", "", 300)]


def test_the_log_gets_no_literal_unless_it_asks_for_them(start: Start) -> None:
    for logging, text in (
        (StatementLogging.REDACTED, "select * from t where a = ?"),
        (StatementLogging.FULL, "select * from t where a = 'secret'"),
        (StatementLogging.DIGEST, ""),
    ):
        talk = start(logging=logging)
        talk.say(query("select * from t where a = 'secret'"))
        operation = talk.admission.seen[0]
        assert (operation.text, operation.objects, len(operation.digest)) == (text, ("t",), 32)


def test_two_commands_in_one_write_are_answered_in_order(start: Start) -> None:
    """Research B5: clients do pipeline."""
    talk = start()
    assert talk.say(query("select 1"), query("insert into t values (1)")) == query("select 1") + query(
        "insert into t values (1)"
    )
    talk.answer(row_answer(b"1"), OK)
    assert [entry[0] for entry in talk.admission.log] == ["sql.select", "sql.insert"]


@pytest.mark.parametrize("flags", ["eof", "deprecate"])
@pytest.mark.parametrize("key", ["prepare", "select", "execute", "error", "insert"])
def test_nothing_of_our_own_gets_into_an_answer_that_is_cut_anywhere(start: Start, flags: str, key: str) -> None:
    """A refusal waits behind the answer; whatever the border at which the answer is cut, it comes after its end."""
    text = "select a, b from t where a < ?"
    answer = captured(flags, key)
    for cut in range(1, len(answer)):
        talk = start(FakeAdmission(play.READER), capabilities=play.FLAGS[flags], settled=False)
        talk.say(packet(b"\x0e"))
        talk.answer(OK)
        talk.say(prepare(text) if key == "prepare" else query("select 1"))
        talk.answer(captured(flags, "modes"))
        talk.say(packet(b"\x08"))
        told = talk.answer(answer[:cut]) + talk.answer(answer[cut:])
        assert told[: len(answer)] == answer
        assert refusal(told[len(answer) :])[1] == 1047
        talk.leave()


def test_progress_reports_of_mariadb_are_no_errors(start: Start) -> None:
    talk = start()
    talk.say(query("alter table t force"))
    progress = packet(b"\xff\xff\xff\1\1\1\0\0\0\0", 1)
    assert talk.answer(progress, packet(ok(), 2)) == progress + packet(ok(), 2)
    assert talk.admission.log == [("sql.ddl.alter_table", "success", "", 0)]


def test_a_row_of_more_than_16_mib_is_one_row(start: Start) -> None:
    talk = start()
    talk.say(query("select big from t"))
    head = b"".join(packet(body, index + 1) for index, body in enumerate([b"\1", b"\3def", b"\xfe\0\0\2\0"]))
    value = b"\xfe" + (17 << 20).to_bytes(8, "little") + bytes(17 << 20)
    told = talk.answer(head) + talk.answer_large(packets(value, 4)) + talk.answer(packet(b"\xfe\0\0\2\0", 6))
    assert len(told) == len(head) + len(value) + 3 * 4 + 5
    assert talk.admission.log == [("sql.select", "success", "", 1)]


def test_a_row_of_exactly_16_mib_ends_with_an_empty_packet(start: Start) -> None:
    talk = start()
    talk.say(query("select big from t"))
    head = b"".join(packet(body, index + 1) for index, body in enumerate([b"\1", b"\3def", b"\xfe\0\0\2\0"]))
    value = b"\xfd" + bytes(0xFFFFFF - 1)
    talk.answer(head)
    talk.answer_large(packets(value, 4))
    talk.answer(packet(b"\xfe\0\0\2\0", 6))
    assert talk.admission.log == [("sql.select", "success", "", 1)]


# -- refused ----------------------------------------------------------------------------------------------------------


def test_a_refused_query_never_goes_up_and_the_session_lives(start: Start) -> None:
    talk = start(FakeAdmission(play.WRITER))
    sequence, code, text = talk.ask_refused(query("drop table secret"))
    assert (sequence, code) == (1, 1142)
    assert "r1" in text
    assert talk.say(query("select 1")) == query("select 1")
    assert talk.admission.log == [("sql.ddl.drop_table", "refused", "", 0)]


def test_a_refusal_waits_for_its_place_among_the_answers(start: Start) -> None:
    talk = start(FakeAdmission(play.WRITER))
    talk.say(query("select 1"), query("drop table secret"), query("select 2"))
    assert talk.told() == b""
    told = talk.answer(row_answer(b"1"))
    assert told.startswith(row_answer(b"1"))
    assert refusal(told[len(row_answer(b"1")) :])[:2] == (1, 1142)
    assert talk.answer(row_answer(b"2")) == row_answer(b"2")


def test_kviklet_550_when_the_log_is_down_nothing_goes_up(start: Start) -> None:
    """C36."""
    talk = start()
    talk.admission.down = True
    assert talk.ask_refused(query("select 1"))[1] == 1105


def test_of_several_statements_one_refused_refuses_all(start: Start) -> None:
    talk = start(FakeAdmission(play.WRITER))
    talk.ask_refused(query("insert into t values (1); drop table t"))
    assert talk.admission.log == [("sql.ddl.drop_table", "refused", "", 0), ("sql.insert", "aborted", "", 0)]


def test_mcp_servers_1889_no_commit_escapes_a_read_only_session(start: Start) -> None:
    """C38."""
    talk = start(FakeAdmission(play.READER))
    for text in ("commit; drop table t", "commit; insert into t values (1)", "rollback; begin; delete from t"):
        talk.ask_refused(query(text))


@pytest.mark.parametrize("text", ["set role admin", "set session authorization x@y", "set names gbk", "set @@role='x'"])
def test_what_no_session_may_do_is_refused_and_recorded(start: Start, text: str) -> None:
    talk = start()
    assert talk.ask_refused(query(text))[1] == 1142
    assert talk.admission.log == [("sql.set", "denied", "1142", 0)]


@pytest.mark.parametrize("com", [0, 5, 6, 7, 8, 10, 11, 13, 15, 16, 17, 18, 19, 29, 30, 32, 0xFB, 0xFF])
def test_commands_that_act_without_sql_are_refused(start: Start, com: int) -> None:
    """COM_SHUTDOWN, COM_BINLOG_DUMP, COM_CHANGE_USER … (research B5; proxysql#4618, C31)."""
    talk = start()
    assert talk.ask_refused(packet(bytes([com]) + b"\0" * 8))[1] == 1047
    assert talk.admission.log == [(f"sql.command_0x{com:02x}", "denied", "1047", 0)]
    assert talk.say(packet(b"\x0e")) == packet(b"\x0e")


def test_a_database_that_no_grant_covers_is_out_of_reach(start: Start) -> None:
    """Grants narrow by database, and MySQL reaches all of them over one connection."""
    talk = start(FakeAdmission(databases=frozenset({"app"})))
    talk.ask_refused(query("select * from other.t"))
    talk.ask_refused(query("insert into app.t select * from `other` . t"))
    talk.ask_refused(query("use other"))
    talk.ask_refused(packet(b"\x02other"))
    talk.ask_refused(query("prepare s from 'select * from other.t'"))
    talk.ask_refused(prepare("select * from other.t"))
    assert talk.say(query("select * from app.t, t where t.a = 1")) != b""
    assert talk.say(query("select * from information_schema.tables")) != b""


def test_the_current_database_follows_use(start: Start) -> None:
    talk = start()
    talk.say(query("use other"))
    talk.answer(OK)
    talk.say(query("select * from t"))
    talk.answer(play.modes_answer(database="other"))
    assert talk.admission.seen[-1].target == {"database": "other"}


def test_packets_out_of_order_end_the_session(start: Start) -> None:
    talk = start()
    talk.say(packet(b"\x0e", 5))
    assert refusal(talk.told())[2].startswith("packets out of order")
    assert isinstance(talk.done[0], Failure)
    assert talk.done[0].check(PeerFault)


def test_a_number_that_is_out_of_order_is_seen_before_its_packet_is_there(start: Start) -> None:
    talk = start()
    talk.say(b"\xff" * 64)
    assert talk.done[0].check(PeerFault)


def test_a_client_that_leaves_amid_a_packet_breaks_the_protocol(start: Start) -> None:
    talk = start()
    talk.say(query("select 1")[:-1])
    play.Deferred.fromCoroutine(talk.client.close())
    assert talk.done[0].check(PeerFault)


# -- how the server reads ---------------------------------------------------------------------------------------------


def test_after_a_change_of_sql_mode_the_bridge_asks_again_before_the_next_text(start: Start) -> None:
    talk = start(FakeAdmission(play.WRITER))
    talk.say(query("set sql_mode = 'NO_BACKSLASH_ESCAPES'"))
    talk.answer(OK)
    tricky = "select 'a\\'; drop table t; -- '"
    assert b"sql_mode" in talk.say(query(tricky))
    talk.answer(play.modes_answer("NO_BACKSLASH_ESCAPES"))
    assert talk.heard_now == b""
    assert ("sql.ddl.drop_table", "refused", "", 0) in talk.admission.log


def test_a_server_that_does_not_say_how_it_reads_gets_no_doubtful_text(start: Start) -> None:
    talk = start(FakeAdmission(play.WRITER), settled=False)
    talk.say(query("select 'a\\'b'"))
    assert refusal(talk.answer(ERR))[1] == 1142
    assert talk.admission.log == [("sql.unparsed", "refused", "", 0)]


def test_a_text_that_changes_the_mode_for_its_own_rest_is_not_understood(start: Start) -> None:
    talk = start(FakeAdmission(play.WRITER))
    talk.ask_refused(query("set sql_mode='NO_BACKSLASH_ESCAPES'; select '\\'; drop table t; -- '"))


def test_an_executable_comment_needs_admin(start: Start) -> None:
    talk = start(FakeAdmission(play.WRITER))
    for text in (
        "select /*! 1 */",
        "/*!50000 insert into t values (1) */",
        "/*M! drop table t */",
        "select 1 /*!99999 x*/",
    ):
        talk.ask_refused(query(text))
    everything = start()
    everything.ask_refused(query("/*! kill 5 */"))
    assert everything.say(query("/*!40101 SET NAMES utf8 */")) != b""


# -- reset ------------------------------------------------------------------------------------------------------------


def test_a_reset_session_is_made_read_only_again_before_anything_else(start: Start) -> None:
    """Research B5: COM_RESET_CONNECTION undoes SET SESSION."""
    talk = start(FakeAdmission(play.READER))
    assert talk.say(packet(b"\x1f"), query("select 1")) == packet(b"\x1f")
    assert talk.answer(OK) == OK
    assert talk.heard_now == query("SET SESSION TRANSACTION READ ONLY")
    assert talk.answer(OK) == b""
    assert b"sql_mode" in talk.heard_now
    talk.answer(play.modes_answer())
    assert talk.heard_now == query("select 1")


def test_a_session_that_cannot_be_made_read_only_again_ends(start: Start) -> None:
    talk = start(FakeAdmission(play.READER))
    talk.say(packet(b"\x1f"), query("select 1"))
    talk.answer(OK)
    told = talk.answer(packet(b"\xff\x15\x04#42000no", 1))
    assert refusal(told)[1] == 1105
    assert talk.done[0].check(Refused)


def test_statements_are_unknown_after_a_reset(start: Start) -> None:
    """C31: stale statements (proxysql#752)."""
    talk = start()
    talk.say(prepare("commit"))
    talk.answer(captured("eof", "prepare_plain"))
    talk.say(packet(b"\x1f"))
    talk.answer(OK)
    assert talk.ask_refused(execute(4))[1] == 1243


def test_several_statements_are_switched_on_only_where_that_is_allowed(start: Start) -> None:
    refused = start(capabilities=play.BASE & ~Cap.MULTI_STATEMENTS)
    assert refused.ask_refused(packet(b"\x1b\0\0"))[1] == 1142
    assert refused.say(packet(b"\x1b\1\0")) == packet(b"\x1b\1\0")
    allowed = start(options=Options(multi_statements=True))
    assert allowed.say(packet(b"\x1b\0\0")) == packet(b"\x1b\0\0")
    assert allowed.answer(captured("eof", "set_option")) == captured("eof", "set_option")


# -- kill -------------------------------------------------------------------------------------------------------------


def test_proxysql_860_kill_reaches_ones_own_session_by_the_servers_number(start: Start) -> None:
    """C28: the client knows the bridge's number, from the greeting."""
    first = start(thread_id=71)
    second = start(kills=first.kills, thread_id=72)
    assert second.say(query(f"KILL QUERY {first.slot.connection_id}")) == query("KILL QUERY 71")
    assert second.answer(OK) == OK
    assert second.say(query("kill 71")) == query("KILL CONNECTION 71")
    second.answer(OK)
    assert second.say(packet(b"\x0c" + first.slot.connection_id.to_bytes(4, "little"))) == query("KILL CONNECTION 71")
    second.answer(OK)
    assert second.admission.log == [("sql.kill", "success", "", 0)] * 3


def test_another_agents_session_is_out_of_reach(start: Start) -> None:
    """C28: to the legacy server both are one user."""
    theirs = FakeAdmission()
    theirs.agent = play.AgentFacts("other", "Other", "team")
    first = start(theirs, thread_id=71)
    second = start(kills=first.kills, thread_id=72)
    assert second.ask_refused(query("kill query 71"))[1] == 1094
    assert second.ask_refused(query(f"kill {first.slot.connection_id}"))[1] == 1094
    assert second.ask_refused(packet(b"\x0c" + (71).to_bytes(4, "little")))[1] == 1094
    assert {entry[1] for entry in second.admission.log} == {"denied"}


@pytest.mark.parametrize(
    "text",
    ["kill hard query 60", "kill user legacy", "kill (select 1)+5", "kill @x", "kill query id 5", "kill",
     "select 1; kill 60", "kill 60; select 1", "prepare s from 'kill 60'", "/*! kill 60 */"],
)  # fmt: skip
def test_other_forms_of_kill_are_refused(start: Start, text: str) -> None:
    start().ask_refused(query(text))


# -- prepared statements ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", ["eof", "deprecate", "track"])
@pytest.mark.parametrize("split", [1, 5, 1 << 18])
def test_teleport_6051_a_prepared_statement_is_logged_with_text_and_parameters(
    start: Start, flags: str, split: int
) -> None:
    """C12, played with MariaDB's bytes, cursor included."""
    talk = start(logging=StatementLogging.FULL, capabilities=play.FLAGS[flags], split=split, settled=False)
    talk.say(prepare("select a, b from t where a < ?"))
    talk.answer(captured(flags, "modes"))
    assert talk.answer(captured(flags, "prepare")) == captured(flags, "prepare")
    number = int.from_bytes(captured(flags, "prepare")[5:9], "little")
    bound = b"\0\1\x03\0" + (9).to_bytes(4, "little")
    assert talk.say(execute(number, bound)) == execute(number, bound)
    assert talk.answer(captured(flags, "execute")) == captured(flags, "execute")
    assert talk.admission.log == [("sql.select", "success", "", 3)]
    assert talk.admission.seen[-1].parameters == ("9",)
    assert talk.admission.seen[-1].text == "select a, b from t where a < ?"
    assert talk.say(execute(number, bound, flags=1)) != b""
    assert talk.answer(captured(flags, "execute_cursor")) == captured(flags, "execute_cursor")
    assert len(talk.admission.log) == 1
    fetch = packet(b"\x1c" + number.to_bytes(4, "little") + b"\2\0\0\0")
    for key in ("fetch_2", "fetch_rest"):
        assert talk.say(fetch) == fetch
        assert talk.answer(captured(flags, key)) == captured(flags, key)
    assert talk.admission.log[1:] == [("sql.select", "success", "", 3)]


def test_kviklet_534_interleaved_statements_are_told_apart(start: Start) -> None:
    """C13: each execution is logged as its own statement, NULLs and pieces included."""
    talk = start(logging=StatementLogging.FULL)
    talk.say(prepare("select a, b from t where a < ?"), prepare("insert into t values (?, ?)"))
    talk.answer(captured("eof", "prepare"), captured("eof", "prepare_insert"))
    number = int.from_bytes(captured("eof", "prepare")[5:9], "little")
    other = int.from_bytes(captured("eof", "prepare_insert")[5:9], "little")
    piece = packet(b"\x18" + other.to_bytes(4, "little") + b"\1\0" + b"pieces")
    talk.say(
        piece,
        execute(number, b"\0\1\x03\0\x09\0\0\0"),
        execute(other, b"\1\1\x03\0\xfd\0"),
        execute(number, b"\1\0"),
        execute(other, b"\0\0\7\0\0\0\1x"),
    )
    talk.answer(captured("eof", "execute"), OK, captured("eof", "execute"), OK)
    assert [(one.verb, one.parameters) for one in talk.admission.seen] == [
        ("sql.select", ("9",)),
        ("sql.insert", (None, "<long data>")),
        ("sql.select", (None,)),
        ("sql.insert", ("7", "x")),
    ]
    assert [entry[:2] for entry in talk.admission.log] == [
        (verb, "success") for verb in ("sql.select", "sql.insert") * 2
    ]


def test_a_cursor_that_is_closed_early_has_its_outcome(start: Start) -> None:
    talk = start()
    talk.say(prepare("select a, b from t where a < ?"))
    talk.answer(captured("eof", "prepare"))
    number = int.from_bytes(captured("eof", "prepare")[5:9], "little")
    talk.say(execute(number, b"\0\1\x03\0\x09\0\0\0", flags=1))
    talk.answer(captured("eof", "execute_cursor"))
    talk.say(packet(b"\x19" + number.to_bytes(4, "little")))
    assert talk.admission.log == [("sql.select", "success", "", 0)]
    assert talk.ask_refused(execute(number))[1] == 1243


def test_the_statement_prepared_last_can_be_executed_in_the_same_write(start: Start) -> None:
    """MariaDB: number 0xffffffff; the text is known when the server has prepared it."""
    talk = start()
    last = packet(b"\x17\xff\xff\xff\xff\0\1\0\0\0")
    assert talk.say(prepare("select 7"), last) == prepare("select 7")
    answer = captured("eof", "last")
    prepared = len(answer) - len(answer[answer.index(b"\1\0\0\1\1", 20) :])
    talk.answer(answer[:prepared])
    assert talk.heard_now == last
    talk.answer(answer[prepared:])
    assert talk.admission.log == [("sql.select", "success", "", 1)]


def test_a_statement_the_bridge_has_not_seen_is_not_executed(start: Start) -> None:
    """C14."""
    talk = start()
    assert talk.ask_refused(execute(99))[1] == 1243
    assert talk.ask_refused(packet(b"\x17\xff\xff\xff\xff\0\1\0\0\0"))[1] == 1243
    assert talk.say(packet(b"\x18" + bytes(6) + b"long"), packet(b"\x19" + bytes(4))) == b""


def test_a_statement_is_refused_when_it_is_prepared(start: Start) -> None:
    talk = start(FakeAdmission(play.READER))
    assert talk.ask_refused(prepare("insert into t values (?)"))[1] == 1142
    assert talk.ask_refused(prepare("kill 5"))[1] == 1142


def test_what_the_server_does_not_prepare_is_logged(start: Start) -> None:
    talk = start()
    talk.say(prepare("select x from"))
    assert talk.answer(captured("eof", "prepare_error")) == captured("eof", "prepare_error")
    assert talk.admission.log == [("sql.select", "failure", "1064", 0)]


def test_proxysql_1350_forty_megabytes_of_parameter_pass_without_being_collected(start: Start) -> None:
    """C32."""
    talk = start()
    talk.say(prepare("insert into t values (?, ?)"))
    talk.answer(captured("eof", "prepare_insert"))
    body = b"\x17" + (3).to_bytes(4, "little") + b"\0\1\0\0\0" + b"\0\1\xfc\0\xfc\0" + bytes(40 << 20)
    whole, passed = packets(body, 0), 0
    for start_at in range(0, len(whole), 1 << 18):
        passed += len(talk.say(whole[start_at : start_at + (1 << 18)]))
    assert passed == len(whole)
    talk.answer(packet(ok(affected=1), 3))
    assert talk.admission.log == [("sql.insert", "success", "", 1)]


def test_a_refused_command_of_many_packets_is_answered_behind_its_last(start: Start) -> None:
    talk = start()
    whole = packets(b"\x03insert into t values ('" + bytes(17 << 20) + b"')", 0)
    for start_at in range(0, len(whole) - 5, 1 << 18):
        talk.say(whole[start_at : min(start_at + (1 << 18), len(whole) - 5)])
        assert talk.told() == b""
    talk.say(whole[-5:])
    assert refusal(talk.told())[:2] == (2, 1153)


def test_a_text_of_megabytes_is_collected_and_understood(start: Start) -> None:
    talk = start(FakeAdmission(play.WRITER))
    text = "insert into t values " + ",".join(["('x', 1)"] * 400_000)
    whole, passed = query(text), 0
    for start_at in range(0, len(whole), 1 << 18):
        passed += len(talk.say(whole[start_at : start_at + (1 << 18)]))
    assert passed == len(whole)
    talk.answer(packet(ok(affected=400_000), 1))
    assert talk.admission.log == [("sql.insert", "success", "", 400_000)]


def test_sqls_own_prepare_and_execute(start: Start) -> None:
    talk = start(FakeAdmission(play.WRITER))
    assert talk.say(query("prepare s from 'insert into t values (?)'")) != b""
    talk.answer(OK)
    assert talk.say(query("execute s using @a")) != b""
    talk.answer(packet(ok(affected=1), 1))
    assert talk.admission.seen[-1].action is Action.WRITE
    talk.say(query("execute other"))
    assert refusal(talk.answer(play.modes_answer()))[1] == 1142


# -- files ------------------------------------------------------------------------------------------------------------


def test_proxysql_3500_no_file_unless_it_is_allowed(start: Start) -> None:
    """C33."""
    talk = start()
    assert talk.ask_refused(query("load data local infile 'x.csv' into table t"))[1] == 1142


def test_a_file_the_client_named_passes(start: Start) -> None:
    talk = start(options=Options(local_infile=True))
    talk.say(query("load data local infile 'x.csv' into table t"))
    assert talk.answer(captured("eof", "local")) == captured("eof", "local")
    sent = packet(b"21,a\n22,b\n", 2) + packet(b"", 3)
    assert talk.say(sent) == sent
    assert talk.answer(captured("eof", "local_sent")) == captured("eof", "local_sent")
    assert talk.admission.log == [("sql.load", "success", "", 2)]
    assert talk.admission.outcomes[-1].bytes == len("21,a\n22,b\n")
    assert talk.say(packet(b"\x0e")) == packet(b"\x0e")


def test_a_file_of_full_packets_ends_with_a_packet_of_its_own(start: Start) -> None:
    """The empty packet behind one of 16 MiB - 1 is its rest; the next one ends the file."""
    talk = start(options=Options(local_infile=True))
    talk.say(query("load data local infile 'x.csv' into table t"))
    talk.answer(captured("eof", "local"))
    whole = packets(bytes(0xFFFFFF), 2)
    assert sum(len(talk.say(whole[at : at + (1 << 18)])) for at in range(0, len(whole), 1 << 18)) == len(whole)
    assert talk.say(packet(b"", 4)) == packet(b"", 4)
    talk.answer(packet(ok(affected=1), 5))
    assert talk.say(packet(b"\x0e")) == packet(b"\x0e")


def test_a_file_that_was_not_asked_for_then_is_not_given_later(start: Start) -> None:
    talk = start(options=Options(local_infile=True))
    talk.say(query("load data local infile 'x.csv' into table t"))
    talk.answer(ERR)
    talk.say(query("select 1"))
    assert refusal(talk.answer(packet(b"\xfbx.csv", 1)))[1] == 4166


def test_a_command_in_place_of_the_file_ends_the_session(start: Start) -> None:
    talk = start(options=Options(local_infile=True))
    talk.say(query("load data local infile 'x.csv' into table t"), query("select 1"))
    talk.answer(captured("eof", "local"))
    assert talk.done[0].check(PeerFault)


def test_a_server_that_asks_for_another_file_gets_an_empty_one_and_the_client_an_error(start: Start) -> None:
    talk = start(options=Options(local_infile=True))
    talk.say(query("load data local infile 'x.csv' into table t"))
    talk._send(talk.server, packet(b"\xfb/etc/passwd", 1))
    assert talk.heard() == packet(b"", 2)
    assert refusal(talk.told())[:2] == (1, 4166)
    assert talk.admission.alarms == ["file-asked"]
    assert talk.answer(packet(ok(), 3)) == b""
    assert talk.say(packet(b"\x0e")) == packet(b"\x0e")
    assert talk.answer(OK) == OK
    assert talk.admission.log == [("sql.load", "denied", "", 0)]


def test_a_server_cannot_ask_for_a_file_behind_a_plain_query(start: Start) -> None:
    talk = start()
    talk.say(query("select 1"))
    assert refusal(talk.answer(packet(b"\xfb/etc/passwd", 1)))[1] == 4166


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_session_that_is_cut_hears_why(start: Start) -> None:
    talk = start()
    assert talk.admission.cut is not None
    play.Deferred.fromCoroutine(talk.admission.cut(Refused(Reason.SESSION_REVOKED, "revoked")))
    assert refusal(talk.told())[:2] == (1, 1927)


def test_a_session_that_is_cut_amid_rows_hears_it_as_the_next_packet(start: Start) -> None:
    talk = start()
    talk.say(query("select a from t"))
    talk.answer(row_answer(b"1", b"2")[: -len(packet(b"\xfe\0\0\2\0"))])
    play.Deferred.fromCoroutine(talk.admission.cut(Refused(Reason.SESSION_REVOKED, "revoked")))
    assert refusal(talk.told())[:2] == (6, 1927)


def test_a_server_that_goes_away_is_told_and_recorded(start: Start) -> None:
    talk = start()
    talk.say(query("select 1"))
    play.Deferred.fromCoroutine(talk.server.close())
    assert refusal(talk.told())[1] == 2006
    assert talk.admission.log == [("sql.select", "unknown", "", 0)]


def test_a_killed_idle_connection_passes_the_servers_words(start: Start) -> None:
    talk = start()
    said = packet(b"\xff\x87\x07#70100Connection was killed", 1)
    assert talk.answer(said) == said
    play.Deferred.fromCoroutine(talk.server.close())
    assert not isinstance(talk.done[0], Failure)


def test_quit_ends_in_order(start: Start) -> None:
    talk = start()
    assert talk.say(packet(b"\x01")) == packet(b"\x01")
    play.Deferred.fromCoroutine(talk.server.close())
    assert talk.done == [None]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.binary(max_size=40), max_size=6), st.booleans())
def test_whatever_both_sides_say_nothing_but_faults_comes_out(
    client: list[bytes], server: list[bytes], framed: bool
) -> None:
    talk = Talk()
    for mine, theirs in zip([*client, b""], [*server, b""], strict=False):
        if talk.done:
            break
        play.Deferred.fromCoroutine(talk.client.send(packet(mine) if framed else mine)).addErrback(lambda _: None)
        play.Deferred.fromCoroutine(talk.server.send(packet(theirs, 1) if framed else theirs)).addErrback(
            lambda _: None
        )
    talk.leave()
    assert talk.done
    assert not isinstance(talk.done[0], Failure) or talk.done[0].check(PeerFault, Refused)
    assert len(talk.admission.log) >= 0
