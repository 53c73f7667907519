"""What agents saw in terminals: one encrypted file per recording, readable up to the last moment after a crash.

The text is the adapter's (asciicast). A file is a header and frames (big-endian):

    magic "IDREC1\\n", u32 length, header as canonical JSON: session, name, created (Unix ms), salt (hex), key (id)
    u32 length, u8 kind (0 more follows, 1 the end), AES-256-GCM ciphertext with its tag

The file's key is HKDF-SHA256 (RFC 5869) of the key file with the header's salt; a frame's nonce is its number, and the
header and the kind are authenticated with each, so that no frame can be moved, dropped from the middle or taken from
another file, and a file without its end says so. Writing happens in a thread; what waits for it is bounded.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge.adapter import BridgeError
from bridge.storage import NotPrivate, ThreadPool, create_private, read_private
from bridge.translation.canonical import canonical

MAGIC = b"IDREC1\n"
MORE, END = 0, 1
FLUSH_AFTER = 0.5  # seconds: what a kill -9 can cost
FLUSH_BYTES = 32 * 1024
WAITING_BYTES = 4 * 1024 * 1024  # what may wait for a slow disk; a terminal does not produce more than that in seconds
LONGEST_FRAME = WAITING_BYTES + 16
LONGEST_HEADER = 4096
SUFFIX = ".idrec"
KEY_SIZE = 32
INFO = b"idbridge recording"

Failed = Callable[[str], None]
Finished = Callable[["Summary"], None]


class RecordingError(BridgeError):
    """A recording that cannot be made or read; the text says why and names the file."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the log keeps of a recording. ``digest`` is over the file."""

    file: str
    name: str
    bytes: int
    digest: str
    complete: bool


class _File:
    """The file, in the pool's thread only."""

    def __init__(self, path: Path, header: bytes, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._header = header
        self._frames = 0
        self._digest = hashlib.sha256()
        self.path = path
        self.size = 0
        self._out: BinaryIO | None = None

    def in_thread_write(self, text: bytes, kind: int) -> None:
        if self._out is None:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._out = os.fdopen(descriptor, "wb", buffering=0)
            self._put(MAGIC + struct.pack("!I", len(self._header)) + self._header)
        sealed = self._cipher.encrypt(_nonce(self._frames), text, self._header + bytes([kind]))
        self._frames += 1
        self._put(struct.pack("!IB", len(sealed), kind) + sealed)
        if kind == END:
            os.fsync(self._out.fileno())
            self._out.close()

    def _put(self, data: bytes) -> None:
        assert self._out is not None
        written = self._out.write(data)
        if written != len(data):
            raise OSError("the disk took only a part")
        self._digest.update(data)
        self.size += len(data)

    def summary(self, name: str, complete: bool) -> Summary:
        return Summary(self.path.name, name, self.size, f"sha256:{self._digest.hexdigest()}", complete)


class OpenRecording:
    """Implements ``bridge.adapter.Recording``. All in the reactor's thread but the file."""

    def __init__(
        self, file: _File, name: str, pool: ThreadPool, clock: Any, limit: int, failed: Failed, finished: Finished
    ) -> None:
        self._file = file
        self._name = name
        self._pool = pool
        self._clock = clock
        self._left = limit
        self._failed = failed
        self._finished = finished
        self._buffer: list[str] = []
        self._buffered = 0
        self._waiting = 0
        self._flushing: Any = None
        self._over = False
        self._whole = True

    def write(self, text: str) -> None:
        if self._over:
            return
        size = len(text.encode())
        if size > self._left:
            self._fail("it has reached its limit of size")
            return
        self._left -= size
        self._buffer.append(text)
        self._buffered += size
        if self._buffered + self._waiting > WAITING_BYTES:
            self._fail("the disk is too slow for it")
        elif self._buffered >= FLUSH_BYTES:
            self._flush(MORE)
        elif self._flushing is None:
            self._flushing = self._clock.callLater(FLUSH_AFTER, self._flush, MORE)

    def close(self) -> None:
        if not self._over:
            self._over = True
            self._flush(END)

    def _flush(self, kind: int) -> None:
        if self._flushing is not None and self._flushing.active():
            self._flushing.cancel()
        self._flushing = None
        data, self._buffer, self._buffered = "".join(self._buffer).encode(), [], 0
        self._waiting += len(data)
        writing = self._pool.run(self._file.in_thread_write, data, kind)
        writing.addCallbacks(self._written, self._broken, callbackArgs=(len(data), kind))

    def _written(self, result: object, size: int, kind: int) -> None:
        self._waiting -= size
        if kind == END:
            self._finished(self._file.summary(self._name, self._whole))

    def _broken(self, failure: Any) -> None:
        if self._over:
            self._finished(self._file.summary(self._name, False))
        self._fail(f"it cannot be written: {failure.getErrorMessage()}")

    def _fail(self, cause: str) -> None:
        if self._over:
            return
        self._over, self._whole = True, False
        self._flush(END)
        self._failed(cause)


class NotRecorded:
    """Stands for a recording that could not be made and was not required."""

    def write(self, text: str) -> None:
        """Is dropped; the alarm said so."""

    def close(self) -> None:
        """Nothing is open."""


class Recordings:
    """The folder of all recordings; ``limit`` is bytes of text each, ``open_files`` are being written.

    The key is made when there is none.
    """

    def __init__(self, folder: Path, key_file: Path, pool: ThreadPool, clock: Any, *, limit: int) -> None:
        self.folder = folder
        self.open_files: set[str] = set()
        self.limit = limit
        self._key_file = key_file
        self._pool = pool
        self._clock = clock
        self._key = b""

    def open(self, session: str, name: str, now: float, *, failed: Failed, finished: Finished) -> OpenRecording:
        """A new file; nothing is written before the first text or the end. Raises RecordingError."""
        try:
            self._key = self._key or read_key(self._key_file)
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise RecordingError(f"{self.folder}: {error.strerror}") from None
        salt = secrets.token_bytes(32)
        header = canonical(
            {"session": session, "name": name, "created": int(now * 1000), "salt": salt.hex(), "key": _id(self._key)}
        ).encode()
        path = self.folder / f"{session}-{salt[:4].hex()}{SUFFIX}"
        file = _File(path, header, _file_key(self._key, salt))
        self.open_files.add(path.name)

        def over(summary: Summary) -> None:
            self.open_files.discard(summary.file)
            finished(summary)

        return OpenRecording(file, name, self._pool, self._clock, self.limit, failed, over)


def read_key(path: Path) -> bytes:
    """The 32 bytes of the key file, made now if there is none. Raises OSError, RecordingError."""
    if not path.exists():
        create_private(path, secrets.token_bytes(KEY_SIZE))
    try:
        key = read_private(path, KEY_SIZE + 1, links=True)
    except NotPrivate as problem:
        raise RecordingError(str(problem)) from None
    if len(key) != KEY_SIZE:
        raise RecordingError(f"{path}: is not a key of {KEY_SIZE} bytes")
    return key


def in_thread_files(folder: Path, session: str) -> list[Path]:
    """The recordings of a session, oldest first."""
    return sorted(folder.glob(f"{session}-*{SUFFIX}"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def in_thread_header(path: Path) -> dict[str, Any]:
    """Session, name and creation of a recording. Raises RecordingError, OSError."""
    with path.open("rb") as source:
        return _header(path.name, source)[0]


def in_thread_read(path: Path, key: bytes) -> Iterator[str]:
    """The text piece by piece; after the last piece of an unfinished file comes no more.

    Raises RecordingError where the file was altered, OSError.
    """
    with path.open("rb") as source:
        header, raw = _header(path.name, source)
        if header["key"] != _id(key):
            raise RecordingError(f"{path.name}: was made with another key")
        yield from _pieces(path.name, source, AESGCM(_file_key(key, bytes.fromhex(header["salt"]))), raw)


def _header(name: str, source: BinaryIO) -> tuple[dict[str, Any], bytes]:
    if source.read(len(MAGIC)) != MAGIC:
        raise RecordingError(f"{name}: is not a recording")
    try:
        (length,) = struct.unpack("!I", source.read(4))
        raw = source.read(length) if length <= LONGEST_HEADER else b""
        header = json.loads(raw)
        bytes.fromhex(header["salt"] + header["key"])
    except (ValueError, KeyError, TypeError, struct.error):
        raise RecordingError(f"{name}: its header is damaged") from None
    return header, raw


def _pieces(name: str, source: BinaryIO, cipher: AESGCM, header: bytes) -> Iterator[str]:
    number, kind = 0, MORE
    while kind != END:
        start = source.read(5)
        if len(start) < 5:
            return
        length, kind = struct.unpack("!IB", start)
        if length > LONGEST_FRAME:
            raise RecordingError(f"{name}: frame {number} is damaged")
        sealed = source.read(length)
        if len(sealed) < length:
            return
        try:
            text = cipher.decrypt(_nonce(number), sealed, header + bytes([kind]))
        except InvalidTag:
            raise RecordingError(f"{name}: frame {number} was altered") from None
        number += 1
        yield text.decode()
    if source.read(1):
        raise RecordingError(f"{name}: something follows its end")


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _file_key(key: bytes, salt: bytes) -> bytes:
    return HKDF(hashes.SHA256(), KEY_SIZE, salt, INFO).derive(key)


def _id(key: bytes) -> str:
    return hashlib.sha256(b"idbridge recording key\0" + key).hexdigest()[:16]
