"""How a password is proven to a legacy server: one function per authentication plugin, values in, bytes out.

mysql_native_password and caching_sha2_password: MySQL manual and protocol pages of that name. client_ed25519 and
parsec: MariaDB's pages "Authentication Plugin - ed25519" and "- PARSEC". SHA-1 is the old servers' choice.
"""

from __future__ import annotations

import base64
import hashlib
from itertools import cycle

from bridge.adapter import BridgeError

PARSEC_CHALLENGE = 32
MAX_PARSEC_SALT = 64


class Unprovable(BridgeError):
    """The server's challenge cannot be answered. Names the rule, no secrets."""


def native(secret: bytes, nonce: bytes) -> bytes:
    """mysql_native_password: SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password)))."""
    if not secret:
        return b""
    once = hashlib.sha1(secret, usedforsecurity=False).digest()
    twice = hashlib.sha1(once, usedforsecurity=False).digest()
    return _xor(once, hashlib.sha1(nonce + twice, usedforsecurity=False).digest())


def caching_sha2(secret: bytes, nonce: bytes) -> bytes:
    """caching_sha2_password, the fast way: SHA256(password) XOR SHA256(SHA256(SHA256(password)) + nonce)."""
    if not secret:
        return b""
    once = hashlib.sha256(secret).digest()
    return _xor(once, hashlib.sha256(hashlib.sha256(once).digest() + nonce).digest())


def cleartext(secret: bytes) -> bytes:
    """With its NUL, as in an encrypted connection only."""
    if b"\0" in secret:
        raise Unprovable("the secret holds a NUL byte, which no MySQL password can")
    return secret + b"\0"


def rsa(secret: bytes, nonce: bytes, public_key: bytes) -> bytes:
    """The password and its NUL, XORed with the nonce, under the server's key (PEM) by OAEP with SHA-1."""
    from cryptography.exceptions import UnsupportedAlgorithm  # heavy, and only for unencrypted upstreams
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        raise Unprovable("the server's public key cannot be read") from None
    if not isinstance(key, RSAPublicKey) or not nonce:
        raise Unprovable("the server's public key is none of RSA")
    hidden = bytes(a ^ b for a, b in zip(cleartext(secret), cycle(nonce), strict=False))
    oaep = padding.OAEP(padding.MGF1(SHA1()), SHA1(), None)  # the server's choice; sound in OAEP
    try:
        return key.encrypt(hidden, oaep)
    except ValueError:
        raise Unprovable("the password is too long for the server's public key") from None


def ed25519(secret: bytes, nonce: bytes) -> bytes:
    """client_ed25519: an Ed25519 signature of the nonce (RFC 8032) whose expanded key is SHA512(password).

    The password stands where the 32-byte seed would, at any length; so the steps of RFC 8032 section 5.1.6 are made
    one by one.
    """
    from nacl import bindings

    reduce = bindings.crypto_core_ed25519_scalar_reduce
    point = bindings.crypto_scalarmult_ed25519_base_noclamp
    key, prefix = _ed25519_key(secret)
    public = point(key)
    once = reduce(hashlib.sha512(prefix + nonce).digest())
    commitment = point(once)
    challenge = reduce(hashlib.sha512(commitment + public + nonce).digest())
    answer = bindings.crypto_core_ed25519_scalar_mul(challenge, key)
    return commitment + bindings.crypto_core_ed25519_scalar_add(answer, once)


def _ed25519_key(secret: bytes) -> tuple[bytes, bytes]:
    """The scalar and the prefix of RFC 8032, section 5.1.5, of a password in place of the seed."""
    from nacl import bindings

    expanded = hashlib.sha512(secret).digest()
    scalar = bytearray(expanded[:32])
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    return bindings.crypto_core_ed25519_scalar_reduce(bytes(scalar) + bytes(32)), expanded[32:]


def native_kept(secret: bytes) -> str:
    """What the server keeps of a password of mysql_native_password."""
    once = hashlib.sha1(secret, usedforsecurity=False).digest()
    return "*" + hashlib.sha1(once, usedforsecurity=False).hexdigest().upper()


def ed25519_kept(secret: bytes) -> str:
    """What MariaDB keeps of a password of its plugin ed25519: the public key."""
    from nacl import bindings

    public = bindings.crypto_scalarmult_ed25519_base_noclamp(_ed25519_key(secret)[0])
    return base64.b64encode(public).decode().rstrip("=")


def in_thread_parsec(secret: bytes, challenge: bytes, salt: bytes, own: bytes) -> bytes:
    """parsec: our 32 random bytes, then the signature of both sides' bytes. ``salt`` is the server's: 'P', work, salt.

    The key is PBKDF2-HMAC-SHA512 of the password, 1024 * 2^work times: 1 to 8 ms.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if salt[:1] != b"P" or len(salt) < 3 or salt[1] > 3 or len(salt) - 2 > MAX_PARSEC_SALT:
        raise Unprovable("the server's salt is none of parsec")
    if len(challenge) != PARSEC_CHALLENGE:
        raise Unprovable("the server's challenge is none of parsec")
    seed = hashlib.pbkdf2_hmac("sha512", secret, salt[2:], 1024 << salt[1], dklen=32)
    return own + Ed25519PrivateKey.from_private_bytes(seed).sign(challenge + own)


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
