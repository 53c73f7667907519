"""A sink delivers everything, in order, at least once, whatever happens; and says how it is."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from bridge.sinks import Delivery


def stop(delivery: Delivery, grace: float = 0.0) -> Deferred[None]:
    return Deferred.fromCoroutine(delivery.stop(grace))


def started(rig: Any, **settings: Any) -> Delivery:
    delivery: Delivery = rig.delivery(**settings)
    delivery.start()
    return delivery


def test_all_events_go_in_order_and_in_batches(rig: Any) -> None:
    rig.append(25)
    delivery = started(rig, batch=10)
    assert [(batch.first, batch.last, len(batch.lines)) for batch in rig.taker.taken] == [
        (1, 10, 10), (11, 20, 10), (21, 25, 5)]  # fmt: skip
    rig.append(3)
    rig.look(delivery)
    assert rig.taker.seqs == list(range(1, 29))
    assert (delivery.state(), delivery.behind) == ("ok", 0)
    stop(delivery)


def test_the_place_survives_a_restart(rig: Any) -> None:
    rig.append(5)
    stop(started(rig))
    rig.append(2)
    stop(started(rig))
    assert [(batch.first, batch.last) for batch in rig.taker.taken] == [(1, 5), (6, 7)]


def test_a_new_sink_may_start_from_now(rig: Any) -> None:
    rig.append(5)
    delivery = started(rig, from_now=True)
    rig.append(1)
    rig.look(delivery)
    assert rig.taker.seqs == [6]
    stop(delivery)


def test_a_batch_that_was_on_its_way_at_a_crash_goes_again_as_it_was(rig: Any) -> None:
    """The receiver may have taken it: it must be able to recognise it, though there are more events by now."""
    rig.append(3)
    rig.taker.hang = True
    crashed = started(rig)
    stop(crashed)  # cancelled in the middle: nobody knows whether it was taken
    rig.append(4)
    rig.taker.hang = False
    delivery = started(rig, batch=2)
    assert rig.taker.asked == [(1, 3), (1, 3), (4, 5), (6, 7)]
    stop(delivery)


@pytest.mark.slow
def test_a_day_of_failures(rig: Any) -> None:
    """Growing pauses, a clear state, no memory, and then everything arrives."""
    rig.append(1000, "y" * 1000)
    rig.refuse()
    delivery = started(rig, batch=100, longest_pause=300)
    tracemalloc.start()
    rig.pass_time(delivery, 3600, 20)
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    rig.append(1000, "y" * 1000)
    rig.pass_time(delivery, 23 * 3600, 20)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 200_000
    assert 24 * 3600 / 360 < len(rig.taker.asked) < 24 * 3600 / 240 + 15
    row = delivery.row()
    assert (row["state"], row["behind"], row["delivered"], row["error"]) == ("failing", 2000, 0, "status 500")
    assert row["attempts"] == len(rig.taker.asked)
    assert row["next_try"] > rig.now + 24 * 3600 - 1
    assert rig.told == [False]
    rig.taker.refusing = None
    rig.pass_time(delivery, 400)
    assert rig.taker.seqs == list(range(1, 2001))
    assert (delivery.state(), rig.told) == ("ok", [False, True])
    stop(delivery)


def test_pauses_double(rig: Any) -> None:
    rig.append(1)
    rig.refuse()
    delivery = started(rig, longest_pause=300)
    rig.pass_time(delivery, 120)
    assert 6 <= len(rig.taker.asked) <= 8  # at about 0, 1, 3, 7, 15, 31, 63 s
    stop(delivery)


def test_a_receiver_may_ask_for_a_longer_pause_within_bounds(rig: Any) -> None:
    rig.append(1)
    rig.refuse(retry_after=50)
    delivery = started(rig, longest_pause=100)
    rig.pass_time(delivery, 45)
    assert len(rig.taker.asked) == 1
    rig.refuse(retry_after=10_000)
    rig.pass_time(delivery, 10)
    assert len(rig.taker.asked) == 2
    rig.pass_time(delivery, 125)
    assert len(rig.taker.asked) == 3
    stop(delivery)


def test_a_destination_that_hangs_is_given_up(rig: Any) -> None:
    rig.append(1)
    rig.taker.hang = True
    delivery = started(rig)
    rig.pass_time(delivery, 120)
    assert delivery.row()["error"] == "not taken within 120 s"
    rig.taker.hang = False
    rig.pass_time(delivery, 5)
    assert rig.taker.seqs == [1]
    stop(delivery)


def test_a_defect_ends_no_sink(rig: Any, expected_failures: list[type[BaseException]]) -> None:
    expected_failures.append(ZeroDivisionError)
    rig.append(1)
    rig.taker.refusing = lambda: ZeroDivisionError("a defect")
    delivery = started(rig)
    assert delivery.row()["error"] == "a defect"
    rig.taker.refusing = None
    rig.pass_time(delivery, 3)
    assert rig.taker.seqs == [1]
    stop(delivery)


def test_a_short_outage_is_not_told(rig: Any) -> None:
    rig.append(1)
    rig.refuse()
    delivery = started(rig)
    rig.pass_time(delivery, 10)
    rig.taker.refusing = None
    rig.pass_time(delivery, 10)
    assert (rig.taker.seqs, rig.told) == ([1], [])
    stop(delivery)


def test_a_required_sink_withholds_while_it_is_too_far_behind(rig: Any) -> None:
    rig.refuse()
    delivery = started(rig, required=60, longest_pause=30)  # so that 70 s hold a try, whatever the spread
    rig.append(1)
    rig.now = _made(rig)
    rig.look(delivery)
    rig.pass_time(delivery, 59)
    assert not delivery.withholds
    rig.pass_time(delivery, 3)
    assert delivery.withholds
    rig.taker.refusing = None
    rig.pass_time(delivery, 70)
    assert not delivery.withholds
    stop(delivery)


def _made(rig: Any) -> float:
    """When the first event was made, by the true clock."""
    _, following = rig.source.in_thread_look((0,))
    return float(following[0] / 1000)


def test_a_huge_event_makes_a_small_batch(rig: Any) -> None:
    rig.append(10, "z" * 1_500_000)
    stop(started(rig))
    assert [len(batch.lines) for batch in rig.taker.taken] == [2] * 5


def test_nothing_is_sent_from_a_log_that_was_exchanged(rig: Any, other: Any) -> None:
    rig.append(5)
    stop(started(rig))
    rig = other  # the same sink, and a log from elsewhere, or from before
    rig.append(3)
    delivery = started(rig)
    assert "the log ends before event 5" in delivery.row()["error"]
    rig.append(10)
    rig.pass_time(delivery, 3)
    assert "event 5 is not the one that was delivered" in delivery.row()["error"]
    assert rig.taker.taken == []
    Deferred.fromCoroutine(delivery.rewind(4))
    assert rig.taker.seqs == list(range(4, 14))
    stop(delivery)


def test_sending_again(rig: Any) -> None:
    rig.append(9)
    delivery = started(rig)
    Deferred.fromCoroutine(delivery.rewind(7))
    assert rig.taker.seqs == [*range(1, 10), 7, 8, 9]
    stop(delivery)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"delivered": "1", "digest": "", "sending": 0}'])
def test_a_damaged_place_is_not_guessed_at(rig: Any, text: str) -> None:
    rig.append(2)
    rig.folder.mkdir()
    (rig.folder / "siem.json").write_text(text)
    delivery = started(rig)
    assert "idbridge log resend siem --from SEQ" in delivery.row()["error"]
    assert rig.taker.asked == []
    Deferred.fromCoroutine(delivery.rewind(2))
    assert rig.taker.seqs == [2]
    stop(delivery)


def test_what_is_there_at_a_shutdown_still_goes(rig: Any) -> None:
    delivery = started(rig)
    rig.append(1)
    delivery.latest = 1
    stopped = stop(delivery, 3.0)
    assert stopped.called
    assert rig.taker.seqs == [1]


def test_a_shutdown_does_not_wait_for_a_dead_sink(rig: Any) -> None:
    rig.append(1)
    rig.taker.hang = True
    delivery = started(rig)
    stopped = stop(delivery, 3.0)
    assert not stopped.called
    rig.clock.advance(3)
    assert stopped.called
    assert json.loads((rig.folder / "siem.json").read_text()) == {"delivered": 0, "digest": "", "sending": 1}


def test_a_place_that_cannot_be_kept_is_an_error(rig: Any) -> None:
    rig.append(1)
    rig.folder.write_text("a file where the folder should be")
    delivery = started(rig)
    assert delivery.row()["error"]
    assert rig.taker.asked == []
    stop(delivery)


def test_a_failure_with_nothing_to_deliver_does_not_stop_the_sink(rig: Any) -> None:
    """The place could not be read for a while, and everything had been delivered."""
    rig.append(2)
    stop(started(rig))
    file = rig.folder / "siem.json"
    text = file.read_text()
    file.write_text("{")
    delivery = started(rig)
    assert delivery.state() == "failing"
    file.write_text(text)
    rig.pass_time(delivery, 3)
    assert (delivery.state(), delivery.row()["error"]) == ("ok", "")
    rig.append(1)
    rig.pass_time(delivery, 2)
    assert rig.taker.seqs == [1, 2, 3]
    stop(delivery)


def test_sending_again_is_not_being_behind(rig: Any) -> None:
    """A required sink whose old events are sent again ends nobody's session."""
    rig.append(5)
    delivery = started(rig, required=60)
    rig.now = _made(rig) + 3600
    rig.taker.hang = True
    Deferred.fromCoroutine(delivery.rewind(1))
    rig.pass_time(delivery, 5)
    assert (delivery.behind, delivery.withholds) == (5, False)
    stop(delivery)


def test_a_required_sink_without_its_place_withholds_after_its_time(rig: Any) -> None:
    rig.append(1)
    rig.folder.mkdir()
    (rig.folder / "siem.json").write_text("{")
    delivery = started(rig, required=60, longest_pause=5)
    rig.pass_time(delivery, 50)
    assert not delivery.withholds
    rig.pass_time(delivery, 15)
    assert delivery.withholds
    stop(delivery)
