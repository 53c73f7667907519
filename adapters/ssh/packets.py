"""Binary packets (RFC 4253 section 6): each is sealed once and opened once, whatever the cipher.

* AES-GCM (RFC 5647, as OpenSSH names it): the length is authenticated, not encrypted; the MAC is the cipher's own.
* Encrypt-then-MAC (``…-etm@openssh.com``, OpenSSH PROTOCOL section 1.5): the length is in the clear as well.
* Encrypt-and-MAC with a stream or CBC cipher: the first block tells the length.

Sequence numbers live here, so that strict key exchange (OpenSSH PROTOCOL section 1.9) can begin them anew.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR

from bridge.adapter import PeerFault

MAX_PACKET = 256 * 1024
"""RFC 4253 asks for 35,000 bytes; OpenSSH sends up to 32 KiB of data in one and takes 256 KiB."""

GCM_TAG = 16
NOISE = 256
"""Random bytes that are fetched at a time: a packet needs 4 to 19 of them, and each fetch is a call of the kernel."""

SHORTEST = 5  # padding length, and four bytes of padding at least (section 6)
WRAP = 2**32

CIPHERS: dict[str, tuple[str, int]] = {
    "aes128-gcm@openssh.com": ("gcm", 16),
    "aes256-gcm@openssh.com": ("gcm", 32),
    "aes128-ctr": ("ctr", 16),
    "aes192-ctr": ("ctr", 24),
    "aes256-ctr": ("ctr", 32),
    "aes128-cbc": ("cbc", 16),
    "aes192-cbc": ("cbc", 24),
    "aes256-cbc": ("cbc", 32),
    "3des-cbc": ("3des", 24),
}
"""Mode and length of the key."""

MACS: dict[str, tuple[str, int]] = {
    "hmac-sha2-512": ("sha512", 64),
    "hmac-sha2-256": ("sha256", 32),
    "hmac-sha1": ("sha1", 20),
    "hmac-sha1-96": ("sha1", 12),
    "hmac-md5": ("md5", 16),
    "hmac-md5-96": ("md5", 12),
}
"""Hash and length of the tag; those with ``-etm@openssh.com`` are the same, over the ciphertext."""

ETM = "-etm@openssh.com"


@dataclass(frozen=True, slots=True)
class Keys:
    """One direction's algorithms and secrets, as section 7.2 derives them; each text is cut to what is needed."""

    cipher: str
    mac: str
    iv: bytes
    key: bytes
    integrity: bytes


class Sealer:
    """Payloads to packets. Before ``take_keys`` they are in the clear."""

    def __init__(self) -> None:
        self.sequence = 0
        self.sealed = 0  # bytes since the keys were taken
        self.seal: Callable[[bytes], bytes | bytearray] = self._plain
        self._block = 8
        self._noise, self._noise_at = b"", 0

    def take_keys(self, keys: Keys, *, restart: bool) -> None:
        """``restart``: the sequence begins at 0 (strict key exchange)."""
        mode, size = CIPHERS[keys.cipher]
        if restart:
            self.sequence = 0
        self.sealed = 0
        self._block = 8 if mode == "3des" else 16
        if mode == "gcm":
            self._gcm, self._nonce = AESGCM(keys.key[:size]), _Nonce(keys.iv)
            self.seal = self._sealed_gcm
            return
        self._cipher: Any = _cipher(mode, keys.key[:size], keys.iv).encryptor()
        self._mac = _Mac(keys)
        self.seal = self._sealed_etm if keys.mac.endswith(ETM) else self._sealed_both

    def _padded(self, payload: bytes, clear: int) -> tuple[int, bytes]:
        """Length field and the rest; ``clear`` bytes of the length do not count for the alignment."""
        padding = self._block - (5 - clear + len(payload)) % self._block
        if padding < 4:
            padding += self._block
        length = 1 + len(payload) + padding
        self.sealed += length
        at, self._noise_at = self._noise_at, self._noise_at + padding
        if self._noise_at > len(self._noise):
            self._noise, at, self._noise_at = os.urandom(NOISE), 0, padding
        return length, b"".join((bytes((padding,)), payload, self._noise[at : at + padding]))

    def _plain(self, payload: bytes) -> bytes:
        length, rest = self._padded(payload, 0)
        self._next()
        return length.to_bytes(4, "big") + rest

    def _sealed_gcm(self, payload: bytes) -> bytearray:
        length, rest = self._padded(payload, 4)
        head = length.to_bytes(4, "big")
        self._next()
        packet = bytearray(4 + length + GCM_TAG)
        packet[:4] = head
        self._gcm.encrypt_into(self._nonce(), rest, head, memoryview(packet)[4:])
        return packet

    def _sealed_etm(self, payload: bytes) -> bytes:
        length, rest = self._padded(payload, 4)
        packet: bytes = length.to_bytes(4, "big") + self._cipher.update(rest)
        return packet + self._mac(self._next(), packet)

    def _sealed_both(self, payload: bytes) -> bytes:
        length, rest = self._padded(payload, 0)
        packet = length.to_bytes(4, "big") + rest
        sealed: bytes = self._cipher.update(packet)
        return sealed + self._mac(self._next(), packet)

    def _next(self) -> int:
        number = self.sequence
        self.sequence = (number + 1) % WRAP
        return number


class Opener:
    """Packets to payloads. ``feed`` takes bytes as they come; a change of keys applies to what follows."""

    def __init__(self) -> None:
        self.sequence = 0
        self.opened = 0  # bytes since the keys were taken
        self._rest = bytearray()  # the beginning of a packet that is not whole yet
        self._view = memoryview(b"")  # of what is being opened, from ``_at`` on
        self._at = 0
        self._open: Callable[[], bytes | None] = self._plain
        self._block = 8
        self._tail: int | None = 0  # what follows the announced length; None where it is announced in secret
        self._length = -1  # of the packet whose first block is decrypted already
        self._first = b""

    def take_keys(self, keys: Keys, *, restart: bool) -> None:
        mode, size = CIPHERS[keys.cipher]
        if restart:
            self.sequence = 0
        self.opened = 0
        self._block = 8 if mode == "3des" else 16
        if mode == "gcm":
            self._gcm, self._nonce = AESGCM(keys.key[:size]), _Nonce(keys.iv)
            self._open, self._tail = self._opened_gcm, GCM_TAG
            return
        self._cipher: Any = _cipher(mode, keys.key[:size], keys.iv).decryptor()
        self._mac = _Mac(keys)
        if keys.mac.endswith(ETM):
            self._open, self._tail = self._opened_etm, self._mac.size
        else:
            self._open, self._tail = self._opened_both, None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payloads that are whole now; ``sequence`` counts the one that is given already. Raises PeerFault.

        Packets are opened where they lie: bulk is not copied but for the packet that a chunk ends in.
        """
        at = 0
        while self._rest and at < len(data):
            step = self._missing()
            self._rest += data[at : at + step]
            at += step
            yield from self._opened(self._rest)
        if at < len(data):
            yield from self._opened(memoryview(data)[at:])

    def _missing(self) -> int:
        """How many bytes to add to the packet that ``_rest`` begins: no more than it has, where its length is known."""
        if self._tail is None:
            return MAX_PACKET
        if len(self._rest) < 4:
            return 4
        return 4 + int.from_bytes(self._rest[:4], "big") + self._tail - len(self._rest)

    def _opened(self, data: bytearray | memoryview) -> Iterator[bytes]:
        """Of ``data``; its end is kept."""
        self._view, self._at = memoryview(data), 0
        while (payload := self._open()) is not None:
            self.sequence = (self.sequence + 1) % WRAP
            yield payload
        if self._at or data is not self._rest:
            self._rest = bytearray(self._view[self._at :])
        self._view = memoryview(b"")

    @property
    def _left(self) -> int:
        return len(self._view) - self._at

    def _announced(self, clear: int) -> int:
        """The length of the next packet, or -1 while it is not there. ``clear``: see ``Sealer._padded``."""
        at = self._at
        if self._left < 4:
            return -1
        return _checked(int.from_bytes(self._view[at : at + 4], "big"), self._block, clear)

    def _taken(self, count: int) -> memoryview:
        at = self._at
        self._at += count
        self.opened += count
        return self._view[at : self._at]

    def _plain(self) -> bytes | None:
        length = self._announced(0)
        if length < 0 or self._left < 4 + length:
            return None
        return _payload(bytes(self._taken(4 + length)), 4)

    def _opened_gcm(self) -> bytes | None:
        length = self._announced(4)
        if length < 0 or self._left < 4 + length + GCM_TAG:
            return None
        packet = self._taken(4 + length + GCM_TAG)
        try:
            return _payload(self._gcm.decrypt(self._nonce(), packet[4:], packet[:4]), 0)
        except InvalidTag:
            raise PeerFault("a packet was altered on its way") from None

    def _opened_etm(self) -> bytes | None:
        length, tag = self._announced(4), self._mac.size
        if length < 0 or self._left < 4 + length + tag:
            return None
        packet = self._taken(4 + length + tag)
        self._check(packet[: 4 + length], packet[4 + length :])
        return _payload(self._cipher.update(packet[4 : 4 + length]), 0)

    def _opened_both(self) -> bytes | None:
        if self._length < 0:
            if self._left < self._block:
                return None
            self._first = self._cipher.update(self._taken(self._block))
            self._length = _checked(int.from_bytes(self._first[:4], "big"), self._block, 0)
        rest = 4 + self._length - self._block
        if self._left < rest + self._mac.size:
            return None
        packet = self._first + self._cipher.update(self._taken(rest))
        self._check(packet, self._taken(self._mac.size))
        self._length = -1
        return _payload(packet, 4)

    def _check(self, packet: Any, tag: Any) -> None:
        if not hmac.compare_digest(self._mac(self.sequence, packet), tag):
            raise PeerFault("a packet was altered on its way")


class _Nonce:
    """RFC 5647 section 7.1: four fixed bytes and a counter of eight."""

    __slots__ = ("_counter", "_fixed")

    def __init__(self, iv: bytes) -> None:
        self._fixed = iv[:4]
        self._counter = int.from_bytes(iv[4:12], "big")

    def __call__(self) -> bytes:
        nonce = self._fixed + self._counter.to_bytes(8, "big")
        self._counter = (self._counter + 1) % 2**64
        return nonce


class _Mac:
    """RFC 4253 section 6.4: over the sequence number and the packet."""

    __slots__ = ("_hash", "_key", "size")

    def __init__(self, keys: Keys) -> None:
        self._hash, self.size = MACS[keys.mac.removesuffix(ETM)]
        self._key = keys.integrity[: hashlib.new(self._hash, usedforsecurity=False).digest_size]

    def __call__(self, sequence: int, packet: Any) -> bytes:
        digest = hmac.digest(self._key, b"".join((struct.pack("!I", sequence), packet)), self._hash)
        return digest[: self.size]


def _cipher(mode: str, key: bytes, iv: bytes) -> Cipher[Any]:
    if mode == "ctr":
        return Cipher(AES(key), CTR(iv[:16]))
    if mode == "cbc":
        return Cipher(AES(key), CBC(iv[:16]))
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES  # only where the legacy level asks for it

    return Cipher(TripleDES(key), CBC(iv[:8]))


def _checked(length: int, block: int, clear: int) -> int:
    if not SHORTEST <= length <= MAX_PACKET or (length + 4 - clear) % block:
        raise PeerFault(f"a packet is 5 to {MAX_PACKET} bytes, in whole blocks")
    return length


def _payload(packet: bytes, start: int) -> bytes:
    """Without lengths and padding; ``start`` is where the padding length stands."""
    end = len(packet) - packet[start]
    if packet[start] < 4 or end <= start + 1:
        raise PeerFault("a packet has padding of 4 bytes or more, and a payload")
    return packet[start + 1 : end]
