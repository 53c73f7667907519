"""PostgreSQL messages, bytes to values and back (protocol page "Message Formats"); splitting is ``framing``'s.

Parsers take the body of one message (after kind and length) and raise PeerFault when it is not what its kind demands.
Names, statement text and values stay ``bytes``: they are in the session's client_encoding. Encoders return whole
messages. Kinds are ints, as indexing bytes gives them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from adapters.postgres.framing import HEADER_SIZE, LARGE_LIMIT, SMALL_LIMIT, Frame, Framer
from bridge.adapter import PeerFault
from bridge.wire.reader import Reader
from bridge.wire.writer import Writer

__all__ = ["HEADER_SIZE", "LARGE_LIMIT", "SMALL_LIMIT", "Frame", "Framer"]

_LENGTH = struct.Struct(">I")


class Front:
    """Kinds that a client sends."""

    BIND = ord("B")
    CLOSE = ord("C")
    COPY_DATA = ord("d")
    COPY_DONE = ord("c")
    COPY_FAIL = ord("f")
    DESCRIBE = ord("D")
    EXECUTE = ord("E")
    FLUSH = ord("H")
    FUNCTION_CALL = ord("F")
    PARSE = ord("P")
    PASSWORD = ord("p")
    QUERY = ord("Q")
    SYNC = ord("S")
    TERMINATE = ord("X")


class Back:
    """Kinds that a server sends."""

    AUTHENTICATION = ord("R")
    BACKEND_KEY_DATA = ord("K")
    BIND_COMPLETE = ord("2")
    CLOSE_COMPLETE = ord("3")
    COMMAND_COMPLETE = ord("C")
    COPY_BOTH_RESPONSE = ord("W")
    COPY_DATA = ord("d")
    COPY_DONE = ord("c")
    COPY_IN_RESPONSE = ord("G")
    COPY_OUT_RESPONSE = ord("H")
    DATA_ROW = ord("D")
    EMPTY_QUERY_RESPONSE = ord("I")
    ERROR_RESPONSE = ord("E")
    FUNCTION_CALL_RESPONSE = ord("V")
    NEGOTIATE_PROTOCOL_VERSION = ord("v")
    NO_DATA = ord("n")
    NOTICE_RESPONSE = ord("N")
    NOTIFICATION_RESPONSE = ord("A")
    PARAMETER_DESCRIPTION = ord("t")
    PARAMETER_STATUS = ord("S")
    PARSE_COMPLETE = ord("1")
    PORTAL_SUSPENDED = ord("s")
    READY_FOR_QUERY = ord("Z")
    ROW_DESCRIPTION = ord("T")


FRONT_BULK = frozenset({Front.COPY_DATA})
FRONT_LARGE = dict.fromkeys((Front.QUERY, Front.PARSE, Front.BIND, Front.FUNCTION_CALL), LARGE_LIMIT)
BACK_BULK = frozenset({Back.DATA_ROW, Back.COPY_DATA})
BACK_LARGE = dict.fromkeys(
    (
        Back.ROW_DESCRIPTION,
        Back.PARAMETER_DESCRIPTION,
        Back.ERROR_RESPONSE,
        Back.NOTICE_RESPONSE,
        Back.FUNCTION_CALL_RESPONSE,
        Back.NOTIFICATION_RESPONSE,
    ),
    LARGE_LIMIT,
)


def message(kind: int, body: bytes = b"") -> bytes:
    """One whole message."""
    return bytes((kind,)) + _LENGTH.pack(len(body) + 4) + body


# -- what a client says -----------------------------------------------------------------------------------------------


class Parse(NamedTuple):
    name: bytes
    text: bytes
    types: tuple[int, ...]


class Bind(NamedTuple):
    """``parameters``: None is SQL NULL. ``formats``: as sent (none, one for all, or one each; 0 text, 1 binary)."""

    portal: bytes
    statement: bytes
    formats: tuple[int, ...]
    parameters: tuple[bytes | None, ...]
    result_formats: tuple[int, ...]

    def format(self, index: int) -> int:
        """The format of parameter ``index``: 0 text, 1 binary."""
        if not self.formats:
            return 0
        return self.formats[0] if len(self.formats) == 1 else self.formats[index]


class Named(NamedTuple):
    """Body of Describe and Close; ``which`` is ``S`` (statement) or ``P`` (portal)."""

    which: str
    name: bytes


class Execute(NamedTuple):
    portal: bytes
    limit: int


class FunctionCall(NamedTuple):
    oid: int
    formats: tuple[int, ...]
    arguments: tuple[bytes | None, ...]
    result_format: int


def _body(body: bytes, what: str) -> Reader:
    return Reader(body, what=what, fault=PeerFault)


def parse_parse(body: bytes) -> Parse:
    reader = _body(body, "Parse")
    name, text = reader.until_nul(), reader.until_nul()
    types = tuple(reader.u32() for _ in range(reader.u16()))
    reader.end()
    return Parse(name, text, types)


def parse_bind(body: bytes) -> Bind:
    """Portal name first, then statement name."""
    reader = _body(body, "Bind")
    portal, statement = reader.until_nul(), reader.until_nul()
    formats = reader.u16s()
    parameters = tuple([_value(reader) for _ in range(reader.u16())])
    if len(formats) > 1 and len(formats) != len(parameters):
        raise reader.failure("as many formats as parameters are needed")
    result_formats = reader.u16s()
    reader.end()
    return Bind(portal, statement, formats, parameters, result_formats)


def _value(reader: Reader) -> bytes | None:
    size = reader.i32()
    return None if size == -1 else reader.take(size)


_SUBTYPES = (b"S", b"P")


def parse_named(body: bytes) -> Named:
    """Describe or Close."""
    if body[:1] in _SUBTYPES and body.find(0, 1) == len(body) - 1:
        return Named(body[:1].decode("ascii"), body[1:-1])
    reader = _body(body, "Describe or Close")
    which = reader.u8()
    if which not in b"SP":
        raise reader.failure("its subtype is neither S nor P")
    name = reader.until_nul()
    reader.end()
    return Named(chr(which), name)


def parse_execute(body: bytes) -> Execute:
    if body.find(0) == len(body) - 5 >= 0:
        return Execute(body[:-5], int.from_bytes(body[-4:], "big", signed=True))
    reader = _body(body, "Execute")
    portal, limit = reader.until_nul(), reader.i32()
    reader.end()
    return Execute(portal, limit)


def parse_function_call(body: bytes) -> FunctionCall:
    reader = _body(body, "FunctionCall")
    oid = reader.u32()
    formats = reader.u16s()
    arguments = tuple([_value(reader) for _ in range(reader.u16())])
    result_format = reader.u16()
    reader.end()
    return FunctionCall(oid, formats, arguments, result_format)


def parse_password(body: bytes) -> bytes:
    """What a PasswordMessage carries, without its NUL."""
    reader = _body(body, "PasswordMessage")
    value = reader.until_nul()
    reader.end()
    return value


# -- what a server says -----------------------------------------------------------------------------------------------


class ErrorFields(NamedTuple):
    """The fields of an ErrorResponse or NoticeResponse that we act on; ``all`` has every field by its letter."""

    severity: str
    code: str
    message: str
    all: Mapping[str, str]


def parse_error(body: bytes) -> ErrorFields:
    """Severity is the untranslated one (V) where there is one. Undecodable bytes become U+FFFD."""
    reader = _body(body, "ErrorResponse")
    fields: dict[str, str] = {}
    while (letter := reader.u8()) != 0:
        fields[chr(letter)] = reader.until_nul().decode("utf-8", "replace")
    severity = fields.get("V") or fields.get("S", "")
    return ErrorFields(severity, fields.get("C", ""), fields.get("M", ""), fields)


def tag_rows(tag: bytes) -> int:
    """Rows that a command tag reports; 0 when it reports none."""
    last = tag.rpartition(b" ")[2]
    return int(last) if last.isdigit() and len(last) < 20 else 0


def parse_ready(body: bytes) -> str:
    """Transaction status: ``I`` idle, ``T`` in a transaction, ``E`` in a failed one."""
    if len(body) != 1:
        raise PeerFault("ReadyForQuery: it holds one byte")
    return chr(body[0])


def parse_parameter_status(body: bytes) -> tuple[str, str]:
    reader = _body(body, "ParameterStatus")
    name, value = reader.until_nul(), reader.until_nul()
    reader.end()
    return name.decode("utf-8", "replace"), value.decode("utf-8", "replace")


def parse_backend_key(body: bytes) -> tuple[int, bytes]:
    """Process id and secret key: 4 bytes on protocol 3.0, 4 to 256 on 3.2."""
    reader = _body(body, "BackendKeyData")
    pid, key = reader.u32(), reader.rest()
    if len(key) > 256:
        raise reader.failure("its key is longer than 256 bytes")
    return pid, key


def parse_authentication(body: bytes) -> tuple[int, bytes]:
    """The request's code and what follows it."""
    reader = _body(body, "Authentication")
    return reader.u32(), reader.rest()


def parse_sasl_mechanisms(body: bytes) -> tuple[str, ...]:
    """The names after an AuthenticationSASL code."""
    reader = _body(body, "AuthenticationSASL")
    names: list[str] = []
    while name := reader.until_nul():
        names.append(name.decode("ascii", "replace"))
    return tuple(names)


def parse_negotiate_version(body: bytes) -> tuple[int, tuple[bytes, ...]]:
    """Newest version the server speaks (a bare minor or major<<16|minor) and the options it does not know."""
    reader = _body(body, "NegotiateProtocolVersion")
    newest, count = reader.u32(), reader.u32()
    if count > reader.left:
        raise reader.failure("it counts more options than it holds")
    return newest, tuple(reader.until_nul() for _ in range(count))


def parse_data_row(body: bytes) -> tuple[bytes | None, ...]:
    reader = _body(body, "DataRow")
    values = tuple(_value(reader) for _ in range(reader.u16()))
    reader.end()
    return values


# -- what we say to a client ------------------------------------------------------------------------------------------


def _text(value: str) -> bytes:
    return value.replace("\0", " ").encode("utf-8", "replace")


def _fields(severity: str, code: str, text: str, detail: str, hint: str) -> bytes:
    writer = Writer()
    # S, V, C and M always: clients and poolers crash without (CVE-2026-6666)
    pairs = [("S", severity), ("V", severity), ("C", code), ("M", text), ("D", detail), ("H", hint)]
    for letter, value in pairs:
        if value or letter in "SVCM":
            writer.raw(letter.encode()).string(_text(value))
    return bytes(writer.u8(0))


def error_response(severity: str, code: str, text: str, *, detail: str = "", hint: str = "") -> bytes:
    """``severity`` ERROR, FATAL or PANIC. A NUL in a text becomes a space."""
    return message(Back.ERROR_RESPONSE, _fields(severity, code, text, detail, hint))


def notice_response(severity: str, code: str, text: str, *, detail: str = "", hint: str = "") -> bytes:
    """``severity`` WARNING, NOTICE, INFO …"""
    return message(Back.NOTICE_RESPONSE, _fields(severity, code, text, detail, hint))


def ready_for_query(status: str = "I") -> bytes:
    return message(Back.READY_FOR_QUERY, status.encode("ascii"))


def parameter_status(name: str, value: str) -> bytes:
    return message(Back.PARAMETER_STATUS, bytes(Writer().string(_text(name)).string(_text(value))))


def authentication_ok() -> bytes:
    return message(Back.AUTHENTICATION, _LENGTH.pack(0))


def authentication_cleartext() -> bytes:
    return message(Back.AUTHENTICATION, _LENGTH.pack(3))


def authentication(code: int, rest: bytes = b"") -> bytes:
    """Any other request; tests play servers with it."""
    return message(Back.AUTHENTICATION, _LENGTH.pack(code) + rest)


def backend_key_data(pid: int, key: bytes) -> bytes:
    return message(Back.BACKEND_KEY_DATA, _LENGTH.pack(pid) + key)


def negotiate_protocol_version(newest: int, options: Iterable[bytes]) -> bytes:
    """``newest`` as major<<16 | minor, as PostgreSQL 18 sends it."""
    names = list(options)
    writer = Writer().u32(newest).u32(len(names))
    for name in names:
        writer.string(name)
    return message(Back.NEGOTIATE_PROTOCOL_VERSION, bytes(writer))


# -- what we say to a server ------------------------------------------------------------------------------------------


def startup_message(version: int, parameters: Iterable[tuple[bytes, bytes]]) -> bytes:
    writer = Writer().u32(version)
    for name, value in parameters:
        writer.string(name).string(value)
    writer.u8(0)
    return _LENGTH.pack(len(writer) + 4) + bytes(writer)


def request_code(code: int, rest: bytes = b"") -> bytes:
    """SSLRequest, GSSENCRequest or CancelRequest: a startup packet without parameters."""
    return _LENGTH.pack(8 + len(rest)) + _LENGTH.pack(code) + rest


def password_message(value: bytes) -> bytes:
    return message(Front.PASSWORD, bytes(Writer().string(value)))


def sasl_initial_response(mechanism: str, data: bytes) -> bytes:
    writer = Writer().string(mechanism.encode("ascii")).i32(len(data)).raw(data)
    return message(Front.PASSWORD, bytes(writer))


def sasl_response(data: bytes) -> bytes:
    return message(Front.PASSWORD, data)


def query(text: bytes) -> bytes:
    return message(Front.QUERY, bytes(Writer().string(text)))


def parse_message(name: bytes, text: bytes, types: Iterable[int]) -> bytes:
    oids = list(types)
    writer = Writer().string(name).string(text).u16(len(oids))
    for oid in oids:
        writer.u32(oid)
    return message(Front.PARSE, bytes(writer))


def terminate() -> bytes:
    return message(Front.TERMINATE)
