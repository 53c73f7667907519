"""The legacy server's side of the start: encryption in the middle of the handshake, login, and what a no means.

Streams come from ``Admission.connect``; what goes wrong becomes a ``Refused`` that tells the agent no more than it
may know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from adapters.mysql import codec
from adapters.mysql.codec import Cap, ErrorFields, Greeting, SSLRequest
from adapters.mysql.greeting import Conversation
from adapters.mysql.login import MAX_PACKET, LoginFacts, LoginFailed, LoginRefused, UpstreamLogin, Wanted
from adapters.mysql.probe import Probe
from adapters.mysql.refusals import Spoken
from bridge.adapter import Admission, Deadline, PeerFault, Reason, Refused, Stream, StreamClosed, TimedOut

OURS_TO_MEND = frozenset({1045, 1129, 1130, 1251, 1275, 1524, 1698, 1820, 1862, 3118, 3159, 3161, 4151})
"""The static account's trouble: a wrong password, one that has expired, a locked account, this host not allowed or
blocked (MySQL blocks a host after many failures), a plugin that is not there, TLS that is demanded."""

POOL_WORDS = {
    1040: ("08004", "the legacy system has too many connections"),
    1053: ("08S01", "the legacy system is shutting down"),
    1203: ("42000", "the legacy system has too many connections of this account"),
    1226: ("42000", "a limit of the legacy system for this account was reached"),
}
"""Passed on as themselves, whatever is configured: pools know what to do with them."""

CLIENT_WORDS = {
    1044: ("42000", "the legacy system has no such database, or gives no access to it"),
    1049: ("42000", "the legacy system has no such database, or gives no access to it"),
    1115: ("42000", "the legacy system does not know the character set"),
}
"""What the client's own wishes can cause. The server's words for 1044 hold the account's name, so ours stand in."""


class UpstreamLogins:
    """Logs in at one legacy server again and again, and remembers what it is."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self.deferring: Callable[..., Awaitable[Any]] | None = None

    async def log_in(
        self,
        admission: Admission,
        wanted: Wanted,
        *,
        timeout: float,
        pass_errors: bool,
        take_key: bool,
        clock: Callable[[], float],
    ) -> tuple[Stream, LoginFacts]:
        """Connects and logs in. Raises Refused, whatever went wrong; the stream is closed by the core."""
        deadline = Deadline(timeout, clock)
        upstream = await admission.connect()
        try:
            return upstream, await self._converse(upstream, admission, wanted, take_key, deadline)
        except LoginRefused as refused:
            raise await said_no(admission, refused, pass_errors=pass_errors) from None
        except LoginFailed as failed:
            raise await admission.login_refused(str(failed)) from None
        except (PeerFault, StreamClosed, TimedOut) as fault:
            raise unavailable(admission, str(fault)) from None

    async def _converse(
        self, upstream: Stream, admission: Admission, wanted: Wanted, take_key: bool, deadline: Deadline
    ) -> LoginFacts:
        local = upstream.peer.loopback
        login = UpstreamLogin(wanted, admission.login.secret, take_key=take_key or local)
        conversation = Conversation(upstream, "the legacy server")
        greeting = login.greeted(await conversation.hear(deadline))
        await self._encrypt(conversation, admission, greeting, login, deadline)
        await conversation.send(login.respond(encrypted=upstream.tls is not None, private=local))
        while not login.done:
            reply = login.receive(await conversation.hear(deadline))
            if login.pending is not None:
                reply = login.answer(await self._in_thread(*login.pending))
            if login.settling:
                conversation.begin_command()
            if reply is not None:
                await conversation.send(reply)
        self._probe.learn(greeting)
        upstream.unread(conversation.take_rest())
        assert login.facts is not None
        for statement in login.facts.unserved:
            admission.alarm("read-only-seat-belt", f"the legacy server is too old for: {statement}")
        return login.facts

    async def _encrypt(
        self,
        conversation: Conversation,
        admission: Admission,
        greeting: Greeting,
        login: UpstreamLogin,
        deadline: Deadline,
    ) -> None:
        """As the system's TLS mode says. A Unix socket is never encrypted."""
        upstream, settings = conversation.stream, admission.upstream_tls
        if settings is None or upstream.peer.host.startswith("/"):
            return
        if not greeting.capabilities & Cap.SSL:
            if admission.upstream_tls_optional:
                return
            raise PeerFault("the legacy server has no TLS, but the system demands it")
        if conversation.take_rest():
            raise PeerFault("the legacy server sent plaintext behind its greeting")  # as CVE-2021-23222
        await conversation.send(codec.ssl_request(SSLRequest(login.flags | Cap.SSL, MAX_PACKET, login.collation)))
        await upstream.start_tls(settings, timeout=deadline.left)

    async def _in_thread(self, function: Callable[..., bytes], arguments: tuple[bytes, ...]) -> bytes:
        if self.deferring is None:
            return function(*arguments)
        result: bytes = await self.deferring(function, *arguments)
        return result


def unavailable(admission: Admission, cause: str) -> Refused:
    """The agent hears that the system is unavailable; ``cause`` is for the log."""
    spoken = Spoken(Reason.UPSTREAM_UNAVAILABLE, 2003, "HY000", "legacy system unavailable", detail=cause)
    return spoken.referenced(admission.session)


async def said_no(admission: Admission, refused: LoginRefused, *, pass_errors: bool) -> Refused:
    """What an ERR at login means: the static account's trouble, the client's own, or a server that cannot now."""
    fields, cause = refused.fields, str(refused)
    if fields.code in OURS_TO_MEND and not refused.late:
        return await admission.login_refused(cause)
    words = POOL_WORDS.get(fields.code) or CLIENT_WORDS.get(fields.code)
    if words is None or refused.late:
        return unavailable(admission, cause)
    sqlstate, text = words
    if pass_errors and speakable(admission, fields):
        text = fields.message[:300]
    hint = "Ask for another one, or ask the owner of the legacy system." if fields.code in CLIENT_WORDS else ""
    spoken = Spoken(Reason.UPSTREAM_UNAVAILABLE, fields.code, sqlstate, text, hint=hint, detail=cause)
    return spoken.referenced(admission.session)


def speakable(admission: Admission, fields: ErrorFields) -> bool:
    """The account's name is not the agent's business, so words that hold it are not passed on."""
    return bool(fields.message) and admission.login.user.lower() not in fields.message.lower()
