"""Texts made to keep the parser busy: they hurt their sender, not the other agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred

from adapters.postgres.statements import UNPARSED
from adapters.postgres.worker import LARGE, QUEUE, Classifier, nesting


@pytest_twisted.ensureDeferred
async def test_large_texts_keep_small_ones_neither_waiting_nor_out() -> None:
    """What is parsed here stands still until the test lets it go on."""
    held: list[tuple[Deferred[Any], str]] = []

    async def later(function: Callable[[str], Any], text: str) -> Any:
        if len(text) <= LARGE:
            return [["sql.select", "read", [], [], [], "", "", 0, 0]]
        held.append((Deferred(), text))
        return await held[-1][0]

    classifier = Classifier()
    classifier.start(later)
    running = []
    for number in range(QUEUE + 2):
        text = f"select {number} /* {'x' * LARGE} */"
        running.append(Deferred.fromCoroutine(classifier.classify(text.encode(), text, None)))
    assert await running[-1] == (UNPARSED,)  # the queue of the large ones is full
    (small,) = await classifier.classify(b"select 1", "select 1", None)
    assert small.verb == "sql.select"
    while held:
        held.pop()[0].callback(None)
    classifier.stop()


@pytest_twisted.ensureDeferred
async def test_deeply_nested_comments_never_reach_the_parser() -> None:
    async def never(function: Callable[[str], Any], text: str) -> Any:
        raise AssertionError("the parser was asked")

    classifier = Classifier()
    classifier.start(never)
    text = "/*" * 100 + "*/" * 100 + "select 1"
    assert await classifier.classify(text.encode(), text, None) == (UNPARSED,)
    assert nesting("select 1 /* a */ /* b /* c */ */ */") == 2
