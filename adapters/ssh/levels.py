"""Which algorithms are taken of a legacy host: modern, compat, legacy; and what paramiko 5 has dropped of them.

``legacy`` is for hosts of before 2010: SHA-1, 1024 bits, CBC, 3DES, DSS and MD5. It is a system's own choice, never a
default, its host keys are pinned, and what was agreed on is in the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from paramiko.kex_curve25519 import KexCurve25519
from paramiko.kex_gex import KexGexSHA256
from paramiko.kex_group14 import KexGroup14SHA256
from paramiko.message import Message
from paramiko.rsakey import RSAKey
from paramiko.transport import Transport


class KexCurve25519Standard(KexCurve25519):  # type: ignore[misc]
    """paramiko knows the exchange by its older name alone; some hosts offer only that of RFC 8731."""

    name = "curve25519-sha256"


class KexGroup14SHA1(KexGroup14SHA256):  # type: ignore[misc]
    name = "diffie-hellman-group14-sha1"
    hash_algo = sha1


class KexGroup1SHA1(KexGroup14SHA256):  # type: ignore[misc]
    """The second Oakley group (RFC 2409 section 6.2), 1024 bits."""

    name = "diffie-hellman-group1-sha1"
    hash_algo = sha1
    P = int(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B"
        "302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE6"
        "49286651ECE65381FFFFFFFFFFFFFFFF",
        16,
    )


class KexGexSHA1(KexGexSHA256):  # type: ignore[misc]
    name = "diffie-hellman-group-exchange-sha1"
    hash_algo = sha1


class KexGexSHA1Small(KexGexSHA1):
    min_bits = 1024


class SHA1RSAKey(RSAKey):  # type: ignore[misc]
    """Signs and verifies with SHA-1 and nothing else: registered under ``ssh-rsa`` only, it weakens no other name."""

    HASHES = {"ssh-rsa": hashes.SHA1}

    @classmethod
    def identifiers(cls) -> list[str]:
        return ["ssh-rsa"]


class DSSKey:
    """A host key ``ssh-dss`` (RFC 4253 section 6.6): verified, never signed with."""

    name = "ssh-dss"

    def __init__(self, msg: Message) -> None:
        msg.get_text()
        p, q, g, y = (msg.get_mpint() for _ in range(4))
        self._key = dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g)).public_key()

    def verify_ssh_sig(self, data: bytes, msg: Message) -> bool:
        if msg.get_text() != self.name:
            return False
        value = msg.get_binary()
        if len(value) != 40:
            return False
        r, s = int.from_bytes(value[:20], "big"), int.from_bytes(value[20:], "big")
        try:
            self._key.verify(encode_dss_signature(r, s), data, hashes.SHA1())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Level:
    """Names in order of preference."""

    kex: tuple[str, ...]
    host_keys: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]
    sha1_signatures: bool = False


_MODERN = Level(
    kex=(
        "mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384", "ecdh-sha2-nistp521", "diffie-hellman-group16-sha512",
        "diffie-hellman-group-exchange-sha256", "diffie-hellman-group14-sha256",
    ),
    host_keys=(
        "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512",
        "rsa-sha2-256",
    ),
    ciphers=("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr"),
    macs=(
        "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512",
    ),
)  # fmt: skip
_COMPAT = Level(
    (*_MODERN.kex, "diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha1"),
    (*_MODERN.host_keys, "ssh-rsa"),
    _MODERN.ciphers,
    (*_MODERN.macs, "hmac-sha1"),
    sha1_signatures=True,
)
_LEGACY = Level(
    (*_COMPAT.kex, "diffie-hellman-group1-sha1"),
    (*_COMPAT.host_keys, "ssh-dss"),
    (*_COMPAT.ciphers, "aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"),
    (*_COMPAT.macs, "hmac-sha1-96", "hmac-md5", "hmac-md5-96"),
    sha1_signatures=True,
)
LEVELS = {"modern": _MODERN, "compat": _COMPAT, "legacy": _LEGACY}


@cache
def exchanges(level: str) -> dict[str, Any]:
    """paramiko's key exchanges, and those that the level brings back."""
    found = {**Transport._kex_info, KexCurve25519Standard.name: KexCurve25519Standard}
    if level != "modern":
        found |= {one.name: one for one in (KexGroup14SHA1, KexGexSHA1)}
    if level == "legacy":
        found |= {one.name: one for one in (KexGroup1SHA1, KexGexSHA1Small)}
    return found


@cache
def host_key_classes(level: str) -> dict[str, Any]:
    found = dict(Transport._key_info)
    if level != "modern":
        found["ssh-rsa"] = SHA1RSAKey
    if level == "legacy":
        found["ssh-dss"] = DSSKey
    return found
