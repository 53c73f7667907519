"""Controls: read, judged by a list of what is served, passed on byte for byte (RFC 4511 section 4.1.11).

A control can do what no operation says: act as another (proxied authorization), return attributes outside entries
(pre-read, post-read, matched values), follow changes for ever (persistent search). So only known ones pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from adapters.ldap.codes import Code, Oid
from adapters.ldap.framing import Message
from adapters.ldap.refusals import Spoken
from bridge.adapter import PeerFault, Reason
from bridge.wire import ber

MAX_CONTROLS = 32
"""Clients send at most five."""

SERVED = frozenset(
    {
        Oid.PAGED_RESULTS,
        Oid.SORT_REQUEST,
        Oid.VLV_REQUEST,
        Oid.MANAGE_DSA_IT,
        Oid.SUBENTRIES,
        Oid.ASSERTION,
        Oid.PPOLICY,
    }
)
"""Those that change nothing in what policy has to judge, or that policy can look into."""

ON_REQUEST = frozenset(
    {Oid.SYNC_REQUEST, Oid.PERSISTENT_SEARCH, Oid.TREE_DELETE, Oid.SD_FLAGS, Oid.EXTENDED_DN, Oid.SHOW_DELETED}
)
"""Served where the system's options list them."""

NEVER = frozenset(
    {
        Oid.PROXIED_AUTHORIZATION,
        Oid.PROXIED_AUTHORIZATION_V1,
        Oid.PRE_READ,
        Oid.POST_READ,
        Oid.MATCHED_VALUES,
        Oid.SESSION_TRACKING,
    }
)
"""Whatever the options say. Session tracking is the bridge's own stamp; an agent's is taken out silently."""


class Control(NamedTuple):
    """``raw`` is the whole element as it came."""

    oid: str
    critical: bool
    value: bytes | None
    raw: bytes

    def __repr__(self) -> str:
        return f"<Control {self.oid}{' critical' if self.critical else ''}>"


def read(message: Message) -> tuple[Control, ...]:
    """The controls of a request or an answer. Raises PeerFault."""
    if message.controls == message.end:
        return ()
    found: list[Control] = []
    at = message.controls
    try:
        while at < message.end:
            control, at = _control(message.data, at, message.end)
            found.append(control)
            if len(found) > MAX_CONTROLS:
                raise ber.BerFault(f"a message has at most {MAX_CONTROLS} controls")
    except ber.BerFault as fault:
        raise PeerFault(f"controls: {fault}") from None
    return tuple(found)


def _control(data: bytes, begin: int, end: int) -> tuple[Control, int]:
    at, stop = ber.expect(data, begin, end, ber.SEQUENCE)
    start, at = ber.expect(data, at, stop, ber.OCTET_STRING)
    oid = data[start:at].decode("ascii", "replace")
    critical, value = False, None
    if at < stop and data[at] == ber.BOOLEAN:
        start, at = ber.expect(data, at, stop, ber.BOOLEAN)
        critical = ber.boolean(data, start, at)
    if at < stop:
        start, at = ber.expect(data, at, stop, ber.OCTET_STRING)
        value = data[start:at]
    if at != stop:
        raise ber.BerFault("something is left over at the end of one")
    return Control(oid, critical, value, data[begin:stop]), stop


def judge(controls: tuple[Control, ...], more: frozenset[str] = frozenset()) -> tuple[Control, ...]:
    """Those that go upstream; ``more`` are OIDs that the system's options allow beside ``SERVED``.

    Raises Spoken (12) for a critical one that is not served, so that nothing goes upstream (twisted/ldaptor#163 let the
    operation succeed without it), and for the same one twice.
    """
    if not controls:
        return ()
    allowed = (SERVED | more) - NEVER
    kept: list[Control] = []
    for control in controls:
        if control.oid in allowed:
            kept.append(control)
        elif control.critical and control.oid != Oid.SESSION_TRACKING:
            raise Spoken(
                Reason.UNSUPPORTED, Code.CRITICAL_EXTENSION, "a critical control of the request is not served here"
            )
    if len({control.oid for control in kept}) != len(kept):
        raise Spoken(Reason.UNSUPPORTED, Code.PROTOCOL_ERROR, "a control stands twice in the request")
    return tuple(kept)


def joined(controls: Iterable[Control]) -> bytes:
    """Their bytes as they came, for ``codec.rebuilt``."""
    return b"".join([control.raw for control in controls])


def without(controls: Iterable[Control], *oids: str) -> tuple[Control, ...]:
    return tuple(control for control in controls if control.oid not in oids)


def encode(oid: str, value: bytes | None = None, *, critical: bool = False) -> bytes:
    """One control. Criticality FALSE is the default, and so absent (RFC 4511 section 5.1)."""
    parts = [ber.encode(ber.OCTET_STRING, oid.encode())]
    if critical:
        parts.append(ber.encode_boolean(True))
    if value is not None:
        parts.append(ber.encode(ber.OCTET_STRING, value))
    return ber.encode(ber.SEQUENCE, *parts)


# -- contents ---------------------------------------------------------------------------------------------------------


def session_tracking(address: str, name: str, identifier: str) -> bytes:
    """The stamp (draft-wahl-ldap-session-03): the agent's address, the bridge's name, who the agent is.

    slapd writes them on every line of its stats log: ``[IP=… NAME=… USERNAME=…]``. The lengths are those of the draft.
    """
    fields = (address[:128], name[:65536], Oid.SESSION_TRACKING_USERNAME, identifier[:65536])
    value = ber.encode(ber.SEQUENCE, *(ber.encode(ber.OCTET_STRING, field.encode()) for field in fields))
    return encode(Oid.SESSION_TRACKING, value)


def ppolicy_request() -> bytes:
    """Asks for the reason when a Bind fails (draft-behera-ldap-password-policy-10); slapd tells it only then."""
    return encode(Oid.PPOLICY)


PPOLICY_ERRORS = (
    "password expired",
    "account locked",
    "password must be changed",
    "password may not be modified",
    "old password must be supplied",
    "password quality insufficient",
    "password too short",
    "password too young",
    "password in history",
)


class Ppolicy(NamedTuple):
    """``error``: index of ``PPOLICY_ERRORS``, -1 for none; seconds and logins left, -1 where not told."""

    error: int = -1
    seconds_left: int = -1
    graces_left: int = -1

    @property
    def cause(self) -> str:
        if self.error < 0:
            return ""
        return PPOLICY_ERRORS[self.error] if self.error < len(PPOLICY_ERRORS) else "password policy"


def read_ppolicy(value: bytes | None) -> Ppolicy:
    """The value of a password policy response control; what does not parse says nothing."""
    error = seconds = graces = -1
    try:
        at, stop = ber.expect(value or b"", 0, len(value or b""), ber.SEQUENCE)
        data = value or b""
        while at < stop:
            tag, start, at = ber.element(data, at, stop)
            if tag == 0x81:
                error = ber.integer(data, start, at)
            elif tag == 0xA0:
                kind, first, last = ber.element(data, start, at)
                number = ber.integer(data, first, last)
                seconds, graces = (number, graces) if kind == 0x80 else (seconds, number)
    except ber.BerFault:
        return Ppolicy()
    return Ppolicy(error, seconds, graces)


def sort_keys(value: bytes | None) -> tuple[bytes, ...]:
    """Attributes that a server-side sort orders by (RFC 2891). Raises PeerFault."""
    data, keys = value or b"", []
    try:
        at, stop = ber.expect(data, 0, len(data), ber.SEQUENCE)
        while at < stop:
            start, at = ber.expect(data, at, stop, ber.SEQUENCE)
            name, name_stop = ber.expect(data, start, at, ber.OCTET_STRING)
            keys.append(data[name:name_stop])
    except ber.BerFault as fault:
        raise PeerFault(f"the sort control: {fault}") from None
    if not keys or len(keys) > MAX_CONTROLS:
        raise PeerFault("the sort control has no keys, or too many")
    return tuple(keys)


def page(value: bytes | None) -> tuple[int, bytes]:
    """Size (or the server's estimate) and cookie of a paged results control (RFC 2696). Raises PeerFault."""
    data = value or b""
    try:
        at, stop = ber.expect(data, 0, len(data), ber.SEQUENCE)
        start, at = ber.expect(data, at, stop, ber.INTEGER)
        size = ber.integer(data, start, at)
        start, at = ber.expect(data, at, stop, ber.OCTET_STRING)
    except ber.BerFault as fault:
        raise PeerFault(f"the paged results control: {fault}") from None
    return size, data[start:at]
