"""Syslog over TLS (RFC 5425): octet counting, the receiver's certificate verified, one connection a batch.

Syslog has no acknowledgement, and what a kernel has taken may never be read ("reliable" TCP syslog loses messages when
the receiver dies). So a batch counts as taken only when the receiver, having read to our end of file, closes its side
in order; a receiver that dies with messages unread resets the connection, and the batch goes again.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.adapter import PeerFault, StreamClosed, TimedOut
from bridge.net.dialer import Dialer
from bridge.net.tls import UpstreamTLS
from bridge.sinks.destination import Batch, DeliveryFailed
from bridge.storage import ThreadPool

MAX_ANSWER = 64 * 1024
"""Bytes that a receiver may say; it has nothing to say."""


class SyslogDestination:
    """``tls`` makes the settings anew for each batch, in a thread of ``pool``, so that renewed certificates count; None
    is plaintext (RFC 6587)."""

    def __init__(
        self,
        dialer: Dialer,
        host: str,
        port: int,
        tls: Callable[[], UpstreamTLS | None],
        pool: ThreadPool,
        timeout: float = 30.0,
    ) -> None:
        self._dialer = dialer
        self._host = host
        self._port = port
        self._tls = tls
        self._pool = pool
        self._timeout = timeout

    async def deliver(self, batch: Batch) -> None:
        settings = await self._pool.run(self._tls)
        stream = await self._dialer.connect(self._host, self._port, self._timeout)
        try:
            if settings is not None:
                await stream.start_tls(settings, timeout=self._timeout)
            await stream.send(framed(batch.lines))
            await stream.send_eof()
            said = 0
            while data := await stream.receive(self._timeout):
                said += len(data)
                if said > MAX_ANSWER:
                    raise DeliveryFailed("the receiver talks; is it a syslog server?")
        except (PeerFault, StreamClosed, TimedOut) as failure:
            raise DeliveryFailed(f"{self._host}:{self._port}: {failure}; the batch will be sent again") from None
        finally:
            stream.abort()


def framed(messages: tuple[str, ...]) -> bytes:
    """RFC 5425, section 4.3: ``MSG-LEN SP SYSLOG-MSG``, the length in octets."""
    encoded = [message.encode() for message in messages]
    return b"".join(b"%d %s" % (len(message), message) for message in encoded)
