"""The story of one MySQL connection.

Greeting, TLS, wish, token, ``admit``, login upstream, ``established``; only then does the client hear yes. What the
client must hear instead is said by ``_told``, in one place, and raised on.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from adapters.mysql import codec, observing, rotating
from adapters.mysql.carriers import new_nonce
from adapters.mysql.codec import HandshakeResponse
from adapters.mysql.greeting import Conversation, Opening, ahead, ask_token, greet
from adapters.mysql.login import LoginFacts, Wanted, stamped
from adapters.mysql.operations import ONE, STATEMENTS
from adapters.mysql.options import Options as MySQLOptions
from adapters.mysql.phases import LivePhases, Phases
from adapters.mysql.probe import Probe, passed_through
from adapters.mysql.refusals import Spoken, error_payload
from adapters.mysql.upstream import UpstreamLogins
from bridge.adapter import (
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

DEFAULT_ACCOUNT = "agent"
"""The user name that means: my default account."""

MAX_NAME = 128
"""Characters of a user or database name; MySQL's own limits are 32 (MariaDB 128) and 64."""


class MySQLAdapter:
    """One instance per system. ``clock`` is monotonic seconds."""

    name: ClassVar[str] = "mysql"
    default_port: ClassVar[int] = 3306
    Options: ClassVar[type[Any]] = MySQLOptions
    targets: ClassVar[frozenset[str]] = frozenset({"database", STATEMENTS})
    operation_targets: ClassVar[frozenset[str]] = frozenset()
    encrypts: ClassVar[bool] = False

    def __init__(self, clock: Callable[[], float] = time.monotonic, phases: Phases | None = None) -> None:
        self._clock = clock
        self._probe = Probe()
        self._logins = UpstreamLogins(self._probe)
        self._phases: Phases = phases or LivePhases(clock)

    def start(self, deferring: Callable[..., Awaitable[Any]]) -> None:
        self._logins.deferring = deferring
        self._phases.start(deferring)

    def stop(self) -> None:
        self._phases.stop()

    async def serve(self, client: Stream, door: Door) -> None:
        connection_id = self._phases.next_id()
        opening = await self._greet(client, door.system, connection_id)
        try:
            wish, credential, early = await self._introduce(client, door, opening)
            admission = await door.admit(credential, wish)
            upstream, facts = await self._open_upstream(admission, door.system, opening.response, wish)
            facts = facts.of_client(connection_id, early)
        except Refused as refused:
            await _told(opening.conversation, refused)
            raise
        await client.send(opening.conversation.packed(codec.ok(status=facts.status)))
        await self._phases.relay(client, upstream, admission, system=door.system, login=facts)

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

    async def _greet(self, client: Stream, system: SystemFacts, connection_id: int) -> Opening:
        greeting = self._probe.greeting(
            system.options, connection_id=connection_id, nonce=new_nonce(), encrypts=system.tls is not None
        )
        return await greet(client, greeting, system.tls, Deadline(system.hello_timeout, self._clock))

    async def _introduce(
        self, client: Stream, door: Door, opening: Opening
    ) -> tuple[AdmissionRequest, Credential, bytes]:
        """What the client wants and what it proves itself with. Raises Refused, already recorded by the door."""
        try:
            if client.tls is None and not door.plaintext_allowed(client):
                raise await door.turn_away(Reason.PLAINTEXT)
            wish = _request(opening.response, door.system.options)
            credential = await self._credential(client, door.system, opening)
            return wish, credential, ahead(opening)
        except Spoken as spoken:
            recorded = await door.turn_away(spoken.reason, detail=spoken.text)
            raise spoken.referenced(recorded.reference) from None
        except PeerFault as fault:
            recorded = await door.turn_away(Reason.PROTOCOL, detail=str(fault))
            raise Spoken(Reason.PROTOCOL, 1043, "08S01", str(fault)).referenced(recorded.reference) from None
        except TimedOut as late:
            recorded = await door.turn_away(Reason.CREDENTIAL_MISSING, detail=str(late))
            slow = Spoken(Reason.CREDENTIAL_MISSING, 1159, "08S01", "login took too long")
            raise slow.referenced(recorded.reference) from None

    async def _credential(self, client: Stream, system: SystemFacts, opening: Opening) -> Credential:
        token = await ask_token(opening, Deadline(system.auth_timeout, self._clock))
        if token:
            return BearerToken(token)
        if client.tls is not None and client.tls.peer_chain:
            return ClientCertificate(client.tls.peer_chain)
        raise Spoken(Reason.CREDENTIAL_MISSING, 1045, "28000", "no token was given as the password")

    # -- the agent is known

    async def _open_upstream(
        self, admission: Admission, system: SystemFacts, response: HandshakeResponse, wish: AdmissionRequest
    ) -> tuple[Stream, LoginFacts]:
        options: MySQLOptions = system.options
        wanted = Wanted(
            user=admission.login.user,
            capabilities=response.capabilities & passed_through(options),
            database=str(wish.target["database"]).encode(),
            collation=response.collation,
            attributes=stamped(admission.stamp, admission.agent.id if options.stamp_agent else "", response.attributes),
            later=self._phases.after_login(admission.actions),
        )
        upstream, facts = await self._logins.log_in(
            admission,
            wanted,
            timeout=system.upstream_timeout,
            pass_errors=options.pass_upstream_errors,
            take_key=options.ask_public_key,
            clock=self._clock,
        )
        await admission.established({"backend": facts.thread_id, "server_version": facts.server_version})
        return upstream, facts


def _request(response: HandshakeResponse, options: MySQLOptions) -> AdmissionRequest:
    """Raises Spoken for names that nothing can have."""
    user, database = _name(response.user, "user"), _name(response.database, "database")
    if not user:
        raise Spoken(Reason.CREDENTIAL_MISSING, 1045, "28000", "no user name: give an account, or agent for your own")
    program = dict(response.attributes).get(b"program_name") or dict(response.attributes).get(b"_client_name", b"")
    return AdmissionRequest(
        None if user == DEFAULT_ACCOUNT else user,
        {"database": database or options.default_database or "", STATEMENTS: ONE},
        program.decode("utf-8", "replace")[:MAX_NAME],
    )


def _name(value: bytes, what: str) -> str:
    """Read as UTF-8 whatever the collation: another character set would make two spellings of one name."""
    try:
        name = value.decode()
    except UnicodeDecodeError:
        name = "\0"
    if len(name) > MAX_NAME or not (name.isprintable() or not name):
        raise Spoken(Reason.PROTOCOL, 1043, "08S01", f"the {what} name is no printable UTF-8 of a sane length")
    return name


async def _told(conversation: Conversation, refused: Refused) -> None:
    """Says it; the peer may be gone, which changes nothing."""
    try:
        await conversation.send(error_payload(refused))
    except StreamClosed:
        return


ADAPTER = MySQLAdapter
