"""The usual exchange: what counts as it, and that nobody can tell whether it was taken as such."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adapters.postgres import codec
from adapters.postgres.operations import Prepared
from adapters.postgres.statements import EMPTY
from adapters.postgres.usual import Asked, Execution, answer, execution, query
from bridge.adapter import Action, Operation, Outcome, Result, StatementLogging
from bridge.testing.door import FakePermit
from tests.adapters.postgres import conversation as R

Start = Callable[..., Any]

QUERY = R.query("select 1")
DESCRIBE = R.m("D", b"P\0")
RUN = R.execute() + R.SYNC
REDACTED = StatementLogging.REDACTED
TABLE = R.m("T", b"\0\1a\0" + bytes(18))
DONE = R.tag("SELECT 2")


def test_a_query_alone_is_one() -> None:
    assert query(QUERY) == b"select 1"
    for other in (b"", b"Q", QUERY[:5], QUERY[:-1], QUERY + b"Q", QUERY + QUERY, R.m("Q", b"a\0b\0"), R.m("Q", b"ab"),
                  R.m("Q"), R.m("P", b"select 1\0")):  # fmt: skip
        assert query(other) is None, other


def test_an_execution_by_way_of_the_unnamed_portal_is_one() -> None:
    assert execution(R.bind("", "s1", (b"7",)) + RUN) == (b"s1", None, False)
    assert execution(R.bind("", "", (None,)) + DESCRIBE + RUN) == (b"", None, True)
    assert execution(R.parse("", "select 1") + R.bind() + RUN) == (b"", b"select 1", False)
    typed = codec.parse_message(b"", b"select $1", (23, 25))
    assert execution(typed + R.bind("", "", (b"1",)) + DESCRIBE + RUN) == (b"", b"select $1", True)
    for other in (
        b"", b"B", RUN, R.bind("", "s1"), R.bind("p", "s1") + RUN, R.bind("", "s1") + RUN + RUN,
        R.m("B", b"\0s1") + RUN, R.bind("", "s1") + R.execute() + R.FLUSH, R.m("X", b"\0s1\0") + RUN,
        R.bind("", "s1") + R.execute("", 10) + R.SYNC, R.bind("", "s1") + R.execute("p") + R.SYNC,
        R.bind("", "s1") + R.m("D", b"Ss1\0") + RUN, R.parse("s1", "select 1") + R.bind("", "s1") + RUN,
        R.parse("", "select 1") + R.SYNC, R.parse("", "select 1") + RUN, R.parse("", "select 1") * 2 + R.bind() + RUN,
        R.m("P", b"\0select 1\0") + R.bind() + RUN, R.m("P", b"\0select 1") + R.bind() + RUN,
        R.m("P", b"\0select 1\0\0\1") + R.bind() + RUN, R.m("P", b"\0select 1\0\0\0\0") + R.bind() + RUN,
        R.m("P") + R.bind() + RUN, R.m("P", b"\0") + R.bind() + RUN,
    ):  # fmt: skip
        assert execution(other) is None, other


def asked(described: bool | None = None, text: bytes | None = None) -> Asked:
    """None: a Query; with a ``text`` it is parsed before."""
    operation = Operation("sql.select", Action.READ)
    if described is None:
        return Asked(FakePermit(operation, ""))
    return Asked(FakePermit(operation, ""), Prepared(EMPTY, operation), Execution(b"", text, described))


@pytest.mark.parametrize(
    ("described", "data", "says"),
    [
        (None, TABLE + R.ROW + R.ROW + DONE + R.READY, (2, 2 * len(R.ROW))),
        (None, R.tag("BEGIN") + R.IN_BLOCK, (0, 0)),
        (None, R.tag("UPDATE 7") + R.FAILED, (7, 0)),
        (True, R.BOUND + TABLE + R.ROW + R.tag("FETCH 1") + R.READY, (1, len(R.ROW))),
        (True, R.BOUND + R.m("n") + R.tag("SET") + R.READY, (0, 0)),
        (False, R.BOUND + R.ROW + R.tag("SELECT 1") + R.READY, (1, len(R.ROW))),
        (None, R.error() + R.READY, None),
        (None, R.m("I") + R.READY, None),
        (None, TABLE + R.ROW + R.READY, None),
        (None, TABLE + R.ROW + DONE, None),
        (None, DONE + R.READY + R.READY, None),
        (None, DONE + DONE + R.READY, None),
        (None, TABLE + TABLE + DONE + R.READY, None),
        (None, R.ROW + TABLE + DONE + R.READY, None),
        (None, R.BOUND + DONE + R.READY, None),
        (None, DONE + R.m("Z", b"II"), None),
        (None, DONE + R.m("N", b"SNOTICE\0\0") + R.READY, None),
        (None, R.m("H", b"\0\0\0") + R.m("d", b"x\n") + R.m("c") + R.tag("COPY 1") + R.READY, None),
        (True, R.BOUND + R.ROW + DONE + R.READY, None),
        (False, R.BOUND + TABLE + R.ROW + DONE + R.READY, None),
        (False, R.ROW + DONE + R.READY, None),
        (False, R.BOUND + R.ROW + R.SUSPENDED + R.READY, None),
        (None, R.READY, None),
        (None, b"", None),
        (None, b"C\0\0\0\3" + R.READY, None),
        (None, b"D\0\0\0\0" + R.tag("SELECT 1") + R.READY, None),
        (None, b"T\xff\xff\xff\xff" + R.READY, None),
    ],
)
def test_the_whole_answer_of_a_statement_that_succeeded_is_one(
    described: bool | None, data: bytes, says: tuple[int, int] | None
) -> None:
    success = None if says is None else Outcome(Result.SUCCESS, "", *says)
    assert answer(data, asked(described)) == success
    assert answer(R.PARSED + data, asked(described, b"select 1")) == (success if described is not None else None)
    assert answer(data, asked(bool(described), b"select 1")) is None


def test_it_asks_for_no_permit_that_has_to_wait(start: Start) -> None:
    """Of what was asked before, the second time nothing is awaited; a write always is."""
    talk = start()
    waited = []
    permit = talk.admission.permit

    async def counted(operation: Operation) -> Any:
        waited.append(operation.verb)
        return await permit(operation)

    talk.admission.permit = counted
    say(talk, R.parse("s1", "select 2 + $1") + R.SYNC, R.PARSED + R.READY)
    for _ in range(2):
        for question in (R.query("select 1 + 1"), R.query("insert into t values (1)")):
            say(talk, question, R.tag("SELECT 1") + R.READY)
        say(talk, R.bind("", "s1", (b"7",)) + DESCRIBE + RUN, R.BOUND + ROWS + R.READY)
        say(talk, R.parse("", "select 3 + $1") + R.bind("", "", (b"7",)) + RUN, R.PARSED + R.BOUND + DONE + R.READY)
    assert waited == ["sql.select", "sql.insert", "sql.select", "sql.insert"]
    assert [verb for verb, *_ in talk.admission.log] == ["sql.select", "sql.insert", "sql.select", "sql.select"] * 2


def say(talk: Any, question: bytes, says: bytes) -> None:
    talk.say(question)
    talk.answer(says)


ROWS = TABLE + R.ROW + R.tag("SELECT 1")
DESCRIBED = R.bind("", "s1", (b"7",)) + DESCRIBE + RUN, R.BOUND + ROWS + R.READY
IN_BLOCK = DESCRIBED[0], R.BOUND + ROWS + R.IN_BLOCK
UNNAMED = R.bind("", "") + RUN, R.BOUND + DONE + R.READY
PARSED = R.parse("", "select 4") + R.bind() + DESCRIBE + RUN, R.PARSED + R.BOUND + ROWS + R.READY
FAILED = PARSED[0], R.error() + R.READY
RAN = RUN, R.tag("SELECT 0") + R.IN_BLOCK
BOUND = R.bind("", "s1", (b"7",)), R.BOUND
REFUSED = R.query("select 'a', 1e5"), R.error() + R.READY
SELECTED = R.query("select 1"), ROWS + R.READY
EXCHANGES = [
    SELECTED,
    (R.query("select 22"), ROWS + R.IN_BLOCK),
    (R.query("select 1; select 2"), ROWS + ROWS + R.READY),
    REFUSED,
    (R.query("insert into t values (1)"), R.tag("INSERT 0 1") + R.READY),
    (R.query("drop table t"), R.error() + R.READY),
    (R.query("begin"), R.tag("BEGIN") + R.IN_BLOCK),
    (R.query("commit"), R.tag("COMMIT") + R.READY),
    (R.query(""), R.m("I") + R.READY),
    (R.query("copy t to stdout"), R.m("H", b"\0\0\0") + R.m("d", b"x") + R.m("c") + R.tag("COPY 1") + R.READY),
    (R.query("copy t from stdin") + R.m("d", b"x") + R.m("c"), R.m("G", b"\0\0\0") + R.tag("COPY 1") + R.READY),
    (
        R.query("set standard_conforming_strings = off"),
        R.m("S", b"standard_conforming_strings\0off\0") + R.tag("SET") + R.READY,
    ),
    (R.query("prepare s1 as select 5"), R.tag("PREPARE") + R.READY),
    (R.query("deallocate all"), R.tag("DEALLOCATE ALL") + R.READY),
    (R.parse("s1", "select 2 + $1") + R.SYNC, R.PARSED + R.READY),
    (R.parse("s1", "drop table t") + R.SYNC, R.PARSED + R.READY),
    (R.bind("", "s1", (b"7",)) + RUN, R.BOUND + R.ROW + R.tag("SELECT 1") + R.READY),
    DESCRIBED,
    IN_BLOCK,
    (R.bind("", "s1", (b"7",)) + DESCRIBE + RUN, R.BOUND + R.error() + R.READY),
    UNNAMED,
    (R.bind("", "s1", (b"7",)) + R.execute("", 1) + R.SYNC, R.BOUND + R.ROW + R.SUSPENDED + R.IN_BLOCK),
    (R.bind("c", "s1", (b"7",)) + R.execute("c", 1) + R.SYNC, R.BOUND + R.ROW + R.SUSPENDED + R.IN_BLOCK),
    PARSED,
    (R.parse("", "select 4") + R.bind() + RUN, R.PARSED + R.BOUND + R.ROW + R.tag("SELECT 1") + R.IN_BLOCK),
    FAILED,
    (R.parse("", "selec") + R.bind() + RUN, R.error() + R.READY),
    (R.m("C", b"Ss1\0") + R.SYNC, R.CLOSED + R.READY),
    (R.m("C", b"P\0") + R.SYNC, R.CLOSED + R.READY),
    RAN,
    (R.SYNC, R.READY),
    (R.m("Q", b"a\0b\0"), R.error() + R.READY),
    BOUND,
    (b"", R.m("S", b"client_encoding\0LATIN1\0")),
    (b"", R.error("57P01", "FATAL")),
]
STEPS = st.lists(
    st.tuples(st.sampled_from(EXCHANGES), st.sampled_from("1112ns"), st.sampled_from(EXCHANGES)), max_size=10
)
"""``1``: answered in one piece, ``2``: in two, ``n``: not before the next is asked, ``s``: with something else."""


@given(STEPS, st.sampled_from([frozenset(Action), frozenset({Action.READ})]), st.sampled_from(StatementLogging))
@example([(IN_BLOCK, "1", RAN), (RAN, "1", RAN)], frozenset(Action), REDACTED)
@example([(DESCRIBED, "2", RAN)], frozenset(Action), REDACTED)
@example([(DESCRIBED, "1", RAN)], frozenset(Action), StatementLogging.FULL)
@example([(PARSED, "1", RAN), (PARSED, "1", RAN), (UNNAMED, "1", RAN)], frozenset(Action), REDACTED)
@example([(PARSED, "1", RAN), (PARSED, "2", RAN), (UNNAMED, "1", RAN)], frozenset(Action), REDACTED)
@example([(PARSED, "1", RAN), (PARSED, "s", FAILED), (UNNAMED, "1", RAN)], frozenset(Action), REDACTED)
@example([(PARSED, "1", RAN), (PARSED, "n", RAN), (UNNAMED, "n", RAN)], frozenset(Action), REDACTED)
@example([(PARSED, "1", RAN), (PARSED, "1", RAN)], frozenset(Action), StatementLogging.FULL)
@example([(BOUND, "n", RAN), (REFUSED, "1", RAN), (SELECTED, "1", RAN)], frozenset(Action), REDACTED)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_with_and_without_it_all_is_the_same(
    start: Start, steps: list[Any], actions: frozenset[Action], logging: StatementLogging
) -> None:
    """Whatever is asked and answered in any order: what each side hears, and what the log has."""
    quick, slow = start(R.FakeAdmission(actions), logging), start(R.FakeAdmission(actions), logging)
    slow.admission.permit_at_once = lambda operation: None
    opening = (R.parse("s1", "select 2 + $1") + R.SYNC, R.PARSED + R.READY)
    for (question, fitting), how, (_, other) in [(opening, "1", opening), *steps]:
        says = {"1": [fitting], "2": [fitting[:-9], fitting[-9:]], "n": [], "s": [other]}[how]
        for talk in (quick, slow):
            for stream, data in ((talk.client, question), *((talk.server, piece) for piece in says)):
                if data and not talk.done:
                    talk._send(stream, data)
        assert facts(quick) == facts(slow)
    for talk in (quick, slow):
        talk.leave()
    assert facts(quick) == facts(slow)


def facts(talk: Any) -> Any:
    ended = [type(getattr(one, "value", one)) for one in talk.done]
    return talk.client.waiting, talk.server.waiting, talk.admission.log, talk.slot.busy, talk.admission.seen, ended
