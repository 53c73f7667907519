"""Whose sessions are whose: by number and port, never by the name that a session gives itself."""

from __future__ import annotations

import pytest

from bridge.adapter import LegacySession
from bridge.admission.reconcile import Known, State, compare

OWN = frozenset({"10.0.0.5"})
OURS = Known("ses_1", "deploy-7", "payments", "10.0.0.5", 40001, 4711)


def states(listed: list[LegacySession], known: list[Known]) -> list[str]:
    return [one.state.value for one in compare(listed, known, OWN)]


@pytest.mark.parametrize(
    ("legacy", "state"),
    [
        (LegacySession("10.0.0.5", 40001, 4711), State.MATCHED),
        (LegacySession("198.51.100.9", 40001, 4711), State.MATCHED),  # a translated address: number and port agree
        (LegacySession("10.0.0.5", 0, 4711), State.MATCHED),
        (LegacySession("10.0.0.5", 40001, 0), State.MATCHED),
        (LegacySession("10.0.0.5", 40002, 4711), State.SAME_HOST),
        (LegacySession("10.0.0.5", 40001, 4712), State.SAME_HOST),
        (LegacySession("10.0.0.5", 0, 0), State.SAME_HOST),
        (LegacySession("", 0, 9, name="ib:ses_1"), State.SAME_HOST),
        (LegacySession("127.0.0.1", 5, 9), State.SAME_HOST),
        (LegacySession("::1", 5, 9), State.SAME_HOST),
        (LegacySession("192.0.2.66", 5, 9, name="ib:ses_1"), State.FOREIGN),
        (LegacySession("db-client.corp", 5, 9), State.FOREIGN),
    ],
)
def test_one_session(legacy: LegacySession, state: State) -> None:
    expected = [state.value] if state is State.MATCHED else [state.value, "stale"]
    assert states([legacy], [OURS]) == expected


def test_one_of_ours_stands_for_one_of_theirs() -> None:
    twice = [LegacySession("10.0.0.5", 40001, 4711), LegacySession("10.0.0.5", 40001, 4711)]
    assert states(twice, [OURS]) == ["matched", "same-host"]
    assert states([], []) == []


def test_without_numbers_address_and_time_must_do() -> None:
    """389 Directory Server tells neither port nor a number that we know."""
    ours = [
        Known(f"ses_{number}", "deploy-7", "payments", "10.0.0.5", 40_000 + number, 0, 1000.5 + number)
        for number in range(4)
    ]
    theirs = [LegacySession("10.0.0.5", 0, number + 7, 1002.0 - number % 3) for number in range(4)]
    assert states(theirs, ours) == ["matched"] * 4
    assert states([*theirs, LegacySession("10.0.0.5", 0, 90, 1001.0)], ours) == ["matched"] * 4 + ["same-host"]
    listed = [LegacySession("10.0.0.5", 0, number, 1001.0 + 50 * number) for number in range(3)]
    known = [Known("ses_1", "a", "o", "10.0.0.5", 4, 0, 1050.5), Known("ses_2", "b", "o", "10.0.0.5", 5, 0, 1000.5)]
    assert states(listed, known) == ["matched", "matched", "same-host"], "the nearest in time"
    assert states([LegacySession("192.0.2.66", 0, 9, 1001.0)], ours[:1]) == ["foreign", "stale"]
    assert states([LegacySession("10.0.0.5", 40_009, 9, 1001.0)], ours[:1]) == ["same-host", "stale"]


def test_a_row_tells_both_sides() -> None:
    (matched,) = compare([LegacySession("10.0.0.5", 40001, 4711, 12.5, "x")], [OURS], OWN)
    assert matched.row() == {
        "state": "matched", "session": "ses_1", "agent": "deploy-7", "owner": "payments", "address": "10.0.0.5",
        "port": 40001, "backend": 4711, "started": 12, "name": "x",
    }  # fmt: skip
    (stale,) = compare([], [OURS], OWN)
    assert (stale.row()["state"], stale.row()["address"], stale.row()["port"]) == ("stale", "10.0.0.5", 40001)
