"""A silent side is asked whether it is there; one that does not answer is given up, one that is not read is not."""

from __future__ import annotations

import asyncio
from typing import Any

from adapters.ssh.keepalive import Keepalive


class SilentLeg:
    busy = False
    chunks = 0
    given_up = ""
    sent = 0

    async def send(self) -> None:
        self.sent += 1

    def give_up(self, cause: str) -> None:
        self.given_up = cause


class Watch:
    """``leg`` is looked after, ``other`` is the other side's. Two seconds of silence, and two questions."""

    def __init__(self) -> None:
        self.leg, self.other = SilentLeg(), SilentLeg()
        self.asked = 0
        leg: Any = self.leg
        self._keepalive = Keepalive(leg, self._ask, 2, 2)

    def _ask(self) -> None:
        self.asked += 1

    def seconds(self, count: int) -> None:
        other: Any = self.other
        for _ in range(count):
            asyncio.run(self._keepalive.look(other))


def test_a_side_that_never_answers_is_given_up() -> None:
    watch = Watch()
    watch.seconds(5)
    assert (watch.asked, watch.leg.sent, watch.leg.given_up) == (2, 2, "")
    watch.seconds(1)
    assert watch.leg.given_up == "none of 2 keepalives was answered in 6 s"
    assert watch.asked == 2


def test_whatever_comes_counts_as_an_answer() -> None:
    watch = Watch()
    for _ in range(5):
        watch.seconds(5)
        watch.leg.chunks += 1
        watch.seconds(1)
    assert (watch.asked, watch.leg.given_up) == (10, "")


def test_a_side_that_is_not_read_or_takes_nothing_is_not_silent() -> None:
    """Its answer may lie there unread; one that takes nothing has the listener's own limit."""
    watch = Watch()
    watch.seconds(5)
    for waiting in (watch.leg, watch.other):
        waiting.busy = True
        watch.seconds(20)
        waiting.busy = False
        assert (watch.asked, watch.leg.given_up) == (2, "")
    watch.seconds(2)
    assert watch.asked == 3
