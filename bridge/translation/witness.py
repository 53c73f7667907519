"""What a witness does: it cosigns a checkpoint if, and only if, that continues the last one it cosigned.

Run elsewhere, by another team, it makes a rewritten, cut or forked log impossible to hide: c2sp.org/tlog-witness.
It keeps one file for each log in its folder, and the first checkpoint that a log's key signed against its own history:
that is the proof of it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bridge.storage import create_private, replace_private
from bridge.translation.note import (
    SIGNATURE,
    Checkpoint,
    Note,
    NoteRefused,
    Signer,
    VerifierKey,
    hash_of_line,
)
from bridge.translation.tree import EMPTY, consistent

MAX_REQUEST = 64 * 1024
MAX_PROOF = 63

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Answer:
    """To an HTTP request."""

    status: int
    body: str
    type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """What a log asks to have cosigned."""

    old: int
    proof: list[bytes]
    note: str

    @classmethod
    def parse(cls, body: bytes) -> Request:
        """Raises NoteRefused."""
        try:
            head, gap, note = body.decode().partition("\n\n")
        except UnicodeDecodeError:
            raise NoteRefused("not text") from None
        first, *lines = head.split("\n")
        old = _OLD.fullmatch(first)
        if old is None or not gap or len(lines) > MAX_PROOF or len(body) > MAX_REQUEST:
            raise NoteRefused("expected `old SIZE`, at most 63 hashes, an empty line and a checkpoint")
        return cls(int(old[1]), list(map(hash_of_line, lines)), note)


class Witness:
    """``keys``: of the logs it knows. ``now`` gives Unix seconds. ``in_thread_*`` block; one at a time."""

    def __init__(
        self, signer: Signer, folder: Path, keys: Sequence[VerifierKey], now: Callable[[], float],
        conflict: Callable[[str], None] = lambda text: None,
    ) -> None:  # fmt: skip
        self._signer = signer
        self._folder = folder
        self._keys = [key for key in keys if key.kind == SIGNATURE]
        self._now = now
        self._conflict = conflict
        self._lock = threading.Lock()

    def in_thread_add(self, body: bytes) -> Answer:
        """``POST /add-checkpoint``. Raises OSError, NoteRefused when its own folder cannot be used: then nothing was
        cosigned."""
        try:
            request = Request.parse(body)
            note = Note.parse(request.note)
            checkpoint = Checkpoint.parse(note.text)
        except NoteRefused as problem:
            return Answer(400, f"{problem}\n")
        keys = [key for key in self._keys if key.name == checkpoint.origin]
        if not keys:
            return Answer(404, f"no log {checkpoint.origin} is known here\n")
        try:
            signed = note.signed_by(keys)
        except NoteRefused as problem:
            return Answer(403, f"{problem}\n")
        if not signed:
            return Answer(403, f"no known key of {checkpoint.origin} signed this\n")
        own = f"{note.text}\n{''.join(signature.line for _, signature in signed)}"
        with self._lock:
            return self._judge(request, checkpoint, own)

    def in_thread_latest(self, name: str) -> Answer:
        """``GET /<hex SHA-256 of the origin>/checkpoint``."""
        path = self._folder / f"{name}.checkpoint"
        if not re.fullmatch("[0-9a-f]{64}", name) or not path.is_file():
            return Answer(404, "no checkpoint of this log was cosigned here\n")
        return Answer(200, path.read_text(encoding="utf-8"))

    def _judge(self, request: Request, checkpoint: Checkpoint, note: str) -> Answer:
        last = self._last(checkpoint.origin)
        if request.old > checkpoint.size:
            return Answer(400, "the old size is larger than the checkpoint's\n")
        if request.old != last.size:
            return Answer(409, f"{last.size}\n", "text/x.tlog.size")
        if (checkpoint.size == 0 and checkpoint.root != EMPTY) or not consistent(
            last.size, checkpoint.size, last.root, checkpoint.root, request.proof
        ):
            return self._inconsistent(request, checkpoint, last, note)
        cosignature = self._signer.cosign(checkpoint.text, int(self._now()))
        replace_private(self._path(checkpoint.origin, "checkpoint"), (note + cosignature).encode())
        return Answer(200, cosignature)

    def _inconsistent(self, request: Request, checkpoint: Checkpoint, last: Checkpoint, note: str) -> Answer:
        text = f"{checkpoint.origin}: the checkpoint of {checkpoint.size} events does not continue that of {last.size}"
        if checkpoint.size == last.size:  # two roots for one size: signed by the log, it needs no other proof
            create_private(self._path(checkpoint.origin, "conflict"), note.encode())
        self._conflict(text)
        return Answer(422, f"{text}\n")

    def _last(self, origin: str) -> Checkpoint:
        """The last one cosigned. A file that cannot be read is not taken for a log that is new."""
        try:
            note = Note.parse(self._path(origin, "checkpoint").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Checkpoint(origin, 0, EMPTY)
        if not note.signed_by([self._signer.key]):
            raise NoteRefused(f"what is kept of {origin} was not cosigned here")
        return Checkpoint.parse(note.text)

    def _path(self, origin: str, kind: str) -> Path:
        return self._folder / f"{sha256(origin.encode()).hexdigest()}.{kind}"
