"""How a client hands over its token: a small state machine, payloads in, payloads out (research notes, B2).

In the order of preference:

1. ``caching_sha2_password``: "full authentication" makes every client send the password as it is, inside TLS.
2. ``mysql_clear_password``, by clients that announce it, in the handshake or after a switch.
3. ``authentication_openid_connect_client``, by clients that announce it, or that have it and gave no password.
4. Any other announced plugin: a switch to the first, or to the second for clients that cannot do the first.

The scramble in the client's first answer is never looked at: it proves a password that nobody knows.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from adapters.mysql import codec
from adapters.mysql.codec import NONCE_SIZE, Cap, HandshakeResponse
from adapters.mysql.refusals import Spoken
from bridge.adapter import PeerFault, Reason, Secret

CACHING_SHA2 = b"caching_sha2_password"
CLEAR = b"mysql_clear_password"
OPENID = b"authentication_openid_connect_client"

MAX_TOKEN = 16 * 1024
"""Longest token. Tokens of identity providers are 0.5 to 4 KiB, with many groups 8."""

_FULL_AUTHENTICATION = b"\x04"
_WANTS_PUBLIC_KEY = b"\x02"
_OPENID_CAPABILITY = b"\x01"
_SCRAMBLE_SIZE = 32


def new_nonce() -> bytes:
    """20 bytes without NUL and ``$``, as servers make them."""
    return bytes(secrets.choice(range(0x25, 0x7F)) for _ in range(NONCE_SIZE))


class Carrier:
    """``begin`` and then ``receive`` give what to send next, until ``token`` is set; an empty one was not given.

    ``encrypted`` False (where that is allowed at all): clients would ask for an RSA key, which no token fits; so they
    are asked for the cleartext password outright. ``certificate``: the client has proven itself already.
    """

    def __init__(self, response: HandshakeResponse, *, encrypted: bool, certificate: bool = False) -> None:
        self._response = response
        self._encrypted = encrypted
        self._certificate = certificate
        self._hear: Callable[[bytes], bytes] = self._scrambled
        self.token: Secret | None = None

    def begin(self) -> bytes:
        """What to send first; b"" when the token is there already. Raises Spoken."""
        response = self._response
        if not response.capabilities & Cap.PLUGIN_AUTH:
            raise _too_old()
        if response.plugin == OPENID:
            return self._switch(OPENID, self._openid)
        if response.plugin == CLEAR and response.capabilities & Cap.PLUGIN_AUTH_LENENC and response.auth:
            return self._given(response.auth)
        if response.plugin == CLEAR or not self._encrypted or cannot_sha2(response):
            return self._switch(CLEAR, self._cleartext)
        if response.plugin == CACHING_SHA2:
            return self._scrambled(response.auth)
        return self._switch(CACHING_SHA2, self._scrambled)

    def receive(self, payload: bytes) -> bytes:
        """Raises Spoken, and PeerFault for what no plugin says."""
        return self._hear(payload)

    def _switch(self, plugin: bytes, hear: Callable[[bytes], bytes]) -> bytes:
        self._hear = hear
        return codec.auth_switch(plugin, b"" if plugin != CACHING_SHA2 else new_nonce())

    def _scrambled(self, scramble: bytes) -> bytes:
        if len(scramble) <= 1 and has_openid(self._response) and not self._certificate:
            return self._switch(OPENID, self._openid)
        if len(scramble) <= 1:
            return self._given(b"")
        if len(scramble) != _SCRAMBLE_SIZE:
            raise PeerFault("caching_sha2_password: the scramble has not 32 bytes")
        self._hear = self._cleartext
        return codec.auth_more(_FULL_AUTHENTICATION)

    def _cleartext(self, payload: bytes) -> bytes:
        if payload == _WANTS_PUBLIC_KEY:
            raise Spoken(Reason.CREDENTIAL_MISSING, 1045, "28000", "a token is longer than an RSA key can take")
        return self._given(payload)

    def _openid(self, payload: bytes) -> bytes:
        """A capability byte and the length-encoded token (manual, "OpenID Connect Pluggable Authentication")."""
        reader = codec.body_of(payload, "OpenID Connect token")
        if reader.take(1) != _OPENID_CAPABILITY:
            raise reader.failure("the capability byte is not 1")
        return self._given(codec.lenenc_string(reader))

    def _given(self, value: bytes) -> bytes:
        """A NUL ends it everywhere but in the handshake of some clients: at most one is taken off."""
        token = value.removesuffix(b"\0").strip()
        if len(token) > MAX_TOKEN:
            words = f"the token is longer than {MAX_TOKEN // 1024} KiB, the limit"
            raise Spoken(Reason.CREDENTIAL_INVALID, 1045, "28000", words)
        self.token = Secret(token)
        return b""


def cannot_sha2(response: HandshakeResponse) -> bool:
    """Clients that are asked for the cleartext plugin, which they have, in place of caching_sha2_password.

    libmysqlclient 5.5 to 5.7 lack it; 5.5 does not name itself, and nobody else does neither. MySQL's Connector/J reads
    its messages wrongly from a server older than 5.5.16, which it takes a MariaDB (5.5.5-10…) for.
    """
    named = dict(response.attributes)
    name, version = named.get(b"_client_name", b""), named.get(b"_client_version", b"")
    if name == b"MySQL Connector/J":
        return True
    old = not named or (name == b"libmysql" and version.startswith(b"5."))
    return old and response.plugin != CACHING_SHA2


def has_openid(response: HandshakeResponse) -> bool:
    """libmysqlclient 9: it announces the server's default and waits to be asked for its token file."""
    named = dict(response.attributes)
    return named.get(b"_client_name") == b"libmysql" and named.get(b"_client_version", b"").startswith(b"9.")


def _too_old() -> Spoken:
    return Spoken(
        Reason.UNSUPPORTED, 1251, "08004", "this client cannot pass a token: it has no authentication plugins"
    )
