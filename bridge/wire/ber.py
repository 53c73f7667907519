"""BER as LDAP uses it (X.690, RFC 4511 section 5.1): one-octet tags, definite lengths, non-minimal lengths accepted.

Reading works on positions inside one ``bytes``, so that what is not looked at is never copied. Everything that is not
as it must be raises ``BerFault``; its text names the rule, never the data.
"""

from __future__ import annotations

MAX_LENGTH_OCTETS = 4
"""A length of more octets would be over 4 GiB; Active Directory always sends four."""

MAX_INTEGER_OCTETS = 8

BOOLEAN = 0x01
INTEGER = 0x02
OCTET_STRING = 0x04
ENUMERATED = 0x0A
SEQUENCE = 0x30
SET = 0x31


class BerFault(ValueError):
    """The data is not BER of the kind that is served."""


def element(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Tag, start and stop of the value of the element at ``at``, which must lie before ``end``."""
    start = at + 2
    if start > end:
        raise BerFault("an element is cut off")
    tag, size = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise BerFault("a tag has more than one octet")
    if size & 0x80:
        octets = size & 0x7F
        if not 1 <= octets <= MAX_LENGTH_OCTETS:
            raise BerFault("a length is indefinite or has too many octets")
        size = int.from_bytes(data[start : start + octets], "big")
        start += octets
    stop = start + size
    if stop > end or start > end:
        raise BerFault("an element is longer than what holds it")
    return tag, start, stop


def expect(data: bytes, at: int, end: int, wanted: int) -> tuple[int, int]:
    """Start and stop of the value at ``at``, whose tag must be ``wanted``."""
    tag, start, stop = element(data, at, end)
    if tag != wanted:
        raise BerFault("an element is not of the type its place demands")
    return start, stop


def integer(data: bytes, start: int, stop: int) -> int:
    """The value of an INTEGER or ENUMERATED between ``start`` and ``stop``."""
    if not 1 <= stop - start <= MAX_INTEGER_OCTETS:
        raise BerFault("an integer is empty or too long")
    return int.from_bytes(data[start:stop], "big", signed=True)


def boolean(data: bytes, start: int, stop: int) -> bool:
    """Any octet but zero is true (X.690 section 8.2; LDAP asks for FF, clients send 01 too)."""
    if stop - start != 1:
        raise BerFault("a boolean is not one octet")
    return data[start] != 0


def header(tag: int, size: int) -> bytes:
    """Tag and minimal length of a value of ``size`` octets."""
    if size < 0x80:
        return bytes((tag, size))
    octets = (size.bit_length() + 7) // 8
    return bytes((tag, 0x80 | octets)) + size.to_bytes(octets, "big")


def encode(tag: int, *parts: bytes) -> bytes:
    """One element whose value is the parts behind each other."""
    value = parts[0] if len(parts) == 1 else b"".join(parts)
    size = len(value)
    return (bytes((tag, size)) if size < 0x80 else header(tag, size)) + value


def encode_integer(value: int, tag: int = INTEGER) -> bytes:
    """Two's complement of the least length."""
    if 0 <= value < 0x80:
        return bytes((tag, 1, value))
    octets = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return encode(tag, value.to_bytes(octets, "big", signed=True))


def encode_boolean(value: bool, tag: int = BOOLEAN) -> bytes:
    return encode(tag, b"\xff" if value else b"\x00")
