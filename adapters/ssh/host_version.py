"""The first words of a host: lines for people, then its version (RFC 4253 section 4.2)."""

from __future__ import annotations

from bridge.adapter import PeerFault

LONGEST_LINE = 255
MOST_LINES = 50
"""Lines that a host may say before its version."""


class HostVersion:
    """``text`` is the version line, once it has come; ``software`` what of it may be shown."""

    def __init__(self) -> None:
        self.text = ""
        self.software = ""
        self._line, self._lines = b"", 0

    def feed(self, data: bytes) -> bytes:
        """What follows the version. Raises PeerFault for what is no SSH 2.0 server."""
        self._line += data
        while b"\n" in self._line:
            line, _, self._line = self._line.partition(b"\n")
            self._lines += 1
            self._check(line)
            if line.startswith(b"SSH-"):
                rest, self._line = self._line, b""
                self._take(line.rstrip(b"\r"))
                return rest
        self._check(self._line)
        return b""

    def _check(self, line: bytes) -> None:
        if len(line) > LONGEST_LINE or self._lines > MOST_LINES:
            raise PeerFault("the host is no SSH server")

    def _take(self, line: bytes) -> None:
        """1.99 is what servers say that speak both (section 5.1)."""
        if not line.startswith((b"SSH-2.0-", b"SSH-1.99-")):
            raise PeerFault("the host speaks another version of SSH")
        self.text = line.decode("latin-1")
        software = self.text.split("-", 2)[2]
        self.software = "".join(c if c.isprintable() and c.isascii() else "?" for c in software)
