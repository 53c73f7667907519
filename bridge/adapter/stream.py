"""A connection as an adapter sees it: bytes in, bytes out, back-pressure by awaiting."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from bridge.adapter.errors import StreamClosed

Take = Callable[[bytes], Coroutine[Any, Any, None] | None]
"""Gets a chunk. What it returns has still to run, and nothing is read until it has; None: it is done with."""


@dataclass(frozen=True, slots=True)
class Address:
    """An IP end point; ``host`` is a literal, never a name. A Unix socket has its path as ``host`` and port 0."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        return self.host in ("::1", "") or self.host.startswith(("127.", "::ffff:127.", "/"))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TLSFacts:
    """What a finished handshake agreed on. ``peer_chain`` is DER, leaf first (empty: none was sent)."""

    version: str
    cipher: str
    alpn: str = ""
    peer_chain: tuple[bytes, ...] = ()


class TLSSettings(Protocol):
    """Opaque to adapters: made by ``bridge.net.tls``, passed to ``Stream.start_tls``."""

    @property
    def server_side(self) -> bool: ...
    @property
    def verifies(self) -> bool:
        """Whether a handshake fails when the peer's certificate is not to be trusted."""
        ...

    def with_alpn(self, protocols: tuple[str, ...], *, required: bool = False) -> TLSSettings:
        """The same settings, offering (client) or choosing from (server) these ALPN names (RFC 7301).

        ``required``: a handshake that agrees on none of them fails.
        """
        ...


class Stream(Protocol):
    """A TCP (or in-memory) connection.

    Every wait ends: ``receive`` and ``start_tls`` by their ``timeout`` (seconds, ``TimedOut``), ``send`` by the
    stall limit of the listener (``StreamClosed``).
    """

    @property
    def peer(self) -> Address: ...
    @property
    def local(self) -> Address: ...
    @property
    def tls(self) -> TLSFacts | None:
        """None while the connection is in plaintext."""
        ...

    async def receive(self, timeout: float | None = None) -> bytes:
        """The next bytes as they came, 1 byte to 256 KiB; ``b""`` once at the peer's end of file and ever after.

        Raises StreamClosed when the connection broke, TimedOut after ``timeout`` seconds (the stream stays usable).
        """
        ...

    async def each(self, take: Take) -> str:
        """Gives ``take`` each chunk, in order, one at a time; while it waits, nothing is read.

        Returns "" at the peer's end of file, else the words of the break. Raises what ``take`` raises. The same as a
        loop over ``receive``, but a ``take`` that does not wait is a plain call.
        """
        ...

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Hands ``data`` over and returns while little is unsent, else waits until the peer has taken enough.

        Raises StreamClosed when the connection is gone.
        """
        ...

    def send_or_wait(self, data: bytes | bytearray | memoryview) -> Coroutine[Any, Any, None] | None:
        """``send`` for a ``Take``: None when ``data`` was handed over and little is unsent, else what is to be awaited.

        Raises StreamClosed when the connection is gone.
        """
        ...

    def unread(self, data: bytes) -> None:
        """Puts bytes back, to be returned by the next ``receive`` (sniffing a byte, splitting after a message)."""
        ...

    async def start_tls(self, settings: TLSSettings, *, replay: bytes = b"", timeout: float = 10.0) -> TLSFacts:
        """Runs the handshake and returns what it agreed on.

        Bytes already received or put back by ``unread`` are an injection: PeerFault. A protocol that hands its rest to
        TLS (direct TLS, MySQL) passes them as ``replay``. Raises PeerFault with the handshake's error.
        """
        ...

    async def send_eof(self) -> None:
        """Closes our sending side (half-close) once all is sent; reading goes on.

        Raises StreamClosed when the connection is gone.
        """
        ...

    async def close(self) -> None:
        """Orderly close: sends what is unsent, waits at most the grace of the listener, then aborts. Never raises."""
        ...

    def abort(self) -> None:
        """Drops the connection now. ``receive`` and ``send`` that wait raise StreamClosed."""
        ...

    def hand_over(self, protocol: Any) -> None:
        """Gives the transport to a Twisted protocol for good (Conch); buffered bytes are delivered to it first."""
        ...


async def each_received(stream: Stream, take: Take) -> str:
    """``Stream.each`` by ``receive``, for a stream that has no quicker way."""
    while True:
        try:
            data = await stream.receive()
        except StreamClosed as closed:
            return str(closed)
        if not data:
            return ""
        waits = take(data)
        if waits is not None:
            await waits
