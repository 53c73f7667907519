"""Finding, who made a change, export."""

from __future__ import annotations

import csv
import io
import json
import random

import pytest
from sqlalchemy import Engine

from bridge.storage import open_engine
from bridge.translation import Event, Filters, IndexKeys, LogReader, facts, in_thread_append
from bridge.translation.export import in_thread_export
from bridge.translation.reading import read_event
from bridge.translation.schema import create

NOON = 1_795_600_000_000


def event(type: str, session: str, at: int, *, text: str = "", outcome: str = "success", **index: object) -> Event:
    sections = {
        "agent": facts.agent_section(id="a-" + session, owner="payments"),
        "legacy": facts.legacy_section(system="warehouse", account="svc"),
        "corr": facts.section(session=session),
    }
    if text:
        sections["action"] = facts.action_section("sql.update", "write", text=text)
    keys = IndexKeys(session, "a-" + session, "payments", "warehouse", "svc", labels=("pii", "x_y"), **index)  # type: ignore[arg-type]
    return Event(type, outcome=outcome, sections=sections, index=keys, at=NOON + at)


@pytest.fixture
def filled(engine: Engine) -> LogReader:
    in_thread_append(
        engine,
        "l",
        [
            event("session.open", "s1", 0),
            event("session.established", "s1", 1, backend=71, client_port=4001),
            event("session.open", "s2", 10),
            event("session.established", "s2", 11, backend=72, client_port=4002),
            event("operation", "s1", 5000, text="UPDATE t SET a = '100%_\"x\\'", action="write"),
            event("operation", "s2", 6000, text="=update other", action="write", outcome="failure"),
            event("session.close", "s1", 20_000),
        ],
    )
    return LogReader(engine)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (Filters(), [7, 6, 5, 4, 3, 2, 1]),
        (Filters(agent="a-s1", type="operation"), [5]),
        (Filters(type="session.open"), [3, 1]),
        (Filters(outcome="failure"), [6]),
        (Filters(system="warehouse", account="svc", action="write"), [6, 5]),
        (Filters(owner="payments", label="pii", before=3), [2, 1]),
        (Filters(label="xzy"), []),
        (Filters(since=NOON + 11, until=NOON + 5000, after=4), [5]),
        (Filters(session="s2"), [6, 4, 3]),
        (Filters(text="UPDATE"), [6, 5]),
        (Filters(text='100%_"X\\'), [5]),
        (Filters(text="1000"), []),
        (Filters(text="payments"), []),
    ],
)
def test_filters_find_exactly_what_they_say(filled: LogReader, filters: Filters, found: list[int]) -> None:
    assert [one.seq for one in filled.in_thread_find(filters)] == found
    assert [one.seq for one in filled.in_thread_find(filters, oldest_first=True)] == found[::-1]
    assert filled.in_thread_span(filters) == (len(found), min(found, default=0), max(found, default=0))


def test_an_unknown_type_or_outcome_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"session\.open"):
        Filters(type="sessions")
    with pytest.raises(ValueError, match="success"):
        Filters(outcome="good")


def test_the_connection_tells_which_of_two_sessions_made_a_change(filled: LogReader) -> None:
    at = NOON + 5000
    assert {one.session: one.certain for one in filled.in_thread_who("warehouse", "svc", at)} == {
        "s1": False,
        "s2": False,
    }
    (by_pid,) = filled.in_thread_who("warehouse", "svc", at, pid=71)
    (by_port,) = filled.in_thread_who("warehouse", "svc", at, client_port=4002)
    assert (by_pid.agent, by_pid.certain, by_port.agent, by_port.certain) == ("a-s1", True, "a-s2", True)
    assert filled.in_thread_who("warehouse", "svc", at, pid=99) == []
    assert filled.in_thread_who("warehouse", "svc", NOON - 5000) == []
    assert [one.session for one in filled.in_thread_who("warehouse", "svc", NOON + 90_000)] == ["s2"]
    assert filled.in_thread_who("warehouse", "other", at) == []


def test_a_session_is_read_in_the_order_of_its_events_and_an_event_by_its_id(filled: LogReader, engine: Engine) -> None:
    assert [one.fields["type"] for one in filled.in_thread_session("s2")] == [
        "session.open", "session.established", "operation",
    ]  # fmt: skip
    in_thread_append(engine, "l", [Event("alarm", outcome="failure", reason="x")])
    newest = filled.in_thread_find(Filters(), 1)[0]
    assert filled.in_thread_event(newest.fields["id"]) == newest
    assert filled.in_thread_event("0" * 26) is None


def test_an_export_is_the_exact_bodies_and_says_how_many(filled: LogReader) -> None:
    export = in_thread_export(filled, Filters(session="s1"), "jsonl")
    lines = list(export.lines)
    assert (export.count, export.first, export.last) == (4, 1, 7)
    assert lines == [one.body + "\n" for one in filled.in_thread_find(Filters(session="s1"), oldest_first=True)]


def test_a_csv_export_starts_no_formula(filled: LogReader) -> None:
    rows = list(csv.DictReader(io.StringIO("".join(in_thread_export(filled, Filters(session="s2"), "csv").lines))))
    assert [row["seq"] for row in rows] == ["3", "4", "6"]
    assert rows[2]["text"] == "'=update other"
    assert json.loads(rows[2]["body"])["action"]["text"] == "=update other"
    with pytest.raises(ValueError, match="csv"):
        in_thread_export(filled, Filters(), "xml")


def test_a_long_export_goes_page_by_page(engine: Engine) -> None:
    in_thread_append(engine, "l", [event("session.open", "s", 0)])
    in_thread_append(engine, "l", [event("operation", "s", number) for number in range(2499)])
    assert len(list(in_thread_export(LogReader(engine), Filters(agent="a-s"), "jsonl").lines)) == 2500


@pytest.mark.parametrize(
    "filters",
    [
        Filters(session="s1"),
        Filters(agent="a-s1"),
        Filters(agent="a-s1", type="session.open", since=NOON),
        Filters(agent="a-s1", since=NOON, until=NOON + 5000, before=7),
        Filters(system="warehouse", account="svc", type="operation"),
        Filters(agent="a-s1", outcome="failure"),
        Filters(outcome="denied"),
        Filters(type="session.open"),
    ],
)
def test_no_search_reads_the_whole_log(filled: LogReader, filters: Filters) -> None:
    plan = filled.in_thread_plan(filters)
    assert plan
    assert not [step for step in plan if step.startswith("SCAN")]


def test_operations_are_found_by_the_spans_of_their_sessions_however_they_were_written(engine: Engine) -> None:
    sessions = [f"s{number}" for number in range(4)]
    in_thread_append(engine, "l", [event("session.open", session, 0) for session in sessions])
    chance, written = random.Random(1), 4
    while written < 1500:
        size = chance.choice((1, 3, 300))
        in_thread_append(engine, "l", [event("operation", chance.choice(sessions[:3]), at) for at in range(size)])
        written += size
    reader = LogReader(engine)
    everything = reader.in_thread_find(Filters(), 5000, oldest_first=True)
    for session in sessions:
        own = [one for one in everything if one.fields["corr"]["session"] == session]
        assert reader.in_thread_find(Filters(session=session), 5000, oldest_first=True) == own
        assert reader.in_thread_find(Filters(agent=f"a-{session}"), 5000, oldest_first=True) == own
        window = Filters(agent=f"a-{session}", after=200, before=900)
        assert reader.in_thread_find(window, 5000, oldest_first=True) == [one for one in own if 200 < one.seq < 900]


def test_reading_is_an_event_with_its_query(engine: Engine) -> None:
    in_thread_append(engine, "l", [read_event("ops-1", "list", Filters(agent="deploy-7", since=5), 3)])
    (found,) = LogReader(engine).in_thread_find(Filters(type="log.read"))
    assert found.fields["actor"]["id"] == "ops-1"
    assert found.fields["detail"] == {"count": 3, "filters": {"agent": "deploy-7", "since": 5}, "query": "list"}


def test_the_migration_and_the_tables_in_the_code_are_the_same(engine: Engine, tmp_path) -> None:
    other = open_engine(tmp_path / "other.db", kind="translation")
    create(other)
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE tbl_name <> 'alembic_version' ORDER BY name"
    with engine.connect() as migrated, other.connect() as created:
        assert _schema(migrated, query) == _schema(created, query)
    other.dispose()


def _schema(connection, query: str) -> list[tuple]:
    return [
        (kind, name, table, " ".join((sql or "").split()))
        for kind, name, table, sql in connection.exec_driver_sql(query)
    ]
