"""The login at the legacy server as a state machine (protocol page "Message Flow: Start-up").

``UpstreamLogin`` is fed what the server sends and says what to answer. It takes trust, cleartext (encrypted or local
only), md5, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS. It ends with ``facts``, or raises ``LoginRefused`` (the server said
no), ``LoginFailed`` (we will not go on) or PeerFault (the server broke the protocol).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from adapters.postgres import codec
from adapters.postgres.codec import Back, ErrorFields, Framer
from adapters.postgres.startup import PROTOCOL_3_0, UpstreamStartup, settings_query
from bridge.adapter import BridgeError, PeerFault, Secret
from bridge.wire import scram

MAX_NOTICES = 8
"""Notices before the session is ready: a collation warning, perhaps; more are dropped."""

_OK, _CLEARTEXT, _MD5, _SASL, _SASL_CONTINUE, _SASL_FINAL = 0, 3, 5, 10, 11, 12
_UNSUPPORTED = {2: "Kerberos V5", 6: "SCM credentials", 7: "GSSAPI", 8: "GSSAPI", 9: "SSPI"}


class LoginRefused(BridgeError):
    """The legacy server said no. The message is its own words, for ops; ``early``: before it asked for a password."""

    def __init__(self, fields: ErrorFields, *, early: bool) -> None:
        super().__init__(f"{fields.severity} {fields.code}: {fields.message}")
        self.fields = fields
        self.early = early


class LoginFailed(BridgeError):
    """We will not go on: an authentication we do not do, or a server that cannot prove itself."""


@dataclass(frozen=True, slots=True)
class LoginFacts:
    """What is known when both sides are ready; ``relaying`` starts from it.

    ``user`` is the static account. ``parameters``: ParameterStatus as reported so far. ``pinned``: what ParameterStatus
    must go on reporting, by lower-case name. ``leftover_client``: bytes the client sent ahead, not yet looked at.
    """

    parameters: dict[str, str]
    database: str
    user: str
    server_version: str
    transaction_status: str
    pinned: Mapping[str, str] = field(default_factory=dict)
    backend_pid: int = 0
    backend_key: bytes = field(default=b"", repr=False)
    notices: tuple[bytes, ...] = ()
    leftover_client: bytes = field(default=b"", repr=False)

    def with_leftover(self, ahead: bytes) -> LoginFacts:
        return replace(self, leftover_client=ahead)


def md5_password(secret: bytes, user: bytes, salt: bytes) -> bytes:
    """Body of the answer to AuthenticationMD5Password. MD5 is the old servers' choice, not ours."""
    inner = md5_kept(secret, user).encode()
    return b"md5" + hashlib.md5(inner + salt, usedforsecurity=False).hexdigest().encode()


def md5_kept(secret: bytes, user: bytes) -> str:
    """What the server keeps of a password, behind "md5"."""
    return hashlib.md5(secret + user, usedforsecurity=False).hexdigest()


class UpstreamLogin:
    """Feed ``receive`` until ``done``; when ``challenge`` is set, derive the keys and call ``answer`` first.

    ``secret`` is revealed only where it goes on the wire or into a key. ``certificate`` is the server's (DER), None
    in plaintext. ``local``: loopback or a Unix socket, where a cleartext password is seen by nobody else.
    """

    def __init__(
        self,
        startup: UpstreamStartup,
        secret: Secret,
        *,
        version: int = PROTOCOL_3_0,
        certificate: bytes | None = None,
        encrypted: bool = False,
        local: bool = False,
    ) -> None:
        self._startup = startup
        self._secret = secret
        self._version = version
        self._certificate = certificate
        self._private = encrypted or local
        self._encrypted = encrypted
        self._framer = Framer(limits=codec.BACK_LARGE | {Back.ERROR_RESPONSE: codec.SMALL_LIMIT})
        self._hear: Callable[[int, bytes], bytes] = self._authenticating
        self._asked = False
        self._scram: scram.ScramClient | None = None
        self._scram_step = ""
        self._parameters: dict[str, str] = {}
        self._notices: list[bytes] = []
        self._key = (0, b"")
        self._login = dict(startup.parameters)
        self.challenge: scram.Challenge | None = None
        self.facts: LoginFacts | None = None
        self.rest = b""
        """What the server sent behind its ReadyForQuery."""

    @property
    def done(self) -> bool:
        return self.facts is not None

    def begin(self) -> bytes:
        return codec.startup_message(self._version, self._startup.parameters)

    def receive(self, data: bytes) -> bytes:
        """What to send now (may be nothing)."""
        reply = b""
        frames = self._framer.feed(data)
        buffer = self._framer.buffer
        for frame in frames:
            if self.challenge is not None:
                raise PeerFault("the legacy server went on before our answer")
            reply += self._message(frame.kind, buffer[frame.start + codec.HEADER_SIZE : frame.end])
            if self.done:
                self.rest = buffer[frame.end :]
                break
        return reply

    def answer(self, keys: scram.ScramKeys) -> bytes:
        """The answer to ``challenge``."""
        assert self._scram is not None
        self.challenge = None
        self._scram_step = "final"
        return codec.sasl_response(self._scram.final(keys))

    def _message(self, kind: int, body: bytes) -> bytes:
        if kind == Back.ERROR_RESPONSE:
            raise LoginRefused(codec.parse_error(body), early=not self._asked)
        if kind == Back.NOTICE_RESPONSE:
            if len(self._notices) < MAX_NOTICES:
                self._notices.append(codec.message(kind, body))
            return b""
        return self._hear(kind, body)

    # -- until AuthenticationOk

    def _authenticating(self, kind: int, body: bytes) -> bytes:
        if kind == Back.NEGOTIATE_PROTOCOL_VERSION and not self._asked:
            newest, _ = codec.parse_negotiate_version(body)
            if newest > self._version:
                raise PeerFault("the legacy server negotiated a version above the one asked for")
            return b""
        if kind != Back.AUTHENTICATION:
            raise PeerFault("the legacy server sent an unexpected message while logging in")
        code, rest = codec.parse_authentication(body)
        self._asked = True
        if self._scram_step:
            return self._in_scram(code, rest)
        if code == _OK:
            self._hear = self._settling
            return b""
        if code == _CLEARTEXT:
            if not self._private:
                raise LoginFailed("the legacy server wants the password in cleartext on an unencrypted connection")
            return self._password(self._secret.reveal())
        if code == _MD5 and len(rest) == 4:
            return self._password(md5_password(self._secret.reveal(), self._login[b"user"], rest))
        if code == _SASL:
            return self._start_scram(codec.parse_sasl_mechanisms(rest))
        raise LoginFailed(f"unsupported authentication: {_UNSUPPORTED.get(code, f'type {code}')}")

    def _password(self, value: bytes) -> bytes:
        if b"\0" in value:
            raise LoginFailed("the secret holds a NUL byte, which no PostgreSQL password can")
        return codec.password_message(value)

    def _start_scram(self, offered: tuple[str, ...]) -> bytes:
        binding = scram.tls_server_end_point(self._certificate) if self._certificate else None
        if scram.MECHANISM_PLUS in offered and binding is not None:
            self._scram = scram.ScramClient(binding=binding)
        elif scram.MECHANISM in offered:
            # ``y`` says: I could bind, you did not offer it; a server that did offer it then knows of a man in between
            possible = binding is not None and scram.MECHANISM_PLUS not in offered
            self._scram = scram.ScramClient(binding_possible=possible)
        else:
            raise LoginFailed(f"unsupported authentication: SASL {', '.join(offered)[:100]}")
        self._scram_step = "first"
        return codec.sasl_initial_response(self._scram.mechanism, self._scram.first())

    def _in_scram(self, code: int, rest: bytes) -> bytes:
        assert self._scram is not None
        try:
            if (self._scram_step, code) == ("first", _SASL_CONTINUE):
                self.challenge = self._scram.challenged(rest)
            elif (self._scram_step, code) == ("final", _SASL_FINAL):
                self._scram.verify(rest)
                self._scram_step = "verified"
            elif (self._scram_step, code) == ("verified", _OK):
                self._hear = self._settling
            else:
                raise LoginFailed("the legacy server did not finish the SCRAM exchange")
        except scram.ScramFailure as failure:
            raise LoginFailed(f"SCRAM: {failure}") from None
        return b""

    # -- until ReadyForQuery

    def _settling(self, kind: int, body: bytes) -> bytes:
        if kind == Back.PARAMETER_STATUS:
            self._parameter(body)
        elif kind == Back.BACKEND_KEY_DATA:
            self._key = codec.parse_backend_key(body)
        elif kind == Back.READY_FOR_QUERY:
            if self._startup.later:
                self._hear = self._applying
                return codec.query(settings_query(self._startup.later))
            self._ready(body)
        else:
            raise PeerFault("the legacy server sent an unexpected message before it was ready")
        return b""

    def _applying(self, kind: int, body: bytes) -> bytes:
        if kind == Back.PARAMETER_STATUS:
            self._parameter(body)
        elif kind == Back.READY_FOR_QUERY:
            self._ready(body)
        elif kind not in (Back.ROW_DESCRIPTION, Back.DATA_ROW, Back.COMMAND_COMPLETE):
            raise PeerFault("the legacy server sent an unexpected message while settings were applied")
        return b""

    def _parameter(self, body: bytes) -> None:
        name, value = codec.parse_parameter_status(body)
        if len(self._parameters) >= 256:
            raise PeerFault("the legacy server reports too many parameters")
        self._parameters[name] = value

    def _ready(self, body: bytes) -> None:
        self.facts = LoginFacts(
            parameters=self._parameters,
            database=self._login[b"database"].decode("utf-8", "replace"),
            user=self._login[b"user"].decode("utf-8", "replace"),
            server_version=self._parameters.get("server_version", ""),
            transaction_status=codec.parse_ready(body),
            pinned=self._startup.pinned,
            backend_pid=self._key[0],
            backend_key=self._key[1],
            notices=tuple(self._notices),
        )
