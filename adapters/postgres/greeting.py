"""The client's side of the start: first byte, encryption, startup packet, password (A1 to A4 of the research notes).

Reads from the stream, answers what the protocol asks at once, and leaves every decision to ``adapter``.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.postgres import codec
from adapters.postgres.codec import Framer, Front
from adapters.postgres.startup import (
    TLS_HANDSHAKE,
    CancelRequest,
    GSSENCRequest,
    SSLRequest,
    StartupMessage,
    opening_size,
    parse_opening,
)
from bridge.adapter import Deadline, PeerFault, Secret, Stream, StreamClosed, TLSSettings

ALPN = "postgresql"

MAX_TOKEN = 16 * 1024
"""Longest token. Tokens of identity providers are 0.5 to 4 KiB, with many groups 8."""

MAX_PASSWORD_MESSAGE = 128 * 1024
"""Read whole, so that its sender hears why it is refused instead of a reset; libpq sends 60 000 bytes if told to."""

MAX_AHEAD = 64 * 1024
"""Bytes a client may send ahead before it is logged in: pipelined startup, password and first query."""


class ServerTLS:
    """The listener's certificate with our ALPN name, made once per certificate: making it reads files."""

    def __init__(self, settings: TLSSettings) -> None:
        self.settings = settings
        self.direct = settings.with_alpn((ALPN,), required=True)
        self.requested = settings.with_alpn((ALPN,))


async def _receive(client: Stream, deadline: Deadline) -> bytes:
    data = await client.receive(deadline.left)
    if not data:
        raise StreamClosed("the client closed the connection before it was logged in")
    return data


async def _packet(client: Stream, deadline: Deadline) -> bytes:
    """The next first packet; what follows it is put back."""
    received = await _receive(client, deadline)
    while (size := opening_size(received)) is None or len(received) < size:
        received += await _receive(client, deadline)
    client.unread(received[size:])
    return received[:size]


async def greet(client: Stream, tls: ServerTLS | None, deadline: Deadline) -> StartupMessage | CancelRequest:
    """Everything up to the startup packet: direct TLS, at most one SSLRequest and one GSSENCRequest in any order.

    Raises PeerFault for what no client of PostgreSQL sends; there is nothing to answer to it.
    """
    first = await _receive(client, deadline)
    if first[0] == TLS_HANDSHAKE:
        await _direct_tls(client, tls, first, deadline)
    else:
        client.unread(first)
    asked_ssl = asked_gss = False
    while True:
        opening = parse_opening(await _packet(client, deadline))
        if isinstance(opening, SSLRequest) and not asked_ssl and client.tls is None:
            asked_ssl = True
            await _requested_tls(client, tls, deadline)
        elif isinstance(opening, GSSENCRequest) and not asked_gss and client.tls is None:
            asked_gss = True
            await client.send(b"N")
        elif isinstance(opening, SSLRequest):  # PostgreSQL reads a second one as version 1234.5679, and says so
            return StartupMessage(80877103, (), ())
        elif isinstance(opening, GSSENCRequest):
            return StartupMessage(80877104, (), ())
        else:
            return opening


async def _direct_tls(client: Stream, tls: ServerTLS | None, first: bytes, deadline: Deadline) -> None:
    if tls is None:
        raise PeerFault("direct TLS, but no certificate is configured")
    facts = await client.start_tls(tls.direct, replay=first, timeout=deadline.left)
    if facts.alpn != ALPN:
        raise PeerFault(f"direct TLS without the ALPN protocol {ALPN}: the client must offer it")


async def _requested_tls(client: Stream, tls: ServerTLS | None, deadline: Deadline) -> None:
    if tls is None:
        await client.send(b"N")
        return
    await client.send(b"S")
    # bytes behind the SSLRequest are an injection (CVE-2021-23214): start_tls refuses them
    await client.start_tls(tls.requested, timeout=deadline.left)


@dataclass(frozen=True, slots=True)
class Password:
    """``token`` with white space at its ends removed; ``too_long``: it was left out. ``ahead``: bytes behind it."""

    token: Secret
    ahead: bytes
    too_long: bool = False


async def ask_password(client: Stream, deadline: Deadline, *, greeting: bytes = b"") -> Password:
    """Asks for the cleartext password (``greeting`` is sent in front) and takes it, split anywhere."""
    await client.send(greeting + codec.authentication_cleartext())
    framer = Framer(limits={Front.PASSWORD: MAX_PASSWORD_MESSAGE}, default_limit=MAX_PASSWORD_MESSAGE)
    received = bytearray()
    while True:
        received += await _receive(client, deadline)
        if received[0] != Front.PASSWORD:
            raise PeerFault("expected password response")
        if len(received) < codec.HEADER_SIZE:
            continue
        length = int.from_bytes(received[1:5], "big")
        if length > MAX_PASSWORD_MESSAGE:
            return Password(Secret(b""), b"", too_long=True)
        if len(received) > length:
            break
    frame = framer.feed(bytes(received[: length + 1]))[0]
    value = codec.parse_password(framer.buffer[codec.HEADER_SIZE : frame.end]).strip()
    ahead = bytes(received[length + 1 :])
    if len(ahead) > MAX_AHEAD:
        raise PeerFault("too many bytes were sent ahead of the login")
    if len(value) > MAX_TOKEN:
        return Password(Secret(b""), b"", too_long=True)
    return Password(Secret(value), ahead)
