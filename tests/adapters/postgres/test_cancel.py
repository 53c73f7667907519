"""Whose cancel key it is, and who may go on guessing."""

from typing import Any, cast

from adapters.postgres.cancel import WRONG_KEYS, Cancels, CancelSlot


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(cancels: Cancels, pid: int = 7, size: int = 4, backend_key: bytes = b"real") -> CancelSlot:
    return cancels.open(cast(Any, None), pid=pid, backend_key=backend_key, encrypted=False, key_size=size)


def test_the_client_gets_a_key_of_ours() -> None:
    cancels = Cancels(Time())
    slot, long = opened(cancels), opened(cancels, pid=8, size=32)
    assert (len(slot.key), len(long.key)) == (4, 32)
    assert slot.key != b"real"
    assert "real" not in repr(slot)
    assert cancels.find(7, slot.key, "192.0.2.1") is slot
    assert cancels.find(7, b"real", "192.0.2.1") is None
    assert cancels.find(9, slot.key, "192.0.2.1") is None


def test_two_sessions_behind_a_pooler_may_share_a_process_id() -> None:
    cancels = Cancels(Time())
    one, two = opened(cancels), opened(cancels)
    assert cancels.find(7, one.key, "a") is one
    assert cancels.find(7, two.key, "a") is two
    cancels.close(one)
    assert cancels.find(7, one.key, "a") is None
    assert cancels.find(7, two.key, "a") is two


def test_a_closed_session_leaves_nothing_behind() -> None:
    cancels = Cancels(Time())
    slot = opened(cancels)
    cancels.close(slot)
    cancels.close(slot)
    assert len(cancels) == 0


def test_without_a_key_of_the_legacy_server_there_is_nothing_to_find() -> None:
    cancels = Cancels(Time())
    slot = opened(cancels, backend_key=b"")
    assert cancels.find(7, slot.key, "a") is None


def test_an_address_that_guesses_is_ignored_for_a_while_and_others_are_not() -> None:
    time = Time()
    cancels = Cancels(time)
    slot = opened(cancels, size=32)
    for _ in range(WRONG_KEYS):
        assert cancels.find(7, b"nope", "evil") is None
    assert cancels.find(7, slot.key, "evil") is None
    assert cancels.find(7, slot.key, "good") is slot
    time.now += 1.5
    assert cancels.find(7, slot.key, "evil") is slot


def test_every_start_of_work_is_another_query() -> None:
    slot = opened(Cancels(Time()))
    slot.busy = True
    slot.busy = True
    first = slot.query
    slot.busy = False
    slot.busy = True
    assert (first, slot.query) == (1, 2)
