"""The agent's side: Twisted Conch negotiates and exchanges keys, and is kept from everything else.

Conch's own transport answers authentication before any key exchange, decompresses what strangers send and never begins
a new key exchange (research/ssh.md, part B). So of ``SSHServerTransport`` only negotiation and key exchange are used:
packets are ours (``packets``), each message passes a filter by phase, strict key exchange is kept (OpenSSH PROTOCOL
1.10), and no service is ever started in it. What is left over, messages of authentication and of the connection, comes
out of ``AgentLeg``.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHServerTransport
from twisted.internet.defer import Deferred

from adapters.ssh.leg import Take
from adapters.ssh.packets import Keys, Opener, Sealer
from bridge.adapter import PeerFault, Stream, StreamClosed, TimedOut

DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG, SERVICE_REQUEST, SERVICE_ACCEPT, EXT_INFO = 1, 2, 3, 4, 5, 6, 7
KEXINIT, NEWKEYS = 20, 21
PROTOCOL_ERROR, KEY_EXCHANGE_FAILED, SERVICE_NOT_AVAILABLE, BY_APPLICATION = 2, 3, 7, 11

VERSION = b"SSH-2.0-idbridge"
LONGEST_VERSION = 255  # RFC 4253 section 4.2, with CR LF
REKEY_BYTES = 2**30
REKEY_SECONDS = 3600.0
"""RFC 4253 section 9 recommends a new exchange after a gigabyte or an hour."""

HELD_BYTES = 4 * 1024 * 1024
"""Held back during an exchange: what the host sent before its leg was paused. More: the peer never answers."""

KEX = (
    "mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521",
)  # fmt: skip
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
SIGNATURES = (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256",
)  # fmt: skip
"""Of agents' keys (RFC 8308 section 3.1), whatever the host keys are."""

STRICT_CLIENT, STRICT_SERVER = b"kex-strict-c-v00@openssh.com", b"kex-strict-s-v00@openssh.com"


class _Out:
    """What Conch takes for its transport."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.data.append(data)

    def loseConnection(self) -> None:
        self.closing = True

    def take(self) -> bytes:
        data = b"".join(self.data)
        self.data.clear()
        return data


class _NextKeys:
    """Stands where Conch keeps its ciphers; ``setKeys`` has Conch's signature."""

    def __init__(self, negotiated: Any) -> None:
        self.out_names = negotiated.outCipType.decode(), negotiated.outMACType.decode()
        self.in_names = negotiated.inCipType.decode(), negotiated.inMACType.decode()
        self.outgoing: Keys
        self.incoming: Keys

    def setKeys(
        self, out_iv: bytes, out_key: bytes, in_iv: bytes, in_key: bytes, out_mac: bytes, in_mac: bytes
    ) -> None:
        self.outgoing = Keys(*self.out_names, out_iv, out_key, out_mac)
        self.incoming = Keys(*self.in_names, in_iv, in_key, in_mac)


class _Factory:
    """Gives Conch the host keys, by the name of their algorithm."""

    def __init__(self, keys: Mapping[bytes, Key]) -> None:
        self.privateKeys = keys
        self.publicKeys = {name: key.public() for name, key in keys.items()}  # type: ignore[no-untyped-call]


class Exchange(SSHServerTransport):
    """Negotiation and key exchange. ``feed`` gives the messages that are not its own."""

    ourVersionString = VERSION
    supportedKeyExchanges = [name.encode() for name in KEX] + [STRICT_SERVER]
    supportedCiphers = [name.encode() for name in CIPHERS]
    supportedMACs = [name.encode() for name in MACS]
    supportedCompressions = [b"none"]
    transport: Any
    factory: Any
    nextEncryptions: Any
    _blockedByKeyExchange: Any

    def __init__(self, host_keys: Mapping[bytes, Key], seconds: Callable[[], float]) -> None:
        self.out = self.transport = _Out()
        self.factory = _Factory(host_keys)
        self.supportedPublicKeys = list(host_keys)
        self.strict = False
        self.secure = False  # the first exchange is done
        self.held = 0
        self.facts: dict[str, str] = {}
        self._opener, self._sealer = Opener(), Sealer()
        self._line = b""
        self._seconds = seconds
        self._keys_since = seconds()

    # -- out

    def begin(self) -> None:
        self.out.write(VERSION + b"\r\n")
        self.sendKexInit()  # type: ignore[no-untyped-call]

    def sendPacket(self, message: int, payload: bytes) -> None:
        self.put(bytes((message,)) + payload)

    def put(self, payload: bytes) -> None:
        """One message, now or after the exchange that is going on."""
        if self.exchanging and not _while_exchanging(payload[0]):
            self.held += len(payload)
            if self.held > HELD_BYTES:
                raise PeerFault("the key exchange does not end")
            self._blockedByKeyExchange.append(payload)
            return
        self.out.data.append(self._sealer.seal(payload))

    @property
    def exchanging(self) -> bool:
        return self._keyExchangeState != self._KEY_EXCHANGE_NONE

    def rekey_if_due(self) -> None:
        if self.exchanging:
            return
        moved = max(self._sealer.sealed, self._opener.opened)
        if moved >= REKEY_BYTES or self._seconds() - self._keys_since >= REKEY_SECONDS:
            self.sendKexInit()  # type: ignore[no-untyped-call]

    # -- in

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises PeerFault; what is to be told to the peer was put then."""
        if not self.gotVersion:
            data = self._version(data)
            if not self.gotVersion:
                return
        for payload in self._opener.feed(data):
            message = payload[0]
            if self._is_ours(message):
                self._dispatch(message, payload[1:])
                if self.out.closing:
                    raise PeerFault("the key exchange failed")
            else:
                yield payload

    def _version(self, data: bytes) -> bytes:
        """What follows the line. A client says nothing before it (section 4.2)."""
        line, found, rest = (self._line + data).partition(b"\n")
        if len(line) > LONGEST_VERSION or not line.startswith(b"SSH-"[: len(line)]):
            raise PeerFault("no SSH client: its first line is not a version")
        if not found:
            self._line = line
            return b""
        line = line.rstrip(b"\r")
        if not line.startswith((b"SSH-2.0-", b"SSH-1.99-")) or not line.isascii() or not line.decode().isprintable():
            raise PeerFault("only SSH 2.0 is spoken here")
        self.otherVersionString, self.gotVersion = line, True
        self.facts["software"] = line.partition(b"-")[2].partition(b"-")[2].decode()
        return rest

    def _is_ours(self, message: int) -> bool:
        """Filters by phase; False for messages of authentication and of the connection."""
        if self.sessionID is None or not self.secure:
            first = self._opener.sequence == 1
            if self.strict or first:  # nothing but the exchange itself
                allowed = message == KEXINIT if first else message in (KEXINIT, NEWKEYS) or 30 <= message <= 49
            else:
                allowed = message in (DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG, KEXINIT, NEWKEYS) or 30 <= message <= 49
            if not allowed and message != DISCONNECT:
                raise PeerFault("a message came before the key exchange was done")
            return True
        return not (SERVICE_REQUEST <= message <= SERVICE_ACCEPT or message >= 50)

    def _dispatch(self, message: int, rest: bytes) -> None:
        try:
            if message == DISCONNECT:
                raise StreamClosed("the client has disconnected")
            if message == KEXINIT:
                self._kexinit(rest)
            elif message == NEWKEYS:
                self._newkeys(rest)
            elif 30 <= message <= 49:
                self._exchange(message, rest)
            elif message not in (IGNORE, UNIMPLEMENTED, DEBUG, EXT_INFO):
                self.put(struct.pack("!BI", UNIMPLEMENTED, (self._opener.sequence - 1) % 2**32))
        except (struct.error, IndexError, ValueError, KeyError, TypeError, UnsupportedAlgorithm):
            raise PeerFault("a message of the key exchange is malformed") from None

    def _kexinit(self, rest: bytes) -> None:
        if self._keyExchangeState == self._KEY_EXCHANGE_PROGRESSING:
            raise PeerFault("a key exchange was begun within one")
        self.ssh_KEXINIT(rest)
        if self.out.closing:
            raise PeerFault("no algorithms in common")
        if not self.secure:
            self.strict = STRICT_CLIENT in self.otherKexInitPayload
            if self.strict and self._opener.sequence != 1:
                raise PeerFault("a message came before the key exchange")
        if self.kexAlg == STRICT_SERVER:
            raise PeerFault("no algorithms in common")
        self.nextEncryptions = _NextKeys(self.nextEncryptions)
        self.facts |= {
            "kex": self.kexAlg.decode(), "host_key": self.keyAlg.decode(),
            "cipher": self.nextEncryptions.in_names[0],
        }  # fmt: skip
        if "gcm" not in self.facts["cipher"]:
            self.facts["mac"] = self.nextEncryptions.in_names[1]

    def _exchange(self, message: int, rest: bytes) -> None:
        if message != 30 or self._keyExchangeState != self._KEY_EXCHANGE_PROGRESSING:
            raise PeerFault("a message of another key exchange")
        self.ssh_KEX_DH_GEX_REQUEST_OLD(rest)  # Conch's name for message 30 of every method

    def _keySetup(self, sharedSecret: bytes, exchangeHash: bytes) -> None:
        first = self.sessionID is None
        super(SSHServerTransport, self)._keySetup(sharedSecret, exchangeHash)  # sends NEWKEYS
        self._sealer.take_keys(self.nextEncryptions.outgoing, restart=self.strict)
        if first and self._peerSupportsExtensions:  # the next packet after our first NEWKEYS (RFC 8308 section 2.4)
            algorithms = ",".join((*SIGNATURES, *(f"{name}-cert-v01@openssh.com" for name in SIGNATURES)))
            self.out.data.append(
                self._sealer.seal(struct.pack("!BI", EXT_INFO, 1) + NS(b"server-sig-algs") + NS(algorithms.encode()))
            )

    def _newkeys(self, rest: bytes) -> None:
        if rest or not isinstance(self.nextEncryptions, _NextKeys) or not hasattr(self.nextEncryptions, "incoming"):
            raise PeerFault("NEWKEYS came before its exchange was done")
        self._opener.take_keys(self.nextEncryptions.incoming, restart=self.strict)
        self.nextEncryptions = None
        self.secure = True
        self._keys_since = self._seconds()
        self._keyExchangeState = self._KEY_EXCHANGE_NONE
        waiting, self._blockedByKeyExchange, self.held = self._blockedByKeyExchange, None, 0
        for payload in waiting:
            self.out.data.append(self._sealer.seal(payload))


def _while_exchanging(message: int) -> bool:
    """Whether a message may be sent during an exchange (section 7.1)."""
    return message in (DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG) or KEXINIT <= message <= 49


class AgentLeg:
    """Implements ``leg.Leg`` over a ``Stream``; before the login is done, ``message`` gives one message at a time."""

    def __init__(self, stream: Stream, host_keys: Mapping[bytes, Key], seconds: Callable[[], float]) -> None:
        self.stream = stream
        self.exchange = Exchange(host_keys, seconds)
        self._pending: deque[bytes] = deque()
        self._unheld: Deferred[None] | None = None

    @property
    def facts(self) -> Mapping[str, str]:
        return self.exchange.facts

    @property
    def session_id(self) -> bytes:
        identifier = self.exchange.sessionID
        assert identifier is not None
        return identifier

    async def begin(self) -> None:
        self.exchange.begin()
        await self.flush()

    async def message(self, timeout: float) -> bytes:
        """The next message of authentication. Raises TimedOut, PeerFault, StreamClosed."""
        while not self._pending:
            data = await self.stream.receive(timeout)
            if not data:
                raise StreamClosed("the client has gone")
            try:
                self._pending.extend(self.exchange.feed(data))
            finally:
                await self.flush()
        return self._pending.popleft()

    def write(self, payload: bytes) -> None:
        self.exchange.put(payload)

    async def flush(self) -> None:
        data = self.exchange.out.take()
        if data:
            await self.stream.send(data)
        if self.exchange.held:
            await self._until_exchanged()

    async def _until_exchanged(self) -> None:
        """The other leg is not read while messages are held back; ``run`` goes on and ends the exchange."""
        self._unheld = self._unheld or Deferred()
        waiting: Deferred[None] = Deferred()
        self._unheld.addBoth(lambda _: waiting.callback(None))
        await waiting

    async def run(self, take: Take, after: Callable[[], Coroutine[Any, Any, None]]) -> str:
        async def chunk(data: bytes) -> None:
            exchanging = self.exchange.exchanging
            for payload in self.exchange.feed(data) if data else ():
                await self._given(take, payload)
            self.exchange.rekey_if_due()
            out = self.exchange.out.take()
            if out:
                await self.stream.send(out)
            if exchanging and not self.exchange.exchanging:
                self._release()
            await after()

        try:
            while self._pending:
                await self._given(take, self._pending.popleft())
            await after()
            return await self.stream.each(chunk)
        except StreamClosed as gone:
            return str(gone)
        finally:
            self._release()

    async def _given(self, take: Take, payload: bytes) -> None:
        if payload[0] < 80:
            raise PeerFault("a message of the login came after it")
        waiting = take(payload)
        if waiting is not None:
            await waiting

    def _release(self) -> None:
        unheld, self._unheld = self._unheld, None
        if unheld is not None:
            unheld.callback(None)

    def disconnect(self, code: int, text: str) -> None:
        self.exchange.put(struct.pack("!BI", DISCONNECT, code) + NS(text.encode()) + NS(b""))


async def accept(
    stream: Stream, host_keys: Mapping[bytes, Key], *, timeout: float, seconds: Callable[[], float]
) -> AgentLeg:
    """A leg whose first key exchange is done and which asks for the service ssh-userauth, which is granted.

    Raises PeerFault, TimedOut, StreamClosed; the peer was told.
    """
    leg = AgentLeg(stream, host_keys, seconds)
    end = seconds() + timeout
    try:
        await leg.begin()
        request = await leg.message(_left(end, seconds))
        if request != bytes((SERVICE_REQUEST,)) + NS(b"ssh-userauth"):
            raise PeerFault("the first service is ssh-userauth")
    except PeerFault as fault:
        leg.disconnect(PROTOCOL_ERROR, str(fault))
        await leg.flush()
        raise
    leg.write(bytes((SERVICE_ACCEPT,)) + NS(b"ssh-userauth"))
    await leg.flush()
    return leg


def _left(end: float, seconds: Callable[[], float]) -> float:
    left = end - seconds()
    if left <= 0:
        raise TimedOut("the key exchange took too long")
    return left
