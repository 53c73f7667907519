"""Extended requests with content that is looked into: Password Modify (RFC 3062), Cancel (RFC 3909)."""

from __future__ import annotations

from dataclasses import dataclass, field

from bridge.adapter import PeerFault
from bridge.wire import ber

_IDENTITY, _OLD, _NEW = 0x80, 0x81, 0x82


@dataclass(frozen=True, slots=True)
class PasswordModify:
    """``identity`` b"": of the one who is bound. That there are passwords is told, never which."""

    identity: bytes = b""
    old: bool = field(default=False)
    new: bool = field(default=False)


def read_password_modify(value: bytes | None) -> PasswordModify:
    """Raises PeerFault."""
    data = value or b""
    found: dict[int, bytes] = {}
    try:
        at, stop = ber.expect(data, 0, len(data), ber.SEQUENCE) if data else (0, 0)
        if stop != len(data):
            raise ber.BerFault("something is left over at its end")
        while at < stop:
            tag, start, at = ber.element(data, at, stop)
            if tag in found or tag not in (_IDENTITY, _OLD, _NEW):
                raise ber.BerFault("a part stands twice or is unknown")
            found[tag] = data[start:at]
    except ber.BerFault as fault:
        raise PeerFault(f"password modify request: {fault}") from None
    return PasswordModify(found.get(_IDENTITY, b""), _OLD in found, _NEW in found)


def password_modify(old: bytes, new: bytes) -> bytes:
    """The value of a request for the one who is bound (section 2: userIdentity is absent)."""
    return ber.encode(ber.SEQUENCE, ber.encode(_OLD, old), ber.encode(_NEW, new))


def read_cancel(value: bytes | None) -> int:
    """The message id to cancel. Raises PeerFault."""
    data = value or b""
    try:
        at, stop = ber.expect(data, 0, len(data), ber.SEQUENCE)
        start, at = ber.expect(data, at, stop, ber.INTEGER)
        return ber.integer(data, start, at)
    except ber.BerFault as fault:
        raise PeerFault(f"cancel request: {fault}") from None
