"""What others said to our checkpoints: witnesses, time-stamping authorities, files on media that cannot be changed.

A sink is known by its name; what it has is in the table ``attestation``. Everything here blocks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client.tsp import TimeStampRequest
from sqlalchemy import Engine

from bridge.storage import reading, writing
from bridge.translation.checkpoints import Signed, last_signed
from bridge.translation.note import Note, NoteRefused, VerifierKey, hash_line
from bridge.translation.stored_tree import StoredTree

COSIGNATURE = "cosignature"
TIMESTAMP = "timestamp"
COPY = "copy"


@dataclass(frozen=True, slots=True)
class Due:
    """A checkpoint that a sink does not have yet. ``known`` is the size it had last, ``proof`` from there on."""

    signed: Signed
    known: int
    proof: Sequence[bytes] = ()

    @property
    def request(self) -> bytes:
        """For ``add-checkpoint`` of c2sp.org/tlog-witness."""
        return "\n".join([f"old {self.known}", *map(hash_line, self.proof), "", self.signed.note]).encode()


class HistoryLost(Exception):
    """A witness has seen more of the log than there is. The message says what may have happened."""


def in_thread_due(engine: Engine, sink: str, known: int | None = None) -> Due | None:
    """The last checkpoint, if ``sink`` does not have it. ``known``: its own word on what it has.

    Raises HistoryLost, StorageError.
    """
    with reading(engine) as connection:
        signed = last_signed(connection)
        if known is None:
            sql = "SELECT max(size) FROM attestation WHERE witness = ?"
            known = int(connection.exec_driver_sql(sql, (sink,)).scalar() or 0)
            if signed is None or signed.size <= known:
                return None
        if signed is None or signed.size < known:
            have = signed.size if signed else 0
            raise HistoryLost(
                f"{sink} has seen {known} events, this log's last checkpoint has {have}: it was cut, or an old backup"
                " was restored"
            )
        return Due(signed, known, StoredTree(connection).consistency(known, signed.size))


def in_thread_keep(engine: Engine, sink: str, signed: Signed, kind: str, body: bytes) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql(
            "INSERT INTO attestation (size, witness, at, kind, body) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (size, witness) DO UPDATE SET at = excluded.at, body = excluded.body",
            (signed.size, sink, time.time_ns() // 1_000_000, kind, body),
        )


def cosignature(signed: Signed, answer: bytes, key: VerifierKey) -> bytes:
    """The line of the witness in its answer, verified. Raises NoteRefused."""
    try:
        lines = answer.decode()
    except UnicodeDecodeError:
        raise NoteRefused("the answer is not text") from None
    found = Note.parse(signed.note + lines).signed_by([key])
    if not found:
        raise NoteRefused(f"the answer has no signature of {key.name}")
    return found[0][1].line.encode()


def timestamp_request(signed: Signed) -> TimeStampRequest:
    """RFC 3161, section 2.4.1, over the whole note; with a nonce, and asking for the certificate."""
    return TimestampRequestBuilder().data(signed.note.encode()).hash_algorithm(HashAlgorithm.SHA256).build()


def checked_timestamp(signed: Signed, request: TimeStampRequest, answer: bytes, authorities: bytes) -> bytes:
    """The response, verified against ``authorities`` (PEM). Raises NoteRefused."""
    builder = VerifierBuilder.from_request(request)
    for certificate in load_pem_x509_certificates(authorities):
        builder = builder.add_root_certificate(certificate)
    try:
        response = decode_timestamp_response(answer)
        builder.build().verify_message(response, signed.note.encode())
    except (VerificationError, ValueError) as problem:
        raise NoteRefused(f"the time stamp does not verify: {problem}") from None
    return answer


def in_thread_copy(folder: Path, signed: Signed) -> bytes:
    """A new file that is never written again, as write-once media demand; returns its name. Raises OSError."""
    path = folder / f"{signed.size:016}.checkpoint"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o444)
    except FileExistsError:
        if path.read_bytes() != signed.note.encode():
            raise OSError(f"{path}: has another checkpoint of that size; was it a log before this one?") from None
        return path.name.encode()
    with os.fdopen(descriptor, "wb") as file:
        file.write(signed.note.encode())
        file.flush()
        os.fsync(descriptor)
    return path.name.encode()
