"""Distinguished names in one form, so that policy can compare them (RFC 4514; older forms of RFC 2253 and 1779 too).

``Ou = People;DC="example"``, ``2.5.4.11=\\70eople,dc=example`` and ``ou=people,dc=example`` are one name to a
directory; its normal form is the last. Types become the schema's first name; values lose case and needless space (RFC
4518), also of the few attributes whose values know case: no directory has two branches that differ in case only. What
cannot be read is refused (34), since policy could not judge it.
"""

from __future__ import annotations

import re
import stringprep
import unicodedata
from functools import cache
from typing import NamedTuple

from adapters.ldap.codes import Code
from adapters.ldap.refusals import Spoken
from adapters.ldap.schema import Schema, standard_schema
from bridge.adapter import Reason
from bridge.wire import ber

MAX_SIZE = 8192
"""Bytes; no directory's own names come near it."""

MAX_DEPTH = 64
"""RDNs; each makes a name in the chain of ancestors."""

MAX_KEPT = 4096
"""Chains of parents kept: entries of one search share theirs."""

MAX_KEPT_SIZE = 256
"""Bytes of a name that is kept; a chain is a multiple of it."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9-]*=[A-Za-z0-9_@./:'()&!*?-]+(?: [A-Za-z0-9_@./:'()&!*?-]+)*")
_KIND = re.compile(r"(?:[Oo][Ii][Dd]\.)?\d+(?:\.\d+)+|[A-Za-z][A-Za-z0-9_-]*")
_EXTENDED = re.compile(rb"(?:<[A-Za-z]+=[^>]*>;)+")
_ESCAPED = frozenset(',+"\\<>;=#')
_HEX = frozenset("0123456789abcdefABCDEF")


class Name(NamedTuple):
    """``chain``: the normal form of the name, of its parent and so on; empty for the root."""

    chain: tuple[str, ...]

    @property
    def text(self) -> str:
        return self.chain[0] if self.chain else ""

    @property
    def target(self) -> str | tuple[str, ...]:
        """The fact ``base`` for grants; the root is below no name that a grant could list."""
        return self.chain or ""

    def within(self, other: Name) -> bool:
        """Whether it is ``other`` or below it."""
        return not other.chain or other.text in self.chain


ROOT = Name(())


class Names:
    """Reads names by one directory's schema, and remembers the parents."""

    __slots__ = ("_kept", "_schema")

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._kept: dict[bytes, Name] = {b"": ROOT}

    def read(self, dn: bytes) -> Name:
        """Raises Spoken (34)."""
        known = self._kept.get(dn)
        if known is not None:
            return known
        if len(dn) > MAX_SIZE:
            raise _unreadable("is too long")
        head, comma, rest = dn.partition(b",")
        simple = _PLAIN.fullmatch(head.decode("latin-1")) if comma and dn.count(b",") < MAX_DEPTH else None
        if simple is None:
            return _chain(_rdns(dn, self._schema))
        parent = self._keep(rest, self.read(rest)) if rest else _missing()
        if len(parent.chain) >= MAX_DEPTH:
            raise _unreadable("has too many parts")
        kind, _, value = simple[0].partition("=")
        rdn = f"{self._kind(kind)}={_normal(value)}"
        return Name((f"{rdn},{parent.text}", *parent.chain))

    def of_entry(self, dn: bytes) -> Name:
        """The name of an entry that came back; the extended DN control puts ``<GUID=…>;<SID=…>;`` before it."""
        return self.read(_EXTENDED.sub(b"", dn, count=1) if dn.startswith(b"<") else dn)

    def below(self, rdn: bytes, parent: Name) -> Name:
        """The name that ModifyDN makes."""
        parts = _rdns(rdn, self._schema)
        if len(parts) != 1:
            raise _unreadable("is not one part")
        return Name((f"{parts[0]},{parent.text}" if parent.chain else parts[0], *parent.chain))

    def _keep(self, dn: bytes, name: Name) -> Name:
        if len(dn) <= MAX_KEPT_SIZE:
            if len(self._kept) >= MAX_KEPT:
                self._kept = {b"": ROOT}
            self._kept[dn] = name
        return name

    def _kind(self, kind: str) -> str:
        return _canonical(kind, self._schema)


@cache
def standard_names() -> Names:
    """By the standard types alone, shared by all who know no directory's."""
    return Names(standard_schema())


def parent(name: Name) -> Name:
    return Name(name.chain[1:])


def _chain(rdns: list[str]) -> Name:
    return Name(tuple(",".join(rdns[at:]) for at in range(len(rdns))))


def _rdns(dn: bytes, schema: Schema) -> list[str]:
    try:
        text = dn.decode("utf-8")
    except UnicodeDecodeError:
        raise _unreadable("is not UTF-8") from None
    rdns: list[str] = []
    parts: list[str] = []
    at = 0
    if not text.strip():
        return rdns
    while True:
        sign = text.find("=", at)
        kind = text[at:sign].strip() if sign >= 0 else ""
        if not _KIND.fullmatch(kind):
            raise _unreadable("has a part without an attribute type")
        value, at = _value(text, sign + 1)
        parts.append(f"{_canonical(kind, schema)}={_normal(value)}")
        if at < len(text) and text[at] == "+":
            at += 1
            continue
        rdns.append("+".join(sorted(parts)))
        parts = []
        if at == len(text):
            return rdns
        at += 1
        if len(rdns) >= MAX_DEPTH:
            raise _unreadable("has too many parts")


def _canonical(kind: str, schema: Schema) -> str:
    try:
        return schema.canonical(kind.encode())
    except Spoken:
        raise _unreadable("has an attribute type that the schema does not list") from None


def _value(text: str, at: int) -> tuple[str, int]:
    """The value at ``at``, unescaped, and where its separator or the end is."""
    while at < len(text) and text[at].isspace():
        at += 1
    if at < len(text) and text[at] == '"':
        return _quoted(text, at + 1)
    out = bytearray()
    start = at
    while at < len(text) and text[at] not in ",;+":
        char = text[at]
        if char == '"':
            raise _unreadable("has a quotation mark inside a value")
        if char == "\\":
            octets, at = _escape(text, at)
            out += octets
        else:
            out += char.encode()
            at += 1
    if text[start : start + 1] == "#":
        return _encoded(out[1:].decode("utf-8", "replace").strip()), at
    return _text(out), at


def _quoted(text: str, at: int) -> tuple[str, int]:
    out = bytearray()
    while at < len(text) and text[at] != '"':
        if text[at] == "\\":
            octets, at = _escape(text, at)
            out += octets
        else:
            out += text[at].encode()
            at += 1
    at += 1
    while at < len(text) and text[at].isspace():
        at += 1
    if at > len(text) or (at < len(text) and text[at] not in ",;+"):
        raise _unreadable("has something behind a quoted value, or no end of it")
    return _text(out), at


def _escape(text: str, at: int) -> tuple[bytes, int]:
    pair = text[at + 1 : at + 3]
    if len(pair) == 2 and _HEX.issuperset(pair):
        return bytes((int(pair, 16),)), at + 3
    if not pair or pair[0] not in ',+"\\<>;=# ':
        raise _unreadable("has an escape that is none")
    return pair[0].encode(), at + 2


_STRINGS = frozenset((0x04, 0x0C, 0x13, 0x14, 0x16))


def _encoded(digits: str) -> str:
    """``#`` and the BER of a value; only strings can be compared with the other form."""
    try:
        data = bytes.fromhex(digits)
        tag, start, stop = ber.element(data, 0, len(data))
    except ValueError:  # BerFault is one
        raise _unreadable("has a hexadecimal value that is no BER") from None
    if tag not in _STRINGS or stop != len(data):
        raise _unreadable("has a hexadecimal value that is no string")
    return _text(data[start:stop])


def _text(value: bytes | bytearray) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise _unreadable("has a value that is not UTF-8") from None


def _normal(value: str) -> str:
    """Prepared as RFC 4518 says for caseIgnoreMatch, special characters escaped again."""
    if not value.isascii():
        mapped = "".join(char for char in value if not _ignored(char))
        value = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", mapped).casefold())
    elif not value.isprintable():
        value = "".join(char for char in value if not _ignored(char))
    text = " ".join(value.lower().split())
    if _ESCAPED.isdisjoint(text) and text.isprintable():
        return text
    return "".join(_written(char) for char in text)


def _ignored(char: str) -> bool:
    """Mapped to nothing (section 2.2): controls, soft hyphen, joiners, variation selectors."""
    if char.isspace():
        return False
    return stringprep.in_table_b1(char) or unicodedata.category(char) in ("Cc", "Cf") or char == "\ufffc"


def _written(char: str) -> str:
    if char in _ESCAPED:
        return "\\" + char
    return char if char.isprintable() else "".join(f"\\{octet:02x}" for octet in char.encode())


def _missing() -> Name:
    raise _unreadable("ends with a comma")


def _unreadable(why: str) -> Spoken:
    return Spoken(Reason.UNSUPPORTED, Code.INVALID_DN, f"a distinguished name {why}")


def names_of_base(value: str) -> tuple[str, ...]:
    """A base that somebody wrote, and all above it, as operations have them. Raises ValueError."""
    if value == "*":
        return (value,)
    try:
        found = standard_names().read(value.encode())
    except Spoken as spoken:
        raise ValueError(f"a distinguished name such as ou=people,dc=example,dc=org; {spoken.text}") from None
    if not found.chain:
        raise ValueError("a distinguished name, or * for any; the root is above them all")
    return found.chain
