"""Where a run's artefacts lie, and which secrets must never be found in them."""

from __future__ import annotations

import random
import secrets
import socket
from pathlib import Path


class Place:
    """``folder`` keeps everything until the last test has searched it; ``secret_files`` alone may hold secrets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets: dict[str, bytes] = {}
        self.secret_files: set[Path] = set()
        self._outputs = 0

    def new_secret(self, name: str) -> str:
        value = secrets.token_urlsafe(18)
        self.secrets[name] = value.encode()
        return value

    def token(self, value: str) -> str:
        """Its signature alone is what makes it one; so both are looked for."""
        number = len(self.secrets)
        self.secrets[f"token {number}"] = value.encode()
        self.secrets[f"signature of token {number}"] = value.rpartition(".")[2].encode()
        return value

    def keep(self, name: str, output: bytes | str) -> None:
        """What a client printed."""
        self._outputs += 1
        data = output.encode() if isinstance(output, str) else output
        (self.folder / f"output-{self._outputs:03}-{name}").write_bytes(data)


_given: set[int] = set()


def free_port() -> int:
    """One that nobody listens on, and that was not given out before.

    Not from the range out of which the kernel serves connections: one of those could take it before the server does.
    """
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
