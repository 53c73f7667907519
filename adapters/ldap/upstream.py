"""The directory's side of the start: encryption, the static account's Bind, and what a no means.

Streams come from ``Admission.connect``. StartTLS that is refused ends it before any password is sent (RFC 4513 section
3.1.5). What goes wrong becomes a ``Refused`` that tells the agent no more than it may know.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from adapters.ldap import codec
from adapters.ldap.answers import read_result
from adapters.ldap.codes import NOT_FINAL, Code, Oid, Op
from adapters.ldap.controls import Ppolicy
from adapters.ldap.framing import LIMIT_UPSTREAM, MAX_ID, Framer, Message
from adapters.ldap.options import Options
from adapters.ldap.upstream_login import BindRefused, UpstreamBind
from bridge.adapter import Admission, Deadline, PeerFault, Reason, Refused, Stream, StreamClosed, SystemFacts, TimedOut

OWN_IDS = MAX_ID - 4095
"""Message ids from here on are the bridge's own; an agent may not use them."""

_LOGIN_LIMIT = 1024 * 1024
"""Bytes of an answer to StartTLS or a Bind."""


@dataclass(slots=True)
class Directory:
    """A connection to the directory; what it said beyond what was asked stays in ``framer``.

    ``stamp``: the control that goes with every request. ``password``: what the password policy said at the Bind.
    """

    stream: Stream
    framer: Framer = field(default_factory=lambda: Framer(_LOGIN_LIMIT))
    stamp: bytes = b""
    password: Ppolicy = field(default_factory=Ppolicy)
    _number: int = MAX_ID + 1

    def next_id(self) -> int:
        self._number -= 1
        return self._number

    async def hear(self, deadline: Deadline) -> Message:
        """The next message. Raises PeerFault, StreamClosed, TimedOut."""
        while (found := self.framer.next()) is None:
            data = await self.stream.receive(deadline.left)
            if not data:
                raise StreamClosed("the directory closed the connection")
            self.framer.add(data)
        return found

    async def ask(self, operation: bytes, deadline: Deadline, controls: bytes = b"") -> list[Message]:
        """All answers to an operation of the bridge's own, the final one last; ``controls``: further ones, encoded."""
        number = self.next_id()
        await self.stream.send(codec.request(number, operation, self.stamp + controls))
        heard: list[Message] = []
        while True:
            message = await self.hear(deadline)
            if message.id == number:
                heard.append(message)
                if message.tag not in NOT_FINAL:
                    return heard
            elif message.id == 0:
                raise PeerFault("the directory said goodbye")


async def log_in(
    admission: Admission, system: SystemFacts, stamp: bytes = b"", clock: Callable[[], float] = time.monotonic
) -> Directory:
    """Connects, encrypts and binds. Raises Refused; the stream is closed by the core."""
    options: Options = system.options
    deadline = Deadline(system.upstream_timeout, clock, "the directory did not answer the login in time")
    directory = Directory(await admission.connect())
    try:
        await _encrypt(directory, admission, options, deadline)
        bind = UpstreamBind(admission.login.user, admission.login.secret, directory.next_id())
        directory.stamp = stamp  # not earlier: what is sent in plaintext tells nothing of the agent
        await directory.stream.send(bind.request(stamp))
        directory.password = bind.read(await directory.hear(deadline))
    except BindRefused as refused:
        if refused.breaking:
            raise await admission.login_refused(str(refused)) from None
        admission.alarm("upstream-login", str(refused))
        raise unavailable(admission, str(refused)) from None
    except (PeerFault, StreamClosed, TimedOut) as fault:
        raise unavailable(admission, str(fault)) from None
    directory.framer.limit = LIMIT_UPSTREAM
    return directory


async def _encrypt(directory: Directory, admission: Admission, options: Options, deadline: Deadline) -> None:
    settings, stream = admission.upstream_tls, directory.stream
    if settings is None or stream.peer.host.startswith("/"):
        return
    if options.encryption == "starttls" and not await _start_tls(directory, admission, deadline):
        return
    try:
        await stream.start_tls(settings, timeout=deadline.left)
    except PeerFault as fault:
        admission.alarm("upstream-tls", str(fault))
        raise


async def _start_tls(directory: Directory, admission: Admission, deadline: Deadline) -> bool:
    """Whether the handshake is to begin; False: the directory has none and the system only prefers it."""
    answer = (await directory.ask(codec.extended(Oid.START_TLS), deadline))[-1]
    if directory.framer.rest:
        raise PeerFault("the directory sent plaintext behind its answer to StartTLS")
    if answer.tag == Op.EXTENDED_RESPONSE and read_result(answer).code == Code.SUCCESS:
        return True
    if admission.upstream_tls_optional:
        return False
    admission.alarm("upstream-tls", "the directory refused StartTLS")
    raise PeerFault("the directory refused StartTLS, but the system demands it")


def unavailable(admission: Admission, cause: str) -> Refused:
    """The agent hears that the system is unavailable; ``cause`` is for the log."""
    return Refused(
        Reason.UPSTREAM_UNAVAILABLE, "the legacy system is unavailable", reference=admission.session, detail=cause
    )
