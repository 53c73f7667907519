"""TLS between two memory buffers: ciphertext in, plaintext out, and the other way. No I/O.

OpenSSL's reason (``CERTIFICATE_VERIFY_FAILED: self-signed certificate``) is kept as ``fault``; it never holds payload.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Any

from bridge.adapter import TLSFacts

_DER = 2  # _ssl.ENCODING_DER
_RECORD = 16 * 1024  # one TLS record at most (RFC 8446, 5.1)


class TLSLayer:
    """One TLS connection over memory BIOs (about 40 KiB, OpenSSL's own)."""

    __slots__ = ("_incoming", "_object", "_outgoing", "_required", "done", "ended", "facts", "fault")

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None, alpn_required: bool
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side, server_name)
        self._required = alpn_required
        self.done = False
        self.ended = False  # close_notify came
        self.fault = ""
        self.facts: TLSFacts | None = None

    def decrypt(self, data: bytes | memoryview) -> bytes:
        """Takes ciphertext, returns the plaintext that it completes; advances the handshake first."""
        if self.fault or self.ended:
            return b""
        self._incoming.write(data)
        parts: list[bytes] = []
        try:
            if not self.done:
                self._object.do_handshake()
                self._finished()
            while True:
                part = self._object.read(_RECORD)
                if not part:
                    self.ended = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except (ssl.SSLError, ssl.CertificateError) as error:
            self.fault = _reason(error)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]
        return self._outgoing.read()

    def pending(self) -> bytes:
        """What the layer wants sent by itself: handshake messages, alerts, key updates."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def close_notify(self) -> bytes:
        if self.done and not self.fault:
            with suppress(ssl.SSLError):  # "want read": it is written, the peer's own close_notify is not awaited
                self._object.unwrap()
        return self.pending()

    def _finished(self) -> None:
        self.done = True
        alpn = self._object.selected_alpn_protocol() or ""
        if self._required and not alpn:
            self.fault = "NO_APPLICATION_PROTOCOL"
        cipher = self._object.cipher()
        self.facts = TLSFacts(
            version=self._object.version() or "",
            cipher=cipher[0] if cipher else "",
            alpn=alpn,
            peer_chain=_chain(self._object),
        )


def _chain(connection: Any) -> tuple[bytes, ...]:
    """The certificates that the peer sent, DER, leaf first."""
    if hasattr(connection, "get_unverified_chain"):  # Python 3.13
        return tuple(connection.get_unverified_chain() or ())
    inner: Any = getattr(connection, "_sslobj", None)
    certificates = inner.get_unverified_chain() if inner is not None else None
    if certificates:  # a server that asked, and was sent none, gets [None]
        return tuple(certificate.public_bytes(_DER) for certificate in certificates if certificate is not None)
    leaf = connection.getpeercert(binary_form=True)
    return (leaf,) if leaf else ()


def _reason(error: ssl.SSLError | ssl.CertificateError) -> str:
    reason = getattr(error, "reason", None) or type(error).__name__
    detail = getattr(error, "verify_message", "")
    return f"{reason}: {detail}" if detail else str(reason)
