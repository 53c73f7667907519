"""A bounded cursor over the body of one message."""

from __future__ import annotations

import struct

_U16 = struct.Struct(">H")
_I32 = struct.Struct(">i")
_U32 = struct.Struct(">I")


class Reader:
    """Reads big-endian fields from ``data``; whatever runs past the end raises ``fault`` (the caller's own error).

    ``what`` names the message in the error text. Nothing of the data itself ever goes into an error.
    """

    __slots__ = ("_data", "_fault", "_position", "_what")

    def __init__(self, data: bytes, *, what: str, fault: type[Exception]) -> None:
        self._data = data
        self._position = 0
        self._what = what
        self._fault = fault

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._position

    def failure(self, rule: str) -> Exception:
        """The error to raise when the message breaks ``rule``."""
        return self._fault(f"{self._what}: {rule}")

    def _advance(self, size: int) -> int:
        start = self._position
        if size < 0 or size > len(self._data) - start:
            raise self.failure("a field is longer than the message")
        self._position = start + size
        return start

    def u8(self) -> int:
        return self._data[self._advance(1)]

    def u16(self) -> int:
        value: int = _U16.unpack_from(self._data, self._advance(2))[0]
        return value

    def u16s(self) -> tuple[int, ...]:
        """As many as the u16 before them says."""
        count = self.u16()
        values: tuple[int, ...] = struct.unpack_from(f">{count}H", self._data, self._advance(2 * count))
        return values

    def i32(self) -> int:
        value: int = _I32.unpack_from(self._data, self._advance(4))[0]
        return value

    def u32(self) -> int:
        value: int = _U32.unpack_from(self._data, self._advance(4))[0]
        return value

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        start = self._advance(size)
        return self._data[start : start + size]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def until_nul(self) -> bytes:
        """The bytes before the next NUL, which is read too."""
        end = self._data.find(b"\0", self._position)
        if end < 0:
            raise self.failure("a string has no end")
        value = self._data[self._position : end]
        self._position = end + 1
        return value

    def end(self) -> None:
        """Nothing may be left."""
        if self.left:
            raise self.failure("bytes are left over at its end")
