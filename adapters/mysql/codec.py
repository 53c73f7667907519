"""MySQL payloads, bytes to values and back (protocol pages "Connection Phase Packets" and "Generic Response Packets").

Splitting into packets is ``framing``'s. Parsers take one whole payload and raise PeerFault when it is not what the
protocol demands. Names, text and values stay ``bytes``: they are in the session's character set.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from adapters.mysql.framing import HEADER_SIZE, MAX_PAYLOAD, Frame, Framer, Packets, Payload, packets
from bridge.adapter import PeerFault
from bridge.wire.reader import Reader

__all__ = ["HEADER_SIZE", "MAX_PAYLOAD", "Frame", "Framer", "Packets", "Payload", "packets"]


class Cap:
    """Capability flags (protocol page "Capabilities Flags"; MariaDB's meaning of bit 0 differs: ``LONG_PASSWORD``)."""

    LONG_PASSWORD = 1 << 0  # MariaDB calls it CLIENT_MYSQL: clear means that extended capabilities follow
    FOUND_ROWS = 1 << 1
    LONG_FLAG = 1 << 2
    CONNECT_WITH_DB = 1 << 3
    NO_SCHEMA = 1 << 4
    COMPRESS = 1 << 5
    ODBC = 1 << 6
    LOCAL_FILES = 1 << 7
    IGNORE_SPACE = 1 << 8
    PROTOCOL_41 = 1 << 9
    INTERACTIVE = 1 << 10
    SSL = 1 << 11
    IGNORE_SIGPIPE = 1 << 12
    TRANSACTIONS = 1 << 13
    RESERVED = 1 << 14
    SECURE_CONNECTION = 1 << 15
    MULTI_STATEMENTS = 1 << 16
    MULTI_RESULTS = 1 << 17
    PS_MULTI_RESULTS = 1 << 18
    PLUGIN_AUTH = 1 << 19
    CONNECT_ATTRS = 1 << 20
    PLUGIN_AUTH_LENENC = 1 << 21
    EXPIRED_PASSWORDS = 1 << 22
    SESSION_TRACK = 1 << 23
    DEPRECATE_EOF = 1 << 24
    OPTIONAL_METADATA = 1 << 25
    ZSTD = 1 << 26
    QUERY_ATTRIBUTES = 1 << 27
    MULTI_FACTOR = 1 << 28
    SSL_VERIFY = 1 << 30
    REMEMBER_OPTIONS = 1 << 31


class Com:
    """First byte of a command."""

    QUIT = 0x01
    INIT_DB = 0x02
    QUERY = 0x03
    FIELD_LIST = 0x04
    STATISTICS = 0x09
    PROCESS_KILL = 0x0C
    PING = 0x0E
    CHANGE_USER = 0x11
    STMT_PREPARE = 0x16
    STMT_EXECUTE = 0x17
    STMT_SEND_LONG_DATA = 0x18
    STMT_CLOSE = 0x19
    STMT_RESET = 0x1A
    SET_OPTION = 0x1B
    STMT_FETCH = 0x1C
    RESET_CONNECTION = 0x1F
    STMT_BULK_EXECUTE = 0xFA


class Status:
    """Server status flags."""

    IN_TRANSACTION = 0x0001
    AUTOCOMMIT = 0x0002
    MORE_RESULTS = 0x0008
    CURSOR_EXISTS = 0x0040
    LAST_ROW_SENT = 0x0080
    NO_BACKSLASH_ESCAPES = 0x0200
    PS_OUT_PARAMS = 0x1000
    IN_READ_ONLY_TRANSACTION = 0x2000
    SESSION_STATE_CHANGED = 0x4000


OK, MORE_DATA, LOCAL_INFILE, EOF, ERROR = 0x00, 0x01, 0xFB, 0xFE, 0xFF
"""First bytes of answers. 0xFE also asks to switch the authentication, while logging in."""

NONCE_SIZE = 20

MAX_ATTRIBUTES = 64 * 1024
"""MySQL's own limit of connection attributes; beyond it servers say "Bad handshake"."""


# -- integers and strings ---------------------------------------------------------------------------------------------


def u16(reader: Reader) -> int:
    return int.from_bytes(reader.take(2), "little")


def u32(reader: Reader) -> int:
    return int.from_bytes(reader.take(4), "little")


def lenenc(reader: Reader) -> int:
    """A length-encoded integer. 0xFB (NULL) and 0xFF are none: PeerFault."""
    first = reader.u8()
    if first < 0xFB:
        return first
    if first == 0xFC:
        return u16(reader)
    if first == 0xFD:
        return int.from_bytes(reader.take(3), "little")
    if first == 0xFE:
        return int.from_bytes(reader.take(8), "little")
    raise reader.failure("an integer has no length")


def lenenc_string(reader: Reader) -> bytes:
    return reader.take(lenenc(reader))


def int_lenenc(value: int) -> bytes:
    """The shortest form."""
    if value < 0xFB:
        return bytes((value,))
    if value < 1 << 16:
        return b"\xfc" + value.to_bytes(2, "little")
    if value < 1 << 24:
        return b"\xfd" + value.to_bytes(3, "little")
    return b"\xfe" + value.to_bytes(8, "little")


def string_lenenc(value: bytes) -> bytes:
    return int_lenenc(len(value)) + value


def string_nul(value: bytes) -> bytes:
    """Raises ValueError when it holds a NUL itself: it would end early."""
    if b"\0" in value:
        raise ValueError("a NUL-terminated string cannot hold a NUL")
    return value + b"\0"


def body_of(payload: bytes, what: str) -> Reader:
    return Reader(payload, what=what, fault=PeerFault)


# -- generic answers --------------------------------------------------------------------------------------------------


class OkPacket(NamedTuple):
    """``info`` is human text, or text and session changes under SESSION_TRACK, as they came."""

    affected: int
    last_insert_id: int
    status: int
    warnings: int
    info: bytes = b""


class ErrorFields(NamedTuple):
    code: int
    sqlstate: str
    message: str


class EofPacket(NamedTuple):
    warnings: int
    status: int


def ok(*, affected: int = 0, last_insert_id: int = 0, status: int = Status.AUTOCOMMIT, warnings: int = 0) -> bytes:
    """An OK payload for PROTOCOL_41."""
    counts = int_lenenc(affected) + int_lenenc(last_insert_id)
    return b"\x00" + counts + status.to_bytes(2, "little") + warnings.to_bytes(2, "little")


def parse_ok(payload: bytes) -> OkPacket:
    """Also of an OK with the first byte 0xFE, which ends rows under DEPRECATE_EOF."""
    reader = body_of(payload, "OK")
    if reader.u8() not in (OK, EOF):
        raise reader.failure("it is another packet")
    return OkPacket(lenenc(reader), lenenc(reader), u16(reader), u16(reader), reader.rest())


def error(code: int, sqlstate: str, text: str) -> bytes:
    """An ERR payload for PROTOCOL_41."""
    return b"\xff" + code.to_bytes(2, "little") + b"#" + sqlstate.encode("ascii") + text.encode("utf-8", "replace")


def parse_error(payload: bytes) -> ErrorFields:
    """Before the capabilities are known, servers leave out the SQLSTATE (too many connections, host blocked)."""
    reader = body_of(payload, "ERR")
    if reader.u8() != ERROR:
        raise reader.failure("it is another packet")
    code, rest = u16(reader), reader.rest()
    sqlstate = "HY000"
    if rest[:1] == b"#" and len(rest) >= 6:
        sqlstate, rest = rest[1:6].decode("ascii", "replace"), rest[6:]
    return ErrorFields(code, sqlstate, rest.decode("utf-8", "replace"))


def eof(*, status: int = Status.AUTOCOMMIT, warnings: int = 0) -> bytes:
    return b"\xfe" + warnings.to_bytes(2, "little") + status.to_bytes(2, "little")


def parse_eof(payload: bytes) -> EofPacket:
    reader = body_of(payload, "EOF")
    if reader.u8() != EOF or reader.left > 4:
        raise reader.failure("it is another packet")
    return EofPacket(u16(reader), u16(reader))


def end_status(payload: bytes, *, deprecated_eof: bool) -> int:
    """The server's status in the packet that ends columns or rows."""
    if not deprecated_eof:
        return payload[3] | payload[4] << 8 if len(payload) == 5 else parse_eof(payload).status
    if len(payload) >= 7 and payload[1] < 0xFB and payload[2] < 0xFB:
        return payload[3] | payload[4] << 8
    return parse_ok(payload).status


# -- the greeting -----------------------------------------------------------------------------------------------------


class Greeting(NamedTuple):
    """Handshake V10. ``nonce`` has 20 bytes (8 from servers before 4.1.1); ``extended`` are MariaDB's capabilities."""

    version: bytes
    thread_id: int
    nonce: bytes
    capabilities: int
    collation: int = 45
    status: int = Status.AUTOCOMMIT
    plugin: bytes = b"mysql_native_password"
    extended: int = 0

    @property
    def mariadb(self) -> bool:
        return b"MariaDB" in self.version or not self.capabilities & Cap.LONG_PASSWORD


def greeting(facts: Greeting) -> bytes:
    low, high = facts.capabilities & 0xFFFF, facts.capabilities >> 16
    return b"".join((
        b"\x0a" + string_nul(facts.version) + facts.thread_id.to_bytes(4, "little") + facts.nonce[:8] + b"\0",
        low.to_bytes(2, "little") + bytes((facts.collation & 0xFF,)) + facts.status.to_bytes(2, "little"),
        high.to_bytes(2, "little") + bytes((NONCE_SIZE + 1,)) + bytes(6) + facts.extended.to_bytes(4, "little"),
        facts.nonce[8:NONCE_SIZE] + b"\0" + string_nul(facts.plugin),
    ))  # fmt: skip


def parse_greeting(payload: bytes) -> Greeting:
    reader = body_of(payload, "greeting")
    if reader.u8() != 10:
        raise reader.failure("the server does not speak protocol 10")
    version, thread_id, nonce = reader.until_nul(), u32(reader), reader.take(8)
    reader.u8()
    capabilities = u16(reader)
    if not reader.left:  # before 4.1
        return Greeting(version, thread_id, nonce, capabilities, plugin=b"mysql_old_password")
    collation, status = reader.u8(), u16(reader)
    capabilities |= u16(reader) << 16
    size = reader.u8()
    reader.take(6)
    extended = u32(reader)
    if capabilities & Cap.SECURE_CONNECTION:
        nonce = (nonce + reader.take(min(max(13, size - 8), reader.left)))[:NONCE_SIZE]
    plugin = reader.rest().partition(b"\0")[0] if capabilities & Cap.PLUGIN_AUTH else b""
    if capabilities & Cap.LONG_PASSWORD:
        extended = 0
    return Greeting(
        version, thread_id, nonce, capabilities, collation, status, plugin or b"mysql_native_password", extended
    )


# -- the client's answer ----------------------------------------------------------------------------------------------

Attributes = tuple[tuple[bytes, bytes], ...]


class SSLRequest(NamedTuple):
    """The beginning of the client's answer, alone, in front of the TLS handshake."""

    capabilities: int
    max_packet: int
    collation: int


class HandshakeResponse(NamedTuple):
    """HandshakeResponse41. ``auth`` may hold a scramble or a cleartext password: never show it.

    ``collation`` has one byte in the manual; clients that want one above 255 write two (proxysql#4841).
    """

    capabilities: int
    user: bytes
    auth: bytes = b""
    database: bytes = b""
    plugin: bytes = b""
    attributes: Attributes = ()
    max_packet: int = 1 << 24
    collation: int = 45
    extended: int = 0

    def __repr__(self) -> str:
        return "<HandshakeResponse>"


SSL_REQUEST_SIZE = 32


def _response_head(capabilities: int, max_packet: int, collation: int, extended: int = 0) -> bytes:
    fixed = capabilities.to_bytes(4, "little") + max_packet.to_bytes(4, "little") + collation.to_bytes(2, "little")
    return fixed + bytes(18) + extended.to_bytes(4, "little")


def ssl_request(request: SSLRequest) -> bytes:
    return _response_head(*request)


def parse_ssl_request(payload: bytes) -> SSLRequest:
    reader = body_of(payload, "SSLRequest")
    request = SSLRequest(u32(reader), u32(reader), u16(reader))
    reader.take(22)
    reader.end()
    return request


def handshake_response(response: HandshakeResponse) -> bytes:
    """What the flags do not announce is left out."""
    flags = response.capabilities
    parts = [_response_head(flags, response.max_packet, response.collation, response.extended)]
    parts.append(string_nul(response.user))
    if flags & Cap.PLUGIN_AUTH_LENENC:
        parts.append(string_lenenc(response.auth))
    elif flags & Cap.SECURE_CONNECTION:
        parts.append(bytes((len(response.auth),)) + response.auth)
    else:
        parts.append(string_nul(response.auth))
    if flags & Cap.CONNECT_WITH_DB:
        parts.append(string_nul(response.database))
    if flags & Cap.PLUGIN_AUTH:
        parts.append(string_nul(response.plugin))
    if flags & Cap.CONNECT_ATTRS:
        parts.append(attributes(response.attributes))
    return b"".join(parts)


def parse_handshake_response(payload: bytes, offered: int) -> HandshakeResponse:
    """``offered``: our own flags. Clients set flags that were not offered, but behave as if they had not (B4)."""
    reader = body_of(payload, "handshake response")
    sent, max_packet, collation = u32(reader), u32(reader), u16(reader)
    reader.take(18)
    extended = u32(reader)
    flags = sent & offered
    if not flags & Cap.PROTOCOL_41:
        raise reader.failure("the client does not speak protocol 4.1")
    user, auth = reader.until_nul(), _auth_data(reader, flags)
    database = _string(reader) if flags & Cap.CONNECT_WITH_DB else b""
    plugin = _string(reader) if flags & Cap.PLUGIN_AUTH else b""
    pairs = _attributes(reader) if flags & Cap.CONNECT_ATTRS and reader.left else ()
    return HandshakeResponse(flags, user, auth, database, plugin, pairs, max_packet, collation, extended)


def _auth_data(reader: Reader, flags: int) -> bytes:
    if flags & Cap.PLUGIN_AUTH_LENENC:
        return lenenc_string(reader)
    if flags & Cap.SECURE_CONNECTION:
        return reader.take(reader.u8())
    return reader.until_nul()


def _string(reader: Reader) -> bytes:
    """A NUL-terminated string; some clients leave out what is empty and last."""
    return reader.until_nul() if reader.left else b""


def attributes(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Connection attributes, with their length in front."""
    return string_lenenc(b"".join(string_lenenc(name) + string_lenenc(value) for name, value in pairs))


def _attributes(reader: Reader) -> Attributes:
    size = lenenc(reader)
    if size > MAX_ATTRIBUTES:
        raise reader.failure("the connection attributes are too long")
    inner = body_of(reader.take(size), "connection attributes")
    pairs = []
    while inner.left:
        pairs.append((lenenc_string(inner), lenenc_string(inner)))
    return tuple(pairs)


# -- the authentication -----------------------------------------------------------------------------------------------


class AuthSwitch(NamedTuple):
    """``data`` is the plugin's challenge, its trailing NUL removed."""

    plugin: bytes
    data: bytes


def auth_switch(plugin: bytes, data: bytes) -> bytes:
    return b"\xfe" + string_nul(plugin) + data + b"\0"


def parse_auth_switch(payload: bytes) -> AuthSwitch:
    """0xFE alone asks for the password hash of servers before 4.1."""
    reader = body_of(payload, "request to switch the authentication")
    reader.u8()
    if not reader.left:
        return AuthSwitch(b"mysql_old_password", b"")
    plugin, data = reader.until_nul(), reader.rest()
    return AuthSwitch(plugin, data[:-1] if data[-1:] == b"\0" else data)


def auth_more(data: bytes) -> bytes:
    return b"\x01" + data
