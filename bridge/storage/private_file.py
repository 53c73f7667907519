"""A file that is whole or not there, and that nobody else can read: for keys, and for what must survive a crash."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


class NotPrivate(Exception):
    """The file cannot be trusted to be ours alone. The message names it and says what to do."""


def read_private(path: Path, limit: int, *, links: bool = False) -> bytes:
    """At most ``limit`` bytes of a plain file that only its owner can read, we or root.

    ``links``: it may be reached through a symbolic link, as credentials that are mounted are. Raises NotPrivate,
    FileNotFoundError.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not hang us
    try:
        descriptor = os.open(path, flags if links else flags | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise NotPrivate(f"{path}: cannot be opened ({problem.strerror}); it must be a plain file") from None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise NotPrivate(f"{path}: must be a plain file")
        if facts.st_uid not in (os.geteuid(), 0) or facts.st_mode & 0o077:
            raise NotPrivate(f"{path}: must belong to the bridge's user alone: chown it and chmod 0600")
        return os.read(descriptor, limit)
    except OSError as problem:
        raise NotPrivate(f"{path}: {problem.strerror}") from None
    finally:
        os.close(descriptor)


def create_private(path: Path, content: bytes) -> None:
    """Writes beside, mode 0600, and links into place: of two processes the first wins, and no reader sees half of it.

    Durable on return. A file that is there already is left as it is. Raises OSError.
    """
    draft = _draft(path, content)
    try:
        with suppress(FileExistsError):
            os.link(draft, path, follow_symlinks=False)
    finally:
        os.unlink(draft)
    _sync_folder(path)  # what is made with the key may survive a crash; so must the key


def replace_private(path: Path, content: bytes) -> None:
    """The same, but the new file takes the place of one that is there."""
    draft = _draft(path, content)
    try:
        os.rename(draft, path)
    except OSError:
        os.unlink(draft)
        raise
    _sync_folder(path)


def _draft(path: Path, content: bytes) -> Path:
    """A file beside ``path`` with the content, on the disk."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        os.unlink(draft)
        raise
    return draft


def _sync_folder(path: Path) -> None:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
