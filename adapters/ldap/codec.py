"""LDAP requests, bytes to values and back (RFC 4511 section 4); splitting is ``framing``'s, results are ``answers``'.

``decode`` raises PeerFault when a request is not what its tag demands, and Spoken (with the code for the answer)
when it is well formed but too large for us. Names and values stay ``bytes``; nothing that may be a secret
is in a ``repr``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from adapters.ldap import filters
from adapters.ldap.answers import envelope, numbered
from adapters.ldap.codes import Code, Op
from adapters.ldap.filters import Filter
from adapters.ldap.framing import CONTROLS, Framer, Message
from adapters.ldap.refusals import Spoken
from bridge.adapter import PeerFault, Reason
from bridge.wire import ber

__all__ = ["Filter", "Framer", "Message"]

MAX_ATTRIBUTES = 1000
"""Attributes in a request's list, changes in a Modify, attributes in an Add."""

ADD, DELETE = 0, 1
"""Kinds of a ``Change``."""

MAX_LIMIT = 2**31 - 1
"""Of entries and seconds (maxInt of RFC 4511 section 4.1.1)."""

_SIMPLE, _SASL = 0x80, 0xA3
_SICILY = (0x89, 0x8A, 0x8B)
_NEW_SUPERIOR = 0x80
_BITS = b"1.2.840.113556.1.4.803"  # MS-ADTS 3.1.1.3.4.4.1, LDAP_MATCHING_RULE_BIT_AND
_REQUEST_NAME, _REQUEST_VALUE = 0x80, 0x81


@dataclass(frozen=True, slots=True)
class Bind:
    """``method``: ``simple``, ``sasl`` or ``sicily`` (MS-ADTS NTLM). ``credentials`` None: the field is absent."""

    version: int
    name: bytes
    method: str
    mechanism: str = ""
    credentials: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Unbind:
    pass


@dataclass(frozen=True, slots=True)
class Search:
    """``scope``: 0 base, 1 one level, 2 subtree, 3 subordinate. ``fixed`` is where scope begins and types-only begins,
    for ``limited``."""

    base: bytes
    scope: int
    deref: int
    size_limit: int
    time_limit: int
    types_only: bool
    filter: filters.Filter
    attributes: tuple[bytes, ...]
    fixed: tuple[int, int] = field(default=(0, 0), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Change:
    """``kind``: ADD, DELETE, 2 replace, 3 increment (RFC 4525)."""

    kind: int
    attribute: bytes
    values: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Modify:
    name: bytes
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Add:
    name: bytes
    attributes: tuple[tuple[bytes, tuple[bytes, ...]], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delete:
    name: bytes


@dataclass(frozen=True, slots=True)
class ModifyDN:
    name: bytes
    new_rdn: bytes
    delete_old: bool
    new_superior: bytes | None = None


@dataclass(frozen=True, slots=True)
class Compare:
    name: bytes
    attribute: bytes
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Abandon:
    target: int


@dataclass(frozen=True, slots=True)
class Extended:
    oid: str
    value: bytes | None = field(default=None, repr=False)


Request = Bind | Unbind | Search | Modify | Add | Delete | ModifyDN | Compare | Abandon | Extended


def decode(message: Message) -> Request:
    """The request in a message. Raises PeerFault or Spoken."""
    parse = _PARSERS.get(message.tag)
    if parse is None:
        raise PeerFault("a message is no request of LDAP version 3")
    try:
        request: Request = parse(message.data, message.body, message.stop)
    except ber.BerFault as fault:
        raise PeerFault(f"{parse.__name__[1:]} request: {fault}") from None
    return request


def _octets(data: bytes, at: int, stop: int) -> tuple[bytes, int]:
    start, end = ber.expect(data, at, stop, ber.OCTET_STRING)
    return data[start:end], end


def _number(data: bytes, at: int, stop: int, tag: int, most: int) -> tuple[int, int]:
    if at + 3 <= stop and data[at] == tag and data[at + 1] == 1 and data[at + 2] <= min(most, 0x7F):
        return data[at + 2], at + 3
    start, end = ber.expect(data, at, stop, tag)
    value = ber.integer(data, start, end)
    if not 0 <= value <= most:
        raise ber.BerFault("a number is out of its range")
    return value, end


def _at_end(at: int, stop: int) -> None:
    if at != stop:
        raise ber.BerFault("something is left over at its end")


def _bind(data: bytes, at: int, stop: int) -> Bind:
    start, at = ber.expect(data, at, stop, ber.INTEGER)
    version = ber.integer(data, start, at)
    name, at = _octets(data, at, stop)
    tag, start, at = ber.element(data, at, stop)
    _at_end(at, stop)
    if tag == _SIMPLE:
        return Bind(version, name, "simple", "", data[start:at])
    if tag in _SICILY:
        return Bind(version, name, "sicily")
    if tag != _SASL:
        raise ber.BerFault("an authentication choice is of no known kind")
    mechanism, start = _octets(data, start, at)
    credentials: bytes | None = None
    if start < at:
        credentials, start = _octets(data, start, at)
    _at_end(start, at)
    return Bind(version, name, "sasl", mechanism.decode("ascii", "replace"), credentials)


def _unbind(data: bytes, at: int, stop: int) -> Unbind:
    return Unbind()


def _search(data: bytes, at: int, stop: int) -> Search:
    base, at = _octets(data, at, stop)
    fixed = at
    scope, at = _number(data, at, stop, ber.ENUMERATED, 3)
    deref, at = _number(data, at, stop, ber.ENUMERATED, 3)
    size, at = _number(data, at, stop, ber.INTEGER, MAX_LIMIT)
    time, at = _number(data, at, stop, ber.INTEGER, MAX_LIMIT)
    behind = at
    start, at = ber.expect(data, at, stop, ber.BOOLEAN)
    types_only = ber.boolean(data, start, at)
    found, at = filters.parse(data, at, stop)
    start, at = ber.expect(data, at, stop, ber.SEQUENCE)
    _at_end(at, stop)
    return Search(base, scope, deref, size, time, types_only, found, _strings(data, start, at), (fixed, behind))


def _strings(data: bytes, at: int, stop: int) -> tuple[bytes, ...]:
    out: list[bytes] = []
    while at < stop:
        value, at = _octets(data, at, stop)
        out.append(value)
        if len(out) > MAX_ATTRIBUTES:
            raise _too_many()
    return tuple(out)


def _too_many() -> Spoken:
    return Spoken(Reason.UNSUPPORTED, Code.UNWILLING, f"a request names at most {MAX_ATTRIBUTES} attributes here")


def _values(data: bytes, at: int, stop: int) -> tuple[bytes, ...]:
    """As many as the message holds: a group's members come so."""
    start, end = ber.expect(data, at, stop, ber.SET)
    _at_end(end, stop)
    out = []
    while start < end:
        value, start = _octets(data, start, end)
        out.append(value)
    return tuple(out)


def _attribute(data: bytes, at: int, stop: int) -> tuple[bytes, tuple[bytes, ...], int]:
    start, end = ber.expect(data, at, stop, ber.SEQUENCE)
    name, start = _octets(data, start, end)
    return name, _values(data, start, end), end


def _modify(data: bytes, at: int, stop: int) -> Modify:
    name, at = _octets(data, at, stop)
    at, end = ber.expect(data, at, stop, ber.SEQUENCE)
    _at_end(end, stop)
    changes: list[Change] = []
    while at < end:
        start, at = ber.expect(data, at, end, ber.SEQUENCE)
        kind, start = _number(data, start, at, ber.ENUMERATED, 3)
        attribute, values, start = _attribute(data, start, at)
        _at_end(start, at)
        changes.append(Change(kind, attribute, values))
        if len(changes) > MAX_ATTRIBUTES:
            raise _too_many()
    return Modify(name, tuple(changes))


def _add(data: bytes, at: int, stop: int) -> Add:
    name, at = _octets(data, at, stop)
    at, end = ber.expect(data, at, stop, ber.SEQUENCE)
    _at_end(end, stop)
    attributes: list[tuple[bytes, tuple[bytes, ...]]] = []
    while at < end:
        attribute, values, at = _attribute(data, at, end)
        attributes.append((attribute, values))
        if len(attributes) > MAX_ATTRIBUTES:
            raise _too_many()
    return Add(name, tuple(attributes))


def _delete(data: bytes, at: int, stop: int) -> Delete:
    return Delete(data[at:stop])


def _modify_dn(data: bytes, at: int, stop: int) -> ModifyDN:
    name, at = _octets(data, at, stop)
    new_rdn, at = _octets(data, at, stop)
    start, at = ber.expect(data, at, stop, ber.BOOLEAN)
    delete_old = ber.boolean(data, start, at)
    superior: bytes | None = None
    if at < stop:
        start, at = ber.expect(data, at, stop, _NEW_SUPERIOR)
        superior = data[start:at]
    _at_end(at, stop)
    return ModifyDN(name, new_rdn, delete_old, superior)


def _compare(data: bytes, at: int, stop: int) -> Compare:
    name, at = _octets(data, at, stop)
    start, end = ber.expect(data, at, stop, ber.SEQUENCE)
    _at_end(end, stop)
    attribute, start = _octets(data, start, end)
    value, start = _octets(data, start, end)
    _at_end(start, end)
    return Compare(name, attribute, value)


def _abandon(data: bytes, at: int, stop: int) -> Abandon:
    return Abandon(ber.integer(data, at, stop))


def _extended(data: bytes, at: int, stop: int) -> Extended:
    start, at = ber.expect(data, at, stop, _REQUEST_NAME)
    oid = data[start:at].decode("ascii", "replace")
    value: bytes | None = None
    if at < stop:
        start, at = ber.expect(data, at, stop, _REQUEST_VALUE)
        value = data[start:at]
    _at_end(at, stop)
    return Extended(oid, value)


_PARSERS: dict[int, Callable[[bytes, int, int], Any]] = {
    Op.BIND: _bind,
    Op.UNBIND: _unbind,
    Op.SEARCH: _search,
    Op.MODIFY: _modify,
    Op.ADD: _add,
    Op.DELETE: _delete,
    Op.MODIFY_DN: _modify_dn,
    Op.COMPARE: _compare,
    Op.ABANDON: _abandon,
    Op.EXTENDED: _extended,
}


# -- what the bridge itself sends upstream ----------------------------------------------------------------------------


request = envelope
"""A whole message around an operation."""


def rebuilt(message: Message, operation: bytes | None = None, controls: bytes | None = None) -> bytes:
    """The message with another operation or other controls; what is None stays byte for byte."""
    if operation is None and controls is None:
        return message.raw
    if controls is None:
        controls = message.data[message.controls : message.end]
    return numbered(message.id, behind_id(message, operation, controls))


def behind_id(message: Message, operation: bytes | None, controls: bytes) -> bytes:
    """What follows the message's id: ``operation``, or its own where that is None, and the encoded ``controls``."""
    if operation is None:
        operation = ber.encode(message.tag, message.data[message.body : message.stop])
    return operation + ber.encode(CONTROLS, controls) if controls else operation


def simple_bind(name: bytes, password: bytes) -> bytes:
    """The operation of a simple Bind, version 3."""
    return ber.encode(Op.BIND, ber.encode_integer(3), ber.encode(ber.OCTET_STRING, name), ber.encode(_SIMPLE, password))


def extended(oid: str, value: bytes | None = None) -> bytes:
    """The operation of an extended request (StartTLS, Cancel)."""
    tail = b"" if value is None else ber.encode(_REQUEST_VALUE, value)
    return ber.encode(Op.EXTENDED, ber.encode(_REQUEST_NAME, oid.encode()), tail)


def abandon(target: int) -> bytes:
    """The operation that abandons ``target``."""
    return ber.encode_integer(target, Op.ABANDON)


def unbind() -> bytes:
    return ber.encode(Op.UNBIND, b"")


def search(
    base: bytes,
    scope: int,
    filter_: bytes,
    attributes: tuple[bytes, ...],
    *,
    size_limit: int = 0,
    time_limit: int = 0,
    types_only: bool = False,
) -> bytes:
    """The operation of a Search of our own; ``filter_`` is encoded (``present`` makes one). Aliases stay."""
    return ber.encode(
        Op.SEARCH,
        ber.encode(ber.OCTET_STRING, base),
        _fixed(scope, 0, size_limit, time_limit),
        ber.encode_boolean(types_only),
        filter_,
        ber.encode(ber.SEQUENCE, *(ber.encode(ber.OCTET_STRING, name) for name in attributes)),
    )


def present(attribute: bytes) -> bytes:
    """The filter ``(attribute=*)``."""
    return ber.encode(filters.PRESENT, attribute)


def equality(attribute: bytes, value: str) -> bytes:
    """The filter ``(attribute=value)``."""
    value_octets = ber.encode(ber.OCTET_STRING, value.encode())
    return ber.encode(filters.EQUALITY, ber.encode(ber.OCTET_STRING, attribute), value_octets)


def any_of(*parts: bytes) -> bytes:
    """The filter that is true where one of the encoded ``parts`` is."""
    return ber.encode(filters.OR, *parts)


def begins(attribute: bytes, text: str) -> bytes:
    """The filter ``(attribute=text*)``."""
    initial = ber.encode(0x80, text.encode())
    return ber.encode(filters.SUBSTRINGS, ber.encode(ber.OCTET_STRING, attribute), ber.encode(ber.SEQUENCE, initial))


def has_bits(attribute: bytes, mask: int) -> bytes:
    """Active Directory's test of all bits of ``mask``; other directories find it true of no entry."""
    parts = ((0x81, _BITS), (0x82, attribute), (0x83, str(mask).encode()))
    return ber.encode(filters.EXTENSIBLE, *(ber.encode(tag, value) for tag, value in parts))


def modification(name: bytes, *changes: Change) -> bytes:
    """The operation of a Modify."""
    return ber.encode(
        Op.MODIFY, ber.encode(ber.OCTET_STRING, name), ber.encode(ber.SEQUENCE, *(_encoded(one) for one in changes))
    )


def _encoded(change: Change) -> bytes:
    values = ber.encode(ber.SET, *(ber.encode(ber.OCTET_STRING, value) for value in change.values))
    attribute = ber.encode(ber.SEQUENCE, ber.encode(ber.OCTET_STRING, change.attribute), values)
    return ber.encode(ber.SEQUENCE, ber.encode_integer(change.kind, ber.ENUMERATED), attribute)


def limited(
    message: Message, search: Search, *, size: int = 0, time: int = 0, deref: int | None = None
) -> bytes | None:
    """The Search operation with limits not above these (0: none of ours) and that alias handling.

    None when nothing would change; base, filter and attributes stay byte for byte.
    """
    lower_size, lower_time = lower(search.size_limit, size), lower(search.time_limit, time)
    alias = search.deref if deref is None else deref
    if (lower_size, lower_time, alias) == (search.size_limit, search.time_limit, search.deref):
        return None
    data, (fixed, behind) = message.data, search.fixed
    return ber.encode(
        Op.SEARCH,
        data[message.body : fixed],
        _fixed(search.scope, alias, lower_size, lower_time),
        data[behind : message.stop],
    )


def lower(asked: int, most: int) -> int:
    """The lower of two limits, of which 0 is none."""
    return min(asked, most) if asked and most else asked or most


def _fixed(scope: int, deref: int, size: int, time: int) -> bytes:
    return b"".join(
        (
            ber.encode_integer(scope, ber.ENUMERATED),
            ber.encode_integer(deref, ber.ENUMERATED),
            ber.encode_integer(size),
            ber.encode_integer(time),
        )
    )
