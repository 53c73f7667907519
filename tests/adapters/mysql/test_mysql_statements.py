"""What statements do, and what a read-only session may not (research D2, D3)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.mysql import guard
from adapters.mysql.classifier import in_thread_classify
from adapters.mysql.lexer import PLAIN, UNKNOWN, Modes
from adapters.mysql.statements import CHARSET, IDENTITY, KILL, LEXICAL, LOCAL, PINNED, USES, classify
from bridge.adapter import Action
from tests.adapters.mysql import bypasses


def of(text: str, modes: Modes = PLAIN) -> tuple[tuple[str, str], ...]:
    return tuple((one.verb, one.action.value) for one in in_thread_classify(text.encode(), modes))


@pytest.mark.parametrize("text", bypasses.WAYS_OUT)
def test_no_way_out_of_a_read_only_session(text: str) -> None:
    statements = in_thread_classify(text.encode(), PLAIN)
    unseen = any(one.verb in ("sql.prepare", "sql.execute") for one in statements)  # `commands` looks into those
    objections = [guard.objection(one, is_read_only=True, local_files=False) for one in statements]
    assert any(objections) or unseen


@pytest.mark.parametrize("text", bypasses.READS)
def test_a_read_only_session_can_read(text: str) -> None:
    for statement in in_thread_classify(text.encode(), PLAIN):
        assert statement.action is Action.READ
        assert guard.objection(statement, is_read_only=True, local_files=False) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("insert into t values (1)", (("sql.insert", "write"),)),
        ("select 1; drop table t", (("sql.select", "read"), ("sql.ddl.drop_table", "admin"))),
        ("replace into t values (1)", (("sql.replace", "write"),)),
        ("create procedure p() begin select 1; drop table t; end", (("sql.ddl.create_routine", "admin"),)),
        ("create definer=`a`@`b` trigger x after insert on t for each row begin set @a=1; end; select 1",
         (("sql.ddl.create_routine", "admin"),)),
        ("create temporary table x (a int)", (("sql.ddl.create_temporary_table", "write"),)),
        ("load data infile 'x' into table t", (("sql.load", "admin"),)),
        ("load data local infile 'x' into table t", (("sql.load", "write"),)),
        ("select 1 into outfile 'x'", (("sql.select", "admin"),)),
        ("select load_file('x')", (("sql.select", "admin"),)),
        ("set statement max_statement_time=1 for drop table t", (("sql.set_statement", "admin"),)),
        ("explain for connection 5", (("sql.unparsed", "admin"),)),
        ("", (("sql.empty", "read"),)),
    ],
)  # fmt: skip
def test_verbs_and_actions(text: str, expected: tuple[tuple[str, str], ...]) -> None:
    assert of(text) == expected


@pytest.mark.parametrize(
    ("text", "objects", "databases"),
    [
        ("select * from a.b join c on c.x = b.y", ("a.b", "c"), ("a",)),
        ("select secret.x from secret.t as app join app.y as secret", ("secret.t", "app.y"), ("secret", "app")),
        ("insert into t select * from `my-db` . `u`", ("t", "my-db.u"), ("my-db",)),
        ("with x as (select 1 from u) select * from x", ("u",), ()),
        ("show create table `a`.`b`", ("a.b",), ("a",)),
        ("drop table a.b, c", ("a.b", "c"), ("a",)),
        ("select @@session.sql_mode", (), ()),
        ("desc a.b", ("a.b",), ("a",)),
        ("select other.f(1) from t", ("t",), ("other",)),
        ("select nextval(other.s)", (), ("other",)),
        ("call other.p()", (), ("other",)),
        ("show tables from other", ("other",), ("other",)),
        ("show columns from t", ("t",), ()),
        ("show full columns from t in other like 'x'", ("t",), ("other",)),
        ("show index from other.t", ("other.t",), ("other",)),
    ],
)
def test_tables_and_their_databases(text: str, objects: tuple[str, ...], databases: tuple[str, ...]) -> None:
    (statement,) = in_thread_classify(text.encode(), PLAIN)
    assert (statement.objects, statement.databases) == (objects, databases)


@pytest.mark.parametrize(
    "text", ["drop database other", "create schema if not exists `other`", "alter database other x"]
)
def test_a_database_that_is_made_or_dropped_is_one_that_a_grant_must_cover(text: str) -> None:
    (statement,) = in_thread_classify(text.encode(), PLAIN)
    assert "other" in statement.databases


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("set role x", IDENTITY),
        ("set session authorization x@y", IDENTITY),
        ("set names big5", CHARSET),
        ("set character set 'sjis'", CHARSET),
        ("set @@character_set_client := gbk", CHARSET),
        ("set sql_mode = ''", LEXICAL),
        ("set @@sql_mode = concat(@@sql_mode, ',ANSI')", LEXICAL),
        ("set charset utf8", LEXICAL),
        ("call p()", LEXICAL),
        ("start transaction read write", PINNED),
        ("kill connection 7", KILL),
        ("load data low_priority local infile 'x' into table t", LOCAL),
        ("use `x y`", USES),
    ],
)
def test_flags(text: str, flag: str) -> None:
    (statement,) = classify(text.encode(), PLAIN)
    assert flag in statement.flags


def test_what_reads_in_two_ways_is_not_understood() -> None:
    """The same bytes are one SELECT or two statements, by NO_BACKSLASH_ESCAPES."""
    text = "select 'a\\'; drop table t; -- '"
    assert of(text) == (("sql.select", "read"),)
    assert of(text, Modes(backslashes=False)) == (("sql.select", "read"), ("sql.ddl.drop_table", "admin"))
    assert of(text, UNKNOWN) == (("sql.unparsed", "admin"),)


def test_double_quotes_are_names_or_strings_by_the_mode() -> None:
    assert of('select "f"(1)', Modes(ansi=True)) == (("sql.select", "write"),)
    text = 'select "a\\"; drop table t; -- "'
    assert of(text) == (("sql.select", "read"),)
    assert of(text, Modes(ansi=True)) == (("sql.select", "read"), ("sql.ddl.drop_table", "admin"))
    assert of('select "a"', UNKNOWN) == (("sql.unparsed", "admin"),)


def test_a_multi_byte_character_that_ends_like_a_backslash_is_not_understood() -> None:
    """In GBK 0xBF5C is one character, and the quote behind it is not escaped."""
    text = b"select '\xbf\\'; drop table t; -- '"
    assert in_thread_classify(text, Modes(charset=False))[0].verb == "sql.unparsed"
    assert in_thread_classify(b"select 1", Modes(charset=False))[0].verb == "sql.select"


def test_other_grammars_are_not_understood() -> None:
    assert of("select 1", Modes.of("ORACLE", "utf8mb4")) == (("sql.unparsed", "admin"),)


def test_a_text_that_changes_how_its_own_rest_reads_is_not_understood() -> None:
    assert of("set sql_mode='NO_BACKSLASH_ESCAPES'; select '\\'") == (("sql.unparsed", "admin"),)
    assert of("set names utf8; select 1") == (("sql.set", "read"), ("sql.select", "read"))


def test_a_list_of_a_hundred_thousand_rows_is_read_and_understood() -> None:
    text = "insert into t values " + ",".join(["(1, 'x', null)"] * 20_000)
    (statement,) = in_thread_classify(text.encode(), PLAIN)
    assert (statement.verb, statement.objects) == ("sql.insert", ("t",))


@pytest.mark.parametrize("inside", ["(", "case when ", "not ", "-", "f(", "select (", "((select "])
def test_deep_nesting_is_survived(inside: str) -> None:
    for one in in_thread_classify(b"select " + inside.encode() * 5000 + b"1", PLAIN):
        assert one.action is not Action.READ or inside == "-"


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200) | st.text(max_size=100).map(str.encode),
    st.sampled_from([PLAIN, UNKNOWN, Modes(False, True)]),
)
def test_any_text_has_statements_that_lie_inside_it(text: bytes, modes: Modes) -> None:
    statements = in_thread_classify(text, modes)
    assert statements
    assert all(0 <= one.start <= one.end <= len(text) for one in statements)


_WORDS = """
    select insert into from t u . ( ) , ; 'x' "y" `z` 1 -- # /* */ /*! @a @@ := = set update values kill use prepare
    s as with call for union where and or not null begin end
"""
_PIECES = st.lists(st.sampled_from(["\n", *_WORDS.split()]), max_size=14)


@settings(max_examples=500, deadline=None)
@given(_PIECES)
def test_only_what_begins_as_a_read_is_one(pieces: list[str]) -> None:
    for one in in_thread_classify(" ".join(pieces).encode(), PLAIN):
        if one.action is Action.READ:
            assert one.verb not in ("sql.insert", "sql.update", "sql.call", "sql.unparsed", "sql.executable_comment")


@pytest.mark.parametrize("text", ["(1)", "(1), (2)", "('a', null), (x'00', -1.5), (true)", "select (1), f((2), (3))"])
def test_rows_of_literals_behind_anything(text: str) -> None:
    assert len(in_thread_classify(text.encode(), PLAIN)) == 1


def test_a_row_hides_no_end_of_a_string() -> None:
    assert of("insert into t values ('a\\'), ('; drop table t; -- ')") == (
        ("sql.insert", "write"),
        ("sql.ddl.drop_table", "admin"),
    )
    text = "insert into t values ('a\\'), ('); drop table t; -- ')"
    assert of(text, Modes(backslashes=False)) == (("sql.insert", "write"),)
    assert of("insert into t values ('a''), (''b'); drop table t") == (
        ("sql.insert", "write"), ("sql.ddl.drop_table", "admin"),
    )  # fmt: skip
