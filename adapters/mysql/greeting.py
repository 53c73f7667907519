"""The client's side of the start: greeting, TLS in the middle of the handshake, the token (research notes, B1 and B2).

Reads from the stream, answers what the protocol asks at once, and leaves every decision to ``adapter``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from adapters.mysql import codec
from adapters.mysql.carriers import Carrier
from adapters.mysql.codec import HEADER_SIZE, SSL_REQUEST_SIZE, Cap, Greeting, HandshakeResponse, packets
from bridge.adapter import Deadline, PeerFault, Secret, Stream, StreamClosed, TLSSettings

MAX_LOGIN_PAYLOAD = 128 * 1024
"""Read whole, so that the sender of too long a token hears why; 64 KiB of connection attributes fit too."""

MAX_AHEAD = 64 * 1024
"""Bytes a client may send ahead before it is logged in."""


class Conversation:
    """Payloads over a stream, with the sequence numbers of the connection phase: each side counts the other's on.

    Nothing behind a payload is looked at before it is asked for: it may be the beginning of a TLS handshake.
    """

    def __init__(self, stream: Stream, peer: str) -> None:
        self.stream = stream
        self._peer = peer
        self._received = b""
        self._sequence = 0  # of the next packet, whoever sends it

    async def send(self, payload: bytes) -> None:
        await self.stream.send(self.packed(payload))

    def packed(self, payload: bytes) -> bytes:
        """The packet of this payload, counted, for the caller to send."""
        data = packets(payload, self._sequence)
        self._count()
        return data

    async def hear(self, deadline: Deadline) -> bytes:
        """The next payload. Raises PeerFault when it is too long or out of order."""
        await self._receive(HEADER_SIZE, deadline)
        size = HEADER_SIZE + int.from_bytes(self._received[:3], "little")
        if size > MAX_LOGIN_PAYLOAD:
            raise PeerFault(f"{self._peer} sent too long a packet during the login")
        if self._received[3] != self._sequence:
            raise PeerFault("packets out of order")
        await self._receive(size, deadline)
        payload, self._received = self._received[HEADER_SIZE:size], self._received[size:]
        self._count()
        return payload

    def take_rest(self) -> bytes:
        """What came behind the payloads that were heard."""
        rest, self._received = self._received, b""
        return rest

    def begin_command(self) -> None:
        """Numbers start at 0 with each command."""
        self._sequence = 0

    async def _receive(self, size: int, deadline: Deadline) -> None:
        while len(self._received) < size:
            data = await self.stream.receive(deadline.left)
            if not data:
                raise StreamClosed(f"{self._peer} closed the connection during the login")
            self._received += data

    def _count(self) -> None:
        self._sequence = (self._sequence + 1) & 0xFF


@dataclass(frozen=True, slots=True)
class Opening:
    """What the client answered to the greeting, on the connection as it then was."""

    conversation: Conversation = field(repr=False)
    response: HandshakeResponse


async def greet(client: Stream, greeting: Greeting, tls: TLSSettings | None, deadline: Deadline) -> Opening:
    """Greets, and takes the client's answer, in plaintext or after TLS. Raises PeerFault for what no client sends.

    The ClientHello may come in one segment with the request for TLS (Warpgate#1421): it belongs to the handshake.
    """
    conversation = Conversation(client, "the client")
    await conversation.send(codec.greeting(greeting))
    payload = await conversation.hear(deadline)
    if len(payload) == SSL_REQUEST_SIZE:
        request = codec.parse_ssl_request(payload)
        if tls is None or not request.capabilities & Cap.SSL:
            raise PeerFault("a request for TLS, which was not offered")
        await client.start_tls(tls, replay=conversation.take_rest(), timeout=deadline.left)
        payload = await conversation.hear(deadline)
    return Opening(conversation, codec.parse_handshake_response(payload, greeting.capabilities))


async def ask_token(opening: Opening, deadline: Deadline) -> Secret:
    """The token by the best carrier the client has; an empty one when it gave none. Raises Spoken, PeerFault."""
    tls = opening.conversation.stream.tls
    certificate = tls is not None and bool(tls.peer_chain)
    carrier = Carrier(opening.response, encrypted=tls is not None, certificate=certificate)
    reply = carrier.begin()
    while carrier.token is None:
        await opening.conversation.send(reply)
        reply = carrier.receive(await opening.conversation.hear(deadline))
    return carrier.token


def ahead(opening: Opening) -> bytes:
    """What the client sent behind its login already."""
    rest = opening.conversation.take_rest()
    if len(rest) > MAX_AHEAD:
        raise PeerFault("too many bytes were sent ahead of the login")
    return rest
