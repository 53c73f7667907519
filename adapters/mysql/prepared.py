"""Prepared statements by the server's number, and what was bound to them (protocol page "COM_STMT_EXECUTE").

Values are decoded only where the log may have them; what does not decode is left out, never guessed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from adapters.mysql.codec import lenenc_string
from adapters.mysql.operations import MAX_PARAMETERS, MAX_VALUE, readable
from adapters.mysql.results import Unit
from adapters.mysql.statements import Statement
from bridge.adapter import Operation, PeerFault
from bridge.wire.reader import Reader

MAX_STATEMENTS = 10_000
"""Prepared statements remembered per session; servers stop at 16,382 (max_prepared_stmt_count) for all together."""

LAST_PREPARED = 0xFFFFFFFF
"""MariaDB: the statement that was prepared last."""

EXECUTE_HEAD = 10
"""Command byte, statement 4, flags 1, iterations 4."""


@dataclass(eq=False, slots=True)
class Prepared:
    """``parameters``: how many; ``types``: as last bound; ``long``: parameters that came by COM_STMT_SEND_LONG_DATA."""

    statement: Statement
    operation: Operation
    number: int = 0
    parameters: int = 0
    types: tuple[int, ...] = ()
    long: set[int] = field(default_factory=set)
    cursor: Unit | None = None


def statement_number(body: bytes) -> int:
    """Of every command about a prepared statement. Raises PeerFault."""
    if len(body) < 5:
        raise PeerFault("a command about a prepared statement has no statement number")
    return int.from_bytes(body[1:5], "little")


def values(body: bytes, prepared: Prepared) -> list[str | None] | None:
    """The bound values of a COM_STMT_EXECUTE, cut for the log. None when they do not decode (or came in pieces)."""
    reader = Reader(body, what="COM_STMT_EXECUTE", fault=PeerFault)
    try:
        reader.take(EXECUTE_HEAD)
        nulls = reader.take((prepared.parameters + 7) // 8)
        if reader.u8():
            prepared.types = tuple(_u16(reader) for _ in range(prepared.parameters))
        found: list[str | None] = []
        for index, kind in enumerate(prepared.types[:MAX_PARAMETERS]):
            if index in prepared.long:
                found.append("<long data>")
            elif nulls[index // 8] & 1 << index % 8:
                found.append(None)
            else:
                found.append(_value(reader, kind))
    except PeerFault:
        return None
    return found


def _u16(reader: Reader) -> int:
    return int.from_bytes(reader.take(2), "little")


_INTEGERS = {0x01: 1, 0x02: 2, 0x03: 4, 0x08: 8, 0x09: 4, 0x0D: 2}
_FLOATS = {0x04: "<f", 0x05: "<d"}
_TIMES = frozenset({0x07, 0x0A, 0x0B, 0x0C})
_NULL = 0x06
_UNSIGNED = 0x8000


def _value(reader: Reader, kind: int) -> str | None:
    code = kind & 0xFF
    if code == _NULL:
        return None
    size = _INTEGERS.get(code)
    if size is not None:
        return str(int.from_bytes(reader.take(size), "little", signed=not kind & _UNSIGNED))
    if code in _FLOATS:
        layout = _FLOATS[code]
        return repr(struct.unpack(layout, reader.take(struct.calcsize(layout)))[0])
    if code in _TIMES:
        return _time(reader.take(reader.u8()), interval=code == 0x0B)
    return readable(lenenc_string(reader)[: 4 * MAX_VALUE])[:MAX_VALUE]


def _time(raw: bytes, *, interval: bool) -> str:
    """DATE, DATETIME and TIMESTAMP have 0, 4, 7 or 11 bytes, TIME 0, 8 or 12 (protocol page "Binary Values")."""
    micro = f".{int.from_bytes(raw[-4:], 'little'):06}" if len(raw) in (11, 12) else ""
    if interval:
        if len(raw) < 8:
            return "00:00:00"
        hours = int.from_bytes(raw[1:5], "little") * 24 + raw[5]
        return f"{'-' if raw[0] else ''}{hours:02}:{raw[6]:02}:{raw[7]:02}{micro}"
    if len(raw) < 4:
        return "0000-00-00"
    date = f"{int.from_bytes(raw[:2], 'little'):04}-{raw[2]:02}-{raw[3]:02}"
    return f"{date} {raw[4]:02}:{raw[5]:02}:{raw[6]:02}{micro}" if len(raw) >= 7 else date
