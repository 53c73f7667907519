"""The legacy server's side of the start: encryption, login with one retry at 3.0, and the side connection of a cancel.

Streams come from ``Admission.connect``; what goes wrong becomes a ``Refused`` that tells the agent no more than it
may know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from adapters.postgres import codec
from adapters.postgres.cancel import CancelSlot
from adapters.postgres.codec import ErrorFields
from adapters.postgres.login import LoginFacts, LoginFailed, LoginRefused, UpstreamLogin
from adapters.postgres.refusals import Spoken
from adapters.postgres.startup import (
    CANCEL_REQUEST,
    PROTOCOL_3_0,
    PROTOCOL_3_2,
    SSL_REQUEST,
    UpstreamStartup,
)
from bridge.adapter import (
    Action,
    Admission,
    Deadline,
    Operation,
    Outcome,
    PeerFault,
    Reason,
    Refused,
    Result,
    Secret,
    Stream,
    StreamClosed,
    TimedOut,
)
from bridge.wire import scram

CANCEL_TIMEOUT = 5.0
"""Seconds the side connection of a cancel may take until the legacy server closes it."""

QUICK_ITERATIONS = 20_000
"""Up to this the SCRAM keys are derived at once (10 ms); more work goes to a thread."""

POOL_WORDS = ("57P03", "53300")
"""Passed on as themselves whatever is configured: pools know what to do with them."""

CLIENT_CAUSED = frozenset({"3D000", "42704", "22023", "22P02", "42501", "55000"})
"""What the client's own wishes can cause: no such database, no such setting, a bad value, no right to it."""

WORDS = {
    "57P03": "the legacy system is starting up or shutting down",
    "53300": "the legacy system has too many connections",
}

Deriving = Callable[..., Awaitable[Any]]


class UpstreamLogins:
    """Logs in at one legacy server again and again; remembers derived SCRAM keys."""

    def __init__(self, deferring: Deriving | None = None) -> None:
        self.keys = scram.KeyCache()
        self.deferring = deferring

    async def log_in(
        self,
        admission: Admission,
        startup: UpstreamStartup,
        *,
        protocol: str,
        timeout: float,
        pass_errors: bool,
        clock: Callable[[], float],
    ) -> tuple[Stream, LoginFacts]:
        """Connects and logs in. Raises Refused, whatever went wrong; the stream is closed by the core."""
        deadline = Deadline(timeout, clock)
        version = PROTOCOL_3_2 if protocol == "3.2" else PROTOCOL_3_0
        try:
            try:
                return await self._attempt(admission, startup, version, deadline)
            except LoginRefused as refused:
                # a pooler or an old server: 08P01 bad packet header, 0A000 unsupported frontend protocol
                if not (version > PROTOCOL_3_0 and refused.early and refused.fields.code in ("08P01", "0A000")):
                    raise
            return await self._attempt(admission, startup, PROTOCOL_3_0, deadline)
        except LoginRefused as refused:
            raise await said_no(admission, refused.fields, pass_errors=pass_errors) from None
        except LoginFailed as failed:
            raise await admission.login_refused(str(failed)) from None
        except (PeerFault, StreamClosed, TimedOut) as fault:
            raise unavailable(admission, str(fault)) from None

    async def _attempt(
        self, admission: Admission, startup: UpstreamStartup, version: int, deadline: Deadline
    ) -> tuple[Stream, LoginFacts]:
        upstream = await admission.connect()
        try:
            return upstream, await self._converse(upstream, admission, startup, version, deadline)
        except BaseException:
            upstream.abort()
            raise

    async def _converse(
        self, upstream: Stream, admission: Admission, startup: UpstreamStartup, version: int, deadline: Deadline
    ) -> LoginFacts:
        await encrypt(upstream, admission, deadline)
        chain = upstream.tls.peer_chain if upstream.tls else ()
        secret = admission.login.secret
        login = UpstreamLogin(
            startup,
            secret,
            version=version,
            certificate=chain[0] if chain else None,
            encrypted=upstream.tls is not None,
            local=upstream.peer.loopback,
        )
        derived: tuple[scram.Challenge, scram.ScramKeys] | None = None
        await upstream.send(login.begin())
        while not login.done:
            data = await upstream.receive(deadline.left)
            if not data:
                raise StreamClosed("the legacy server closed the connection during login")
            reply = login.receive(data)
            if login.challenge is not None:
                challenge = login.challenge
                keys = await self._derive(secret, challenge)
                derived = (challenge, keys)
                reply += login.answer(keys)
            if reply:
                await upstream.send(reply)
        if derived is not None:
            self.keys.put(secret.reveal(), *derived)
        upstream.unread(login.rest)
        assert login.facts is not None
        return login.facts

    async def _derive(self, secret: Secret, challenge: scram.Challenge) -> scram.ScramKeys:
        password = secret.reveal()
        keys = self.keys.get(password, challenge)
        if keys is not None:
            return keys
        if self.deferring is None or challenge.iterations <= QUICK_ITERATIONS:
            return scram.in_thread_derive(password, challenge.salt, challenge.iterations)
        derived: scram.ScramKeys = await self.deferring(
            scram.in_thread_derive, password, challenge.salt, challenge.iterations
        )
        return derived


async def encrypt(upstream: Stream, admission: Admission, deadline: Deadline) -> None:
    """SSLRequest, as the system's TLS mode says. A Unix socket is never encrypted, as with libpq."""
    settings = admission.upstream_tls
    if settings is None or upstream.peer.host.startswith("/"):
        return
    await upstream.send(codec.request_code(SSL_REQUEST))
    reply = await upstream.receive(deadline.left)
    if reply == b"S":
        await upstream.start_tls(settings, timeout=deadline.left)
        return
    if reply[:1] == b"S":
        raise PeerFault("the legacy server sent plaintext behind its consent to TLS")  # CVE-2021-23222
    if reply != b"N":
        raise PeerFault("the legacy server did not understand the request for TLS")
    if not admission.upstream_tls_optional:
        raise PeerFault("the legacy server has no TLS, but the system demands it")


def unavailable(admission: Admission, cause: str, *, sqlstate: str = "08001") -> Refused:
    """The agent hears that the system is unavailable; ``cause`` is for the log."""
    text = WORDS.get(sqlstate, "legacy system unavailable")
    return Spoken(Reason.UPSTREAM_UNAVAILABLE, sqlstate, text, detail=cause).referenced(admission.session)


async def said_no(admission: Admission, fields: ErrorFields, *, pass_errors: bool) -> Refused:
    """What an ErrorResponse at login means: class 28 is the static account's trouble, the rest may be the client's."""
    cause = f"{fields.severity} {fields.code}: {fields.message}"
    if fields.code.startswith("28"):
        return await admission.login_refused(cause)
    # the account's name is not the agent's business, so words that hold it are not passed on
    speakable = pass_errors and fields.message and admission.login.user.lower() not in fields.message.lower()
    if speakable and fields.code in CLIENT_CAUSED.union(POOL_WORDS):
        spoken = Spoken(Reason.UPSTREAM_UNAVAILABLE, fields.code, fields.message[:500], detail=cause)
        return spoken.referenced(admission.session)
    if fields.code in POOL_WORDS:
        return unavailable(admission, cause, sqlstate=fields.code)
    return unavailable(admission, cause)


# -- cancel -----------------------------------------------------------------------------------------------------------


async def forward_cancel(slot: CancelSlot, clock: Callable[[], float], *, parting: bool = False) -> bool:
    """Sends the legacy server's own key on a new connection, if the query is still the same. True when it was sent.

    ``parting``: the session has been cut. What runs for it must stop, whatever the log and the client do meanwhile, and
    no query can follow that it could hit; the session's end is what the log says about it.
    """
    if slot.in_flight or not (slot.busy or parting):
        return False
    slot.in_flight = True
    try:
        query = slot.query
        if parting:
            return await _cancel_at_the_end(slot, clock)
        permit = await slot.admission.permit(Operation("sql.cancel", Action.READ, details={"backend_pid": slot.pid}))
        result, detail = Result.UNKNOWN, ""
        try:
            sent = await _send_cancel(slot, query, Deadline(CANCEL_TIMEOUT, clock))
            result = Result.SUCCESS if sent else Result.ABORTED
            return sent
        except (Refused, PeerFault, StreamClosed, TimedOut) as fault:
            result, detail = Result.FAILURE, str(fault)
            return False
        finally:
            slot.admission.outcome(permit, Outcome(result, detail=detail))
    finally:
        slot.in_flight = False


async def _cancel_at_the_end(slot: CancelSlot, clock: Callable[[], float]) -> bool:
    try:
        return await _send_cancel(slot, None, Deadline(CANCEL_TIMEOUT, clock))
    except (Refused, PeerFault, StreamClosed, TimedOut):
        return False  # the connection is dropped next, and the server notices when it answers


async def _send_cancel(slot: CancelSlot, query: int | None, deadline: Deadline) -> bool:
    side = await slot.admission.connect()
    try:
        if slot.encrypted:
            await encrypt(side, slot.admission, deadline)
            if side.tls is None:
                raise PeerFault("the legacy server has TLS for the session, but not for its cancel")
        if query is not None and not (slot.busy and slot.query == query):  # it ended while we dialled (pgbouncer#717)
            return False
        await side.send(codec.request_code(CANCEL_REQUEST, slot.pid.to_bytes(4, "big") + slot.backend_key))
        while await side.receive(deadline.left):
            pass
        return True
    finally:
        await side.close()
