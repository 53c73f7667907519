"""Splitting a byte stream into LDAP messages (RFC 4511 section 4.1.1 and 5.1).

A message is a SEQUENCE of a message id, one operation and perhaps controls. Only its borders are found here; the
operation's own content is looked at by those who need it. What is too long or no LDAP at all is a fault as soon as its
first bytes show it, before the rest is waited for.
"""

from __future__ import annotations

from typing import NamedTuple

from bridge.adapter import PeerFault
from bridge.wire import ber

LIMIT_BEFORE_BIND = 64 * 1024
"""A Bind with the longest token (16 KiB, twice if SASL encodes it) fits; a stranger can make us hold no more."""

LIMIT_AFTER_BIND = 4 * 1024 * 1024
"""slapd takes 4,194,303 bytes from those who have bound."""

LIMIT_UPSTREAM = 64 * 1024 * 1024
"""A group with a million members is one entry of about 60 MB."""

MAX_ID = 2**31 - 1

CONTROLS = 0xA0

_SHORT_ID = b"\x02\x01"
"""Ids below 128, the common case."""


class Message(NamedTuple):
    """One message, as positions in ``data``: all of it is ``start`` to ``end``, the operation's content ``body`` to
    ``stop``, the elements of its controls ``controls`` to ``end`` (``controls == end``: it has none)."""

    data: bytes
    id: int
    tag: int
    start: int
    body: int
    stop: int
    controls: int
    end: int

    @property
    def raw(self) -> bytes:
        return self.data[self.start : self.end]

    def __repr__(self) -> str:  # the data may hold a token
        return f"<Message {self.id} tag {self.tag:#04x}, {self.end - self.start} bytes>"


class Framer:
    """``add`` what came, then take messages until ``next`` returns None; ``limit`` may change between two messages."""

    __slots__ = ("_at", "_data", "_late", "_late_size", "_wanted", "limit")

    def __init__(self, limit: int = LIMIT_BEFORE_BIND) -> None:
        self.limit = limit
        self.clear()

    def clear(self) -> None:
        """Forgets what was not taken (the plaintext before a TLS handshake)."""
        self._data, self._at = b"", 0
        self._late: list[bytes] = []  # came since, not yet joined to ``_data``: a large message is joined once
        self._late_size = 0
        self._wanted = 0

    @property
    def empty(self) -> bool:
        """Whether all was taken."""
        return self._at == len(self._data) and not self._late

    @property
    def rest(self) -> bytes:
        """What was not taken yet: whole messages or the beginning of one."""
        return self._data[self._at :] + b"".join(self._late)

    def add(self, data: bytes) -> None:
        if self.empty:
            self._data, self._at = data, 0
            return
        self._late.append(data)
        self._late_size += len(data)

    def next(self) -> Message | None:
        """The next whole message; None when more bytes are needed. Raises PeerFault."""
        end = self._border()
        if end < 0 and self._late and len(self._data) - self._at + self._late_size >= self._wanted:
            self._gather()
            end = self._border()
        if end < 0:
            return None
        start, self._at = self._at, end
        return message(self._data, start, end)

    def run(self, prefix: bytes, most: int) -> tuple[int, int]:
        """Takes the messages that follow, are there as a whole, and have ``prefix`` behind their header: how many, and
        where the last one ends in the ``data`` of the message before. ``most`` -1: any number."""
        data, at, count = self._data, self._at, 0
        size = len(data)
        while count != most and at + 2 <= size and data[at] == ber.SEQUENCE:
            length, start = data[at + 1], at + 2
            if length & 0x80:
                octets = length & 0x7F
                if not 1 <= octets <= ber.MAX_LENGTH_OCTETS:
                    break  # ``next`` says what is wrong
                length, start = int.from_bytes(data[start : start + octets], "big"), start + octets
            end = start + length
            if end > size or not data.startswith(prefix, start):
                break
            at, count = end, count + 1
        self._at = at
        return count, at

    def feed(self, data: bytes) -> list[Message]:
        """All messages that are whole now."""
        self.add(data)
        out = []
        while (found := self.next()) is not None:
            out.append(found)
        return out

    def _gather(self) -> None:
        late = b"".join(self._late)  # the same object where there is one
        self._data = self._data[self._at :] + late if self._at < len(self._data) else late
        self._at, self._late, self._late_size = 0, [], 0

    def _border(self) -> int:
        """Where the next message ends; -1 while not all of it is in ``_data``, ``_wanted`` bytes then being needed."""
        data, at = self._data, self._at
        have = len(data) - at
        self._wanted = 0
        if have and data[at] != ber.SEQUENCE:
            raise PeerFault("an LDAP message does not begin with a SEQUENCE")
        if have < 2:
            return -1
        size, start = data[at + 1], at + 2
        if size & 0x80:
            octets = size & 0x7F
            if not 1 <= octets <= ber.MAX_LENGTH_OCTETS:
                raise PeerFault("the length of an LDAP message is indefinite or has too many octets")
            if have < 2 + octets:
                return -1
            size, start = int.from_bytes(data[start : start + octets], "big"), start + octets
        end = start + size
        if end - at > self.limit:
            raise PeerFault(f"an LDAP message is longer than {self.limit} bytes")
        self._wanted = end - at
        return end if end <= len(data) else -1


def message(data: bytes, start: int, end: int) -> Message:
    """The message that fills ``start`` to ``end``. Raises PeerFault."""
    try:
        _, at, stop = ber.element(data, start, end)
        if data.startswith(_SHORT_ID, at) and at + 3 < stop and data[at + 2] < 0x80:
            number, at = data[at + 2], at + 3
        else:
            first, at = ber.expect(data, at, stop, ber.INTEGER)
            number = ber.integer(data, first, at)
        tag, body, operation_end = ber.element(data, at, stop)
        controls = stop if operation_end == stop else _controls(data, operation_end, stop)
    except ber.BerFault as fault:
        raise PeerFault(f"an LDAP message: {fault}") from None
    if not 0 <= number <= MAX_ID:
        raise PeerFault("a message id is out of range")
    return Message(data, number, tag, start, body, operation_end, controls, end)


def _controls(data: bytes, at: int, stop: int) -> int:
    """Where the elements of the controls begin. What RFC 4511 does not know behind them is not taken."""
    start, end = ber.expect(data, at, stop, CONTROLS)
    if end != stop:
        raise ber.BerFault("something stands behind the controls")
    return start
