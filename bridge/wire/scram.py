"""SCRAM-SHA-256 and -PLUS, the client's side (RFC 5802, RFC 7677; SASLprep RFC 4013; tls-server-end-point RFC 5929).

``ScramClient`` is the conversation; deriving the keys is a step of its own, because a high iteration count takes long
enough to belong in a thread, and because ``KeyCache`` makes it unnecessary at the next connection.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_ITERATIONS = 1_000_000
"""A server may ask for any work; more than this (about half a second) is refused. PostgreSQL's default is 4096."""

MAX_SALT = 1024
"""Salts of 4 to 64 bytes are seen; no length is assumed (Odyssey#1568), only a bound."""

MAX_MESSAGE = 8192
"""A server message is nonce, salt and count: a few hundred bytes."""

MECHANISM = "SCRAM-SHA-256"
MECHANISM_PLUS = "SCRAM-SHA-256-PLUS"


class ScramFailure(Exception):
    """The server broke the exchange, or could not prove that it knows the password. Names the rule, no secrets."""


@dataclass(frozen=True, slots=True, repr=False)
class ScramKeys:
    """What the password, salt and iteration count derive; as good as the password, so never shown."""

    client_key: bytes
    server_key: bytes


@dataclass(frozen=True, slots=True)
class Challenge:
    salt: bytes
    iterations: int


def saslprep(password: bytes) -> bytes:
    """The prepared form of a password; one that is not UTF-8 or holds what SASLprep forbids stays as it is,
    as PostgreSQL does on both sides."""
    try:
        text = password.decode("utf-8")
    except UnicodeDecodeError:
        return password
    if text.isascii() and text.isprintable():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not prepared or _forbidden(prepared):
        return password
    return prepared.encode("utf-8")


_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def _forbidden(text: str) -> bool:
    if any(table(char) for char in text for table in _PROHIBITED):
        return True
    if any(map(stringprep.in_table_d1, text)):  # right-to-left text: RFC 3454 section 6
        ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
        return not ends or any(map(stringprep.in_table_d2, text))
    return False


def in_thread_derive(password: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """Hi() and the two keys of RFC 5802 section 3. About 0.5 µs an iteration."""
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password), salt, iterations)
    return ScramKeys(_hmac(salted, b"Client Key"), _hmac(salted, b"Server Key"))


def in_thread_verifier(password: bytes, salt: bytes, iterations: int) -> str:
    """What PostgreSQL keeps in place of a password (its ``pg_authid``): ``SCRAM-SHA-256$4096:salt$stored:server``."""
    keys = in_thread_derive(password, salt, iterations)
    stored = hashlib.sha256(keys.client_key).digest()
    parts = [base64.b64encode(part).decode() for part in (salt, stored, keys.server_key)]
    return f"{MECHANISM}${iterations}:{parts[0]}${parts[1]}:{parts[2]}"


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


class KeyCache:
    """Derived keys of the last ``size`` password, salt and count combinations, in memory only.

    The password is not kept: the key is a MAC of it under a key of this process.
    """

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._blind = secrets.token_bytes(32)
        self._keys: OrderedDict[tuple[bytes, bytes, int], ScramKeys] = OrderedDict()

    def _name(self, password: bytes, challenge: Challenge) -> tuple[bytes, bytes, int]:
        return _hmac(self._blind, password), challenge.salt, challenge.iterations

    def get(self, password: bytes, challenge: Challenge) -> ScramKeys | None:
        name = self._name(password, challenge)
        keys = self._keys.get(name)
        if keys is not None:
            self._keys.move_to_end(name)
        return keys

    def put(self, password: bytes, challenge: Challenge, keys: ScramKeys) -> None:
        """Call it only when the server has accepted the keys."""
        self._keys[self._name(password, challenge)] = keys
        while len(self._keys) > self._size:
            self._keys.popitem(last=False)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<KeyCache of {len(self)}>"


class ScramClient:
    """One exchange: ``first()``, ``challenged(server_first)``, ``final(keys)``, ``verify(server_final)``, in order.

    ``binding`` is the tls-server-end-point value when the -PLUS mechanism was chosen. Without it
    ``binding_possible`` says that we could have bound, but the server did not offer it (``y,,``): a man in the middle
    who removed the offer is then caught by the server.
    """

    def __init__(
        self,
        *,
        binding: bytes | None = None,
        binding_possible: bool = False,
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(24),
    ) -> None:
        self.mechanism = MECHANISM if binding is None else MECHANISM_PLUS
        self._header = b"p=tls-server-end-point,," if binding is not None else b"y,," if binding_possible else b"n,,"
        self._binding = binding or b""
        self._nonce = nonce().encode("ascii")
        self._server_first = b""
        self._full_nonce = b""
        self._server_signature = b""

    @property
    def _bare(self) -> bytes:
        # PostgreSQL takes the user name from the startup packet and ignores this one
        return b"n=,r=" + self._nonce

    def first(self) -> bytes:
        """client-first-message."""
        return self._header + self._bare

    def challenged(self, server_first: bytes) -> Challenge:
        """Reads server-first-message. Raises ScramFailure."""
        fields = _fields(server_first, (b"r", b"s", b"i"))
        nonce, salt, count = fields[b"r"], _base64(fields[b"s"]), fields[b"i"]
        if not nonce.startswith(self._nonce) or len(nonce) <= len(self._nonce):
            raise ScramFailure("the server's nonce does not extend ours")
        if not salt or len(salt) > MAX_SALT:
            raise ScramFailure("the salt is empty or too long")
        if not count.isdigit() or len(count) > 9 or not 1 <= int(count) <= MAX_ITERATIONS:
            raise ScramFailure(f"the iteration count is not between 1 and {MAX_ITERATIONS}")
        self._server_first, self._full_nonce = server_first, nonce
        return Challenge(salt, int(count))

    def final(self, keys: ScramKeys) -> bytes:
        """client-final-message, with the proof."""
        without_proof = b"c=" + base64.b64encode(self._header + self._binding) + b",r=" + self._full_nonce
        auth_message = b",".join((self._bare, self._server_first, without_proof))
        signature = _hmac(hashlib.sha256(keys.client_key).digest(), auth_message)
        self._server_signature = _hmac(keys.server_key, auth_message)
        proof = bytes(a ^ b for a, b in zip(keys.client_key, signature, strict=True))
        return without_proof + b",p=" + base64.b64encode(proof)

    def verify(self, server_final: bytes) -> None:
        """Reads server-final-message. Raises ScramFailure when the server did not prove itself."""
        if server_final.startswith(b"e="):
            raise ScramFailure("the server reports an error in the exchange")
        given = _base64(_fields(server_final, (b"v",))[b"v"])
        if not self._server_signature or not hmac.compare_digest(given, self._server_signature):
            raise ScramFailure("the server did not prove that it knows the password")


def _fields(text: bytes, order: tuple[bytes, ...]) -> dict[bytes, bytes]:
    """Attributes in their fixed order; extensions may follow, a mandatory one (``m=``) leads and fails."""
    if len(text) > MAX_MESSAGE:
        raise ScramFailure("a message is too long")
    fields: dict[bytes, bytes] = {}
    parts = text.split(b",")
    for name, part in zip(order, parts, strict=False):
        if not part.startswith(name + b"="):
            break
        fields[name] = part[2:]
    if len(fields) != len(order):
        raise ScramFailure("a message does not have its attributes in their order")
    return fields


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ScramFailure("an attribute is not base64") from None


def tls_server_end_point(certificate: bytes) -> bytes | None:
    """The channel binding of a server certificate (DER); None where RFC 5929 defines none (Ed25519)."""
    from cryptography import x509  # heavy, and only needed when upstream speaks TLS and SCRAM
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    try:
        return hashlib.new(name, certificate).digest()
    except ValueError:
        return None
