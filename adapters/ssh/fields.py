"""The data types of SSH messages (RFC 4251 section 5), read with bounds and written."""

from __future__ import annotations

import struct

from bridge.adapter import PeerFault


class Fields:
    """Reads a payload from ``at`` on. Raises PeerFault for what is not there."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    def byte(self) -> int:
        return self._take(1)[0]

    def flag(self) -> bool:
        return self._take(1) != b"\0"

    def number(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def string(self, limit: int = 256 * 1024) -> bytes:
        length = self.number()
        if length > limit:
            raise PeerFault("a text of a message is too long")
        return self._take(length)

    def text(self, limit: int = 1024) -> str:
        """UTF-8 (RFC 4252 section 5 and others)."""
        try:
            return self.string(limit).decode()
        except UnicodeDecodeError:
            raise PeerFault("a text of a message is not UTF-8") from None

    def name(self, limit: int = 256) -> str:
        """US-ASCII (RFC 4250 section 4.6)."""
        try:
            return self.string(limit).decode("ascii")
        except UnicodeDecodeError:
            raise PeerFault("a name of a message is not ASCII") from None

    def rest(self) -> bytes:
        return self._data[self._at :]

    @property
    def position(self) -> int:
        return self._at

    def end(self) -> None:
        if self._at != len(self._data):
            raise PeerFault("a message is longer than it should be")

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise PeerFault("a message is too short")
        taken = self._data[self._at : end]
        self._at = end
        return taken


def string(value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("!I", len(data)) + data


def number(value: int) -> bytes:
    return struct.pack("!I", value)


def flag(value: bool) -> bytes:
    return b"\1" if value else b"\0"
