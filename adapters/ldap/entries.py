"""SearchResultEntries looked into only as far as needed: name, attribute names, byte ranges (RFC 4511 section 4.5.2).

What is kept is copied as it stands. Values are never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from adapters.ldap import codec
from adapters.ldap.codes import Op
from adapters.ldap.framing import Message
from bridge.adapter import PeerFault
from bridge.wire import ber


def entry_name(message: Message) -> bytes:
    """The DN of the entry. Raises PeerFault."""
    try:
        start, stop = ber.expect(message.data, message.body, message.stop, ber.OCTET_STRING)
    except ber.BerFault as fault:
        raise PeerFault(f"a search entry: {fault}") from None
    return message.data[start:stop]


def filtered(message: Message, allowed: Callable[[bytes], bool]) -> bytes:
    """The whole message without the attributes that ``allowed`` (of the description as it stands) says no to.

    The same bytes when all may stay. Raises PeerFault.
    """
    head, attributes = _attributes(message)
    kept = [(start, stop) for name, start, stop in attributes if allowed(name)]
    if len(kept) == len(attributes):
        return message.raw
    data = message.data
    inner = ber.encode(ber.SEQUENCE, b"".join([data[start:stop] for start, stop in kept]))
    return codec.rebuilt(message, ber.encode(Op.ENTRY, data[message.body : head], inner))


def _attributes(message: Message) -> tuple[int, list[tuple[bytes, int, int]]]:
    """Where the name ends, and of each attribute its description and where all of it starts and stops."""
    data, element = message.data, ber.element
    found = []
    try:
        _, head = ber.expect(data, message.body, message.stop, ber.OCTET_STRING)
        at, end = ber.expect(data, head, message.stop, ber.SEQUENCE)
        if end != message.stop:
            raise ber.BerFault("something is left over at its end")
        while at < end:
            tag, inner, stop = element(data, at, end)
            kind, name, name_stop = element(data, inner, stop)
            if tag != ber.SEQUENCE or kind != ber.OCTET_STRING:
                raise ber.BerFault("an attribute is not a name with values")
            found.append((data[name:name_stop], at, stop))
            at = stop
    except ber.BerFault as fault:
        raise PeerFault(f"a search entry: {fault}") from None
    return head, found


class Mentions:
    """Whether any of some attribute names may be in a run of messages, without reading them.

    It may say yes for a value that looks like a name; never no when an attribute is there under one of the names.
    """

    __slots__ = ("_needles",)

    def __init__(self, names: Iterable[str]) -> None:
        self._needles = tuple({name.lower().encode() for name in names})

    def in_bytes(self, data: bytes) -> bool:
        small = data.lower()
        return any(needle in small for needle in self._needles)
