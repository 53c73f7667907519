"""The usual exchange: one command in one piece, and its whole answer in another. Most of a session is nothing else.

Ideas:

* Each side is looked at as a whole, in plain calls. What is otherwise in any way goes the long way, and nothing was
  changed by looking.
* What was asked is one ``Asked`` until its answer is there. When that is not the usual one, or when more is asked
  before it, it is *unfolded* into what the long way would have kept (``Commands.unfolded``).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from adapters.mysql import codec
from adapters.mysql.codec import HEADER_SIZE, MAX_PAYLOAD, Status
from bridge.adapter import Permit

if TYPE_CHECKING:
    from adapters.mysql.prepared import Prepared

HEAD = struct.Struct("<IB")
"""Length 3, sequence 1, first byte of the payload."""

KEPT_HEAD = 8 * 1024
"""Longest beginning of an answer that is kept to be known again."""


class Asked:
    """A usual command that was permitted. ``prepared``: what is executed, None for a text."""

    __slots__ = ("permit", "prepared")

    def __init__(self, permit: Permit, prepared: Prepared | None = None) -> None:
        self.permit = permit
        self.prepared = prepared


class Answered(NamedTuple):
    """``sequence`` is the number of the last packet."""

    rows: int
    bytes: int
    sequence: int


def command(data: bytes) -> int:
    """The command's number when ``data`` is one packet that is a command, and nothing else; else -1."""
    if len(data) <= HEADER_SIZE:
        return -1
    header, number = HEAD.unpack_from(data)  # a command has the sequence 0
    return number if header + HEADER_SIZE == len(data) and header < MAX_PAYLOAD else -1


class UsualAnswers:
    """Knows the usual answers of one session, whose servers either end columns and rows with EOF or not."""

    def __init__(self, *, deprecated_eof: bool) -> None:
        self._deprecated_eof = deprecated_eof
        self._end_below = MAX_PAYLOAD if deprecated_eof else 9
        self._head = b""  # what the last result began with: the same need not be walked again

    def read(self, data: bytes) -> Answered | None:
        """What ``data`` says when it is the whole answer of a command that succeeded, one result, and nothing else.

        Raises PeerFault when its end is none.
        """
        unpack, size, last = HEAD.unpack_from, len(data), len(data) - HEADER_SIZE - 1
        if last < 0:
            return None
        if self._head and data.startswith(self._head):
            position = len(self._head)
        elif data[HEADER_SIZE] == codec.OK:
            return self._ok(data)
        else:
            position = self._columns_end(data, last)
            if position < 0:
                return None
            self._head = data[:position] if position <= KEPT_HEAD else self._head
        begin, rows, below = position, 0, self._end_below
        while True:
            if position > last:
                return None
            header, first = unpack(data, position)
            length = header & MAX_PAYLOAD
            if first >= 0xFE or not length or length == MAX_PAYLOAD:
                break
            rows += 1
            position += HEADER_SIZE + length
        if first != codec.EOF or length >= below or position + HEADER_SIZE + length != size:
            return None
        status = codec.end_status(data[position + HEADER_SIZE :], deprecated_eof=self._deprecated_eof)
        if status & (Status.MORE_RESULTS | Status.CURSOR_EXISTS):
            return None
        return Answered(rows, position - begin, header >> 24)

    def _ok(self, data: bytes) -> Answered | None:
        header, _ = HEAD.unpack_from(data)
        if header & MAX_PAYLOAD != len(data) - HEADER_SIZE:
            return None
        ok = codec.parse_ok(data[HEADER_SIZE:])
        return None if ok.status & Status.MORE_RESULTS else Answered(ok.affected, 0, header >> 24)

    def _columns_end(self, data: bytes, last: int) -> int:
        """Where the rows begin; -1 when this is no such answer."""
        unpack = HEAD.unpack_from
        header, columns = unpack(data, 0)
        if header & MAX_PAYLOAD != 1 or not 0 < columns < 0xFB:
            return -1
        position = HEADER_SIZE + 1
        for _ in range(columns):
            if position > last:
                return -1
            length = unpack(data, position)[0] & MAX_PAYLOAD
            if not 0 < length < MAX_PAYLOAD:
                return -1
            position += HEADER_SIZE + length
        if self._deprecated_eof:
            return position
        # the columns end with an EOF: 5 bytes, warnings and status the last four of them
        end = position + HEADER_SIZE + 5
        if end > last or data[position : position + 3] != b"\5\0\0" or data[position + HEADER_SIZE] != codec.EOF:
            return -1
        return -1 if (data[end - 2] | data[end - 1] << 8) & Status.CURSOR_EXISTS else end
