"""The usual exchange: what counts as it, and that nobody can tell whether it was taken as such."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adapters.mysql.codec import Cap, Com, ok
from adapters.mysql.usual import Answered, UsualAnswers, command
from bridge.adapter import Action, Operation, StatementLogging
from tests.adapters.mysql.conversation import (
    BASE,
    ERR,
    OK,
    FakeAdmission,
    Talk,
    execute,
    modes_answer,
    packet,
    prepare,
    query,
    row_answer,
)

NEW = BASE | Cap.DEPRECATE_EOF
ROWS = row_answer(b"1", b"22")
ROWS_SIZE = len(packet(b"\x011") + packet(b"\x0222"))


def rows_ended_by_ok(*rows: bytes, status: int = 2) -> bytes:
    payloads = [b"\1", b"\3def", *(bytes([len(row)]) + row for row in rows), b"\xfe" + ok(status=status)[1:]]
    return b"".join(packet(payload, number) for number, payload in enumerate(payloads, 1))


def test_one_whole_command_is_one() -> None:
    assert command(query("select 1")) == Com.QUERY
    assert command(execute(7)) == Com.STMT_EXECUTE
    for other in (
        b"",
        b"\1\0\0\0",
        query("select 1")[:-1],
        query("select 1") * 2,
        packet(b"\3select 1", 1),
        packet(b""),
    ):
        assert command(other) == -1, other


@pytest.mark.parametrize(
    ("new", "data", "says"),
    [
        (False, ROWS, (2, ROWS_SIZE, 6)),
        (False, row_answer(), (0, 0, 4)),
        (False, OK, (0, 0, 1)),
        (False, packet(ok(affected=3), 1), (3, 0, 1)),
        (True, rows_ended_by_ok(b"1", b"22"), (2, ROWS_SIZE, 5)),
        (True, rows_ended_by_ok(b"1", status=2 | 8), None),
        (True, ROWS, None),
        (False, rows_ended_by_ok(b"1"), None),
        (False, row_answer(b"1", more=True), None),
        (False, packet(ok(status=8), 1), None),
        (False, ERR, None),
        (False, ROWS[:-1], None),
        (False, ROWS + OK, None),
        (False, OK + OK, None),
        (False, packet(b"\1", 1) + packet(b"\3def", 2) + packet(b"\xfe\0\0\x42\0", 3), None),
        (False, packet(b"\1", 1) + packet(b"\3def", 2) + packet(b"", 3), None),
        (False, packet(b"\xfbname", 1), None),
        (False, packet(b"\0", 1)[:4], None),
        (False, b"", None),
    ],
)
def test_the_whole_answer_of_a_command_that_succeeded_is_one(
    new: bool, data: bytes, says: tuple[int, int, int] | None
) -> None:
    reading = UsualAnswers(deprecated_eof=new)
    for _ in range(2):
        assert reading.read(data) == (None if says is None else Answered(*says))


def test_columns_that_were_seen_are_known_again_and_others_are_not() -> None:
    reading = UsualAnswers(deprecated_eof=False)
    wide = b"".join(
        packet(p, n) for n, p in enumerate((b"\2", b"\3def", b"\3abc", b"\xfe\0\0\2\0", b"\xfe\0\0\2\0"), 1)
    )
    for _ in range(2):
        assert reading.read(ROWS) == Answered(2, ROWS_SIZE, 6)
        assert reading.read(ROWS[:-4]) is None
        assert reading.read(row_answer()) == Answered(0, 0, 4)
        assert reading.read(wide) == Answered(0, 0, 5)


def test_a_database_that_grants_narrow_by_is_looked_at_each_time(talk: Talk) -> None:
    """What is prepared stays so when the grants change."""
    talk.say(prepare("select * from other.t where a = ?"))
    talk.answer(PREPARED)
    assert talk.say(execute(1, SEVEN))
    talk.answer(ROWS)
    talk.admission.databases = frozenset({"app"})
    talk.ask_refused(execute(1, SEVEN))


class Pair:
    """Two sessions in which the same happens; in ``slow`` nothing is permitted at once."""

    def __init__(self, actions: frozenset[Action], logging: StatementLogging, capabilities: int) -> None:
        self.quick = Talk(FakeAdmission(actions), logging=logging, capabilities=capabilities, settled=False)
        self.slow = Talk(FakeAdmission(actions), logging=logging, capabilities=capabilities, settled=False)
        self.slow.admission.permit_at_once = lambda operation: None  # type: ignore[method-assign]
        self.both = (self.quick, self.slow)

    def step(self, question: bytes, *says: bytes) -> None:
        for talk in self.both:
            for stream, data in ((talk.client, question), *((talk.server, piece) for piece in says)):
                if data and not talk.done:
                    talk._send(stream, data)
        assert facts(self.quick) == facts(self.slow)

    def leave(self) -> None:
        for talk in self.both:
            talk.leave()
            assert talk.done, "the relay did not end"
        assert facts(self.quick) == facts(self.slow)


def facts(talk: Talk) -> Any:
    ended = [type(getattr(one, "value", one)) for one in talk.done]
    admission = talk.admission
    return talk.client.waiting, talk.server.waiting, admission.log, admission.outcomes, admission.seen, ended


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk()
    yield made
    made.leave()


def test_it_asks_for_no_permit_that_has_to_wait(talk: Talk) -> None:
    """Of what was asked before, the second time nothing is awaited; a write always is."""
    waited = []
    permit = talk.admission.permit

    async def counted(operation: Operation) -> Any:
        waited.append(operation.verb)
        return await permit(operation)

    talk.admission.permit = counted  # type: ignore[method-assign]
    talk.say(prepare("select 2 + ?"))
    talk.answer(PREPARED)
    for _ in range(2):
        for question, says in ((query("select 1 + 1"), ROWS), (query("insert into t values (1)"), OK)):
            talk.say(question)
            assert talk.answer(says) == says
        assert talk.say(execute(1, b"\0\1\3\0\1\0\0\0"))
        assert talk.answer(ROWS) == ROWS
    assert waited == ["sql.select", "sql.insert", "sql.insert"]
    assert [verb for verb, *_ in talk.admission.log] == ["sql.select", "sql.insert", "sql.select"] * 2


PREPARED = packet(b"\0\1\0\0\0\1\0\1\0\0\0\0", 1) + b"".join(
    packet(payload, number) for number, payload in enumerate((b"\3def", b"\xfe\0\0\2\0") * 2, 2)
)
SEVEN = b"\0\1\3\0\7\0\0\0"
EXCHANGES = [
    (query("select 1"), ROWS),
    (query("select 22"), ROWS),
    (query("select 'a', 1e5"), ERR),
    (query("select 1; select 2"), row_answer(b"1", more=True) + row_answer(b"2", start=6)),
    (query("call p(1)"), row_answer(b"1", more=True) + packet(ok(), 6)),
    (query("insert into t values (1)"), packet(ok(affected=1), 1)),
    (query("drop table t"), OK),
    (query("begin"), OK),
    (query("set autocommit = 1"), OK),
    (query("set sql_mode = ''"), OK),
    (query("use other"), OK),
    (query("load data local infile 'f' into table t"), packet(b"\xfbf", 1)),
    (packet(b"line\n", 2) + packet(b"", 3), packet(ok(affected=1), 4)),
    (prepare("select 2 + ?"), PREPARED),
    (prepare("drop table t"), ERR),
    (execute(1, SEVEN), ROWS),
    (execute(1, SEVEN), ERR),
    (execute(1, SEVEN, flags=1), packet(b"\1", 1) + packet(b"\3def", 2) + packet(b"\xfe\0\0\x42\0", 3)),
    (execute(9), ERR),
    (packet(b"\x1c\1\0\0\0\1\0\0\0"), packet(b"\0\1\0\0\0", 1) + packet(b"\xfe\0\0\x82\0", 2)),
    (packet(b"\x18\1\0\0\0\0\0x"), b""),
    (packet(b"\x19\1\0\0\0"), b""),
    (packet(b"\x1a\1\0\0\0"), OK),
    (packet(b"\x0e"), OK),
    (packet(b"\2other"), OK),
    (packet(b"\x1f"), OK),
    (packet(b"\x11root\0"), OK),
    (packet(b"\1"), b""),
    (packet(b""), b""),
    (query("select 1") + query("select 22"), ROWS + ROWS),
    (b"", modes_answer()),
    (b"", ERR),
]
PREPARED_SET = prepare("set sql_mode = ?"), PREPARED
STEP = st.tuples(st.sampled_from(EXCHANGES), st.sampled_from("11112ns"), st.sampled_from(EXCHANGES))
"""``1``: answered in one piece, ``2``: in two, ``n``: not before the next is asked, ``s``: with something else."""
ALL, REDACTED = frozenset(Action), StatementLogging.REDACTED


@given(
    st.lists(STEP, max_size=8),
    st.sampled_from([ALL, frozenset({Action.READ})]),
    st.sampled_from(StatementLogging),
    st.booleans(),
)
@example([(EXCHANGES[17], "1", EXCHANGES[0]), (EXCHANGES[19], "1", EXCHANGES[0])], ALL, REDACTED, False)
@example([(EXCHANGES[15], "1", EXCHANGES[0])], ALL, StatementLogging.FULL, False)
@example([(EXCHANGES[17], "1", EXCHANGES[0]), (EXCHANGES[15], "1", EXCHANGES[0])], ALL, REDACTED, False)
@example(
    [(EXCHANGES[0], "1", EXCHANGES[0]), (EXCHANGES[0], "n", EXCHANGES[0]), (EXCHANGES[6], "n", EXCHANGES[0])],
    frozenset({Action.READ}),
    REDACTED,
    False,
)
@example(
    [(EXCHANGES[0], "1", EXCHANGES[0]), (EXCHANGES[0], "n", EXCHANGES[0]), (EXCHANGES[5], "s", EXCHANGES[2])],
    ALL,
    REDACTED,
    False,
)
@example(
    [(PREPARED_SET, "1", EXCHANGES[0]), (EXCHANGES[15], "s", EXCHANGES[6]), (EXCHANGES[0], "1", EXCHANGES[0])],
    ALL,
    REDACTED,
    False,
)
@example([(EXCHANGES[20], "1", EXCHANGES[0]), (EXCHANGES[15], "1", EXCHANGES[0])], ALL, REDACTED, False)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_with_and_without_it_all_is_the_same(
    steps: list[Any], actions: frozenset[Action], logging: StatementLogging, new: bool
) -> None:
    """Whatever is asked and answered in any order: what each side hears, and what the log has."""
    pair = Pair(actions, logging, NEW if new else BASE)
    pair.step(query("select 0"), modes_answer(), rows_ended_by_ok(b"0") if new else ROWS)
    pair.step(prepare("select 2 + ?"), PREPARED)
    for (question, fitting), how, (_, other) in steps:
        says = {"1": [fitting], "2": [fitting[:-5], fitting[-5:]], "n": [], "s": [other]}[how]
        pair.step(question, *says)
    pair.leave()
