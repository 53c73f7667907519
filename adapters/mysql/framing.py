"""Where one packet ends and the next begins (protocol page "MySQL Packets": 3 bytes length, 1 byte sequence, payload).

A payload of 16 MiB - 1 or more is spread over several packets, the last of which is shorter, if need be empty. Frames
are positions in a buffer, not copies: a relay forwards ``buffer[a:b]`` over many packets in one write.
"""

from __future__ import annotations

from typing import NamedTuple

from bridge.adapter import PeerFault

HEADER_SIZE = 4

MAX_PAYLOAD = 0xFFFFFF
"""A packet this long says that its payload goes on in the next packet."""

STREAM_ABOVE = 256 * 1024
"""A packet longer than this is handed on as it comes, by a framer that streams: one receive buffer."""

STREAM_HEAD = 16 * 1024
"""The first piece of a streamed payload holds at least this much: the beginning of a statement's text."""


class Frame(NamedTuple):
    """A stretch of ``Framer.buffer``: ``buffer[start:end]`` with the header, ``buffer[body:end]`` without.

    ``body`` equals ``start`` in a piece that carries on a packet. ``first``: the payload begins in it; ``last``: the
    payload ends in it. ``length``: what the header says (of the packet that the piece belongs to).
    """

    start: int
    body: int
    end: int
    sequence: int
    length: int
    first: bool
    last: bool


class Framer:
    """Turns received bytes into frames; keeps an incomplete packet until it is whole.

    ``streams``: packets longer than ``STREAM_ABOVE`` are handed on in pieces. ``limit``: longest packet; PeerFault when
    a header says more, and the framer is of no use after that.
    """

    __slots__ = ("_first", "_left", "_length", "_limit", "_rest", "_sequence", "_streams", "buffer")

    def __init__(self, *, streams: bool = False, limit: int = MAX_PAYLOAD) -> None:
        self._streams = streams
        self._limit = limit
        self._rest = b""
        self._left = 0  # bytes still to come of a packet that is being handed on in pieces
        self._length = 0
        self._sequence = 0
        self._first = True  # the next packet begins a payload
        self.buffer = b""

    @property
    def inside(self) -> bool:
        """A payload was handed on in part: nothing of our own may be written in that direction now."""
        return self._left > 0 or not self._first

    @property
    def rest(self) -> bytes:
        """Received bytes that are not yet a whole packet and belong to no frame."""
        return self._rest

    @property
    def rests(self) -> bool:
        """The next byte begins a payload."""
        return not self._rest and not self._left and self._first

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes. ``buffer`` is valid until the next call."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        self.buffer = data
        size = len(data)
        frames: list[Frame] = []
        position = self._carry_on(size, frames) if self._left else 0
        while size - position >= HEADER_SIZE:
            length = data[position] | data[position + 1] << 8 | data[position + 2] << 16
            if length > self._limit:
                raise PeerFault("a packet is longer than it may be here")
            end = position + HEADER_SIZE + length
            if end > size and not (self._streams and length > STREAM_ABOVE and size - position >= STREAM_HEAD):
                break
            position = self._begin(position, length, min(end, size), end, frames)
        if position < size:
            self._rest = data[position:] if position else data
        return frames

    def _begin(self, start: int, length: int, end: int, whole: int, frames: list[Frame]) -> int:
        self._length, self._sequence = length, self.buffer[start + 3]
        self._left = whole - end
        complete = length < MAX_PAYLOAD and not self._left
        frames.append(Frame(start, start + HEADER_SIZE, end, self._sequence, length, self._first, complete))
        self._first = complete
        return end

    def _carry_on(self, size: int, frames: list[Frame]) -> int:
        end = min(self._left, size)
        self._left -= end
        complete = self._length < MAX_PAYLOAD and not self._left
        if end:
            frames.append(Frame(0, 0, end, self._sequence, self._length, False, complete))
            self._first = complete
        return end


class Payload(NamedTuple):
    """A whole payload; ``sequence`` is the number of its last packet."""

    sequence: int
    body: bytes


class Packets:
    """Whole payloads of at most ``limit`` bytes, collected over packets. Raises PeerFault beyond it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._framer = Framer(limit=min(limit, MAX_PAYLOAD))
        self._collected = bytearray()

    def feed(self, data: bytes) -> list[Payload]:
        payloads = []
        frames = self._framer.feed(data)
        for frame in frames:
            self._collected += self._framer.buffer[frame.body : frame.end]
            if len(self._collected) > self._limit:
                raise PeerFault("a payload is longer than it may be here")
            if frame.last:
                payloads.append(Payload(frame.sequence, bytes(self._collected)))
                self._collected.clear()
        return payloads


def packets(payload: bytes, sequence: int) -> bytes:
    """The packets of one payload, the first with this number (modulo 256)."""
    parts = []
    for start in range(0, len(payload) + 1, MAX_PAYLOAD):
        piece = payload[start : start + MAX_PAYLOAD]
        parts.append(len(piece).to_bytes(3, "little") + bytes((sequence & 0xFF,)) + piece)
        sequence += 1
    return b"".join(parts)
