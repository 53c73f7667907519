"""A sign of life in the log at least every minute, with how far this host's clock is off; and clocks that jump.

A minute without one, between a start and a stop, was one in which nothing could be recorded. What the kernel knows of
the clock comes from whatever synchronises it (chrony, ntpd, systemd-timesyncd) by adjtimex(2).
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from bridge.rounds import Rounds
from bridge.translation.facts import detail_section, node_section
from bridge.translation.log import LogUnavailable
from bridge.translation.record import Event
from bridge.translation.vocabulary import ALARM, CLOCK_JUMPED, CLOCK_OFF, FAILURE, LOG_HEARTBEAT

INTERVAL = 55.0
"""Seconds: a minute, less what a busy host may be late."""

TOLERATED = 1000
"""Milliseconds that the clock may be off, or step at once, before it is an alarm."""

_UNSYNCHRONISED = 0x40
_NANOSECONDS = 0x2000


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2); what follows ``status`` is not looked at."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


def kernel_offset() -> int | None:
    """Milliseconds that the clock is still to be moved by; None when nothing synchronises it, or none can say."""
    state = _Timex()
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
        if adjtimex(ctypes.byref(state)) < 0 or state.status & _UNSYNCHRONISED:
            return None
    except (OSError, AttributeError):
        return None
    offset: int = state.offset
    return round(offset / (1_000_000 if state.status & _NANOSECONDS else 1000))


class Heartbeat:
    """``post`` takes events, and raises LogUnavailable while the log takes none."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        post: Callable[[Event], None],
        node: str,
        version: str,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        offset: Callable[[], int | None] = kernel_offset,
    ) -> None:
        self._post = post
        self._node, self._version = node, version
        self._wall, self._monotonic, self._offset = wall, monotonic, offset
        self._last = (wall(), monotonic())
        self._off = False
        self._rounds = Rounds(self.beat, INTERVAL, reactor, self._failed)

    def start(self) -> None:
        self._rounds.start(now=True)

    def stop(self) -> None:
        self._rounds.stop()

    def beat(self) -> None:
        """Once a minute."""
        offset, stepped = self._offset(), self._stepped()
        node = node_section(id=self._node, version=self._version, clock_ms=offset)
        detail = detail_section(synchronised=offset is not None)
        off = offset is not None and abs(offset) > TOLERATED
        try:
            self._post(Event(LOG_HEARTBEAT, sections={"node": node, "detail": detail}))
            if abs(stepped) > TOLERATED:
                self._alarm(CLOCK_JUMPED, node, f"the clock was moved by {stepped} ms within a minute", stepped)
            if off and not self._off:
                self._alarm(CLOCK_OFF, node, f"the clock is off by {offset} ms", offset or 0)
        except LogUnavailable:
            return  # which is told elsewhere; the gap is what the next start or recovery explains
        self._off = off

    def _stepped(self) -> int:
        """Milliseconds by which the wall clock left the monotonic one since the last beat."""
        now = (self._wall(), self._monotonic())
        stepped = (now[0] - self._last[0]) - (now[1] - self._last[1])
        self._last = now
        return round(stepped * 1000)

    def _alarm(self, reason: str, node: str, text: str, by: int) -> None:
        self.log.critical("{text}", text=text)
        detail = detail_section(text=text, ms=by)
        self._post(Event(ALARM, outcome=FAILURE, reason=reason, sections={"node": node, "detail": detail}))

    def _failed(self, failure: Any) -> None:
        self.log.failure("no heartbeats", failure=failure)
