"""A heartbeat a minute, and clocks that are off or jump."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from bridge.daemon.heartbeat import INTERVAL, Heartbeat, kernel_offset
from bridge.translation import Event
from bridge.translation.log import LogUnavailable


class Host:
    """Its two clocks, what the kernel says, and the log."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.moved = 0.0
        self.offset: int | None = 3
        self.events: list[Event] = []
        self.down = False
        self.heartbeat = Heartbeat(
            self.clock, self.post, "n1", "0", wall=lambda: 1e9 + self.clock.seconds() + self.moved,
            monotonic=self.clock.seconds, offset=lambda: self.offset,
        )  # fmt: skip
        self.heartbeat.start()

    def post(self, event: Event) -> None:
        if self.down:
            raise LogUnavailable("failed", "the disk is full")
        self.events.append(event)

    def alarms(self) -> list[tuple[str, int]]:
        return [(one.reason, json.loads(one.sections["detail"])["ms"]) for one in self.events if one.type == "alarm"]


@pytest.fixture
def host() -> Host:
    return Host()


def test_one_at_once_and_one_a_minute_with_the_offset(host: Host) -> None:
    host.clock.pump([1.0] * 600)
    beats = [one for one in host.events if one.type == "log.heartbeat"]
    assert INTERVAL < 60
    assert len(beats) == 1 + 600 // int(INTERVAL)
    node: Any = json.loads(beats[0].sections["node"])
    assert (node["id"], node["clock_ms"]) == ("n1", 3)
    assert host.alarms() == []


@pytest.mark.parametrize("by", [-3600, -1.5, 1.5, 86400])
def test_a_jump_is_one_alarm(host: Host, by: float) -> None:
    host.clock.advance(INTERVAL)
    host.moved = by
    host.clock.pump([INTERVAL] * 3)
    assert host.alarms() == [("clock-jumped", round(by * 1000))]


def test_a_clock_that_is_off_is_one_alarm_until_it_is_right_again(host: Host) -> None:
    for offset in (-1500, -1600, 4, 2000):
        host.offset = offset
        host.clock.advance(INTERVAL)
    assert host.alarms() == [("clock-off", -1500), ("clock-off", 2000)]


def test_a_clock_that_nothing_synchronises_says_so(host: Host) -> None:
    host.offset = None
    host.clock.advance(INTERVAL)
    assert json.loads(host.events[-1].sections["detail"]) == {"synchronised": False}
    assert "clock_ms" not in json.loads(host.events[-1].sections["node"])


def test_a_log_that_takes_nothing_does_not_end_the_heartbeat(host: Host) -> None:
    host.down = True
    host.clock.advance(INTERVAL)
    host.down = False
    host.clock.advance(INTERVAL)
    assert len(host.events) == 2


def test_the_kernel_is_asked() -> None:
    offset = kernel_offset()
    assert offset is None or abs(offset) < 86_400_000


@pytest_twisted.ensureDeferred
async def test_a_bridge_has_one_from_its_start(house: Any) -> None:
    await house.until(lambda: house.events("log.heartbeat"))
