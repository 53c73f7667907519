"""Bound values, numbers for KILL, and the classifier's cache."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from adapters.mysql import classifier as classifying
from adapters.mysql.classifier import Classifier
from adapters.mysql.codec import Packets, packets
from adapters.mysql.kill import FIRST, LAST, Kills
from adapters.mysql.lexer import PLAIN, shape
from adapters.mysql.prepared import Prepared, values
from adapters.mysql.session_modes import read_modes
from adapters.mysql.statements import EMPTY, Statement
from bridge.adapter import Action, Operation, PeerFault
from bridge.testing.playbook import now

HEAD = b"\x17\1\0\0\0\0\1\0\0\0"


def statement(count: int) -> Prepared:
    return Prepared(EMPTY, Operation("sql.select", Action.READ), 1, count)


@pytest.mark.parametrize(
    ("kind", "raw", "text"),
    [
        (0x01, b"\xff", "-1"),
        (0x8001, b"\xff", "255"),
        (0x02, b"\xfe\xff", "-2"),
        (0x03, b"\x07\0\0\0", "7"),
        (0x08, (1 << 40).to_bytes(8, "little"), str(1 << 40)),
        (0x04, struct.pack("<f", 1.5), "1.5"),
        (0x05, struct.pack("<d", -0.25), "-0.25"),
        (0x0D, b"\xe6\x07", "2022"),
        (0x0C, b"\x07\xe6\x07\x0c\x1f\x17\x3b\x01", "2022-12-31 23:59:01"),
        (0x07, b"\x0b\xe6\x07\x0c\x1f\x17\x3b\x01\x40\x42\x0f\0", "2022-12-31 23:59:01.1000000"),
        (0x0A, b"\x04\xe6\x07\x0c\x1f", "2022-12-31"),
        (0x0A, b"\0", "0000-00-00"),
        (0x0B, b"\x08\1\1\0\0\0\2\3\4", "-26:03:04"),
        (0x0B, b"\0", "00:00:00"),
        (0xFD, b"\x03abc", "abc"),
        (0xFC, b"\x02\xff\xfe", "\ufffd\ufffd"),
        (0xF6, b"\x041.25", "1.25"),
        (0x06, b"", None),
    ],
)
def test_a_bound_value_is_read(kind: int, raw: bytes, text: str | None) -> None:
    body = HEAD + b"\0" + b"\1" + kind.to_bytes(2, "little") + raw
    assert values(body, statement(1)) == [text]


def test_null_and_types_that_were_bound_before() -> None:
    """C13: NULL parameters; `new_params_bound` 0 uses the types of the last time."""
    prepared = statement(2)
    assert values(HEAD + b"\2" + b"\1" + b"\x03\0\x03\0" + b"\5\0\0\0", prepared) == ["5", None]
    assert values(HEAD + b"\1" + b"\0" + b"\6\0\0\0", prepared) == [None, "6"]


def test_what_came_as_long_data_is_not_in_the_command() -> None:
    prepared = statement(2)
    prepared.long.add(0)
    assert values(HEAD + b"\0" + b"\1" + b"\xfc\0\x03\0" + b"\5\0\0\0", prepared) == ["<long data>", "5"]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 12))
def test_no_bytes_break_the_reading_of_values(raw: bytes, count: int) -> None:
    assert values(HEAD + raw, statement(count)) is None or count >= 0


def test_values_are_cut_for_the_log() -> None:
    long = b"\xfd" + (70_000).to_bytes(3, "little") + b"x" * 70_000
    (value,) = values(HEAD + b"\0\1\xfd\0" + long, statement(1)) or []
    assert value is not None
    assert len(value) == 1024


# -- KILL -------------------------------------------------------------------------------------------------------------


class Someone:
    def __init__(self, name: str, account: str = "legacy") -> None:
        self.session = f"s-{name}"
        self.agent = type("Agent", (), {"id": name})()
        self.account = account


def test_numbers_are_high_and_not_used_twice() -> None:
    kills = Kills(Clock().seconds)
    first = kills.next_id()
    kills.open(Someone("a"), connection_id=first, thread_id=5)  # type: ignore[arg-type]
    others = {kills.next_id() for _ in range(100)}
    assert first not in others
    assert len(others) == 100
    assert all(FIRST <= number <= LAST for number in others)


def test_only_ones_own_sessions_on_the_same_account_are_found() -> None:
    kills = Kills(Clock().seconds)
    mine = kills.open(Someone("a"), connection_id=1, thread_id=5)  # type: ignore[arg-type]
    also = kills.open(Someone("a"), connection_id=2, thread_id=6)  # type: ignore[arg-type]
    kills.open(Someone("b"), connection_id=3, thread_id=7)  # type: ignore[arg-type]
    kills.open(Someone("a", "other"), connection_id=4, thread_id=8)  # type: ignore[arg-type]
    assert kills.find(2, mine) is also
    assert kills.find(6, mine) is also
    assert kills.find(1, mine) is mine
    assert [kills.find(number, mine) for number in (3, 7, 4, 8, 99)] == [None] * 5
    kills.close(also)
    assert kills.find(2, mine) is None


# -- the classifier ---------------------------------------------------------------------------------------------------


def classify(one: Classifier, text: bytes) -> tuple[Statement, ...]:
    result: tuple[Statement, ...] = now(one.classify(text, PLAIN, shape(text)))
    return result


def test_what_is_known_of_a_shape_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Classifier()
    first = classify(one, b"select * from t where a = 1")
    monkeypatch.setattr(classifying, "in_thread_classify", None)
    again = classify(one, b"select * from t where a = 12345")
    assert (again[0].verb, again[0].objects) == (first[0].verb, first[0].objects)
    assert again[0].end == len(b"select * from t where a = 12345")


def test_what_depends_on_integers_is_read_each_time() -> None:
    one = Classifier()
    assert classify(one, b"set tx_read_only = 1")[0].action is Action.READ
    assert classify(one, b"set tx_read_only = 0")[0].action is Action.WRITE
    assert classify(one, b"kill 5")[0].value == "5"
    assert classify(one, b"kill 6")[0].value == "6"


def test_long_texts_are_read_in_a_thread_one_at_a_time_and_the_queue_is_bounded() -> None:
    one = Classifier()
    running: list[Deferred[object]] = []

    def deferring(function: object, *arguments: object) -> Deferred[object]:
        running.append(Deferred())
        return running[-1]

    one.start(deferring)
    text = b"select " + b"1," * 4000 + b"1"
    results: list[tuple[Statement, ...]] = []
    for _ in range(classifying.QUEUE + 1):
        Deferred.fromCoroutine(one.classify(text, PLAIN, None)).addCallback(results.append)
    assert len(running) == 1
    assert [found[0].verb for found in results] == ["sql.unparsed"]
    for _ in range(classifying.QUEUE):
        running[-1].callback((EMPTY,))
    assert len(results) == classifying.QUEUE + 1


HUGE = b"insert into t values " + b",".join([b"('x;y', -1, null)"] * 400_000)


@pytest.mark.parametrize(
    ("text", "verb", "action"),
    [
        (HUGE, "sql.insert", Action.WRITE),
        (b"insert into t values ('" + b"x;" * 4_000_000 + b"')", "sql.insert", Action.WRITE),
        (HUGE + b", (Load_File ('x'), 1, 2)", "sql.insert", Action.ADMIN),
        (HUGE + b" /*! x */", "sql.executable_comment", Action.ADMIN),
        (b"select " + b"1+" * 200_000 + b"1", "sql.unparsed", Action.ADMIN),
        (b"insert into t values (1)" + b" " * classifying.MAX_READ, "sql.unparsed", Action.ADMIN),
    ],
)
def test_megabytes_are_understood_if_they_are_data(text: bytes, verb: str, action: Action) -> None:
    (statement,) = classify(Classifier(), text)
    assert (statement.verb, statement.action) == (verb, action)


def test_another_database_is_seen_behind_megabytes_of_rows() -> None:
    statements = classify(Classifier(), HUGE + b"; insert into other.t values (1)")
    assert [one.databases for one in statements] == [(), ("other",)]


# -- the bridge's own question ----------------------------------------------------------------------------------------


def test_no_database_and_no_answer() -> None:
    row = b"\x00\x07utf8mb4\xfb"
    bodies = [b"\3", b"\3def", b"\3def", b"\3def", b"\xfe\0\0\2\0", row, b"\xfe\0\0\2\0"]
    answer = b"".join(packets(body, index) for index, body in enumerate(bodies))
    assert read_modes(answer, 0) == (PLAIN, "")
    assert read_modes(b"", 0) is None
    assert read_modes(packets(b"\xff\x28\x04#42000no", 1), 0) is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=8))
def test_no_answer_breaks_it(bodies: list[bytes]) -> None:
    answer = b"".join(packets(body, 0) for body in bodies)
    found = read_modes(answer, 0)
    assert found is None or isinstance(found[1], str)
    try:
        Packets(100).feed(answer)
    except PeerFault:
        raise AssertionError("the test itself is wrong") from None
