"""What a server says: results of every kind, built and read (RFC 4511 section 4.1.9), and the unsolicited notice."""

from __future__ import annotations

from dataclasses import dataclass, field

from adapters.ldap.codes import ANSWER, Oid, Op
from adapters.ldap.framing import CONTROLS, Message
from bridge.adapter import PeerFault
from bridge.wire import ber

MAX_REFERRALS = 100

_REFERRAL = 0xA3
_SERVER_CREDENTIALS = 0x87
_RESPONSE_NAME = 0x8A
_RESPONSE_VALUE = 0x8B


@dataclass(frozen=True, slots=True)
class LdapResult:
    """An LDAPResult with what may follow it; ``sasl`` in a BindResponse, ``name`` and ``value`` in an extended one."""

    code: int
    matched: bytes = b""
    text: bytes = b""
    referrals: tuple[bytes, ...] = ()
    sasl: bytes | None = field(default=None, repr=False)
    name: bytes | None = None
    value: bytes | None = field(default=None, repr=False)


def result(
    number: int,
    tag: int,
    code: int,
    text: str = "",
    *,
    matched: bytes = b"",
    referrals: tuple[bytes, ...] = (),
    sasl: bytes | None = None,
    name: str = "",
    value: bytes | None = None,
    controls: bytes = b"",
) -> bytes:
    """One whole answer message. ``tag``: an answer's (``ANSWER[request tag]``); ``controls``: encoded, one or more.

    ``sasl`` (serverSaslCreds) belongs to a BindResponse, ``name`` and ``value`` to an ExtendedResponse.
    """
    parts = [
        ber.encode_integer(code, ber.ENUMERATED),
        ber.encode(ber.OCTET_STRING, matched),
        ber.encode(ber.OCTET_STRING, text.encode()),
    ]
    if referrals:
        parts.append(ber.encode(_REFERRAL, *(ber.encode(ber.OCTET_STRING, uri) for uri in referrals)))
    if sasl is not None:
        parts.append(ber.encode(_SERVER_CREDENTIALS, sasl))
    if name:
        parts.append(ber.encode(_RESPONSE_NAME, name.encode()))
    if value is not None:
        parts.append(ber.encode(_RESPONSE_VALUE, value))
    return envelope(number, ber.encode(tag, *parts), controls)


def answer_to(request: int, number: int, code: int, text: str = "") -> bytes:
    """The answer of the type that fits the request's tag."""
    return result(number, ANSWER[request], code, text)


def envelope(number: int, operation: bytes, controls: bytes = b"") -> bytes:
    """A whole message around an encoded operation and encoded controls."""
    return numbered(number, operation + ber.encode(CONTROLS, controls) if controls else operation)


def numbered(number: int, rest: bytes) -> bytes:
    """The message of this id; ``rest`` is its operation with its controls, encoded."""
    return ber.encode(ber.SEQUENCE, ber.encode_integer(number), rest)


def notice_of_disconnection(code: int, text: str) -> bytes:
    """Unsolicited, id 0 (RFC 4511 section 4.4.1); the connection is closed behind it."""
    return result(0, Op.EXTENDED_RESPONSE, code, text, name=Oid.NOTICE_OF_DISCONNECTION)


def read_result(message: Message) -> LdapResult:
    """The result in any final answer. Raises PeerFault."""
    try:
        return _read(message.data, message.body, message.stop)
    except ber.BerFault as fault:
        raise PeerFault(f"an answer: {fault}") from None


def code_of(message: Message) -> int:
    """The code alone; what follows it must be there, and is not looked into. Raises PeerFault."""
    data, at, stop = message.data, message.body, message.stop
    try:
        start, at = ber.expect(data, at, stop, ber.ENUMERATED)
        code = ber.integer(data, start, at)
        for _ in range(2):
            _, at = ber.expect(data, at, stop, ber.OCTET_STRING)
    except ber.BerFault as fault:
        raise PeerFault(f"an answer: {fault}") from None
    return code


def _read(data: bytes, at: int, stop: int) -> LdapResult:
    start, at = ber.expect(data, at, stop, ber.ENUMERATED)
    code = ber.integer(data, start, at)
    start, at = ber.expect(data, at, stop, ber.OCTET_STRING)
    matched = data[start:at]
    start, at = ber.expect(data, at, stop, ber.OCTET_STRING)
    text = data[start:at]
    found: dict[int, bytes] = {}
    referrals: tuple[bytes, ...] = ()
    while at < stop:
        tag, start, at = ber.element(data, at, stop)
        if tag == _REFERRAL:
            referrals = _uris(data, start, at)
        else:
            found[tag] = data[start:at]
    return LdapResult(
        code,
        matched,
        text,
        referrals,
        found.get(_SERVER_CREDENTIALS),
        found.get(_RESPONSE_NAME),
        found.get(_RESPONSE_VALUE),
    )


def _uris(data: bytes, at: int, stop: int) -> tuple[bytes, ...]:
    uris = []
    while at < stop:
        start, at = ber.expect(data, at, stop, ber.OCTET_STRING)
        uris.append(data[start:at])
        if len(uris) > MAX_REFERRALS:
            raise ber.BerFault("an answer has too many referrals")
    return tuple(uris)


def read_reference(message: Message) -> tuple[bytes, ...]:
    """The URIs of a SearchResultReference. Raises PeerFault."""
    try:
        return _uris(message.data, message.body, message.stop)
    except ber.BerFault as fault:
        raise PeerFault(f"a search reference: {fault}") from None


def fitting(request: int, message: Message) -> Message | bytes:
    """A final answer as the agent must see it: of the type that fits its request, result and controls kept.

    The message itself when the type fits already.
    """
    if message.tag == ANSWER[request]:
        return message
    found = read_result(message)
    return result(
        message.id,
        ANSWER[request],
        found.code,
        found.text.decode("utf-8", "replace"),
        matched=found.matched,
        referrals=found.referrals,
        controls=message.data[message.controls : message.end],
    )
