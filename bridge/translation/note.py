"""Signed notes, checkpoints and cosignatures of C2SP. Pure.

::

    logs.corp.example/prod-1                        origin
    482113                                          size of the tree: how many events
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=    its root

    — logs.corp.example/prod-1 Az3grlgtzPICa5OS8n…  signature of the log
    — witness.audit.example/w1 jWbPPwAAAABkGFDLEZ…  cosignature of a witness: it saw no other history, and when

Sources: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature (Ed25519).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridge.adapter import BridgeError

SIGNATURE = 1
COSIGNATURE = 4
"""Signature types: of the note's text, and of text and time."""

CHANGE = "idbridge-key-change"
"""What the extension line of a checkpoint begins with that names the next key (``key_change``)."""

MAX_NOTE = 64 * 1024
MAX_SIGNATURES = 32
"""Of a note that is read. Ours have one signature and one for each witness."""

_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,253}")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteRefused(BridgeError):
    """A note, checkpoint or key that is not one, or that no known key signed. The message says what is wrong."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half: ``name+key id+key`` as text (a *vkey*)."""

    name: str
    kind: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        name, _, rest = text.strip().partition("+")
        id, _, encoded = rest.partition("+")
        raw = _unbase64(encoded, "a verifier key")
        if not _NAME.fullmatch(name) or len(raw) != 33 or raw[0] not in (SIGNATURE, COSIGNATURE):
            raise NoteRefused("not a verifier key of Ed25519; expected NAME+KEYID+KEY as `idbridge log key` prints it")
        key = cls(name, raw[0], raw[1:])
        if key.id.hex() != id.lower():
            raise NoteRefused(f"the verifier key of {name} is damaged: its key id is not {key.id.hex()}")
        return key

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_base64(bytes([self.kind]) + self.public)}"

    def verifies(self, text: str, signature: bytes) -> bool:
        """``signature`` is that of a line without its key id."""
        message = text.encode()
        if self.kind == COSIGNATURE:
            message, signature = _cosigned(text, int.from_bytes(signature[:8], "big")), signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """A name with its private key: of a log (``sign``) or of a witness (``cosign``), never of both."""

    def __init__(self, name: str, key: Ed25519PrivateKey, kind: int = SIGNATURE) -> None:
        if not _NAME.fullmatch(name):
            raise NoteRefused(f"{name!r} cannot name a key: no spaces, no plus, 253 characters at most")
        self._key = key
        self.key = VerifierKey(name, kind, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def __repr__(self) -> str:
        return f"<Signer {self.key.name}>"

    def sign(self, text: str) -> str:
        return self._line(self._key.sign(text.encode()))

    def cosign(self, text: str, at: int) -> str:
        """``at`` is Unix seconds."""
        return self._line(at.to_bytes(8, "big") + self._key.sign(_cosigned(text, at)))

    def _line(self, signature: bytes) -> str:
        return f"— {self.key.name} {_base64(self.key.id + signature)}\n"


def _cosigned(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    id: bytes
    value: bytes
    line: str

    @property
    def at(self) -> int:
        """Of a cosignature: Unix seconds."""
        return int.from_bytes(self.value[:8], "big")


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, note: str) -> Note:
        text, gap, lines = note.rpartition("\n\n")
        if len(note) > MAX_NOTE or not gap or not lines.endswith("\n") or re.search("[\x00-\x09\x0b-\x1f]", note):
            raise NoteRefused("not a signed note: expected text, an empty line, and signatures")
        signatures = tuple(map(_signature, lines.splitlines()))
        if not 1 <= len(signatures) <= MAX_SIGNATURES:
            raise NoteRefused(f"not a signed note: {len(signatures)} signatures")
        return cls(text + "\n", signatures)

    def signed_by(self, keys: Iterable[VerifierKey]) -> list[tuple[VerifierKey, Signature]]:
        """Which of ``keys`` signed it. Raises NoteRefused when a signature that claims one of them is not its own."""
        found = []
        known = {(key.name, key.id): key for key in keys}
        for one in self.signatures:
            key = known.get((one.name, one.id))
            if key is None:
                continue
            if not key.verifies(self.text, one.value):
                raise NoteRefused(f"the signature of {key.name} is not valid: it was made for another text or forged")
            found.append((key, one))
        return found


def _signature(line: str) -> Signature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    raw = _unbase64(encoded, "a signature")
    if dash != "—" or not _NAME.fullmatch(name) or len(raw) < 5:
        raise NoteRefused("not a signed note: a signature line is damaged")
    return Signature(name, raw[:4], raw[4:], line + "\n")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the log was when it had ``size`` events. ``change``: the key that signed it last and the one that signs from
    there on, with a blank between; "" in all others."""

    origin: str
    size: int
    root: bytes
    change: str = ""

    @property
    def text(self) -> str:
        extension = f"{CHANGE} {self.change}\n" if self.change else ""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n{extension}"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """``text`` is that of the note, with its extension lines if there are any. Raises NoteRefused."""
        lines = text.split("\n")
        if len(lines) < 4 or not all(lines[:-1]) or lines[-1] or not _DECIMAL.fullmatch(lines[1]):
            raise NoteRefused("not a checkpoint: expected origin, size and root, a line each")
        root = _unbase64(lines[2], "a root")
        if len(root) != 32:
            raise NoteRefused("not a checkpoint: the root is not a SHA-256")
        change = next((line.partition(" ")[2] for line in lines[3:] if line.startswith(f"{CHANGE} ")), "")
        return cls(lines[0], int(lines[1]), root, change)

    def note(self, signer: Signer) -> str:
        return f"{self.text}\n{signer.sign(self.text)}"


def opened(note: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint in ``note``, which one of ``keys`` must have signed under the origin's name.

    Raises NoteRefused.
    """
    read = Note.parse(note)
    checkpoint = Checkpoint.parse(read.text)
    if not read.signed_by(key for key in keys if key.name == checkpoint.origin and key.kind == SIGNATURE):
        raise NoteRefused(f"no known key of {checkpoint.origin} signed this checkpoint of {checkpoint.size} events")
    return checkpoint


def hash_line(hash: bytes) -> str:
    return _base64(hash)


def hash_of_line(line: str) -> bytes:
    """Raises NoteRefused."""
    hash = _unbase64(line, "a hash")
    if len(hash) != 32:
        raise NoteRefused("not a SHA-256 in a proof")
    return hash


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteRefused(f"{what} is not base64") from None
    if _base64(data) != text:
        raise NoteRefused(f"{what} is not base64 as it is written")
    return data
