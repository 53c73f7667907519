"""How texts are read, what names mean while answers are outstanding, and what large object calls do."""

from __future__ import annotations

import pytest

from adapters.postgres.answers import Answers, Expected, Unit, error_facts
from adapters.postgres.codec import FunctionCall, error_response
from adapters.postgres.names import ALL, IN_DOUBT, Names
from adapters.postgres.operations import Describing, Prepared, Texts
from adapters.postgres.statements import UNPARSED, Statement
from bridge.adapter import Action, Operation, Outcome, Result, StatementLogging


def texts(encoding: str = "UTF8", strings: str = "on") -> Texts:
    return Texts({"client_encoding": encoding, "standard_conforming_strings": strings})


@pytest.mark.parametrize(
    ("encoding", "raw", "read"),
    [
        ("UTF8", "é".encode(), "é"),
        ("LATIN1", b"\xe9", "é"),
        ("WIN1252", b"\x80", "€"),
        ("SQL_ASCII", "é".encode(), "é"),
        ("SJIS", b"select 1", "select 1"),
        ("SJIS", b"\x83\x5c", None),
        ("GBK", b"\xbf\x5c' or 1", None),
        ("UTF8", b"\xff", None),
    ],
)
def test_text_is_read_in_the_clients_encoding_or_not_at_all(encoding: str, raw: bytes, read: str | None) -> None:
    assert texts(encoding).decode(raw) == read


def test_backslashes_are_in_doubt_unless_strings_are_standard() -> None:
    assert texts(strings="off").decode(b"select '\\'") is None
    session = texts()
    session.doubt()
    assert session.decode(b"select '\\'") == "select '\\'"  # nothing is in flight
    session.rested = lambda: False
    assert session.decode(b"select '\\'") is None
    assert not session.plain
    session.parameter("standard_conforming_strings", "on")
    assert not session.plain  # what is in flight may turn it off again
    session.rested = lambda: True
    assert session.plain


def test_a_text_in_doubt_shows_no_literal_in_the_log() -> None:
    describing = Describing(StatementLogging.REDACTED, {}, texts("SJIS"))
    (operation,) = describing.operations(b"select '\x83\x5c' , 'secret'", (UNPARSED,))
    assert operation.text == "?"


def test_functions_that_made_it_a_write_are_named() -> None:
    describing = Describing(StatementLogging.REDACTED, {"database": "app"}, texts())
    (operation,) = describing.operations(b"select f(1)", (Statement("sql.select", Action.WRITE, functions=("f",)),))
    assert (operation.details["functions"], operation.target) == ("f", {"database": "app"})


def test_execute_is_as_strong_as_what_it_executes() -> None:
    describing = Describing(StatementLogging.REDACTED, {}, texts())
    delete = Prepared(Statement("sql.delete", Action.WRITE), Operation("sql.delete", Action.WRITE, ("t",), "delete"))
    made = describing.executed(delete, Operation("sql.execute", Action.READ))
    assert (made.action, made.objects, made.details["prepared"]) == (Action.WRITE, ("t",), "delete")


@pytest.mark.parametrize(
    ("oid", "verb", "action"),
    [
        (954, "sql.function.loread", Action.READ),
        (955, "sql.function.lowrite", Action.WRITE),
        (964, "sql.function.lo_unlink", Action.WRITE),
        (952, "sql.function.lo_open", Action.WRITE),
        (2078, "sql.function", Action.ADMIN),
    ],
)
def test_calls_by_number(oid: int, verb: str, action: Action) -> None:
    made = Describing(StatementLogging.REDACTED, {}, texts()).function_call(FunctionCall(oid, (), (), 0))
    assert (made.verb, made.action) == (verb, action)


def test_a_change_counts_when_it_is_confirmed() -> None:
    names: Names[str] = Names()
    change = names.change(b"s", "text", 1)
    assert names.resolve(b"s", 1) == "text"  # if it fails, what builds on it in its batch is skipped
    change.drop()
    assert names.resolve(b"s", 1) is None
    names.change(b"s", "text", 2).confirm()
    assert names.resolve(b"s", 3) == "text"


def test_a_new_name_of_an_earlier_batch_is_that_or_unknown_to_the_server() -> None:
    names: Names[str] = Names()
    names.change(b"s", "text", 1)
    assert names.resolve(b"s", 2) == "text"


def test_a_replaced_or_removed_name_of_an_earlier_batch_is_in_doubt() -> None:
    names: Names[str] = Names()
    names.change(b"", "old", 1).confirm()
    names.change(b"", "new", 2)
    assert names.resolve(b"", 3) is IN_DOUBT
    other: Names[str] = Names()
    other.change(b"s", "old", 1).confirm()
    other.change(ALL, None, 2)
    assert other.resolve(b"s", 3) is IN_DOUBT
    assert other.resolve(b"s", 2) is None


def test_deallocate_all_forgets_every_name() -> None:
    names: Names[str] = Names()
    names.change(b"s", "text", 1).confirm()
    names.change(ALL, None, 2).confirm()
    assert names.known == {}


class _Free:
    warning = ""


def test_a_session_that_ends_leaves_no_operation_open() -> None:
    heard: list[Outcome] = []
    answers = Answers(lambda permit, outcome: heard.append(outcome))
    answers.expect(Expected("Q", [Unit(_Free()), Unit(_Free())]))
    answers.expect(Expected("E", [Unit(_Free())]))
    answers.abandon(Result.FAILURE, "57P01")
    assert [outcome.result for outcome in heard] == [Result.FAILURE, Result.UNKNOWN, Result.UNKNOWN]
    assert answers.idle


def test_severity_and_code_are_found_in_the_head_of_an_error() -> None:
    whole = error_response("FATAL", "57P01", "x" * 5000)
    assert error_facts(whole[5:100]) == ("FATAL", "57P01")
    assert error_facts(b"") == ("", "")
