"""One live session: what an adapter holds after the door, its operations, and its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from bridge.adapter import (
    Action,
    AdmissionRequest,
    AgentFacts,
    BridgeError,
    Login,
    Operation,
    Outcome,
    Permit,
    Reason,
    Recording,
    Refused,
    Stream,
    Target,
    TLSSettings,
)
from bridge.admission import records
from bridge.admission.identifiers import new_id
from bridge.admission.subjects import subject
from bridge.admission.system import CUT_GRACE, Core, System, host_of
from bridge.admission.texts import TEXTS, askable
from bridge.identity.agents import Agent, Directory
from bridge.identity.issuer import emergency_of
from bridge.identity.verifier import VerifiedCredential
from bridge.policy import Decision, Effect, Exceeded, Meter, Mode, Policy, Request
from bridge.policy.access_request import rests_on_temporary
from bridge.translation import facts
from bridge.translation.log import LogUnavailable
from bridge.translation.operations import OpenOperation
from bridge.translation.recordings import NotRecorded, OpenRecording, RecordingError, Summary
from bridge.translation.vocabulary import (
    ABORTED,
    FAILURE,
    OK,
    SESSION_ENDED,
    SUCCESS,
    UNKNOWN,
    UPSTREAM_ERROR,
    WOULD_DENY,
)

BACKEND_FACT = "backend"
"""The fact of ``established`` that holds the legacy side's own number for our connection (process, thread id)."""

REMEMBERED_ACTIONS = 128
"""Action sections kept per session: programs repeat few statements, and each is composed only once."""

BUSY_LOG = 5_000
"""Events that wait for the disk, a quarter of what the log takes: from here on reads wait for theirs to be durable, so
that who asks much is slowed down before the log is full and refuses everybody."""


class Permitted(OpenOperation):
    """Implements ``Permit``: the operation as the log holds it, until its outcome is known."""

    __slots__ = ("warning", "would_deny")
    warning: str
    would_deny: bool


class _Known(NamedTuple):
    """What was found out about an operation; good from ``since`` to ``until`` (excluded), in Unix seconds."""

    operation: Operation
    section: str
    decision: Decision
    since: float
    until: float
    kind: str
    trial: str
    """The decision as the log has it, where it would have been another one."""
    is_quick: bool
    """Permitted, and its event may become durable later."""


class Session:
    """Implements ``bridge.adapter.Admission``. All in the reactor's thread."""

    log = Logger()

    def __init__(
        self,
        core: Core,
        system: System,
        client: Stream,
        request: AdmissionRequest,
        agent: Agent,
        credential: VerifiedCredential,
        decision: Decision,
        asked: Request,
    ) -> None:
        session = self.session = new_id("ses_")
        self.agent = AgentFacts(agent.id, agent.name, agent.owner.id)
        self.account = decision.account
        self.actions = decision.actions
        self.credential = credential
        self.emergency = emergency_of(credential)  # the break-glass that it belongs to
        self.system = system
        self.source = client.peer
        self.opened_at = core.now()
        self.last_used = self.opened_at
        self.operations: Counter[str] = Counter()
        self.request = request
        self.upstream_facts: dict[str, str | int] = {}
        self.ending: Refused | None = None
        self.meter: Meter | None = None  # of the quotas and prices that apply to it
        self._core = core
        self._circuit = system.circuit(decision.account, host_of(request))
        self._client = client
        self._asked = asked
        self._log = core.log.session(
            records.session_facts(core, system, client, request, agent, credential, decision, session)
        )
        self._warning = _warning(decision)
        self._policy: Policy = core.policy
        self._directory: Directory = core.directory
        self._standing = core.policy.standing(asked, self.account)
        self._temporary = not self.emergency and rests_on_temporary(decision)
        self._composed: dict[tuple[Any, ...], str] = {}
        self._known: dict[int, _Known] = {}
        self._open: set[OpenOperation] = set()
        self._recordings: list[OpenRecording] = []
        self._login: Login | None = None
        self._upstreams: list[Stream] = []
        self._connected_at = 0.0
        self.dialled_at = 0.0
        self._hear: Callable[[Refused], Awaitable[None]] | None = None
        self._look: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._looking: Deferred[None] | None = None
        self._goodbye: Deferred[None] | None = None
        self._late: Any = None
        self._parting = False
        self._outlives_expiry = False
        self._closed = False

    # -- what the adapter sees

    @property
    def stamp(self) -> str:
        return f"ib:{self.session}"

    @property
    def login(self) -> Login:
        if self._login is None:
            raise RuntimeError("no login before the open record")
        return self._login

    @property
    def upstream_tls(self) -> TLSSettings | None:
        return self.system.upstream_tls

    @property
    def upstream_tls_optional(self) -> bool:
        return self.system.upstream_tls_optional

    async def open(self) -> None:
        """Commits the open record. Raises LogUnavailable."""
        await self._log.opened()

    def hand_login(self, login: Login) -> None:
        self._login = login

    async def connect(self) -> Stream:
        parting = self._parting  # the goodbye may dial once more, to stop what still runs over there
        if self._login is None or (self.is_over() and not parting):
            raise self._over()
        started = self._core.clock.seconds()
        try:
            upstream = await self.system.dial(host_of(self.request))
        except BridgeError as failure:
            self._core.warn(
                "{system} cannot be reached: {cause}", system=self.system.name, cause=str(failure), session=self.session
            )
            raise self.refused(Reason.UPSTREAM_UNAVAILABLE, "upstream-unreachable", str(failure)) from None
        if parting:
            return upstream  # its user closes it, at the latest when the grace is over
        if self.is_over():  # while it was dialled
            upstream.abort()
            raise self._over()
        self._upstreams.append(upstream)
        self._connected_at = self._core.clock.seconds()
        self.dialled_at = self._core.now()
        self._core.tally.took("connect", self._connected_at - started)
        return upstream

    async def login_refused(self, cause: str) -> Refused:
        self._core.breaker.refused(self.system.name, self._circuit, self.login.secret, self._core.now())
        self._core.warn(
            "{system} refused the login of the static account {account}: {cause}",
            system=self.system.name,
            account=self.account,
            cause=cause,
            session=self.session,
        )
        self._raise_alarm("upstream-login-refused", cause)
        return self.refused(Reason.UPSTREAM_UNAVAILABLE, "upstream-login-refused", cause)

    async def established(self, facts: Mapping[str, str | int]) -> None:
        self._core.breaker.succeeded(self.system.name, self._circuit)
        self._core.tally.took("login", self._core.clock.seconds() - self._connected_at)
        upstream = self._upstreams[-1]  # an earlier one was a try with another version of the protocol
        self.upstream_facts = {**facts, "local": str(upstream.local)}
        backend = facts.get(BACKEND_FACT, 0)
        legacy = records.legacy(self.system, self.account, self.request, self.upstream_facts)
        try:
            await self._log.established(
                legacy, backend=backend if isinstance(backend, int) else 0, client_port=upstream.local.port
            )
        except LogUnavailable as failure:
            raise self.refused(Reason.LOG_UNAVAILABLE, detail=str(failure)) from None
        if self.is_over():
            raise self._over()

    async def permit(self, operation: Operation) -> Permitted:
        if self.is_over():
            raise self._over()
        now = self.last_used = self._core.now()
        known = self._known_of(operation, now)
        kind = known.kind
        self._count(kind)
        if self.meter is not None and (reached := self.meter.operation(now)) is not None:
            raise self._deny_more(known.section, kind, reached, now)
        if not known.decision.allowed:
            raise self._deny(known.section, kind, known.decision)
        permitted = Permitted(self._log, known.section, kind, known.trial)
        try:
            if known.is_quick and self._core.log.pending() < BUSY_LOG:
                return self._permitted(self._log.begin(permitted), known)
            self._permitted(await self._log.begin_durably(permitted), known)
        except LogUnavailable as failure:
            raise self.refused(Reason.LOG_UNAVAILABLE, detail=str(failure)) from None
        if self.is_over():  # while it was being written: nothing may reach the legacy side
            refused = self._over()
            permitted.finish(ABORTED, refused.reason.value)
            self._open.discard(permitted)
            raise refused
        return permitted

    def permit_at_once(self, operation: Operation) -> Permitted | None:
        if self._closed or self.ending is not None:
            return None
        core = self._core
        now = core.now()
        known = self._known_of(operation, now)
        if not known.is_quick or core.log.pending() >= BUSY_LOG:
            return None
        if self.meter is not None and self.meter.operation(now) is not None:
            return None
        try:
            permitted = self._log.begin(Permitted(self._log, known.section, known.kind, known.trial))
        except LogUnavailable:
            return None
        self.last_used = now
        self._count(known.kind)
        return self._permitted(permitted, known)

    def _known_of(self, operation: Operation, now: float) -> _Known:
        core = self._core
        if core.policy is not self._policy or core.directory is not self._directory:
            self._follow()
        known = self._known.get(id(operation))
        if known is None or known.operation is not operation or not known.since <= now < known.until:
            known = self._understand(operation, now)
        return known

    def _count(self, kind: str) -> None:
        self.operations[kind] += 1
        self._core.tally.operations[self.system.facts.name, kind] += 1

    def _permitted(self, permitted: Permitted, known: _Known) -> Permitted:
        self._open.add(permitted)
        trial = permitted.would_deny = known.trial != ""
        permitted.warning = ""
        if trial or self._warning:
            permitted.warning, self._warning = self._warning or _warning(known.decision), ""
        return permitted

    def may(self, action: Action, target: Target, *, strictly: bool = False) -> bool:
        if self.is_over():
            return False
        decision = self._decide(action, target, self._core.now())
        return decision.would is Effect.ALLOW if strictly else decision.allowed

    @property
    def narrowing(self) -> frozenset[str]:
        core = self._core
        if core.policy is not self._policy or core.directory is not self._directory:
            self._follow()
        return self._standing.narrowing(core.now())

    def recording(self, name: str, *, required: bool) -> Recording:
        try:
            if self._core.recordings is None:
                raise RecordingError("no recordings are kept here")
            failed = partial(self._recording_failed, required)
            now = self._core.now()
            opened = self._core.recordings.open(self.session, name, now, failed=failed, finished=self._recorded)
        except RecordingError as error:
            if required:
                raise self.refused(Reason.INTERNAL, "recording", str(error)) from None
            self.alarm("recording", str(error))
            return NotRecorded()
        self._recordings.append(opened)
        return opened

    def _recording_failed(self, required: bool, cause: str) -> None:
        self.alarm("recording", cause)
        if required:
            self.cut(Reason.INTERNAL, f"the recording failed: {cause}")

    def _recorded(self, summary: Summary) -> None:
        self._log.recorded(summary.complete, facts.detail_section(**asdict(summary)))

    def _decide(self, action: Action, target: Target, now: float) -> Decision:
        core = self._core
        if core.policy is not self._policy or core.directory is not self._directory:
            self._follow()
        return self._standing.permit(action, self._asked_of(target), now).decision

    def _asked_of(self, target: Target) -> Target:
        return {**self.request.target, **target} if target else self.request.target

    def _understand(self, operation: Operation, now: float) -> _Known:
        """Adapters keep the operations that repeat: their decision and text are remembered by identity."""
        since, until, decision = self._standing.permit(operation.action, self._asked_of(operation.target), now)
        trial = records.decision_section(decision) if decision.would != decision.effect else ""
        kind = operation.action._value_  # a member of an enumeration is slow to ask for its value
        is_quick = operation.action is Action.READ and decision.allowed and not self.system.strict_audit
        known = _Known(operation, self._section(operation), decision, since, until, kind, trial, is_quick)
        if len(self._known) >= REMEMBERED_ACTIONS:
            self._known.clear()
        self._known[id(operation)] = known
        return known

    def outcome(self, permit: Permit, outcome: Outcome) -> None:
        assert isinstance(permit, Permitted)
        self.last_used = self._core.now()
        self._open.discard(permit)
        if self.meter is not None:
            self.meter.outcome(outcome.rows, outcome.bytes, self.last_used)
        result = outcome.result._value_
        reason = UPSTREAM_ERROR if result == FAILURE else WOULD_DENY if permit.would_deny else OK
        permit.finish(result, reason, code=outcome.code, rows=outcome.rows, bytes=outcome.bytes, detail=outcome.detail)

    def alarm(self, code: str, detail: str) -> None:
        self._core.warn("{code} in session {session}: {detail}", code=code, session=self.session, detail=detail)
        self._raise_alarm(code, detail)

    def on_cut(self, hear: Callable[[Refused], Awaitable[None]], *, outlives_expiry: bool = False) -> None:
        self._hear = hear
        self._outlives_expiry = outlives_expiry
        if self.ending is not None and self._goodbye is None:  # cut before the adapter could listen
            self._begin_goodbye(self.ending)

    def each_second(self, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._look = look

    async def end(self, detail: str = "") -> None:
        await self.close(OK, detail=detail)

    # -- what the core does

    def is_over(self) -> bool:
        """Cut or closed: nothing may be done for it any more."""
        return self._closed or self.ending is not None

    def _over(self) -> Refused:
        return self.ending or self.refused(Reason.SESSION_STOPPED)

    def refused(self, reason: Reason, code: str = "", detail: str = "", *, text: str = "", hint: str = "") -> Refused:
        """A refusal that belongs to this session; its reference is the session."""
        usual, usual_hint = TEXTS[reason]
        return Refused(reason, text or usual, reference=self.session, code=code, detail=detail, hint=hint or usual_hint)

    def cut(self, reason: Reason, detail: str = "") -> None:
        """Ends the session from outside: the agent hears it, then both connections are dropped.

        During admission and the legacy login nobody listens yet: the adapter hears it from its next step.
        """
        self._cut(self.refused(reason, detail=detail))

    def _cut(self, refused: Refused) -> None:
        if self._closed or self.ending is not None:
            return
        self.ending = refused
        self._late = self._core.clock.callLater(CUT_GRACE, self._grace_over)
        if self._hear is not None:
            self._begin_goodbye(self.ending)
        else:
            self._abort_upstreams()

    def _begin_goodbye(self, refused: Refused) -> None:
        self._goodbye = Deferred.fromCoroutine(self._say_goodbye(refused))
        self._goodbye.addBoth(self._drop)

    async def _say_goodbye(self, refused: Refused) -> None:
        if self._hear is not None:
            self._parting = True
            try:
                await self._hear(refused)
            finally:
                self._parting = False
        self._abort_upstreams()
        if not self._spares(refused):
            await self._client.close()

    def _spares(self, refused: Refused | None) -> bool:
        """Whether the client's connection stays open behind this end."""
        return self._outlives_expiry and refused is not None and refused.reason is Reason.SESSION_EXPIRED

    def _grace_over(self) -> None:
        if self._goodbye is not None:
            self._goodbye.cancel()
        else:
            self._drop(None)

    def _drop(self, result: object) -> None:
        self._disarm()
        self._abort_upstreams()
        if isinstance(result, Failure) or not self._spares(self.ending):
            self._client.abort()

    def _disarm(self) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()

    def _abort_upstreams(self) -> None:
        for upstream in self._upstreams:
            upstream.abort()

    def review(self, now: float) -> None:
        """Called every second: whether time has ended this session."""
        system = self.system
        if system.end_with_token and now >= self.credential.expires_at:
            self.cut(Reason.SESSION_EXPIRED)
        elif self._temporary and not self._stands(now):
            text, hint = "the access that was given for a time is over", "ask for it again, or for a grant"
            self._cut(self.refused(Reason.SESSION_REVOKED, "access-over", text, text=text, hint=hint))
        elif system.max_session and now - self.opened_at >= system.max_session:
            self.cut(Reason.SESSION_EXPIRED, "the longest session of this system")
        elif system.idle and not self._open and now - self.last_used >= system.idle:
            self.cut(Reason.SESSION_IDLE)
        elif self.meter is not None and (reached := self.meter.review(now)) is not None:
            self._cut(self._used_up(reached, now))
        elif self._look is not None and self._looking is None and not self.is_over():
            looking = self._looking = Deferred.fromCoroutine(self._look())
            looking.addBoth(self._looked)

    def _looked(self, result: object) -> None:
        self._looking = None
        if isinstance(result, Failure) and not isinstance(result.value, CancelledError):
            self.log.failure("a look at session {session} failed", result, session=self.session)
            self.cut(Reason.INTERNAL)

    def _stands(self, now: float) -> bool:
        """Whether it would be let in again, of a session that grants alone let in that were given for a time."""
        if self._core.policy is not self._policy or self._core.directory is not self._directory:
            self._follow()
        return self._policy.admit(replace(self._asked, account=self.account, at=now)).allowed

    def meter_anew(self) -> None:
        """After a reload or a change of the registry: other quotas may apply."""
        self.stop_metering()
        if self.is_over():
            return
        self._follow()
        system = self._policy.systems.get(self.system.name)
        self.meter = self._core.ledger.meter(self._asked.subject, system) if system else None
        if self.meter is not None:
            self.meter.resume(self._core.now())

    def stop_metering(self) -> None:
        if self.meter is not None:
            self.meter.close(self._core.now())
            self.meter = None

    async def close(self, reason: str, *, failed: bool = False, detail: str = "") -> None:
        """Writes the end, whatever it was, and drops what was dialled. The client's stream belongs to the listener."""
        if self._closed:
            return
        self._closed = True
        self._core.live.remove(self)
        self.stop_metering()
        if self._goodbye is None:
            self._disarm()
        for recording in self._recordings:
            recording.close()
        while self._open:  # an adapter that failed told no outcome of these
            self._open.pop().finish(UNKNOWN, SESSION_ENDED)
        if self.ending is not None:
            reason, failed, detail = self.ending.reason.value, False, self.ending.detail
        counts = {kind: count for kind, count in self.operations.items() if count}
        duration = int((self._core.now() - self.opened_at) * 1000)
        self._log.closed(
            FAILURE if failed else SUCCESS,
            reason,
            detail=facts.detail_section(duration_ms=duration, operations=counts, text=detail),
        )
        self._hear = self._look = None
        if self._looking is not None:
            self._looking.cancel()
        for upstream in self._upstreams:
            await upstream.close()

    # -- inside

    def _section(self, operation: Operation) -> str:
        if operation.parameters is not None or operation.details or self._aims_elsewhere(operation):
            return self._compose(operation)
        key = (operation.verb, operation.action, operation.objects, operation.text, operation.digest)
        section = self._composed.get(key)
        if section is None:
            section = self._compose(operation)
            if len(self._composed) >= REMEMBERED_ACTIONS:
                self._composed.clear()
            self._composed[key] = section
        return section

    def _aims_elsewhere(self, operation: Operation) -> bool:
        """Whether its target says something that the session's opening record does not."""
        return not operation.target.items() <= self.request.target.items()

    def _compose(self, operation: Operation) -> str:
        target = records.plain_target(operation.target) if self._aims_elsewhere(operation) else None
        return facts.action_section(
            operation.verb,
            operation.action.value,
            operation.objects,
            operation.text,
            operation.digest,
            operation.parameters,
            target,
            operation.details,
        )

    def _deny(self, section: str, kind: str, decision: Decision) -> Refused:
        try:
            self._log.denied(section, kind, records.decision_section(decision), Reason.ACTION_DENIED.value)
        except LogUnavailable as failure:
            return self.refused(Reason.LOG_UNAVAILABLE, detail=str(failure))
        refused = self.refused(Reason.ACTION_DENIED, detail=decision.reason)
        may_ask = self._core.asking.allows(self.system.name, self.account) and not self._policy.forbids(decision)
        return askable(refused) if may_ask else refused

    def _deny_more(self, section: str, kind: str, reached: Exceeded, now: float) -> Refused:
        decision = facts.decision_section(effect="deny", policy=self._policy.digest, reason=reached.detail)
        try:
            self._log.denied(section, kind, decision, Reason.QUOTA.value)
        except LogUnavailable as failure:
            return self.refused(Reason.LOG_UNAVAILABLE, detail=str(failure))
        return self._used_up(reached, now)

    def _used_up(self, reached: Exceeded, now: float) -> Refused:
        return self.refused(Reason.QUOTA, reached.code, reached.detail, text=reached.text, hint=reached.hint(now))

    def _follow(self) -> None:
        """After a reload or a change of the registry the session lives on, and what it does from now on is decided by
        the new grants and the agent's new roles."""
        self._policy, self._directory = self._core.policy, self._core.directory
        agent = self._directory.by_id(self.agent.id)
        if agent is not None:
            asked = self._asked
            now = subject(agent, delegated=asked.subject.delegated, emergency=self.emergency)
            self._asked = replace(asked, subject=now)
        self._standing = self._policy.standing(self._asked, self.account)
        self._known.clear()

    def _raise_alarm(self, code: str, detail: str) -> None:
        try:
            self._log.alarm(code, facts.detail_section(code=code, text=detail))
        except LogUnavailable:
            return  # the daemon's own log has it; the session ends because of the log anyhow


def _warning(decision: Decision) -> str:
    if decision.mode is not Mode.WARN or decision.would is decision.effect:
        return ""
    return f"this will be refused once grants are enforced: {decision.reason}"
