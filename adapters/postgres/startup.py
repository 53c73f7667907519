"""The first packets of a client: what they ask for, and the startup packet that goes upstream instead of theirs.

Nothing of a client's packet is forwarded: its keys are case-insensitive GUC names, the last duplicate wins, and
``options`` can set anything (``-c role=…``). So it is parsed into a ``Wish``, and ``upstream_parameters`` builds a new
one. Pages: "Message Flow: Start-up", "Message Formats: StartupMessage", ``postgres --help``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from adapters.postgres.refusals import Spoken
from bridge.adapter import PeerFault, Reason
from bridge.wire.reader import Reader

MAX_PACKET = 10_000
"""PostgreSQL's MAX_STARTUP_PACKET_LENGTH; the length word counts itself."""

MIN_PACKET = 8

CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104

PROTOCOL_3_0 = 0x30000
PROTOCOL_3_2 = 0x30002
TLS_HANDSHAKE = 0x16
"""First byte of a TLS record: the client does direct TLS (``sslnegotiation=direct``)."""

MAX_APPLICATION_NAME = 63
DEFAULT_ACCOUNT = "agent"
"""The user name that means: my default account."""

_HEAD = struct.Struct(">II")

# names that pgbouncer takes in a startup packet by default; the others it refuses with 08P01
ALWAYS_TAKEN = frozenset(
    {"application_name", "client_encoding", "datestyle", "timezone", "standard_conforming_strings"}
)

# settings that would change who the session is, or load code
FORBIDDEN_SETTINGS = frozenset(
    {"role", "session_authorization", "session_preload_libraries", "local_preload_libraries", "is_superuser"}
)
_RESERVED = frozenset({"user", "database", "options", "replication"})
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?")


class SSLRequest(NamedTuple):
    pass


class GSSENCRequest(NamedTuple):
    pass


class CancelRequest(NamedTuple):
    pid: int
    key: bytes


class StartupMessage(NamedTuple):
    """``version`` is major<<16 | minor; ``options`` are the names of the ``_pq_.`` ones, in order."""

    version: int
    parameters: tuple[tuple[bytes, bytes], ...]
    options: tuple[bytes, ...]


Opening = SSLRequest | GSSENCRequest | CancelRequest | StartupMessage


def opening_size(received: bytes) -> int | None:
    """Length of the first packet, None while fewer than 8 bytes are there. Raises PeerFault on an absurd one."""
    if len(received) >= 4:
        length = int.from_bytes(received[:4], "big")
        if not MIN_PACKET <= length <= MAX_PACKET:
            raise PeerFault("invalid length of startup packet")
        if len(received) >= MIN_PACKET:
            return length
    return None


def parse_opening(packet: bytes) -> Opening:
    """One whole first packet. Raises PeerFault."""
    length, code = _HEAD.unpack_from(packet)
    if length != len(packet):
        raise PeerFault("invalid length of startup packet")
    if code in (SSL_REQUEST, GSSENC_REQUEST):
        if length != MIN_PACKET:
            raise PeerFault("an encryption request has a body")
        return SSLRequest() if code == SSL_REQUEST else GSSENCRequest()
    reader = Reader(packet[8:], what="startup packet", fault=PeerFault)
    if code == CANCEL_REQUEST:
        pid, key = reader.u32(), reader.rest()
        if not 4 <= len(key) <= 256:
            raise PeerFault("invalid length of cancel key")
        return CancelRequest(pid, key)
    if code >> 16 != 3:
        return StartupMessage(code, (), ())
    return _startup(code, reader)


def _startup(version: int, reader: Reader) -> StartupMessage:
    parameters: list[tuple[bytes, bytes]] = []
    options: list[bytes] = []
    while name := reader.until_nul():
        value = reader.until_nul()
        if name.startswith(b"_pq_."):
            options.append(name)
        else:
            parameters.append((name, value))
    reader.end()
    return StartupMessage(version, tuple(parameters), tuple(options))


def negotiated(message: StartupMessage) -> tuple[int, bool]:
    """The version to speak with the client, and whether NegotiateProtocolVersion must tell it so.

    Raises Spoken 0A000 for another major version. A ``_pq_.`` option is always reported: we know none.
    """
    major, minor = message.version >> 16, message.version & 0xFFFF
    if major != 3:
        raise Spoken(
            Reason.UNSUPPORTED,
            "0A000",
            f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2",
        )
    version = min(message.version, PROTOCOL_3_2)
    return version, version != message.version or bool(message.options)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asked for at startup. ``settings``: GUC name (lower case) -> value, ``options`` taken apart."""

    user: str
    database: str
    application_name: str = ""
    replication: str = ""
    settings: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def account(self) -> str | None:
        """The wished account; None: the agent's default."""
        return None if self.user == DEFAULT_ACCOUNT else self.user


def read_wish(message: StartupMessage, *, default_database: str | None) -> Wish:
    """Raises Spoken when the packet asks for what cannot be had, PeerFault when it is ambiguous."""
    reserved: dict[str, str] = {}
    settings: dict[str, bytes] = {}
    own: dict[str, bytes] = {}
    for raw_name, value in message.parameters:
        name = _name(raw_name)
        if name in _RESERVED:
            if name in reserved:
                raise PeerFault(f"the startup packet names {name} twice")
            reserved[name] = _decoded(value)
        else:
            own[_setting(name)] = value
    for name, text in parse_options(reserved.get("options", "")):
        settings[_setting(name)] = text.encode()
    settings |= own  # a startup key of its own beats one inside options, as in PostgreSQL
    user = reserved.get("user", "")
    if not user:
        raise Spoken(Reason.CREDENTIAL_MISSING, "28000", "no PostgreSQL user name specified in startup packet")
    application_name = ascii_name(settings.pop("application_name", b""))
    database = _database(reserved.get("database", ""), user, default_database)
    return Wish(user, database, application_name, _replication(reserved.get("replication", "")), settings)


def _name(raw: bytes) -> str:
    try:
        return raw.decode("ascii").lower()
    except UnicodeDecodeError:
        raise Spoken(Reason.PROTOCOL, "42704", "a startup parameter has a name that is not ASCII") from None


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise PeerFault("a startup parameter is not UTF-8") from None


def _setting(name: str) -> str:
    name = name.lower()
    if not _SETTING_NAME.fullmatch(name):
        raise Spoken(Reason.PROTOCOL, "42704", "a startup parameter has a name that no setting can have")
    if name in _RESERVED:
        raise Spoken(Reason.UNSUPPORTED, "42501", f'"{name}" cannot be set through options')
    if name in FORBIDDEN_SETTINGS:
        raise Spoken(
            Reason.UNSUPPORTED,
            "42501",
            f'permission denied to set "{name}"',
            hint="The bridge decides who the session is. Name the account as the user instead.",
        )
    return name


def _database(named: str, user: str, default: str | None) -> str:
    # libpq names the user as the database when the user named none
    if named and not (named == user == DEFAULT_ACCOUNT):
        return named
    if default is None:
        raise Spoken(
            Reason.PROTOCOL, "3D000", "no database named", hint="Name the database, for instance with dbname=…"
        )
    return default


# parse_bool_with_len of PostgreSQL: unique prefixes of the words, and "on"/"off" from two letters
_TRUE = frozenset({"on", "1", *("true"[:n] for n in range(1, 5)), *("yes"[:n] for n in range(1, 4))})
_FALSE = frozenset({"", "of", "off", "0", *("false"[:n] for n in range(1, 6)), *("no"[:n] for n in range(1, 3))})


def _replication(value: str) -> str:
    word = value.lower()
    if value == "database" or word in _TRUE:
        return "database" if value == "database" else "true"
    if word in _FALSE:
        return ""
    raise Spoken(Reason.PROTOCOL, "22023", 'invalid value for parameter "replication"')


def ascii_name(value: bytes) -> str:
    """An application name as PostgreSQL 15 shows it: printable ASCII, the rest ``?``."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in value[:256])


# -- options ----------------------------------------------------------------------------------------------------------


def split_options(text: str) -> list[str]:
    """Words of ``options``: white space separates, a backslash takes the next character as it is (pg_split_opts)."""
    words: list[str] = []
    word: list[str] | None = None
    characters = iter(text)
    for char in characters:
        if char in " \t\n\r\f\v":
            if word is not None:
                words.append("".join(word))
                word = None
            continue
        word = [] if word is None else word
        word.append(next(characters, "") if char == "\\" else char)
    if word is not None:
        words.append("".join(word))
    return words


def parse_options(text: str) -> list[tuple[str, str]]:
    """Settings in ``options``, in order: ``-c k=v``, ``-ck=v``, ``--k=v``. Any other switch is refused.

    A ``-`` in the name stands for ``_``, as PostgreSQL reads it (``-c session-authorization=…``).
    """
    settings: list[tuple[str, str]] = []
    words = iter(split_options(text))
    for word in words:
        if word.startswith("--"):
            assignment = word[2:]
        elif word == "-c":
            assignment = next(words, "")
        elif word.startswith("-c"):
            assignment = word[2:]
        else:
            raise Spoken(
                Reason.UNSUPPORTED,
                "0A000",
                "unsupported command-line switch in options",
                hint="Only -c name=value and --name=value are taken.",
            )
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise Spoken(Reason.PROTOCOL, "42601", "a switch in options has no value", hint="Write -c name=value.")
        settings.append((name.replace("-", "_").lower(), value))
    return settings


# -- towards the legacy server ----------------------------------------------------------------------------------------


class UpstreamStartup(NamedTuple):
    """``parameters`` of the startup packet, ``later`` what is set after login, ``pinned`` what the client may not
    change: the values to compare ParameterStatus with."""

    parameters: tuple[tuple[bytes, bytes], ...]
    later: tuple[tuple[str, bytes], ...]
    pinned: Mapping[str, str]


def stamped_name(stamp: str, agent: str, client: str) -> str:
    """application_name: the stamp first, so that truncation never takes it. ``agent`` may be empty."""
    words = [word for word in (stamp, agent, client) if word]
    return ascii_name(" ".join(words).encode("utf-8"))[:MAX_APPLICATION_NAME]


def upstream_startup(
    wish: Wish,
    *,
    user: str,
    application_name: str,
    pinned: Mapping[str, str],
    in_packet: bool = True,
) -> UpstreamStartup:
    """The packet that goes upstream. ``pinned`` and the stamp replace what the client wished under the same name."""
    fixed = {**{name.lower(): value for name, value in pinned.items()}, "application_name": application_name}
    settings = {name: value for name, value in wish.settings.items() if name not in fixed}
    settings |= {name: value.encode() for name, value in fixed.items()}
    early = {name: value for name, value in settings.items() if in_packet or name in ALWAYS_TAKEN}
    later = tuple((name, value) for name, value in settings.items() if name not in early)
    login = {"user": user.encode(), "database": wish.database.encode()}
    if wish.replication:
        login["replication"] = wish.replication.encode()
    parameters = tuple((name.encode(), value) for name, value in (login | early).items())
    if sum(len(name) + len(value) + 2 for name, value in parameters) > MAX_PACKET - MIN_PACKET - 1:
        raise PeerFault("the startup packet leaves no room for the bridge's own settings")
    return UpstreamStartup(parameters, later, fixed)


def settings_query(settings: Iterable[tuple[str, bytes]]) -> bytes:
    """SQL that applies settings after login. set_config, not SET: a list such as search_path stays a list.

    Raises Spoken when a value is not ASCII: what its bytes mean depends on an encoding we would only guess.
    """
    calls = []
    for name, value in settings:
        if not value.isascii():
            raise Spoken(Reason.UNSUPPORTED, "22023", f'the value of "{name}" must be ASCII on this system')
        calls.append(b"pg_catalog.set_config(%b, %b, false)" % (_literal(name.encode()), _literal(value)))
    return b"SELECT " + b", ".join(calls)


def _literal(value: bytes) -> bytes:
    return b"E'" + value.replace(b"\\", b"\\\\").replace(b"'", b"''") + b"'"
