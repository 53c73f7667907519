"""Ways around the reading of statements that an attacker found; each must stay shut."""

from __future__ import annotations

from types import SimpleNamespace

import pgparse
import pytest

from adapters.postgres.adapter import _check_settings
from adapters.postgres.guard import objection
from adapters.postgres.refusals import Spoken
from adapters.postgres.startup import Wish
from adapters.postgres.statements import UNPARSED, Statement, classify
from bridge.adapter import Action

READ, WRITE, ADMIN = Action.READ, Action.WRITE, Action.ADMIN


def only(text: str) -> Statement:
    (statement,) = classify(pgparse.parse(text))
    return statement


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("select (0::oid).lo_create", WRITE),
        ("select (42).pg_terminate_backend", ADMIN),
        ("select (o).lo_unlink from (select 0::oid as o) s", WRITE),
        ("select g.lo_create from unnest(array[0::oid]) g", WRITE),
        ("select 1 from t where (x).pg_read_file is not null", ADMIN),
        ("select ('select 1'::text).ts_stat", ADMIN),
        ("select (information_schema._pg_expandarray(indkey)).n from pg_index", READ),
        ("select (t).name, t.amount, u.* from t, u", READ),
    ],
)
def test_a_function_written_as_a_column_is_a_call(text: str, action: Action) -> None:
    assert only(text).action is action


@pytest.mark.parametrize(
    "text",
    [
        "update pg_settings set setting = 'x' where name = 'application_name'",
        "update pg_catalog.pg_settings set setting = 'off'",
        "with w as (update pg_settings set setting = 'x' returning 1) select * from w",
    ],
)
def test_the_settings_view_is_no_way_to_the_stamp(text: str) -> None:
    assert objection(only(text), is_read_only=False)


def test_a_rewriting_function_that_runs_a_text_needs_admin() -> None:
    assert only("select ts_rewrite('a'::tsquery, 'select mine()')").action is ADMIN


@pytest.mark.parametrize(
    "text",
    ["select 1 from t where a operator(app.=) any (select 1)", "select a from t order by a using operator(app.<)"],
)
def test_an_operator_of_the_database_s_own_counts_wherever_it_stands(text: str) -> None:
    assert only(text).action is WRITE


@pytest.mark.parametrize("text", ['close "*"', 'deallocate "*"', 'declare "*" cursor for select 1', 'fetch "*"'])
def test_nothing_can_be_called_what_stands_for_everything(text: str) -> None:
    assert only(text).verb == UNPARSED.verb


@pytest.mark.parametrize("name", ["session_replication_role", "log_statement", "pgaudit.log", "track_activities"])
def test_a_setting_that_only_admin_may_set_cannot_come_in_the_startup_packet(name: str) -> None:
    wish = Wish("agent", "app", settings={name: b"off"})
    with pytest.raises(Spoken) as refused:
        _check_settings(wish, SimpleNamespace(actions=frozenset({READ, WRITE}), session="ses_1"))  # type: ignore[arg-type]
    assert refused.value.sqlstate == "42501"
    _check_settings(wish, SimpleNamespace(actions=frozenset({ADMIN}), session="ses_1"))  # type: ignore[arg-type]
