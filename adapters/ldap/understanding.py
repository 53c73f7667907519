"""What the bytes of a request alone decide, found out once: programs ask the same again and again.

Everything here holds for the whole session: what is asked for, the controls that stay, what no grant can open. What
grants say is asked anew for each request, by ``deciding``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from adapters.ldap import codec, controls
from adapters.ldap.codes import READS, Code, Oid
from adapters.ldap.controls import Control
from adapters.ldap.extended import read_cancel
from adapters.ldap.framing import Message
from adapters.ldap.operations import Asking, Describing
from adapters.ldap.protected import Protected, serves
from adapters.ldap.refusals import Spoken
from adapters.ldap.sieve import Sieve
from bridge.adapter import Reason, Target

MAX_KEPT, MAX_KEPT_SIZE = 16, 512
"""Requests of one session that are kept with what they ask, and the most bytes of one."""


class Served(NamedTuple):
    """OIDs of the system's options: controls and extended operations beside the usual ones."""

    controls: frozenset[str]
    extensions: frozenset[str]


@dataclass(slots=True, eq=False)
class Understood:
    """``targets``: all that must be allowed, the operation's own first. ``refusal``: what is said no to, whatever the
    grants say. ``sieve``, with the ``rest`` of the message behind its id as the directory gets it: where they are the
    same for each of these requests."""

    request: codec.Request
    kept: tuple[Control, ...]
    asking: Asking
    refusal: Spoken | None
    targets: tuple[Target, ...]
    sieve: Sieve | None = None
    rest: bytes = b""

    @property
    def lasting(self) -> bool:
        """Whether it goes on for as long as the agent wants: a persistent search (RFC 4533, psearch)."""
        return any(control.oid in (Oid.SYNC_REQUEST, Oid.PERSISTENT_SEARCH) for control in self.kept)

    @property
    def page(self) -> Control | None:
        """The paged results control."""
        return next((control for control in self.kept if control.oid == Oid.PAGED_RESULTS), None)


class Cancelling(NamedTuple):
    """The wish to cancel one's own operation ``number`` (RFC 3909)."""

    number: int


class Understanding:
    """One session's."""

    def __init__(self, describing: Describing, protected: Protected, served: Served) -> None:
        self._describing = describing
        self._protected = protected
        self._served = served
        self._known: dict[tuple[int, int, bytes], Understood] = {}

    def of(self, message: Message) -> Understood | Cancelling:
        """Raises Spoken for what is not understood or not served, PeerFault."""
        data, body, end = message.data, message.body, message.end
        if message.tag not in READS or end - body > MAX_KEPT_SIZE:
            return self._read(message)
        key = (message.tag, message.stop - body, data[body:end])
        known = self._known.get(key)
        if known is None:
            known = self._described(codec.decode(message), self._judged(message))
            if len(self._known) >= MAX_KEPT:
                self._known.clear()
            self._known[key] = known
        return known

    def _judged(self, message: Message) -> tuple[Control, ...]:
        return controls.judge(controls.read(message), self._served.controls)

    def _read(self, message: Message) -> Understood | Cancelling:
        request, kept = codec.decode(message), self._judged(message)
        if isinstance(request, codec.Extended):
            if not serves(request.oid, self._served.extensions):
                raise Spoken(Reason.UNSUPPORTED, Code.PROTOCOL_ERROR, "this extended operation is not served here")
            if request.oid == Oid.CANCEL:
                return Cancelling(read_cancel(request.value))
        return self._described(request, kept)

    def _described(self, request: codec.Request, kept: tuple[Control, ...]) -> Understood:
        asking = self._describing.describe(request, kept)
        refusal = asking.refusal or self._protected.refusal(request, asking)
        return Understood(request, kept, asking, refusal, _targets(asking))


def _targets(asking: Asking) -> tuple[Target, ...]:
    """Of the operation, of all it compares or changes, and of the attributes that a Search names."""
    own = asking.operation.target
    reads = asking.reads if own and asking.reads else ()
    return (own, *asking.also, *[{**own, "attribute": names} for names in reads])
