"""Secrets in files that nobody else can read. The check is on the opened file, so it cannot be exchanged in between."""

from __future__ import annotations

import os
import stat

from bridge.accounts.vaults.reference import SecretUnavailable
from bridge.adapter import Secret

MAX_SIZE = 64 * 1024  # a password or a private key; more is the wrong file


class FileVault:
    def in_thread_read(self, path: str) -> Secret:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hang us
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else "not a path"
            raise SecretUnavailable(f"file:{path}: {cause}") from None
        try:
            self._check(path, os.fstat(descriptor))
            with open(descriptor, "rb", closefd=False) as file:
                value = file.read(MAX_SIZE + 1)
        except OSError as error:
            raise SecretUnavailable(f"file:{path}: {error.strerror}") from None
        finally:
            os.close(descriptor)
        if len(value) > MAX_SIZE:
            raise SecretUnavailable(f"file:{path}: larger than {MAX_SIZE // 1024} KiB")
        if value.endswith(b"\n"):  # editors and echo end a file so; a lone "\r" may be part of a password
            value = value[:-1].removesuffix(b"\r")
        if not value:
            raise SecretUnavailable(f"file:{path}: the file is empty")
        return Secret(value)

    @staticmethod
    def _check(path: str, facts: os.stat_result) -> None:
        if not stat.S_ISREG(facts.st_mode):
            raise SecretUnavailable(f"file:{path}: not a regular file")
        if facts.st_uid not in (os.geteuid(), 0):
            raise SecretUnavailable(f"file:{path}: owned by another user; it must belong to the bridge's user or root")
        mode = stat.S_IMODE(facts.st_mode)
        # 0440 of root, read by a group of ours, is how systemd and Kubernetes hand out credentials.
        if mode & ~0o600 and not (facts.st_uid == 0 and mode == 0o440):
            raise SecretUnavailable(f"file:{path}: mode {mode:04o} lets others in; run chmod 600 on it")
