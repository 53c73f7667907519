"""The legacy host's side: paramiko negotiates and exchanges keys, driven by the reactor, without its thread.

``Engine`` is a ``paramiko.Transport`` that is never started: packets are ours (``packets``), so what paramiko would do
to its socket is done to two objects that hold bytes. Used are its negotiation, its key exchanges and its check of the
host's signature. What of its private names is relied on has a test each (test_host_exchange.py), and the version is
pinned.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from paramiko.message import Message
from paramiko.ssh_exception import IncompatiblePeer, SSHException
from paramiko.transport import Transport

from adapters.ssh.fields import Fields
from adapters.ssh.host_version import HostVersion
from adapters.ssh.levels import LEVELS, exchanges, host_key_classes
from adapters.ssh.packets import Keys, Opener, Sealer
from adapters.ssh.wire import Goodbye, Out, Work
from bridge.adapter import BridgeError, PeerFault

DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG, EXT_INFO, KEXINIT, NEWKEYS = 1, 2, 3, 4, 7, 20, 21

CERTIFICATE = "-cert-v01@openssh.com"
VERSION = "SSH-2.0-idbridge"
REKEY_BYTES = 2**30
REKEY_SECONDS = 3600.0
HELD_BYTES = 4 * 1024 * 1024  # held back during an exchange; the agent's leg is paused long before
KEY_BYTES = 64  # derived for each purpose; packets take what they need

_NOBODY_WAITS, _NEVER_STARTED = threading.Event(), threading.Event()
"""In the place of those that paramiko gives each connection for threads to wait on: there are none."""

Deferring = Callable[..., Awaitable[Any]]


class HostKeyRefused(BridgeError):
    """The host showed a key that is not pinned. The words are for ops."""


class NothingInCommon(BridgeError):
    """The host and the system's level share no algorithm of some kind. The words are for ops."""


class _Packets:
    """Stands where paramiko keeps its packetizer."""

    def __init__(self, sealer: Sealer, out: Out) -> None:
        self._sealer = sealer
        self._out = out
        self._initial_kex_done = False

    def send_message(self, message: Message) -> None:
        self._out.data.append(self._sealer.seal(message.asbytes()))

    def need_rekey(self) -> bool:
        return False

    def set_log(self, log: object) -> None:
        """paramiko's own log stays silent."""


class _NoSocket:
    def settimeout(self, seconds: float) -> None:
        """There is none."""


class Engine(Transport):  # type: ignore[misc]
    """Implements ``wire.Exchange``. ``check`` raises HostKeyRefused for a host key (wire form) that is not pinned.

    ``pinned`` are the signature algorithms that the pinned keys can have: only those are asked for.
    """

    remote_version: str

    def __init__(
        self, level: str, pinned: tuple[str, ...], check: Callable[[bytes], None], *, deferring: Deferring,
        seconds: Callable[[], float],
    ) -> None:  # fmt: skip
        self.out, self._sealer, self._opener = Out(), Sealer(), Opener()
        super().__init__(_NoSocket(), packetizer_class=lambda sock: _Packets(self._sealer, self.out))
        self.clear_to_send = _NOBODY_WAITS
        self._started = _NEVER_STARTED
        self.server_accept_cv = self._channels = None
        chosen = LEVELS[level]
        self._preferred_kex, self._preferred_ciphers, self._preferred_macs = chosen.kex, chosen.ciphers, chosen.macs
        self._preferred_keys = tuple(name for name in pinned if name.removesuffix(CERTIFICATE) in chosen.host_keys)
        self._kex_info, self._key_info = exchanges(level), host_key_classes(level)
        self.local_version = VERSION
        self.active = True
        self.held = 0
        self.facts: dict[str, str] = {}
        self.host_key_blob = b""
        self._held: list[bytes] = []
        self._computing = False  # in a thread, which alone seals meanwhile
        self._check = check
        self._deferring = deferring
        self._seconds = seconds
        self._keys_since = seconds()
        self._version = HostVersion()
        self._expected_packet: tuple[int, ...] = ()

    def _log(self, level: int, msg: str, *args: object) -> None:
        """paramiko logs negotiation; ours is in ``facts``."""

    # -- out

    def begin(self) -> None:
        """Raises NothingInCommon."""
        if not self._preferred_keys:
            raise NothingInCommon("the level takes no host keys of the pinned kinds")
        self.out.write(VERSION.encode() + b"\r\n")
        self._send_kex_init()
        self._expect_packet(KEXINIT)

    @property
    def exchanging(self) -> bool:
        return bool(self.in_kex)

    @property
    def secure(self) -> bool:
        return bool(self.initial_kex_done)

    def put(self, payload: bytes) -> None:
        if self.in_kex and (self._computing or payload[0] not in (DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG)):
            self.held += len(payload)
            if self.held > HELD_BYTES:
                raise PeerFault("the key exchange with the host does not end")
            self._held.append(payload)
            return
        self.out.data.append(self._sealer.seal(payload))

    def rekey_if_due(self) -> None:
        if self.in_kex:
            return
        moved = max(self._sealer.sealed, self._opener.opened)
        if moved >= REKEY_BYTES or self._seconds() - self._keys_since >= REKEY_SECONDS:
            self._send_kex_init()

    # -- in

    def feed(self, data: bytes) -> Iterator[bytes | Work]:
        if not self.remote_version:
            data = self._version.feed(data)
            if not self._version.text:
                return
            self.remote_version, self.facts["software"] = self._version.text, self._version.software
        for payload in self._opener.feed(data):
            message = payload[0]
            if message >= 50 or message in (5, 6):
                if not self.initial_kex_done:
                    raise PeerFault("the host sent a message before the key exchange was done")
                yield payload
            elif (work := self._dispatch(message, payload)) is not None:
                yield work

    def _dispatch(self, message: int, payload: bytes) -> Work | None:
        if message == DISCONNECT:
            raise Goodbye(f"the host has disconnected: {_reason(payload)}")
        if message in (IGNORE, DEBUG, UNIMPLEMENTED):
            if self.agreed_on_strict_kex and not self.initial_kex_done:
                raise PeerFault("the host sent a message within a strict key exchange")
            return None
        if message == KEXINIT and self.local_kex_init is not None and self.remote_kex_init is not None:
            raise PeerFault("the host began a key exchange within one")
        if self._expected_packet and message not in self._expected_packet:
            raise PeerFault("the host sent a message out of order")
        if not (message in (EXT_INFO, KEXINIT, NEWKEYS) or (30 <= message <= 41 and self.kex_engine is not None)):
            self.put(struct.pack("!BI", UNIMPLEMENTED, (self._opener.sequence - 1) % 2**32))
            return None
        if message != EXT_INFO:
            self._expected_packet = ()
        parsed = Message(payload[1:])
        parsed.seqno = (self._opener.sequence - 1) % 2**32
        if message == KEXINIT and self.local_kex_init is None:
            self._send_kex_init()  # before anything is computed aside: from here on ``put`` holds back
        step = self._step(message, parsed)
        if (message == KEXINIT and self._may_be_slow()) or (30 <= message <= 41 and _is_slow(self.kex_engine)):
            return lambda: self._aside(
                step
            )  # never NEWKEYS: it lets go what was held back, and ``put`` goes on at once
        self._done(step)
        return None

    def _step(self, message: int, parsed: Message) -> Callable[[], None]:
        if 30 <= message <= 41:
            return lambda: self.kex_engine.parse_next(message, parsed)
        return lambda: self._handler_table[message](parsed)

    def _may_be_slow(self) -> bool:
        """Whether this KEXINIT may choose finite-field Diffie-Hellman: it is computed as soon as it is chosen."""
        return any(name.startswith("diffie-hellman-group") for name in self._preferred_kex)

    async def _aside(self, step: Callable[[], None]) -> None:
        self._computing = True
        try:
            failure = await self._deferring(_in_thread_done, step)
        finally:
            self._computing = False
        if failure is not None:
            raise _translated(failure)

    @staticmethod
    def _done(step: Callable[[], None]) -> None:
        failure = _in_thread_done(step)
        if failure is not None:
            raise _translated(failure)

    # -- what paramiko calls

    def _verify_key(self, host_key: bytes, sig: bytes) -> None:
        if self.host_key_blob and self.host_key_blob != host_key:
            raise HostKeyRefused("the host changed its key within a connection")
        self._check(host_key)
        named = Fields(sig).name()
        if named != self.host_key_type.removesuffix(CERTIFICATE):  # paramiko takes any that the class of the key knows
            raise HostKeyRefused("the host signed with another algorithm than was agreed on")
        super()._verify_key(host_key, sig)
        self.host_key_blob = host_key

    def _activate_outbound(self) -> None:
        self.out.data.append(self._sealer.seal(bytes((NEWKEYS,))))
        self._sealer.take_keys(self._keys(self.local_cipher, self.local_mac, "ACE"), restart=self.agreed_on_strict_kex)
        self._expect_packet(NEWKEYS)

    def _activate_inbound(self) -> None:
        self._opener.take_keys(
            self._keys(self.remote_cipher, self.remote_mac, "BDF"), restart=self.agreed_on_strict_kex
        )
        self._keys_since = self._seconds()
        self.facts |= {
            "kex": self._exchange_name(),
            "host_key": self.host_key_type, "cipher": self.local_cipher,
        }  # fmt: skip
        if "gcm" not in self.local_cipher:
            self.facts["mac"] = self.local_mac

    def _exchange_name(self) -> str:
        return next(name for name, kind in self._kex_info.items() if kind is type(self.kex_engine))

    def _keys(self, cipher: str, mac: str, letters: str) -> Keys:
        return Keys(cipher, mac, *(self._compute_key(letter, KEY_BYTES) for letter in letters))

    def _parse_newkeys(self, m: Message) -> None:
        super()._parse_newkeys(m)
        self._latest_kex_init = None  # was compared, and is not needed again
        waiting, self._held, self.held = self._held, [], 0
        for payload in waiting:
            self.out.data.append(self._sealer.seal(payload))


def _in_thread_done(step: Callable[[], None]) -> Exception | None:
    """Runs a step of paramiko's; its failure is data, because it crosses a thread."""
    try:
        step()
    except (
        SSHException,
        BridgeError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        struct.error,
        OverflowError,
    ) as error:
        return error
    return None


def _translated(error: Exception) -> Exception:
    if isinstance(error, BridgeError):
        return error
    if isinstance(error, IncompatiblePeer):
        return NothingInCommon(str(error).partition("(")[2].rstrip(")") or "no algorithm in common")
    return PeerFault(f"the key exchange with the host failed: {type(error).__name__}")


def _is_slow(exchange: object) -> bool:
    return hasattr(exchange, "P") or hasattr(exchange, "min_bits")


def _reason(payload: bytes) -> str:
    try:
        fields = Fields(payload, 5)
        text = fields.string(1024).decode("utf-8", "replace")
    except PeerFault:
        return "no reason given"
    return "".join(c if c.isprintable() else " " for c in text)[:200]
