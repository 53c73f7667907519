"""The time limit of a phase."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from bridge.adapter import Deadline, TimedOut


def test_what_is_left_falls_however_many_waits_there_are() -> None:
    clock = Clock()
    deadline = Deadline(10, clock.seconds)
    assert deadline.left == 10
    clock.advance(9.5)
    assert deadline.left == 0.5


def test_at_its_end_it_raises_in_the_words_of_its_phase() -> None:
    clock = Clock()
    deadline = Deadline(10, clock.seconds, "the login took too long")
    clock.advance(10)
    with pytest.raises(TimedOut, match="the login took too long"):
        _ = deadline.left
