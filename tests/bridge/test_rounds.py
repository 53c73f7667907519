"""What is done again and again: one at a time, until it is stopped or fails."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bridge.rounds import Rounds


def failed(failure: Failure) -> None:
    raise AssertionError("no round failed") from failure.value


def test_the_first_round_is_after_the_first_pause_unless_it_is_asked_for_at_once() -> None:
    clock, done = Clock(), list[str]()
    later = Rounds(lambda: done.append("later"), 5.0, clock, failed)
    once = Rounds(lambda: done.append("at once"), 5.0, clock, failed)
    later.start()
    once.start(now=True)
    assert done == ["at once"]
    clock.advance(5.0)
    assert sorted(done) == ["at once", "at once", "later"]
    later.stop()
    once.stop()
    assert clock.getDelayedCalls() == []


def test_a_round_that_waits_is_waited_for() -> None:
    clock, waiting = Clock(), list[Deferred[None]]()

    async def once() -> None:
        waiting.append(Deferred())
        await waiting[-1]

    rounds = Rounds(once, 1.0, clock, failed)
    rounds.start(now=True)
    clock.advance(3.0)
    assert len(waiting) == 1
    waiting[0].callback(None)
    clock.advance(1.0)
    assert len(waiting) == 2
    rounds.stop()
    waiting[1].callback(None)
    clock.advance(10.0)
    assert len(waiting) == 2


def test_a_failure_ends_them_and_is_told_and_they_can_be_started_again() -> None:
    clock, told, done = Clock(), list[str](), list[str]()

    def once() -> None:
        done.append("")
        raise ValueError("broken")

    rounds = Rounds(once, 1.0, clock, lambda failure: told.append(failure.getErrorMessage()))
    rounds.start()
    clock.advance(1.0)
    clock.advance(5.0)
    assert (told, len(done), rounds.running) == (["broken"], 1, False)
    rounds.start()
    assert rounds.running
    rounds.stop()


def test_starting_twice_and_stopping_twice_does_nothing_more() -> None:
    clock, done = Clock(), list[str]()
    rounds = Rounds(lambda: done.append(""), 1.0, clock, failed)
    rounds.stop()
    rounds.start()
    rounds.start()
    clock.advance(1.0)
    assert len(done) == 1
    rounds.stop()
    rounds.stop()
    assert clock.getDelayedCalls() == []
