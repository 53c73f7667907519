"""What a statement is taken for, by the real parser; anything new or odd must come out as ``sql.unparsed``."""

from __future__ import annotations

import pgparse
import pytest

from adapters.postgres.statements import IDENTITY, PINNED, RENAMES, STAMP, Statement, classify, stronger
from bridge.adapter import Action

READ, WRITE, ADMIN = Action.READ, Action.WRITE, Action.ADMIN


def only(text: str) -> Statement:
    (statement,) = classify(pgparse.parse(text))
    return statement


@pytest.mark.parametrize(
    ("text", "verb", "action"),
    [
        ("select count(*) from t", "sql.select", READ),
        ("table t", "sql.select", READ),
        ("values (1)", "sql.values", READ),
        ("select * from t for update", "sql.select", WRITE),
        ("with d as (delete from t returning *) select * from d", "sql.select", WRITE),
        ("select mine()", "sql.select", WRITE),
        ("select app.lower('x')", "sql.select", WRITE),
        ("select nextval('s')", "sql.select", WRITE),
        ("select a operator(app.+) b from t", "sql.select", WRITE),
        ("select pg_terminate_backend(1)", "sql.select", ADMIN),
        ("select * from dblink('a', 'b') as t(a int)", "sql.select", ADMIN),
        ("select query_to_xml('drop table t', true, true, '')", "sql.select", ADMIN),
        ("select * into u from t", "sql.ddl.select_into", ADMIN),
        ("insert into t values (1) on conflict (a) do update set b = 1", "sql.insert", WRITE),
        ("create table t (a int)", "sql.ddl.create_table", ADMIN),
        ("create temp table t (a int)", "sql.ddl.create_table", WRITE),
        ("create table t as select 1", "sql.ddl.create_table_as", ADMIN),
        ("drop table t", "sql.ddl.drop_table", ADMIN),
        ("explain delete from t", "sql.explain", READ),
        ("explain (analyze) delete from t", "sql.explain", WRITE),
        ("explain select mine()", "sql.explain", WRITE),
        ("begin", "sql.begin", READ),
        ("begin read only", "sql.begin", READ),
        ("begin read write", "sql.begin", WRITE),
        ("commit", "sql.commit", READ),
        ("prepare transaction 'x'", "sql.prepare_transaction", WRITE),
        ("copy t to stdout", "sql.copy_out", READ),
        ("copy t from stdin", "sql.copy_in", WRITE),
        ("copy t to program 'id'", "sql.copy_out", ADMIN),
        ("do $$begin end$$", "sql.do", ADMIN),
        ("call p()", "sql.call", WRITE),
        ("vacuum", "sql.vacuum", ADMIN),
        ("notify x", "sql.notify", WRITE),
        ("listen x", "sql.listen", READ),
        ("discard all", "sql.discard", READ),
        ("set timezone = 'UTC'", "sql.set", READ),
        ("set log_statement = 'none'", "sql.set", ADMIN),
        ("grant select on t to u", "sql.grant", ADMIN),
        ("create role r password 'x'", "sql.ddl.create_role", ADMIN),
        ("create table t as execute p", "sql.unparsed", ADMIN),
    ],
)
def test_verb_and_action(text: str, verb: str, action: Action) -> None:
    statement = only(text)
    assert (statement.verb, statement.action) == (verb, action)


@pytest.mark.parametrize(
    "text",
    [
        "set role x",
        "set local role none",
        "reset role",
        "set session authorization x",
        "reset session authorization",
        "select set_config('role', 'x', false)",
        "select set_config(name, 'x', false) from t",
        "select U&\"set\\005fconfig\"('session_authorization', 'x', false)",
    ],
)
def test_a_change_of_identity_is_known(text: str) -> None:
    assert IDENTITY in only(text).flags


@pytest.mark.parametrize(
    "text",
    [
        "set transaction read write",
        "set session characteristics as transaction read write",
        "set default_transaction_read_only = off",
        "set transaction_read_only to 0",
        "select set_config('transaction_read_only', 'off', true)",
        "set standard_conforming_strings = off",
        "set names 'GBK'",
        "begin read write",
    ],
)
def test_unpinning_is_known(text: str) -> None:
    assert PINNED in only(text).flags


@pytest.mark.parametrize(
    "text", ["set names 'utf8'", "set default_transaction_read_only = on", "set transaction read only"]
)
def test_pinning_what_is_pinned_is_nothing(text: str) -> None:
    assert only(text).action is READ
    assert PINNED not in only(text).flags


def test_the_application_name_is_read_out() -> None:
    assert (only("set application_name to 'me'").value, only("set local application_name = me").name) == ("me", "local")
    assert RENAMES in only("set application_name = 5").flags
    assert RENAMES not in only("reset application_name").flags
    assert STAMP in only("select set_config('application_name', 'x', false)").flags


def test_tables_without_common_table_names() -> None:
    assert set(only("with d as (select * from a.b) select * from d join c on true").objects) == {"a.b", "c"}


def test_each_statement_of_a_text_has_its_place() -> None:
    text = "select 1; insert into t values (2)"
    first, second = classify(pgparse.parse(text))
    assert text[first.start : first.end] == "select 1"
    assert (text[second.start :].strip(), second.verb) == ("insert into t values (2)", "sql.insert")


def test_names_of_prepared_statements_and_cursors() -> None:
    names = [
        only(text).name
        for text in ("prepare p as select 1", "execute p(1)", "deallocate all", "declare c cursor for select 1")
    ]
    assert names == ["p", "p", "*", "c"]


@pytest.mark.parametrize(
    "tree",
    [
        [{"stmt": {"NewStmt": {}}}],
        [{"stmt": {"SelectStmt": {"targetList": [{"Odd": {"x": 1, "y": 2}}]}}}],
        [{"stmt": {}}],
        [{"stmt": {"PrepareStmt": {}}}],
    ],
)
def test_a_tree_that_is_not_known_is_not_understood(tree: list[dict[str, object]]) -> None:
    (statement,) = classify(tree)
    assert (statement.verb, statement.action) == ("sql.unparsed", ADMIN)


def test_stronger() -> None:
    assert stronger(READ, WRITE) is WRITE
    assert stronger(ADMIN, WRITE) is ADMIN
