"""The login at the legacy server as a state machine (protocol page "Connection Phase").

``UpstreamLogin`` is fed whole payloads and says what to answer; packets and TLS are ``upstream``'s. It proves the
password for whichever plugin the server names, in its greeting or in a switch (Warpgate#951, #2278). It ends with
``facts``, or raises ``LoginRefused`` (the server said no), ``LoginFailed`` (we will not go on) or PeerFault.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from adapters.mysql import codec, passwords
from adapters.mysql.codec import AuthSwitch, Cap, Com, ErrorFields, Greeting, HandshakeResponse
from adapters.mysql.passwords import Unprovable
from adapters.mysql.probe import SHAPING, UTF8MB4
from bridge.adapter import BridgeError, PeerFault, Secret

MAX_PACKET = 1 << 30
"""What we can take, as clients say it; the server's own max_allowed_packet decides."""

MAX_ROUNDS = 8
"""Payloads of the server between greeting and OK: a switch, a key, a result; more is a loop."""

STAMP = b"_idbridge_session"
AGENT = b"_idbridge_agent"
RESERVED = b"_idbridge"
MAX_STAMPED = 400
"""Bytes of connection attributes: performance_schema keeps 512 and drops all of a session that has more."""

_TRICKY = frozenset({1, 13, 28, 84, 87, 88, 95, 96, 248, 249, 250})
"""Collations of big5, sjis, gbk, cp932 and gb18030, where a backslash can be half of a character."""

_UNKNOWN = frozenset({1064, 1193})
"""Errors by which a server says that it has no such statement; MySQL 5.5 takes TRANSACTION for a variable."""

NATIVE, OLD = b"mysql_native_password", b"mysql_old_password"
_IN_CLEAR = frozenset({b"mysql_clear_password", b"dialog"})


class LoginRefused(BridgeError):
    """The legacy server said no. The message is its own words, for ops; ``late``: after the login, to our own SQL."""

    def __init__(self, fields: ErrorFields, *, late: bool = False) -> None:
        super().__init__(f"{fields.code} ({fields.sqlstate}): {fields.message}")
        self.fields = fields
        self.late = late


class LoginFailed(BridgeError):
    """We will not go on: an authentication we do not do, or a server that cannot be trusted with the password."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the session upstream should be like: the client's wishes, checked, and our stamp.

    ``capabilities``: what the client and our greeting agreed on, of what is passed through. ``later``: statements to
    run before the client hears yes.
    """

    user: str
    capabilities: int
    database: bytes = b""
    collation: int = UTF8MB4
    attributes: codec.Attributes = ()
    later: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoginFacts:
    """What is known when both sides are ready; ``relaying`` starts from it.

    ``capabilities`` are in effect on both sides. ``thread_id``: the server's CONNECTION_ID(); ``connection_id``: the
    number in the greeting that the client got. ``user``: the static account. ``unserved``: statements of
    ``Wanted.later`` that the server does not know. ``leftover_client``: what the client sent ahead, not yet looked at.
    """

    capabilities: int
    server_version: str
    mariadb: bool
    thread_id: int
    user: str
    database: str = ""
    collation: int = UTF8MB4
    status: int = codec.Status.AUTOCOMMIT
    connection_id: int = 0
    unserved: tuple[str, ...] = ()
    leftover_client: bytes = field(default=b"", repr=False)

    def of_client(self, connection_id: int, leftover: bytes) -> LoginFacts:
        return replace(self, connection_id=connection_id, leftover_client=leftover)


def version_text(greeting: Greeting) -> str:
    """MariaDB puts 5.5.5- in front, for replicas of MySQL 5.5."""
    return greeting.version.decode("utf-8", "replace").removeprefix("5.5.5-")


def stamped(stamp: str, agent: str, client: codec.Attributes) -> codec.Attributes:
    """Ours in front, then the client's as far as there is room; none that looks like ours, none twice."""
    pairs = {STAMP: stamp.encode("ascii")}
    if agent:
        pairs[AGENT] = agent.encode()
    room = MAX_STAMPED - len(codec.attributes(pairs.items()))
    for name, value in client:
        size = len(name) + len(value) + 2
        if name in pairs or name.lower().startswith(RESERVED) or size > room:
            continue
        pairs[name] = value
        room -= size
    return tuple(pairs.items())


def collation_for(wished: int, greeting: Greeting) -> int:
    """utf8mb4 in place of a collation that the server would take for another one, or that hides backslashes (B5)."""
    modern = not greeting.mariadb and version_text(greeting).partition(".")[0] not in ("4", "5")
    if wished in _TRICKY or wished > 255 or wished == 0 or (wished == 255 and not modern):
        return UTF8MB4
    return wished


class UpstreamLogin:
    """``greeted`` with the server's first payload, then ``respond``, then ``receive`` until ``done``.

    ``secret`` is revealed only where it goes on the wire or into a hash. ``private``: nobody else sees what we send
    (TLS, loopback, a Unix socket). ``take_key``: an RSA key may be taken from the server itself. When ``pending`` is
    set, the answer needs work that belongs in a thread: call ``answer`` with its result.
    """

    def __init__(self, wanted: Wanted, secret: Secret, *, take_key: bool = False) -> None:
        self._wanted = wanted
        self._secret = secret
        self._take_key = take_key
        self._private = False
        self._hear: Callable[[bytes], bytes | None] = self._authenticating
        self._rounds = 0
        self._plugin, self._nonce = NATIVE, b""
        self._later = list(wanted.later)
        self._unserved: list[str] = []
        self._status = 0
        self.greeting: Greeting | None = None
        self.pending: tuple[Callable[..., bytes], tuple[bytes, ...]] | None = None
        self.facts: LoginFacts | None = None

    @property
    def done(self) -> bool:
        return self.facts is not None

    @property
    def settling(self) -> bool:
        """The server has said yes; what is sent now are commands."""
        return self._hear == self._settling

    # -- greeting and response

    def greeted(self, payload: bytes) -> Greeting:
        if payload[:1] == b"\xff":
            raise LoginRefused(codec.parse_error(payload))
        greeting = codec.parse_greeting(payload)
        if not greeting.capabilities & Cap.PROTOCOL_41 or not greeting.capabilities & Cap.SECURE_CONNECTION:
            raise LoginFailed("the legacy server is older than MySQL 4.1")
        self.greeting = greeting
        return greeting

    @property
    def flags(self) -> int:
        """What is announced upstream, TLS aside."""
        assert self.greeting is not None
        offered = self.greeting.capabilities
        ours = Cap.PLUGIN_AUTH | Cap.PLUGIN_AUTH_LENENC | Cap.CONNECT_ATTRS
        database = Cap.CONNECT_WITH_DB if self._wanted.database else 0
        always = Cap.LONG_PASSWORD | Cap.PROTOCOL_41 | Cap.SECURE_CONNECTION
        return self._effective | always | (offered & (ours | database))

    @property
    def _effective(self) -> int:
        assert self.greeting is not None
        return self._wanted.capabilities & self.greeting.capabilities

    @property
    def collation(self) -> int:
        assert self.greeting is not None
        return collation_for(self._wanted.collation, self.greeting)

    def respond(self, *, encrypted: bool, private: bool) -> bytes:
        """The handshake response, with the password proven for the greeting's plugin if we may."""
        assert self.greeting is not None
        if self._wanted.capabilities & SHAPING & ~self.greeting.capabilities:
            raise PeerFault("the legacy server has changed since the client was greeted")
        self._private = encrypted or private
        self._nonce = self.greeting.nonce
        self._plugin = self.greeting.plugin
        if self._plugin not in (NATIVE, b"caching_sha2_password"):
            self._plugin = NATIVE  # the server asks for what it wants by a switch; nothing is said in clear unasked
        response = HandshakeResponse(
            self.flags | (Cap.SSL if encrypted else 0),
            self._wanted.user.encode(),
            self._scramble(),
            self._wanted.database,
            self._plugin,
            self._wanted.attributes,
            MAX_PACKET,
            self.collation,
        )
        try:
            return codec.handshake_response(response)
        except ValueError:
            raise LoginFailed("the static account or the database has a NUL in its name") from None

    def _scramble(self) -> bytes:
        prove = passwords.native if self._plugin == NATIVE else passwords.caching_sha2
        return prove(self._secret.reveal(), self._nonce)

    # -- until OK

    def receive(self, payload: bytes) -> bytes | None:
        """What to send now; None for nothing, b"" for an empty payload."""
        self._rounds += 1
        if self._rounds > MAX_ROUNDS + len(self._wanted.later):
            raise PeerFault("the legacy server does not come to an end with the login")
        if not payload:
            raise PeerFault("the legacy server sent an empty payload while logging in")
        try:
            return self._hear(payload)
        except Unprovable as why:
            raise LoginFailed(str(why)) from None

    def answer(self, result: bytes) -> bytes:
        """The answer that ``pending`` led to."""
        self.pending = None
        return result

    def _authenticating(self, payload: bytes) -> bytes | None:
        first = payload[0]
        if first == codec.ERROR:
            raise LoginRefused(codec.parse_error(payload))
        if first == codec.OK:
            return self._in(payload)
        if first == codec.EOF:
            return self._switched(codec.parse_auth_switch(payload))
        return self._challenged(payload[1:] if first == codec.MORE_DATA else payload)

    def _switched(self, switch: AuthSwitch) -> bytes:
        self._plugin = switch.plugin
        # a switch with an empty challenge means the nonce of the greeting
        self._nonce = switch.data or self._nonce
        secret, plugin = self._secret.reveal(), switch.plugin
        if plugin in (NATIVE, b"caching_sha2_password"):
            return self._scramble()
        if plugin == b"sha256_password":
            return self._cleartext_or_key(b"\x01") if secret else b"\0"
        if plugin == b"client_ed25519":
            return passwords.ed25519(secret, switch.data)
        if plugin == b"parsec":
            return b""
        if plugin in _IN_CLEAR:
            if not self._private:
                raise LoginFailed("the legacy server wants the password in cleartext on an unencrypted connection")
            return passwords.cleartext(secret)
        name = plugin.decode("ascii", "replace")[:60]
        raise LoginFailed(f"unsupported authentication: {name if name.isprintable() else 'unreadable'}")

    def _challenged(self, data: bytes) -> bytes | None:
        """More of the plugin's own: a result or a key (sha2), a salt (parsec)."""
        if self._plugin == b"caching_sha2_password" and data == b"\x03":
            return None  # known from before: OK follows
        if self._plugin == b"caching_sha2_password" and data == b"\x04":
            return self._cleartext_or_key(b"\x02")
        if self._plugin in (b"caching_sha2_password", b"sha256_password") and data.startswith(b"-----BEGIN"):
            return self._under_key(data)
        if self._plugin == b"parsec":
            own = secrets.token_bytes(passwords.PARSEC_CHALLENGE)
            self.pending = passwords.in_thread_parsec, (self._secret.reveal(), self._nonce, data, own)
            return None
        raise PeerFault("the legacy server sent what its authentication does not have")

    def _cleartext_or_key(self, request: bytes) -> bytes:
        if self._private:
            return passwords.cleartext(self._secret.reveal())
        if not self._take_key:
            raise LoginFailed(
                "the legacy server needs the password itself, and the connection is not encrypted:"
                " set the system's tls, or the option ask_public_key"
            )
        return request

    def _under_key(self, key: bytes) -> bytes:
        if self._private or not self._take_key:
            raise PeerFault("the legacy server sent a key that nobody asked for")
        return passwords.rsa(self._secret.reveal(), self._nonce, key)

    # -- after OK

    def _in(self, payload: bytes) -> bytes | None:
        self._status = codec.parse_ok(payload).status
        self._hear = self._settling
        return self._next()

    def _settling(self, payload: bytes) -> bytes | None:
        statement = self._later.pop(0)
        if payload[0] == codec.ERROR:
            fields = codec.parse_error(payload)
            if fields.code not in _UNKNOWN:
                raise LoginRefused(fields, late=True)
            self._unserved.append(statement)
        elif payload[0] == codec.OK:
            self._status = codec.parse_ok(payload).status
        else:
            raise PeerFault("the legacy server sent an unexpected payload while settings were applied")
        return self._next()

    def _next(self) -> bytes | None:
        if self._later:
            return bytes((Com.QUERY,)) + self._later[0].encode()
        assert self.greeting is not None
        self.facts = LoginFacts(
            capabilities=self._effective,
            server_version=version_text(self.greeting),
            mariadb=self.greeting.mariadb,
            thread_id=self.greeting.thread_id,
            user=self._wanted.user,
            database=self._wanted.database.decode("utf-8", "replace"),
            collation=self.collation,
            status=self._status,
            unserved=tuple(self._unserved),
        )
        return None
