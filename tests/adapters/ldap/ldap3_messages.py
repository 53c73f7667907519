"""Messages by ldap3's encoder, as an oracle: another author's reading of RFC 4511."""

from __future__ import annotations

from typing import Any

from ldap3.operation.add import add_operation
from ldap3.operation.compare import compare_operation
from ldap3.operation.modify import modify_operation
from ldap3.operation.modifyDn import modify_dn_operation
from ldap3.operation.search import search_operation
from ldap3.protocol.rfc4511 import LDAPMessage, MessageID, ProtocolOp
from pyasn1.codec.ber import decoder, encoder

from adapters.ldap.framing import Message, message


def whole(data: bytes) -> Message:
    """The message that ``data`` is."""
    return message(data, 0, len(data))


def encoded(kind: str, operation: Any, number: int = 7) -> bytes:
    envelope = LDAPMessage()
    envelope["messageID"] = MessageID(number)
    envelope["protocolOp"] = ProtocolOp().setComponentByName(kind, operation)
    data: bytes = encoder.encode(envelope)
    return data


def search(filter_: str, base: str = "dc=example", attributes: tuple[str, ...] = ("cn",), **more: Any) -> bytes:
    asked = search_operation(
        base,
        filter_,
        more.get("scope", 2),
        more.get("deref", 3),
        list(attributes),
        more.get("size", 0),
        more.get("time", 0),
        more.get("types_only", False),
        None,
        None,
        None,
    )
    return encoded("searchRequest", asked, more.get("number", 7))


def modify(name: str, changes: dict[str, list[tuple[int, list[bytes]]]]) -> bytes:
    return encoded("modifyRequest", modify_operation(name, changes, None))


def add(name: str, attributes: dict[str, list[bytes]]) -> bytes:
    return encoded("addRequest", add_operation(name, attributes, None))


def compare(name: str, attribute: str, value: bytes) -> bytes:
    return encoded("compareRequest", compare_operation(name, attribute, value, None))


def modify_dn(name: str, new_rdn: str, *, delete_old: bool = True, superior: str | None = None) -> bytes:
    return encoded("modDNRequest", modify_dn_operation(name, new_rdn, delete_old, superior))


def decoded(data: bytes) -> tuple[int, str, Any]:
    """What pyasn1 reads by ldap3's schema: message id, kind of operation, operation."""
    envelope, rest = decoder.decode(data, asn1Spec=LDAPMessage())
    assert rest == b""
    operation = envelope["protocolOp"]
    return int(envelope["messageID"]), operation.getName(), operation.getComponent()
