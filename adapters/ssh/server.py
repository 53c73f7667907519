"""The agent's side: Twisted Conch negotiates and exchanges keys, and is kept from everything else.

Conch's own transport answers authentication before any key exchange, decompresses what strangers send and never begins
a new key exchange (research/ssh.md, part B). So of ``SSHServerTransport`` only negotiation and key exchange are used:
packets are ours (``packets``), each message passes a filter by phase, strict key exchange is kept (OpenSSH PROTOCOL
1.10), and no service is ever started in it. What is left over, messages of authentication and of the connection, comes
out of ``AgentLeg``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.transport import SSHServerTransport

from adapters.ssh.host_keys import HostKeys
from adapters.ssh.packets import Keys, Opener, Sealer
from adapters.ssh.wire import Goodbye, Out, WireLeg
from bridge.adapter import Deadline, PeerFault, Stream, StreamClosed

DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG, SERVICE_REQUEST, SERVICE_ACCEPT, EXT_INFO = 1, 2, 3, 4, 5, 6, 7
KEXINIT, NEWKEYS, KEX_INIT = 20, 21, 30
PROTOCOL_ERROR, KEY_EXCHANGE_FAILED, SERVICE_NOT_AVAILABLE, BY_APPLICATION = 2, 3, 7, 11

VERSION = b"SSH-2.0-idbridge"
SLOW = "the client took too long to say what it wants"
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
    """Gives Conch the host keys, by their format."""

    def __init__(self, host_keys: HostKeys) -> None:
        self.privateKeys = host_keys.keys
        self.publicKeys = {kind: key.public() for kind, key in host_keys.keys.items()}


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

    def __init__(self, host_keys: HostKeys, seconds: Callable[[], float]) -> None:
        self.out = self.transport = Out()
        self.factory = _Factory(host_keys)
        self.supportedPublicKeys = host_keys.algorithms
        self.strict = False
        self.secure = False  # the first exchange is done
        self.authenticated = False
        self._awaited = KEXINIT  # the next message of the exchange: KEXINIT, KEX_INIT or NEWKEYS
        self.held = 0
        self.facts: dict[str, str] = {}
        self._opener, self._sealer = Opener(), Sealer()
        self._line = b""
        self.seconds = seconds
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
        if moved >= REKEY_BYTES or self.seconds() - self._keys_since >= REKEY_SECONDS:
            self.sendKexInit()  # type: ignore[no-untyped-call]

    # -- in

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Messages of authentication and of the connection. Raises PeerFault, and Goodbye for SSH_MSG_DISCONNECT."""
        if not self.gotVersion:
            data = self._version(data)
            if not self.gotVersion:
                return
        for payload in self._opener.feed(data):
            message = payload[0]
            if self.secure and (message >= 50 or message in (SERVICE_REQUEST, SERVICE_ACCEPT)):
                yield payload
            else:
                self._check_phase(message)
                self._dispatch(message, payload[1:])

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

    def _check_phase(self, message: int) -> None:
        """Until the first exchange is done there is nothing but it; with strict key exchange not even IGNORE."""
        if self.secure or message == DISCONNECT:
            return
        if self._opener.sequence == 1:
            allowed = message == KEXINIT
        else:
            allowed = KEXINIT <= message <= 49 or (not self.strict and message in (IGNORE, UNIMPLEMENTED, DEBUG))
        if not allowed:
            raise PeerFault("a message came before the key exchange was done")

    def _dispatch(self, message: int, rest: bytes) -> None:
        try:
            if message == DISCONNECT:
                raise Goodbye("the client has disconnected")
            if KEXINIT <= message <= 49:
                self._exchange(message, rest)
            elif message not in (IGNORE, UNIMPLEMENTED, DEBUG, EXT_INFO):
                self.put(struct.pack("!BI", UNIMPLEMENTED, (self._opener.sequence - 1) % 2**32))
        except (struct.error, IndexError, ValueError, KeyError, TypeError, AssertionError, UnsupportedAlgorithm):
            raise PeerFault("a message of the key exchange is malformed") from None
        if self.out.closing:
            raise PeerFault("the key exchange failed")

    def _exchange(self, message: int, rest: bytes) -> None:
        if self.ignoreNextPacket:  # the client guessed the method, and wrongly (section 7)
            self.ignoreNextPacket = 0
        elif message != self._awaited:
            raise PeerFault("a message of the key exchange came out of turn")
        elif message == KEXINIT:
            self._kexinit(rest)
        elif message == KEX_INIT:
            self.ssh_KEX_DH_GEX_REQUEST_OLD(rest)  # Conch's name for message 30 of every method
        else:
            self._newkeys(rest)

    def _kexinit(self, rest: bytes) -> None:
        if self.secure and not self.authenticated:
            raise PeerFault("a new key exchange came before the login")
        self.ssh_KEXINIT(rest)
        if self.out.closing:
            return
        if self.kexAlg == STRICT_SERVER:
            raise PeerFault("no algorithms in common")
        self._keyExchangeState = self._KEY_EXCHANGE_PROGRESSING
        self._awaited = KEX_INIT
        if not self.secure:
            self.strict = STRICT_CLIENT in self.otherKexInitPayload
        keys = self.nextEncryptions = _NextKeys(self.nextEncryptions)
        cipher, mac = keys.in_names
        self.facts |= {"kex": self.kexAlg.decode(), "host_key": self.keyAlg.decode(), "cipher": cipher}
        self.facts["mac"] = "" if "gcm" in cipher else mac

    def _keySetup(self, sharedSecret: bytes, exchangeHash: bytes) -> None:
        first = self.sessionID is None
        super(SSHServerTransport, self)._keySetup(sharedSecret, exchangeHash)  # sends NEWKEYS
        self._sealer.take_keys(self.nextEncryptions.outgoing, restart=self.strict)
        self._awaited = NEWKEYS
        if first and self._peerSupportsExtensions:  # the next packet after our first NEWKEYS (RFC 8308 section 2.4)
            algorithms = ",".join((*SIGNATURES, *(f"{name}-cert-v01@openssh.com" for name in SIGNATURES)))
            self.out.data.append(
                self._sealer.seal(struct.pack("!BI", EXT_INFO, 1) + NS(b"server-sig-algs") + NS(algorithms.encode()))
            )

    def _newkeys(self, rest: bytes) -> None:
        if rest:
            raise PeerFault("NEWKEYS has no fields")
        self._opener.take_keys(self.nextEncryptions.incoming, restart=self.strict)
        self.nextEncryptions = None
        self.ourKexInitPayload = self.otherKexInitPayload = b""  # hashed, and not needed again
        self._awaited = KEXINIT
        self.secure = True
        self._keys_since = self.seconds()
        self._keyExchangeState = self._KEY_EXCHANGE_NONE
        waiting, self._blockedByKeyExchange, self.held = self._blockedByKeyExchange, None, 0
        for payload in waiting:
            self.out.data.append(self._sealer.seal(payload))


def _while_exchanging(message: int) -> bool:
    """Whether a message may be sent during an exchange (section 7.1)."""
    return message in (DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG) or KEXINIT <= message <= 49


class AgentLeg(WireLeg):
    """``exchange`` is an ``Exchange``."""

    exchange: Exchange

    def __init__(self, stream: Stream, host_keys: HostKeys, seconds: Callable[[], float]) -> None:
        super().__init__(stream, Exchange(host_keys, seconds))

    @property
    def session_id(self) -> bytes:
        identifier = self.exchange.sessionID
        assert identifier is not None
        return identifier

    async def message(self, timeout: float) -> bytes:
        """As of ``WireLeg``; ``timeout`` is for the whole message, however slowly its bytes drip."""
        deadline = Deadline(timeout, self.exchange.seconds, SLOW)
        while not self._pending:
            await self.step(deadline.left)
        return self._pending.pop(0)

    def disconnect(self, code: int, text: str) -> None:
        """Nothing to who is no SSH client, or was told by Conch already."""
        if self.exchange.gotVersion and not self.exchange.out.closing:
            super().disconnect(code, text)


async def accept(stream: Stream, host_keys: HostKeys, *, timeout: float, seconds: Callable[[], float]) -> AgentLeg:
    """A leg whose first key exchange is done and which asks for the service ssh-userauth, which is granted.

    Raises PeerFault, TimedOut, StreamClosed; the peer was told.
    """
    leg = AgentLeg(stream, host_keys, seconds)
    deadline = Deadline(timeout, seconds, SLOW)
    try:
        await leg.begin()
        request = await leg.message(deadline.left)
        if request != bytes((SERVICE_REQUEST,)) + NS(b"ssh-userauth"):
            raise PeerFault("the first service is ssh-userauth")
    except PeerFault as fault:
        await say(leg, PROTOCOL_ERROR, str(fault))
        raise
    leg.write(bytes((SERVICE_ACCEPT,)) + NS(b"ssh-userauth"))
    await leg.flush()
    return leg


async def say(leg: AgentLeg, code: int, text: str) -> None:
    """The last words; nobody may be there to hear them."""
    try:
        leg.disconnect(code, text)
        await leg.flush()
    except StreamClosed:
        return
