"""A leg over a stream: what both sides of the bridge do alike, whoever exchanges the keys."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred

from adapters.ssh.fields import string
from adapters.ssh.leg import Take
from bridge.adapter import PeerFault, Stream, StreamClosed

DISCONNECT, USERAUTH_REQUEST, CONNECTION = 1, 50, 80

Work = Callable[[], Awaitable[None]]
"""Something of a key exchange that takes long; nothing else is done with this leg meanwhile."""


class Goodbye(StreamClosed):
    """The peer sent SSH_MSG_DISCONNECT."""


class Out:
    """Bytes for the peer; ``closing`` once the other library wants the connection closed.

    A key exchange in a thread adds to it while the reactor takes from it: what is taken is counted first.
    """

    def __init__(self) -> None:
        self.data: list[bytes | bytearray] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.data.append(data)

    def loseConnection(self) -> None:
        """As Twisted's transports have it."""
        self.closing = True

    def take(self) -> bytes:
        count = len(self.data)
        taken = b"".join(self.data[:count])
        del self.data[:count]
        return taken


class Exchange(Protocol):
    """Negotiation and key exchange without I/O. ``held`` are the bytes that wait for the end of an exchange."""

    out: Out
    held: int
    facts: dict[str, str]

    def begin(self) -> None: ...

    def feed(self, data: bytes) -> Iterator[bytes | Work]:
        """The messages that are not of the key exchange, and work to be awaited before the next.

        Raises PeerFault, and Goodbye.
        """
        ...

    def put(self, payload: bytes) -> None:
        """One message, now or after the exchange that is going on."""
        ...

    @property
    def exchanging(self) -> bool: ...

    def rekey_if_due(self) -> None: ...


class WireLeg:
    """Implements ``leg.Leg``; before the login is done, ``message`` gives one message at a time.

    ``chunks`` counts what came since ``run`` reads; ``busy`` while it does not. ``given_up`` says why, once it was.
    """

    def __init__(self, stream: Stream, exchange: Exchange) -> None:
        self.stream = stream
        self.exchange = exchange
        self._pending: list[bytes] = []  # never more than one chunk brings
        self._unheld: list[Deferred[None]] = []
        self.busy = True
        self.chunks = 0
        self.given_up = ""

    @property
    def facts(self) -> Mapping[str, str]:
        return self.exchange.facts

    async def begin(self) -> None:
        self.exchange.begin()
        await self.send()

    async def message(self, timeout: float) -> bytes:
        """The next message of the login. Raises TimedOut, PeerFault, StreamClosed."""
        while not self._pending:
            await self.step(timeout)
        return self._pending.pop(0)

    async def step(self, timeout: float) -> None:
        """Takes what comes next; messages of the login wait for ``message``."""
        data = await self.stream.receive(timeout)
        if not data:
            raise StreamClosed("the connection was closed")
        try:
            for found in self.exchange.feed(data):
                if isinstance(found, bytes):
                    self._pending.append(found)
                else:
                    await found()
        finally:
            await self.send()

    def write(self, payload: bytes) -> None:
        self.exchange.put(payload)

    async def flush(self) -> None:
        await self.send()
        if self.exchange.held and not self.busy:
            await self._until_exchanged()

    async def send(self) -> None:
        """What is written and not held back by a key exchange."""
        data = self.exchange.out.take()
        if data:
            await self.stream.send(data)

    async def _until_exchanged(self) -> None:
        """So that the other leg is not read while messages are held back; ``run`` goes on and ends the exchange.

        Not while this leg's own ``run`` is busy: it may wait for the other leg's exchange, as the other for this one's.
        """
        waiting: Deferred[None] = Deferred()
        self._unheld.append(waiting)
        await waiting

    async def run(self, take: Take, after: Callable[[], Coroutine[None, None, None]]) -> str:
        async def chunk(data: bytes) -> None:
            self.busy = True
            self.chunks += 1
            try:
                for found in self.exchange.feed(data):
                    if not isinstance(found, bytes):
                        await found()
                    elif (waiting := self._given(take, found)) is not None:
                        await waiting
                self.exchange.rekey_if_due()
                await self.send()
                if not self.exchange.exchanging:
                    self._release()
                await after()
            finally:
                self.busy = False

        try:
            while self._pending:
                if (waiting := self._given(take, self._pending.pop(0))) is not None:
                    await waiting
            await after()
            self.busy = False
            return await self.stream.each(chunk)
        except Goodbye:
            await after()
            return ""
        finally:
            self.busy = True
            self._release()

    @staticmethod
    def _given(take: Take, payload: bytes) -> Coroutine[None, None, None] | None:
        if payload[0] < CONNECTION:
            if payload[0] == USERAUTH_REQUEST:
                return None  # after success they are ignored (RFC 4252 section 5.3)
            raise PeerFault("a message of the login came after it")
        return take(payload)

    def _release(self) -> None:
        waiting, self._unheld = self._unheld, []
        for one in waiting:
            one.callback(None)

    def give_up(self, cause: str) -> None:
        """Drops the connection; ``cause`` are the words of the break."""
        self.given_up = cause
        self.stream.abort()

    def disconnect(self, code: int, text: str) -> None:
        self.exchange.put(struct.pack("!BI", DISCONNECT, code) + string(text) + string(""))
