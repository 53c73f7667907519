"""Referrals are never followed with the static account, and an agent is not sent to a server it should not know.

An agent that follows one would bind there with its token (JNDI does, without TLS: vt-middleware/ldaptive#25).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from adapters.ldap import answers
from adapters.ldap.codes import ANSWER, Code
from adapters.ldap.framing import Message
from bridge.wire import ber

_URL = re.compile(rb"ldaps?://(\[[0-9A-Fa-f:.]+\]|[^/:?#\[\]]*)(?::(\d{1,5}))?(/[^\r\n]*)?", re.IGNORECASE)

UNMANAGED = "referral to unmanaged server"


class Referrals:
    """``bridge``: the URL agents reach this door by (``ldaps://host:636``); ``managed``: legacy hosts behind it."""

    def __init__(self, bridge: str, managed: Collection[str]) -> None:
        self._bridge = bridge.rstrip("/").encode()
        self._managed = frozenset(host.lower().encode() for host in managed if host)

    def rewritten(self, uris: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Those to a managed host, pointing at the bridge; the others are left out."""
        return tuple(uri for uri in map(self._one, uris) if uri)

    def _one(self, uri: bytes) -> bytes:
        match = _URL.fullmatch(uri)
        if match is None or not self._bridge or match[1].lower() not in self._managed:
            return b""
        return self._bridge + (match[3] or b"")

    def reference(self, message: Message) -> bytes | None:
        """A SearchResultReference for the agent; None when none of its URIs may be seen. Raises PeerFault."""
        uris = self.rewritten(answers.read_reference(message))
        if not uris:
            return None
        operation = ber.encode(message.tag, *(ber.encode(ber.OCTET_STRING, uri) for uri in uris))
        return answers.envelope(message.id, operation, message.data[message.controls : message.end])

    def result(self, request: int, message: Message) -> bytes:
        """The answer for the agent when upstream's is a referral (10). Raises PeerFault."""
        found = answers.read_result(message)
        uris = self.rewritten(found.referrals)
        if not uris:
            return answers.answer_to(request, message.id, Code.UNWILLING, UNMANAGED)
        return answers.result(message.id, ANSWER[request], Code.REFERRAL, matched=found.matched, referrals=uris)
