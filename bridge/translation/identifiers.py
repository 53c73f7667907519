"""Identifiers and times of events.

An identifier is a ULID: 48 bits of Unix milliseconds, 60 bits of chance and a counter, in 26 characters of Crockford's
base 32.
Within one process they ascend strictly, also when the clock steps back, so that sorting by them is the order in which
things happened, while the sequence number is the order in which they became durable.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_COUNTER_BITS = 20
_COUNTER_END = 1 << _COUNTER_BITS
_FIRST_COUNT = secrets.randbits(_COUNTER_BITS - 1)


def base32(number: int, length: int) -> str:
    """``number`` in ``length`` characters, most significant first."""
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range((length - 1) * 5, -1, -5))


def milliseconds(identifier: str) -> int:
    """The Unix milliseconds in a ULID. Raises ValueError when it is none."""
    if len(identifier) != 26 or any(letter not in _VALUES for letter in identifier):
        raise ValueError("not an event id: expected 26 characters of Crockford's base 32")
    value = 0
    for letter in identifier[:10]:
        value = value << 5 | _VALUES[letter]
    return value


class Identifiers:
    """A source of ascending ULIDs; may be used from several threads. ``clock`` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._millisecond = -1
        self._counter = _COUNTER_END
        self._prefix = self._head = self._chance = ""
        self._high = -1

    def next(self) -> tuple[str, int]:
        """A new id and the time of the clock in Unix milliseconds (which the id has too, unless the clock went
        back)."""
        now = int(self._clock() * 1000)
        with self._lock:
            if now > self._millisecond or self._counter >= _COUNTER_END:
                self._renew(now)
            counter = self._counter
            self._counter = counter + 1
            return self._prefix + _PAIRS[counter >> 10] + _PAIRS[counter & 1023], now

    def _renew(self, now: int) -> None:
        # A counter that ran out takes the next millisecond: a million ids in one are not to be expected.
        self._millisecond = millisecond = max(now, self._millisecond + 1)
        high = millisecond >> 10
        if high != self._high:  # about once a second: chance is dear, and within a second the time tells ids apart
            self._high = high
            self._head = base32(high, 8)
            self._chance = base32(secrets.randbits(60), 12)
        self._prefix = self._head + _PAIRS[millisecond & 1023] + self._chance
        self._counter = _FIRST_COUNT  # the upper half is left to count in


def timestamp(at: int) -> str:
    """Unix milliseconds as RFC 3339 text in UTC."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at // 1000))}.{at % 1000:03d}Z"


class Timestamps:
    """``timestamp`` for many events of the same millisecond or second. For one thread."""

    def __init__(self) -> None:
        self._at = self._second = -1
        self._text = self._start = ""

    def __call__(self, at: int) -> str:
        if at != self._at:
            second = at // 1000
            if second != self._second:
                self._start, self._second = timestamp(second * 1000)[:-4], second
            self._text, self._at = f"{self._start}{at % 1000:03d}Z", at
        return self._text
