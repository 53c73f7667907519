"""The parser may die; the bridge goes on and takes the text for one that is not understood."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted

from adapters.postgres.lexer import shape
from adapters.postgres.statements import UNPARSED
from adapters.postgres.worker import CACHED, MAX_PARSED, Classifier, ParserProcess


@pytest.fixture(scope="module")
def parser() -> Iterator[ParserProcess]:
    parser = ParserProcess(time_limit=10.0)
    yield parser
    parser.in_thread_stop()


async def at_once(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


def classifier(parser: ParserProcess) -> Classifier:
    made = Classifier(parser)
    made.start(at_once)
    return made


def test_a_text_that_kills_the_parser_is_not_understood_and_the_next_one_is(parser: ParserProcess) -> None:
    before = parser.crashes
    deep = "select " + "+".join(["1"] * 100_000)
    assert parser.in_thread_parse(deep) is None
    assert parser.in_thread_parse("select 1") is not None
    assert parser.crashes >= before


def test_a_parser_that_hangs_is_replaced(parser: ParserProcess) -> None:
    impatient = ParserProcess(time_limit=0.0)
    assert impatient.in_thread_parse("select 1") is None
    assert impatient.crashes == 1
    impatient.in_thread_stop()


def test_the_child_knows_nothing_of_our_environment(parser: ParserProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDBRIDGE_TEST_SECRET", "kanari")
    fresh = ParserProcess(time_limit=10.0)
    assert fresh.in_thread_parse("select 1") is not None
    assert fresh._child is not None
    with open(f"/proc/{fresh._child.pid}/environ", "rb") as environ:
        assert b"kanari" not in environ.read()
    fresh.in_thread_stop()


@pytest_twisted.ensureDeferred
async def test_statements_of_one_shape_are_parsed_once(parser: ParserProcess) -> None:
    asked: list[str] = []

    async def counting(function: Any, text: str) -> Any:
        asked.append(text)
        return function(text)

    made = Classifier(parser)
    made.start(counting)
    for text in (b"select 1", b"select 22"):
        (statement,) = await made.classify(text, text.decode(), shape(text))
        assert statement.verb == "sql.select"
    assert asked == ["select 1"]


@pytest_twisted.ensureDeferred
async def test_what_is_not_sql_too_long_or_in_doubt_is_not_understood(parser: ParserProcess) -> None:
    made = classifier(parser)
    assert await made.classify(b"selec", "selec", None) == (UNPARSED,)
    long = b"select " + b"1" * MAX_PARSED
    assert await made.classify(long, long.decode(), None) == (UNPARSED,)
    assert await made.classify(b"x", None, None) == (UNPARSED,)


@pytest_twisted.ensureDeferred
async def test_before_start_and_after_stop_nothing_is_understood() -> None:
    made = Classifier(ParserProcess())
    assert await made.classify(b"select 1", "select 1", None) == (UNPARSED,)
    made.start(at_once)
    made.stop()
    assert await made.classify(b"select 1", "select 1", None) == (UNPARSED,)


@pytest_twisted.ensureDeferred
async def test_an_empty_text_is_one_empty_statement(parser: ParserProcess) -> None:
    (statement,) = await classifier(parser).classify(b" -- hi", " -- hi", None)
    assert statement.verb == "sql.empty"


@pytest_twisted.ensureDeferred
async def test_the_cache_is_bounded(parser: ParserProcess) -> None:
    made = Classifier(parser)

    async def fixed(function: Any, text: str) -> Any:
        return [["sql.select", "read", [], [], [], "", "", 0, 0]]

    made.start(fixed)
    for number in range(CACHED + 10):
        await made.classify(b"x", "x", b"%d" % number)
    assert len(made._cache) == CACHED
