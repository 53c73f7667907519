"""One side of an SSH connection once its login is done: messages of the connection protocol in, messages out."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

Take = Callable[[bytes], Coroutine[Any, Any, None] | None]
"""Takes one message (payload: type byte and fields). Whoever must wait returns a coroutine; most return None."""


class Leg(Protocol):
    """``facts``: what was negotiated, for the log (``kex``, ``host_key``, ``cipher``, ``mac``, ``software``).

    Transport messages (RFC 4253: disconnect, ignore, debug, unimplemented, key exchange) never come out: the leg deals
    with them. Messages 80 to 127 come out as they came in.
    """

    @property
    def facts(self) -> Mapping[str, str]: ...

    def write(self, payload: bytes) -> None:
        """Encrypts one message into the buffer; while a key exchange runs it is held back, in order."""
        ...

    async def flush(self) -> None:
        """Sends what was written; waits while the peer is slow or a key exchange holds messages back.

        Raises StreamClosed when the connection is gone.
        """
        ...

    async def run(self, take: Take, after: Callable[[], Coroutine[Any, Any, None]]) -> str:
        """Gives ``take`` each message, one at a time, in order; nothing is read while it or ``after`` waits.

        ``after`` is awaited when all messages of one chunk were taken (the place to flush the other leg). Returns "" at
        the peer's orderly end (SSH_MSG_DISCONNECT or end of file), else the words of the break. Raises PeerFault for
        what breaks the protocol, and what ``take`` raises.
        """
        ...

    def disconnect(self, code: int, text: str) -> None:
        """Writes SSH_MSG_DISCONNECT (RFC 4253 section 11.1); flush sends it."""
        ...
