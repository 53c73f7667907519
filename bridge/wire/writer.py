"""Builds the body of one message, field by field."""

from __future__ import annotations

import struct

_U16 = struct.Struct(">H")
_I32 = struct.Struct(">i")
_U32 = struct.Struct(">I")


class Writer:
    """Appends big-endian fields; ``bytes(writer)`` is the result. Methods return the writer, so that they chain."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def u8(self, value: int) -> Writer:
        self._data.append(value)
        return self

    def u16(self, value: int) -> Writer:
        self._data += _U16.pack(value)
        return self

    def i32(self, value: int) -> Writer:
        self._data += _I32.pack(value)
        return self

    def u32(self, value: int) -> Writer:
        self._data += _U32.pack(value)
        return self

    def raw(self, value: bytes) -> Writer:
        self._data += value
        return self

    def string(self, value: bytes) -> Writer:
        """A NUL-terminated string. Raises ValueError when it holds a NUL itself: it would end early."""
        if b"\0" in value:
            raise ValueError("a NUL-terminated string cannot hold a NUL")
        self._data += value
        self._data.append(0)
        return self

    def __len__(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        return bytes(self._data)
