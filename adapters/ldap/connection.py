"""One agent's connection: the sessions that follow each other on it, one Bind after the other (RFC 4513 section 4)."""

from __future__ import annotations

from collections.abc import Callable

from adapters.ldap import answers, controls, protected, rootdse
from adapters.ldap.binding import Gate
from adapters.ldap.codes import Code
from adapters.ldap.deciding import Deciding, Limits
from adapters.ldap.framing import LIMIT_AFTER_BIND, Framer, Message
from adapters.ldap.knowledge import Knowledge, Learning
from adapters.ldap.login import EXPIRED, Prove, agrees, mechanisms
from adapters.ldap.names import Name
from adapters.ldap.operations import Describing
from adapters.ldap.options import Options
from adapters.ldap.protected import Protected
from adapters.ldap.referrals import Referrals
from adapters.ldap.refusals import Spoken
from adapters.ldap.relaying import Expired, Interrupted, Left, Session
from adapters.ldap.results import Results
from adapters.ldap.sieve import Sight
from adapters.ldap.stalls import Stalls
from adapters.ldap.understanding import Served, Understanding
from adapters.ldap.upstream import Directory, log_in, unavailable
from bridge.adapter import (
    Action,
    Admission,
    AdmissionRequest,
    Deadline,
    Door,
    PeerFault,
    Reason,
    Refused,
    Stream,
    StreamClosed,
    TimedOut,
)

ANONYMOUS_TIMEOUT = 300.0
"""Seconds that a connection may stay unbound after a session: pools bind anonymously between two uses
(keycloak#50201)."""

DEFAULT_NAME = "agent"
"""A name that says nothing, for clients that insist on one; the other protocols' word for "my default account"."""

_STAYS = frozenset(
    {
        Reason.CREDENTIAL_MISSING,
        Reason.CREDENTIAL_INVALID,
        Reason.CREDENTIAL_EXPIRED,
        Reason.CREDENTIAL_REVOKED,
        Reason.AGENT_INACTIVE,
        Reason.NOT_GRANTED,
        Reason.PLAINTEXT,
        Reason.QUOTA,
    }
)
"""Refusals of a Bind, after which another may follow; behind any other the connection ends."""


class Connection:
    """``serve`` is its whole life. A session whose agent is unbound for now is kept: the same Bind takes it up."""

    def __init__(
        self, client: Stream, door: Door, learning: Learning, stalls: Stalls, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._door = door
        self._options: Options = door.system.options
        self._learning = learning
        self._stalls = stalls
        self._clock = clock
        self._framer = Framer()
        self._gate = Gate(
            client, door, self._framer, self._served, self._forget,
            certificate_alone=self._options.certificate_alone, clock=clock,
        )  # fmt: skip
        self._session: Session | None = None
        self._proof: Prove | None = None  # what the session was opened by

    async def serve(self) -> None:
        try:
            await self._gate.open()
            await self._sessions()
        except (PeerFault, TimedOut) as fault:
            await self._goodbye(fault)
            raise
        finally:
            if self._session is not None:
                self._session.settle()

    async def _sessions(self) -> None:
        pending: Message | None = None
        seconds = self._door.system.auth_timeout
        while (found := await self._gate.proof(pending, seconds)) is not None:
            session = await self._bound(*found)
            if session is None:
                pending = None
                continue
            seconds = ANONYMOUS_TIMEOUT
            try:
                await session.run()
                return
            except Left:
                await session.part()
                return
            except Expired:
                await self._forget("expired")
                self._gate.unbound, pending, seconds = EXPIRED, None, float(self._options.expired_grace)
                continue
            except Interrupted as interrupted:
                pending = interrupted.message
            if session.busy:
                await self._forget("abandoned by a new Bind")

    async def _bound(self, message: Message, proof: Prove) -> Session | None:
        """None: the Bind is refused and answered, another may follow. Raises Refused when none may."""
        if self._session is None or proof != self._proof or not await self._session.alive():
            await self._forget("the agent binds anew")
            try:
                self._session = await self._opened(proof)
            except Refused as refused:
                await self._gate.refuse(message, self._gate.login.failed(proof, refused))
                if refused.reason not in _STAYS:
                    raise
                return None
            self._proof = proof
        await self._gate.accept(message)
        self._framer.limit = LIMIT_AFTER_BIND
        return self._session

    async def _forget(self, detail: str) -> None:
        """Ends the session, if there is one; the connection goes on."""
        session, self._session, self._proof = self._session, None, None
        if session is not None:
            await session.close(detail)

    async def _goodbye(self, fault: PeerFault | TimedOut) -> None:
        if self._session is not None and self._session.ended:
            return  # and the agent was told
        expired = self._gate.unbound is EXPIRED
        late = Code.STRONGER_AUTH if expired else Code.UNAVAILABLE
        code = Code.PROTOCOL_ERROR if isinstance(fault, PeerFault) else late
        try:
            await self._client.send(answers.notice_of_disconnection(code, str(fault)))
        except StreamClosed:
            return

    # -- a new session ------------------------------------------------------------------------------------------------

    async def _opened(self, proof: Prove) -> Session:
        """Admits, logs in upstream. Raises Refused, already recorded."""
        also = await self._door.verify(proof.also) if proof.also is not None else None
        admission = await self._door.admit(proof.credential, AdmissionRequest(proof.account))
        if also is not None and also.id != admission.agent.id:
            raise await self._disagreed(admission, f"the certificate is that of {also.id}")
        if not self._agrees(proof.name, admission):
            raise await self._disagreed(admission, "the name in the Bind is not the agent's")
        self._stalls.relieve(self._options.max_stalled)
        stamp = self._stamp(admission)
        directory = await log_in(admission, self._door.system, stamp, self._clock)
        known, static = await self._known(directory, admission)
        await admission.established(_facts(directory))
        return self._session_of(admission, directory, known, static, stamp)

    async def _disagreed(self, admission: Admission, detail: str) -> Refused:
        await admission.end(detail)
        return await self._door.turn_away(Reason.CREDENTIAL_INVALID, detail=detail)

    def _agrees(self, name: str, admission: Admission) -> bool:
        """The static account's name is taken too: clients that are moved to the bridge keep it in their settings."""
        others = (DEFAULT_NAME, admission.account, admission.login.user, *self._options.bind_names)
        if agrees(name, admission.agent, others):
            return True
        names = self._learning.known.names
        try:
            return names.read(name.encode()) == names.read(admission.login.user.encode())
        except Spoken:
            return False

    def _stamp(self, admission: Admission) -> bytes:
        if not self._options.stamp:
            return b""
        agent = admission.agent.id if self._options.stamp_agent else admission.stamp
        return controls.session_tracking(self._client.peer.host, admission.stamp, agent)

    async def _known(self, directory: Directory, admission: Admission) -> tuple[Knowledge, Name | None]:
        deadline = Deadline(self._door.system.upstream_timeout, self._clock, "the directory did not show its schema")
        try:
            known = await self._learning.of(directory, deadline)
            return known, await self._learning.entry_of(directory, admission.login.user, deadline)
        except (PeerFault, StreamClosed, TimedOut) as fault:
            raise unavailable(admission, str(fault)) from None

    def _session_of(
        self, admission: Admission, directory: Directory, known: Knowledge, static: Name | None, stamp: bytes
    ) -> Session:
        options, system = self._options, self._door.system
        secrets = frozenset(known.schema.canonical(one.encode()) for one in options.secrets)
        guard = Protected(static, known.schema, (admission.agent.id, admission.agent.name))
        referrals = Referrals(options.url, (system.host, *options.managed_hosts))
        results = Results(
            directory.framer,
            admission.outcome,
            referrals,
            known.secrets,
            alarm=admission.alarm,
            pass_references=options.pass_references,
            stamp=stamp,
            clock=self._clock,
        )
        describing = Describing(
            system.statements, known.schema, known.names, secrets=secrets, open_names=known.open_names,
            special_names=options.special_names,
        )  # fmt: skip
        sight = Sight(admission, known, guard, secrets, self._served(_shown(admission, known)))
        served = Served(frozenset(options.controls), frozenset(options.extensions))
        understanding = Understanding(describing, guard, served)
        limits = Limits(options.max_entries, options.max_seconds, options.max_outstanding)
        deciding = Deciding(admission, understanding, sight, results, limits, stamp)
        who = f"u:{admission.agent.id}"
        return Session(
            self._client, directory.stream, admission, self._framer, deciding, results, who=who,
            outlives_expiry=options.expired_grace > 0, stalls=self._stalls, max_stalled=options.max_stalled,
            answer_timeout=options.answer_timeout,
        )  # fmt: skip

    def _served(self, shown: Callable[[bytes], bool] = lambda context: True) -> rootdse.Served:
        client, options = self._client, self._options
        chain = client.tls is not None and bool(client.tls.peer_chain)
        return rootdse.Served(
            mechanisms(private=self._door.plaintext_allowed(client), certificate=chain),
            protected.ALLOWED_EXTENSIONS | frozenset(options.extensions),
            (controls.SERVED | frozenset(options.controls)) - controls.NEVER,
            client.tls is None and self._door.system.tls is not None,
            shown,
            options.keep_hosts,
        )


def _facts(directory: Directory) -> dict[str, str | int]:
    tls = directory.stream.tls
    facts: dict[str, str | int] = {"tls": tls.version if tls is not None else "none"}
    if directory.password.seconds_left >= 0:
        facts["password_expires_in"] = directory.password.seconds_left
    if directory.password.graces_left >= 0:
        facts["password_graces_left"] = directory.password.graces_left
    return facts


def _shown(admission: Admission, known: Knowledge) -> Callable[[bytes], bool]:
    """Whether a naming context may be seen; one that cannot be read is not."""

    def shown(context: bytes) -> bool:
        try:
            return admission.may(Action.READ, {"base": known.names.read(context).target})
        except Spoken:
            return False

    return shown
