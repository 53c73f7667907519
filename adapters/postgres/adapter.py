"""The story of one PostgreSQL connection.

Greeting, wish, password, ``admit``, login upstream, ``established``; only then does the client hear yes. What the
client must hear instead is said by ``_told``, in one place, and raised on.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from adapters.postgres import codec, observing, rotating
from adapters.postgres.cancel import KEY_SIZE_3_0, KEY_SIZE_3_2, Cancels, CancelSlot
from adapters.postgres.greeting import MAX_TOKEN, ServerTLS, ask_password, greet
from adapters.postgres.login import LoginFacts
from adapters.postgres.options import Options as PostgresOptions
from adapters.postgres.phases import LivePhases, Phases
from adapters.postgres.refusals import Spoken, error_message
from adapters.postgres.startup import (
    PROTOCOL_3_2,
    CancelRequest,
    StartupMessage,
    UpstreamStartup,
    Wish,
    negotiated,
    read_wish,
    stamped_name,
    upstream_startup,
)
from adapters.postgres.statements import ADMIN_SETTINGS
from adapters.postgres.upstream import UpstreamLogins, forward_cancel
from bridge.adapter import (
    Action,
    Admission,
    AdmissionRequest,
    BearerToken,
    Check,
    ClientCertificate,
    Credential,
    Deadline,
    Door,
    LegacySession,
    PeerFault,
    Reason,
    Refused,
    Secret,
    Stream,
    StreamClosed,
    SystemFacts,
    TimedOut,
)


class PostgresAdapter:
    """One instance per system. ``clock`` is monotonic seconds."""

    name: ClassVar[str] = "postgres"
    default_port: ClassVar[int] = 5432
    Options: ClassVar[type[Any]] = PostgresOptions
    targets: ClassVar[frozenset[str]] = frozenset({"database"})
    operation_targets: ClassVar[frozenset[str]] = frozenset()
    encrypts: ClassVar[bool] = False

    def __init__(self, clock: Callable[[], float] = time.monotonic, phases: Phases | None = None) -> None:
        self._clock = clock
        self._cancels = Cancels(clock)
        self._logins = UpstreamLogins()
        self._tls: ServerTLS | None = None
        self._phases: Phases = phases or LivePhases()

    def start(self, deferring: Callable[..., Awaitable[Any]]) -> None:
        self._logins.deferring = deferring
        self._phases.start(deferring)

    def stop(self) -> None:
        self._phases.stop()

    async def serve(self, client: Stream, door: Door) -> None:
        hello = Deadline(door.system.hello_timeout, self._clock)
        opening = await greet(client, self._server_tls(door.system), hello)
        if isinstance(opening, CancelRequest):
            await self._cancel(client, opening)
            return
        try:
            version, wish, credential, ahead = await self._introduce(client, door, opening)
            admission = await door.admit(credential, _request(wish))
            _check_replication(wish, admission, door.system.options)
            _check_settings(wish, admission)
            upstream, facts, slot = await self._open_upstream(client, door.system, admission, wish, version, ahead)
        except Refused as refused:
            await _told(client, refused)
            raise
        try:
            await client.send(_welcome(facts, slot))
            await self._phases.relay(client, upstream, admission, system=door.system, login=facts, cancel_slot=slot)
        finally:
            self._cancels.close(slot)

    async def examine(
        self, admission: Admission, system: SystemFacts, targets: Mapping[str, frozenset[str]]
    ) -> list[Check]:
        """Logs in as the static account and lets ``doctor`` look around."""
        return await self._phases.examine(admission, self._logins, system, targets)

    async def rotate(self, admission: Admission, system: SystemFacts, new: Secret) -> None:
        await rotating.rotate(admission, self._logins, system, new)

    async def log_in(self, admission: Admission, system: SystemFacts) -> None:
        await rotating.log_in(admission, self._logins, system)

    async def observe(self, admission: Admission, system: SystemFacts) -> list[LegacySession]:
        return await observing.observe(admission, self._logins, system)

    # -- before the agent is known

    async def _introduce(
        self, client: Stream, door: Door, message: StartupMessage
    ) -> tuple[int, Wish, Credential, bytes]:
        """What the client wants and what it proves itself with. Raises Refused, already recorded by the door."""
        options: PostgresOptions = door.system.options
        try:
            if client.tls is None and not door.plaintext_allowed(client):
                raise await door.turn_away(Reason.PLAINTEXT)
            version, tell = negotiated(message)
            wish = read_wish(message, default_database=options.default_database)
            if wish.replication and not options.replication:
                raise Spoken(Reason.UNSUPPORTED, "28000", "replication connections are not allowed on this system")
            greeting = codec.negotiate_protocol_version(version, message.options) if tell else b""
            credential, ahead = await self._credential(client, door, greeting)
        except Spoken as spoken:
            recorded = await door.turn_away(spoken.reason, detail=spoken.text)
            raise spoken.referenced(recorded.reference) from None
        except PeerFault as fault:
            recorded = await door.turn_away(Reason.PROTOCOL, detail=str(fault))
            raise Spoken(Reason.PROTOCOL, "08P01", str(fault)).referenced(recorded.reference) from None
        except TimedOut as late:
            recorded = await door.turn_away(Reason.CREDENTIAL_MISSING, detail=str(late))
            slow = Spoken(Reason.CREDENTIAL_MISSING, "08006", "login took too long")
            raise slow.referenced(recorded.reference) from None
        return version, wish, credential, ahead

    async def _credential(self, client: Stream, door: Door, greeting: bytes) -> tuple[Credential, bytes]:
        password = await ask_password(client, Deadline(door.system.auth_timeout, self._clock), greeting=greeting)
        if password.too_long:
            raise Spoken(
                Reason.CREDENTIAL_INVALID, "28P01", f"the token is longer than {MAX_TOKEN // 1024} KiB, the limit"
            )
        if password.token:
            return BearerToken(password.token), password.ahead
        if client.tls is not None and client.tls.peer_chain:
            return ClientCertificate(client.tls.peer_chain), password.ahead
        raise Spoken(Reason.CREDENTIAL_MISSING, "28P01", "no token was given as the password")

    # -- the agent is known

    async def _open_upstream(
        self, client: Stream, system: SystemFacts, admission: Admission, wish: Wish, version: int, ahead: bytes
    ) -> tuple[Stream, LoginFacts, CancelSlot]:
        options: PostgresOptions = system.options
        upstream, facts = await self._logins.log_in(
            admission,
            self._startup(admission, wish, options),
            protocol=options.protocol,
            timeout=system.upstream_timeout,
            pass_errors=options.pass_upstream_errors,
            clock=self._clock,
        )
        facts = facts.with_leftover(ahead)
        key_size = KEY_SIZE_3_2 if version >= PROTOCOL_3_2 else KEY_SIZE_3_0
        await admission.established({"backend": facts.backend_pid, "server_version": facts.server_version})
        slot = self._cancels.open(
            admission,
            pid=facts.backend_pid,
            backend_key=facts.backend_key,
            encrypted=upstream.tls is not None,
            key_size=key_size,
        )
        return upstream, facts, slot

    def _startup(self, admission: Admission, wish: Wish, options: PostgresOptions) -> UpstreamStartup:
        agent = admission.agent.id if options.stamp_agent else ""
        try:
            return upstream_startup(
                wish,
                user=admission.login.user,
                application_name=stamped_name(admission.stamp, agent, wish.application_name),
                pinned=self._phases.startup_parameters(admission.actions),
                in_packet=options.upstream_startup_options,
            )
        except PeerFault as fault:
            raise Spoken(Reason.PROTOCOL, "08P01", str(fault)).referenced(admission.session) from None

    async def _cancel(self, client: Stream, request: CancelRequest) -> None:
        """Answers no byte, whatever happens; the core closes. What the client sends behind it is not read."""
        slot = self._cancels.find(request.pid, request.key, client.peer.host)
        if slot is not None:
            try:
                await forward_cancel(slot, self._clock)
            except Refused:
                return  # the door has recorded it; a cancel is never answered

    def _server_tls(self, system: SystemFacts) -> ServerTLS | None:
        if system.tls is None:
            return None
        if self._tls is None or self._tls.settings is not system.tls:
            self._tls = ServerTLS(system.tls)
        return self._tls


def _request(wish: Wish) -> AdmissionRequest:
    return AdmissionRequest(wish.account, {"database": wish.database}, wish.application_name)


def _check_replication(wish: Wish, admission: Admission, options: PostgresOptions) -> None:
    if wish.replication and Action.ADMIN not in admission.actions:
        spoken = Spoken(Reason.NOT_GRANTED, "28000", "replication needs a grant with the action admin")
        raise spoken.referenced(admission.session)


def _check_settings(wish: Wish, admission: Admission) -> None:
    """What only ``admin`` may SET cannot be set in the startup packet either."""
    named = next(filter(ADMIN_SETTINGS.fullmatch, wish.settings), "")
    if named and Action.ADMIN not in admission.actions:
        spoken = Spoken(Reason.NOT_GRANTED, "42501", f'"{named}" needs a grant with the action admin')
        raise spoken.referenced(admission.session)


async def _told(client: Stream, refused: Refused) -> None:
    """Says it; the peer may be gone, which changes nothing."""
    try:
        await client.send(error_message(refused))
    except StreamClosed:
        return


def _welcome(facts: LoginFacts, slot: CancelSlot) -> bytes:
    """AuthenticationOk to ReadyForQuery. No BackendKeyData when the legacy server gave none (Teleport#68711)."""
    parts = [codec.authentication_ok()]
    parts += [codec.parameter_status(name, value) for name, value in facts.parameters.items()]
    parts += facts.notices
    if facts.backend_key:
        parts.append(codec.backend_key_data(slot.pid, slot.key))
    parts.append(codec.ready_for_query(facts.transaction_status))
    return b"".join(parts)


ADAPTER = PostgresAdapter
