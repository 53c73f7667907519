"""Where one message ends and the next begins (protocol page "Message Formats": Byte1 kind, Int32 length, body).

The frames are positions in a buffer, not copies: a relay forwards ``buffer[a:b]`` over many messages in one write.
Runs of bulk messages (rows, copy data) are one frame with a count, and are handed on before their last byte arrived.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from bridge.adapter import PeerFault

HEADER = struct.Struct(">BI")
HEADER_SIZE = 5

SMALL_LIMIT = 30_000
"""Longest length word of a message that has no reason to be long (PostgreSQL's own PQ_SMALL_MESSAGE_LIMIT is 10 000
on the server's side and 30 000 on libpq's)."""

LARGE_LIMIT = 0x3FFFFFFF
"""PostgreSQL's own limit for the others: 1 GiB less one byte (PQ_LARGE_MESSAGE_LIMIT)."""

STREAM_ABOVE = 256 * 1024
"""A message of a streamed kind longer than this is not collected but handed on as it comes: one receive buffer."""


STREAM_HEAD = 16 * 1024
"""The first piece of a streamed message holds at least this much: names, and the beginning of a statement's text."""


class Frame(NamedTuple):
    """A stretch of ``Framer.buffer``: ``buffer[start:end]``, headers included.

    ``count`` messages begin in it: 1 for an ordinary message, n for a run of bulk messages, 0 when it only carries on
    one that began in an earlier frame. ``ends``: its last message is complete (False: the next frame carries on).
    """

    kind: int
    start: int
    end: int
    count: int  # type: ignore[assignment]  # nobody searches a frame with tuple.count
    ends: bool


class Framer:
    """Turns received bytes into frames; keeps an incomplete message until it is whole.

    ``bulk``: kinds whose runs are merged and that are always handed on at once. ``streamed``: kinds that are handed on
    in pieces only when longer than ``STREAM_ABOVE``; the first piece holds at least ``STREAM_HEAD``.
    ``limits``: longest length word by kind, ``LARGE_LIMIT`` for bulk and streamed kinds, else ``default_limit``.
    Raises PeerFault when a length word is under 4 or over its limit; the framer is of no use after that.
    """

    __slots__ = ("_bulk", "_default", "_kind", "_left", "_limits", "_rest", "_streamed", "buffer")

    def __init__(
        self,
        *,
        bulk: frozenset[int] = frozenset(),
        streamed: frozenset[int] = frozenset(),
        limits: Mapping[int, int] | None = None,
        default_limit: int = SMALL_LIMIT,
    ) -> None:
        self._bulk = bulk
        self._streamed = streamed
        self._limits = {**dict.fromkeys(bulk | streamed, LARGE_LIMIT), **(limits or {})}
        self._default = default_limit
        self._rest = b""
        self._left = 0  # bytes still to come of a message that is being handed on in pieces
        self._kind = 0
        self.buffer = b""

    @property
    def inside(self) -> bool:
        """A message was handed on in part: nothing of our own may be written in that direction now."""
        return self._left > 0

    @property
    def rest(self) -> bytes:
        """Received bytes that are not yet a whole message and belong to no frame."""
        return self._rest

    @property
    def rests(self) -> bool:
        """The next byte begins a message."""
        return not self._rest and not self._left

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes. ``buffer`` is valid until the next call."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        self.buffer = data
        size = len(data)
        if size >= HEADER_SIZE and not self._left:
            kind, length = HEADER.unpack_from(data)
            if length + 1 == size and kind not in self._bulk:  # exactly one message: most of what clients send
                self._check(kind, length)
                return [Frame(kind, 0, size, 1, True)]
        frames: list[Frame] = []
        position = self._carry_on(size, frames) if self._left else 0
        while size - position >= HEADER_SIZE:
            kind, length = HEADER.unpack_from(data, position)
            if kind in self._bulk:
                position = self._run(data, position, kind, length, frames)
                continue
            self._check(kind, length)
            end = position + 1 + length
            if end > size:
                if kind not in self._streamed or length <= STREAM_ABOVE or size - position < STREAM_HEAD:
                    break
                self._left, self._kind = end - size, kind
                frames.append(Frame(kind, position, size, 1, False))
                position = size
                break
            frames.append(Frame(kind, position, end, 1, True))
            position = end
        if position < size:
            self._rest = data[position:] if position else data
        return frames

    def _carry_on(self, size: int, frames: list[Frame]) -> int:
        end = min(self._left, size)
        self._left -= end
        if end:
            frames.append(Frame(self._kind, 0, end, 0, self._left == 0))
        return end

    def _run(self, data: bytes, position: int, kind: int, length: int, frames: list[Frame]) -> int:
        start, size, count = position, len(data), 0
        last = size - HEADER_SIZE
        limit = self._limits[kind]
        unpack = HEADER.unpack_from
        following = kind
        while following == kind:  # once per row of a bulk answer: half of what the bridge does for a COPY
            if length < 4 or length > limit:
                self._check(kind, length)
            count += 1
            position += length + 1
            if position > last:
                break
            following, length = unpack(data, position)
        end = min(position, size)
        if position > size:
            self._left, self._kind = position - size, kind
        frames.append(Frame(kind, start, end, count, position <= size))
        return end

    def _check(self, kind: int, length: int) -> None:
        if length < 4:
            raise PeerFault("invalid message length")
        if length > self._limits.get(kind, self._default):
            raise PeerFault("a message is longer than its kind may be")
