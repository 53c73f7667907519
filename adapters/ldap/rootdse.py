"""The rootDSE as the bridge has it: what upstream says, less what is not served here (RFC 4512 section 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from adapters.ldap import codec
from adapters.ldap.codes import Oid, Op
from adapters.ldap.framing import Message
from bridge.adapter import PeerFault
from bridge.wire import ber

_HOSTS = frozenset(("altserver", "dnshostname", "ldapservicename", "servername", "dsservicename"))
"""Where the legacy server is; agents are to come through the bridge."""

_OWN = ("supportedSASLMechanisms", "supportedExtension", "supportedControl", "supportedLDAPVersion")


@dataclass(frozen=True, slots=True)
class Served:
    """What this door serves. ``shown``: whether policy lets a naming context be seen (by its DN)."""

    mechanisms: tuple[str, ...]
    extensions: frozenset[str]
    controls: frozenset[str]
    start_tls: bool
    shown: Callable[[bytes], bool] = lambda context: True
    keep_hosts: bool = False

    def values(self, name: str, upstream: Iterable[bytes]) -> list[bytes] | None:
        """The values of an attribute (lower-case name) here; None: it is not shown."""
        match name:
            case "supportedsaslmechanisms":
                return [one.encode() for one in self.mechanisms] or None
            case "supportedextension":
                own = {Oid.WHO_AM_I.encode()} | ({Oid.START_TLS.encode()} if self.start_tls else set())
                relayed = {one.encode() for one in self.extensions} - {Oid.START_TLS.encode()}
                return sorted(own | (set(upstream) & relayed))
            case "supportedcontrol":
                return [one for one in upstream if one in {oid.encode() for oid in self.controls}] or None
            case "supportedldapversion":
                return [b"3"]
            case "namingcontexts" | "defaultnamingcontext" | "rootdomainnamingcontext":
                return [one for one in upstream if self.shown(one)] or None
            case _ if name in _HOSTS:
                return list(upstream) if self.keep_hosts else None
        return list(upstream)


def rewritten(message: Message, search: codec.Search, served: Served) -> bytes:
    """The rootDSE entry for the agent. Raises PeerFault."""
    entry = read_entry(message)
    out: list[tuple[bytes, list[bytes]]] = []
    for description, values in entry:
        name = description.split(b";")[0].decode("latin-1").lower()
        kept = served.values(name, values)
        if kept is not None:
            out.append((description, [] if search.types_only else kept))
    present = {description.lower() for description, _ in entry}
    for own in _OWN:
        if own.encode().lower() not in present and _asked(search, own):
            values_here = served.values(own.lower(), ())
            if values_here is not None:
                out.append((own.encode(), [] if search.types_only else values_here))
    return codec.rebuilt(message, entry_of(b"", out))


def entry_of(name: bytes, attributes: Iterable[tuple[bytes, Iterable[bytes]]]) -> bytes:
    """The operation of a SearchResultEntry."""
    parts = []
    for description, values in attributes:
        encoded = ber.encode(ber.SET, b"".join(ber.encode(ber.OCTET_STRING, value) for value in values))
        parts.append(ber.encode(ber.SEQUENCE, ber.encode(ber.OCTET_STRING, description), encoded))
    return ber.encode(Op.ENTRY, ber.encode(ber.OCTET_STRING, name), ber.encode(ber.SEQUENCE, b"".join(parts)))


def own_entry(search: codec.Search, served: Served) -> bytes:
    """The rootDSE's operation for a client that has not bound yet, when nothing may be asked upstream.

    It tells how to log in and nothing of the directory.
    """
    found = [(own.encode(), served.values(own.lower(), ()) or []) for own in _OWN if _asked(search, own)]
    if not search.attributes or b"*" in search.attributes or b"objectClass" in search.attributes:
        found.insert(0, (b"objectClass", [b"top"]))
    return entry_of(b"", [(name, () if search.types_only else values) for name, values in found if values])


def _asked(search: codec.Search, name: str) -> bool:
    wanted = {attribute.lower() for attribute in search.attributes}
    return b"+" in wanted or name.lower().encode() in wanted


def read_entry(message: Message) -> list[tuple[bytes, list[bytes]]]:
    """The attributes of a SearchResultEntry with their values. Raises PeerFault."""
    data, found = message.data, []
    try:
        _, at = ber.expect(data, message.body, message.stop, ber.OCTET_STRING)
        at, end = ber.expect(data, at, message.stop, ber.SEQUENCE)
        while at < end:
            start, at = ber.expect(data, at, end, ber.SEQUENCE)
            name, name_stop = ber.expect(data, start, at, ber.OCTET_STRING)
            found.append((data[name:name_stop], _values(data, name_stop, at)))
    except ber.BerFault as fault:
        raise PeerFault(f"a search entry: {fault}") from None
    return found


def _values(data: bytes, at: int, end: int) -> list[bytes]:
    at, stop = ber.expect(data, at, end, ber.SET)
    values = []
    while at < stop:
        start, at = ber.expect(data, at, stop, ber.OCTET_STRING)
        values.append(data[start:at])
    return values
