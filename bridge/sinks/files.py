"""A file of lines. It may be renamed at any time (logrotate): each batch opens it anew."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bridge.sinks.destination import Batch, DeliveryFailed
from bridge.storage import ThreadPool

_TAIL = 4 * 1024 * 1024
"""Bytes looked at for the beginning of an unfinished last line; longer than any line of ours."""


class FileDestination:
    """``pool`` is for the writing; created with mode 0600."""

    def __init__(self, path: Path, pool: ThreadPool) -> None:
        self._path = path
        self._pool = pool

    async def deliver(self, batch: Batch) -> None:
        await self._pool.run(self.in_thread_write, tuple(line.encode() + b"\n" for line in batch.lines))

    def in_thread_write(self, lines: tuple[bytes, ...]) -> None:
        """All of ``lines`` or nothing, durable on return. Raises OSError, DeliveryFailed."""
        new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DeliveryFailed(f"{self._path}: is not a regular file")
            _append(descriptor, _repaired(descriptor, lines) + b"".join(lines))
        finally:
            os.close(descriptor)
        if new:
            _sync_folder(self._path.parent)


def _append(descriptor: int, data: bytes) -> None:
    size = os.fstat(descriptor).st_size
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)  # a full disk took a part of it
        raise


def _repaired(descriptor: int, lines: tuple[bytes, ...]) -> bytes:
    """Takes away the beginning of a line of this batch that a crash left; ends a line of anybody else."""
    size = os.fstat(descriptor).st_size
    start = max(size - _TAIL, 0)
    tail = os.pread(descriptor, size - start, start)
    fragment = tail.rpartition(b"\n")[2]
    if not fragment:
        return b""
    if any(line.startswith(fragment) for line in lines):
        os.ftruncate(descriptor, size - len(fragment))
        return b""
    return b"\n"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
