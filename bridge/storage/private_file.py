"""A new file that is whole or not there, and that nobody else can read: for keys."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def create_private(path: Path, content: bytes) -> None:
    """Writes beside, mode 0600, and links into place: of two processes the first wins, and no reader sees half of it.

    Durable on return. A file that is there already is left as it is. Raises OSError.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(draft, path, follow_symlinks=False)
    finally:
        os.unlink(draft)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)  # what is made with the key may survive a crash; so must the key
    finally:
        os.close(directory)
