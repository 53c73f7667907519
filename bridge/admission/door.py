"""The ordered flow by which an agent becomes a static account: one per connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bridge.accounts.vaults import SecretUnavailable
from bridge.adapter import (
    AdmissionRequest,
    AgentFacts,
    Credential,
    Reason,
    Refused,
    StatementLogging,
    Stream,
    SystemFacts,
)
from bridge.admission.identifiers import new_id
from bridge.admission.proof import Known, TurnedAway, check_replay, prove, record_refusal
from bridge.admission.records import refusal
from bridge.admission.session import Session
from bridge.admission.subjects import subject
from bridge.admission.system import Core, StaticAccount, System, host_of
from bridge.admission.texts import TEXTS, askable
from bridge.identity.agents import Agent
from bridge.identity.issuer import emergency_of
from bridge.identity.verifier import VerifiedCredential
from bridge.policy import Decision, Request
from bridge.policy.emergency import role
from bridge.translation.log import LogUnavailable
from bridge.translation.record import Event


@dataclass(slots=True)
class Attempt(Known):
    """What is known so far, for the record of a refusal."""

    request: AdmissionRequest = field(default_factory=AdmissionRequest)
    decision: Decision | None = None


class SystemDoor:
    """Implements ``bridge.adapter.Door``. ``sessions`` are those admitted on this connection.

    ``admitted`` is called when the peer has proven itself, so that it no longer counts among strangers.
    """

    def __init__(self, core: Core, system: System, client: Stream, admitted: Callable[[], None]) -> None:
        self._core = core
        self._system = system
        self._client = client
        self._facts = system.facts
        self.sessions: list[Session] = []
        self.turned_away = False
        self._admitted = admitted

    @property
    def system(self) -> SystemFacts:
        return self._facts

    def plaintext_allowed(self, client: Stream) -> bool:
        if self._system.encrypts or client.tls is not None:
            return True
        return self._system.loopback_plaintext and client.peer.loopback

    async def turn_away(self, reason: Reason, *, detail: str = "") -> Refused:
        return await self._refuse(Attempt(), TurnedAway(reason, detail=detail))

    async def note_stranger(self, reason: Reason, detail: str) -> None:
        """Records the end of a connection of which nothing was recorded: nobody was admitted, nobody turned away."""
        if not self.sessions and not self.turned_away:
            await self.turn_away(reason, detail=detail)

    async def admit(
        self, credential: Credential, request: AdmissionRequest, *, within: Stream | None = None
    ) -> Session:
        attempt = Attempt(request=request)
        try:
            agent, verified = await self._prove(credential, attempt)
            self._check_withheld()
            asked = self._asked(agent, verified, request)
            self._check_host(request)
            decision = attempt.decision = self._decide(asked)
            self._check_emergency(verified, decision)
            account = self._account(decision, request)
            client = within or self._client
            session = Session(self._core, self._system, client, request, agent, verified, decision, asked)
            self._meter(session, asked)
            return await self._open(session, account)
        except TurnedAway as why:
            raise await self._refuse(attempt, why, proving=True) from None

    async def verify(self, credential: Credential) -> AgentFacts:
        attempt = Attempt()
        try:
            agent, _ = await self._prove(credential, attempt)
        except TurnedAway as why:
            raise await self._refuse(attempt, why, proving=True) from None
        self._admitted()
        return AgentFacts(agent.id, agent.name, agent.owner.id)

    async def _prove(self, credential: Credential, attempt: Attempt) -> tuple[Agent, VerifiedCredential]:
        if not self.plaintext_allowed(self._client):
            raise TurnedAway(Reason.PLAINTEXT)
        source = self._client.peer.host
        agent, verified = await prove(self._core, credential, self._system.audiences, source, attempt)
        self._check_limits(agent)
        check_replay(self._core, agent, verified, source)
        return agent, verified

    def _check_limits(self, agent: Agent) -> None:
        core = self._core
        if core.live.of_agent(agent.id) >= core.sessions_per_agent:
            text = f"the agent {agent.id} has {core.sessions_per_agent} sessions open, its limit"
            raise TurnedAway(Reason.QUOTA, "sessions-per-agent", text=text)

    def _asked(self, agent: Agent, credential: VerifiedCredential, request: AdmissionRequest) -> Request:
        return Request(
            subject=subject(
                agent, delegated=credential.delegation.mode == "delegated", emergency=emergency_of(credential)
            ),
            system=self._system.name,
            account=None if request.account == agent.id else request.account,
            target=request.target,
            source=self._client.peer.host,
            at=self._core.now(),
        )

    def _decide(self, asked: Request) -> Decision:
        core = self._core
        decision = core.policy.admit(asked)
        if decision.allowed:
            return decision
        text = ""
        if decision.ambiguous:
            text = "several accounts are granted: give the one you want as the user name"
        allows = core.asking.allows(asked.system, decision.account or asked.account or "")
        may_ask = allows and not decision.ambiguous and not core.policy.forbids(decision)
        raise TurnedAway(Reason.NOT_GRANTED, detail=decision.reason, text=text, askable=may_ask)

    def _check_emergency(self, credential: VerifiedCredential, decision: Decision) -> None:
        """A token of a break-glass opens nothing else, whatever else the agent may do."""
        emergency = emergency_of(credential)
        if emergency and role(emergency) not in decision.rules:
            text = "this token is for one break-glass, which is over or leads to another account"
            raise TurnedAway(Reason.NOT_GRANTED, "break-glass", f"not by the break-glass {emergency}", text)

    def _check_withheld(self) -> None:
        why = self._core.withheld()
        if why:
            raise TurnedAway(Reason.LOG_UNAVAILABLE, "withheld", why)

    def _check_host(self, request: AdmissionRequest) -> None:
        """Of a fleet, a host that it has; the answer is that of a host to which no grant leads."""
        if not self._system.has_host(host_of(request)):
            raise TurnedAway(Reason.NOT_GRANTED, "host", "the fleet has no such host, or none was named")

    def _account(self, decision: Decision, request: AdmissionRequest) -> StaticAccount:
        account = self._system.accounts[decision.account]
        circuit = self._system.circuit(account.name, host_of(request))
        wait = self._core.breaker.refusal(self._system.name, circuit, self._core.now())
        if wait:
            detail = f"the legacy system refused the static login; the next try is in {wait:.0f} s"
            raise TurnedAway(Reason.UPSTREAM_UNAVAILABLE, "circuit-open", detail)
        return account

    def _meter(self, session: Session, asked: Request) -> None:
        core = self._core
        meter = core.ledger.meter(asked.subject, core.policy.systems[self._system.name])
        if meter is None:
            return
        reached = meter.open(core.now())
        if reached is not None:
            raise TurnedAway(Reason.QUOTA, reached.code, reached.detail, reached.text, reached.hint(core.now()))
        session.meter = meter

    async def _open(self, session: Session, account: StaticAccount) -> Session:
        core, started = self._core, self._core.clock.seconds()
        core.live.add(session)  # before the first await: limits must count it, and a revocation must find it
        self.sessions.append(session)  # so that its end is written also when this is cancelled meanwhile
        try:
            await session.open()
        except LogUnavailable as failure:
            core.live.remove(session)
            session.stop_metering()
            self.sessions.remove(session)
            raise TurnedAway(Reason.LOG_UNAVAILABLE, detail=str(failure)) from None
        opened = core.clock.seconds()
        core.tally.took("open", opened - started)
        core.tally.opened[self._system.name] += 1
        self._admitted()
        if session.ending is not None:  # revoked while the record was being written
            raise session.ending
        try:
            await core.turns.unchanged(str(account.secret))
            login = await account.login(core.vaults)
            core.tally.took("secret", core.clock.seconds() - opened)
        except SecretUnavailable as failure:
            self._core.warn(
                "the secret of account {account} on {system} cannot be read: {cause}",
                account=account.name,
                system=self._system.name,
                cause=str(failure),
            )
            raise session.refused(Reason.UPSTREAM_UNAVAILABLE, "secret-unavailable", str(failure)) from None
        if session.ending is not None:  # revoked while the secret was read
            raise session.ending
        self._facts = _in_full(self._system.facts) if session.emergency else self._system.facts
        session.hand_login(login)
        return session

    async def _refuse(self, attempt: Attempt, why: TurnedAway, *, proving: bool = False) -> Refused:
        """``proving``: see ``record_refusal``."""
        text, hint = TEXTS[why.reason]
        refused = Refused(
            why.reason, why.text or text, reference=new_id("ref_"), code=why.code, detail=why.detail,
            hint=why.hint or hint,
        )  # fmt: skip
        self._core.tally.refused[self._system.name, why.reason.value] += 1
        self.turned_away = True

        def event(unrecorded: int) -> Event:
            return refusal(
                self._core, self._system, self._client, attempt.request, attempt.agent, attempt.credential,
                attempt.decision, refused, unrecorded=unrecorded,
            )  # fmt: skip

        source = self._client.peer.host
        told = await record_refusal(self._core, refused, attempt.agent, source, event, proving=proving)
        return askable(told) if why.askable else told


def _in_full(system: SystemFacts) -> SystemFacts:
    """An emergency is recorded in full, whatever the configuration says."""
    return replace(system, statements=StatementLogging.FULL, record_all=True)
