"""Search filters: read from the wire without recursion, written in the string form of RFC 4515.

A filter is read for the attributes it names and for the log; it is never evaluated and never encoded anew. Its nodes
are kept in the order they stand in (preorder), each with the number of its children.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import NamedTuple

from adapters.ldap.codes import Code
from adapters.ldap.refusals import Spoken
from bridge.adapter import Reason
from bridge.wire import ber

MAX_DEPTH = 100
"""OpenLDAP before 2.4.50 crashes on deep nesting (CVE-2020-12243), 389-ds refuses 200; nobody writes 100 by hand."""

MAX_NODES = 2000
"""Programs make (|(uid=a)(uid=b)…) over a page of names; directories get slow long before this."""

AND, OR, NOT = 0xA0, 0xA1, 0xA2
EQUALITY, SUBSTRINGS, GREATER, LESS, PRESENT, APPROX, EXTENSIBLE = 0xA3, 0xA4, 0xA5, 0xA6, 0x87, 0xA8, 0xA9

_SIGN = {AND: "&", OR: "|", NOT: "!", EQUALITY: "=", GREATER: ">=", LESS: "<=", APPROX: "~="}
_INITIAL, _ANY, _FINAL = 0x80, 0x81, 0x82
_RULE, _TYPE, _VALUE, _DN_ATTRIBUTES = 0x81, 0x82, 0x83, 0x84


class Node(NamedTuple):
    """``children`` counts those of a set (and, or, not). ``values``: one, or (initial, any …, final) with b"" for an
    initial or final that is not there. ``attribute`` is b"" in an extensible match that names none."""

    kind: int
    children: int = 0
    attribute: bytes = b""
    values: tuple[bytes, ...] = ()
    rule: bytes = b""
    dn_attributes: bool = False


class Filter:
    """A whole filter: its ``nodes`` in preorder."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self.nodes = nodes

    @property
    def attributes(self) -> tuple[bytes, ...]:
        """Attribute descriptions as they were sent, each once, in order."""
        return tuple(dict.fromkeys(node.attribute for node in self.nodes if node.attribute))

    @property
    def any_attribute(self) -> bool:
        """An extensible match without a type compares every attribute its rule fits, one with ``:dn`` those of the
        DN too (RFC 4511 section 4.5.1.7.7): no list of attributes can say what is compared."""
        return any(node.kind == EXTENSIBLE and (not node.attribute or node.dn_attributes) for node in self.nodes)

    def text(self, *, full: bool = False, hidden: Container[bytes] = ()) -> str:
        """RFC 4515 form; assertion values are ``?`` unless ``full``, and those on ``hidden`` attributes even then."""
        out: list[str] = []
        open_sets: list[int] = []
        for node in self.nodes:
            if node.kind in (AND, OR, NOT):
                out.append("(" + _SIGN[node.kind])
                open_sets.append(node.children)
                if node.children:
                    continue
                open_sets.pop()
                out.append(")")
            else:
                out.append(_item(node, full and node.attribute not in hidden))
            while open_sets:
                open_sets[-1] -= 1
                if open_sets[-1]:
                    break
                open_sets.pop()
                out.append(")")
        return "".join(out)

    def __repr__(self) -> str:
        return f"<Filter {self.text()}>"


def parse(data: bytes, at: int, end: int) -> tuple[Filter, int]:
    """The filter at ``at`` and where it stops. Raises BerFault, or Spoken when it is too deep or too large."""
    tag, start, stop = ber.element(data, at, end)
    if tag not in (AND, OR, NOT):
        return Filter((_leaf(data, tag, start, stop),)), stop
    nodes: list[Node] = []
    open_sets: list[_Open] = []
    limit = whole = stop
    while True:
        tag, start, stop = ber.element(data, at, limit)
        if len(nodes) >= MAX_NODES:
            raise Spoken(Reason.UNSUPPORTED, Code.UNWILLING, f"a filter has at most {MAX_NODES} parts here")
        if open_sets:
            open_sets[-1].count += 1
        if tag in (AND, OR, NOT):
            if len(open_sets) >= MAX_DEPTH:
                raise Spoken(Reason.UNSUPPORTED, Code.UNWILLING, f"a filter is nested {MAX_DEPTH} deep at most here")
            open_sets.append(_Open(len(nodes), stop))
            nodes.append(Node(tag))
            at = start
        else:
            nodes.append(_leaf(data, tag, start, stop))
            at = stop
        while open_sets and at == open_sets[-1].stop:
            _close(nodes, open_sets.pop())
        if not open_sets:
            return Filter(tuple(nodes)), whole
        limit = open_sets[-1].stop


@dataclass(slots=True)
class _Open:
    """A set whose parts are still being read: its place in the nodes, where it ends, how many parts there were."""

    place: int
    stop: int
    count: int = 0


def _close(nodes: list[Node], done: _Open) -> None:
    kind = nodes[done.place].kind
    if kind == NOT and done.count != 1:
        raise ber.BerFault("a NOT filter has one part")
    nodes[done.place] = Node(kind, done.count)


def _leaf(data: bytes, tag: int, start: int, stop: int) -> Node:
    if tag == PRESENT:
        return Node(PRESENT, 0, data[start:stop])
    if tag == SUBSTRINGS:
        return _substrings(data, start, stop)
    if tag == EXTENSIBLE:
        return _extensible(data, start, stop)
    if tag not in (EQUALITY, GREATER, LESS, APPROX):
        raise ber.BerFault("a filter is of no known kind")
    name, after = ber.expect(data, start, stop, ber.OCTET_STRING)
    value, end = ber.expect(data, after, stop, ber.OCTET_STRING)
    if end != stop:
        raise ber.BerFault("an assertion has two parts")
    return Node(tag, 0, data[name:after], (data[value:end],))


def _substrings(data: bytes, start: int, stop: int) -> Node:
    name, at = ber.expect(data, start, stop, ber.OCTET_STRING)
    attribute = data[name:at]
    at, end = ber.expect(data, at, stop, ber.SEQUENCE)
    if end != stop or at == end:
        raise ber.BerFault("a substring assertion has no parts, or something behind them")
    initial, final, middle = b"", b"", []
    first = True
    while at < end:
        tag, value, at = ber.element(data, at, end)
        if tag == _INITIAL and first:
            initial = data[value:at]
        elif tag == _FINAL and at == end:
            final = data[value:at]
        elif tag == _ANY:
            middle.append(data[value:at])
        else:
            raise ber.BerFault("the parts of a substring assertion are out of order")
        first = False
    return Node(SUBSTRINGS, 0, attribute, (initial, *middle, final))


def _extensible(data: bytes, at: int, stop: int) -> Node:
    found: dict[int, bytes] = {}
    while at < stop:
        tag, start, at = ber.element(data, at, stop)
        if tag in found or tag not in (_RULE, _TYPE, _VALUE, _DN_ATTRIBUTES):
            raise ber.BerFault("a matching rule assertion has a part twice or an unknown one")
        if tag == _DN_ATTRIBUTES:
            ber.boolean(data, start, at)
        found[tag] = data[start:at]
    if _VALUE not in found or not (found.get(_RULE) or found.get(_TYPE)):
        raise ber.BerFault("a matching rule assertion lacks its value, or both its rule and its type")
    by_dn = found.get(_DN_ATTRIBUTES, b"\0") != b"\0"
    return Node(EXTENSIBLE, 0, found.get(_TYPE, b""), (found[_VALUE],), found.get(_RULE, b""), by_dn)


def _item(node: Node, full: bool) -> str:
    name = readable(node.attribute)
    if node.kind == PRESENT:
        return f"({name}=*)"
    if node.kind == SUBSTRINGS:
        return f"({name}={'*'.join(escaped(part) if full or not part else '?' for part in node.values)})"
    value = escaped(node.values[0]) if full else "?"
    if node.kind == EXTENSIBLE:
        rule = f":{readable(node.rule)}" if node.rule else ""
        return f"({name}{':dn' if node.dn_attributes else ''}{rule}:={value})"
    return f"({name}{_SIGN[node.kind]}{value})"


_NAME = re.compile(rb"[!-'+-<>-\[\]-~]*")
"""Printable ASCII but space, ``*()\\`` and ``=``."""

_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b"*()\\")


def escaped(value: bytes) -> str:
    """An assertion value: UTF-8 text as it is, everything special as ``\\xx`` (RFC 4515 section 3)."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "".join(chr(octet) if octet in _PLAIN else f"\\{octet:02x}" for octet in value)
    if text.isprintable() and not any(special in text for special in "*()\\"):
        return text
    return "".join(
        char if char.isprintable() and char not in "*()\\" else "".join(f"\\{octet:02x}" for octet in char.encode())
        for char in text
    )


def readable(name: bytes) -> str:
    """An attribute description for the log; what cannot be in one is escaped."""
    return name.decode("ascii") if _NAME.fullmatch(name) else escaped(name).replace("=", "\\3d")
