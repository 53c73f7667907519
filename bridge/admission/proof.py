"""Proving who is at the other end, and the record of those who could not: the same at every door of the bridge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.task import deferLater

from bridge.adapter import BearerToken, ClientCertificate, Credential, Reason, Refused, SSHCertificate
from bridge.admission.system import Core
from bridge.identity.agents import Agent
from bridge.identity.verifier import CredentialRejected, VerifiedCredential
from bridge.translation.log import LogUnavailable
from bridge.translation.record import Event

PROOFS = frozenset(
    {Reason.CREDENTIAL_INVALID, Reason.CREDENTIAL_EXPIRED, Reason.CREDENTIAL_REVOKED, Reason.AGENT_INACTIVE}
)
TOO_OFTEN_WAITS = 1.0
"""Seconds, once the burst of ``FloodGuard`` is used up. Nobody is locked out: others behind the address get through."""


class TurnedAway(Exception):
    """Why admission stops. ``code`` is for the log; ``text`` replaces the usual words towards a known agent.

    ``askable``: the agent may ask for what it did not get.
    """

    def __init__(
        self, reason: Reason, code: str = "", detail: str = "", text: str = "", hint: str = "", *, askable: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code or reason.value
        self.detail = detail
        self.text = text
        self.hint = hint
        self.askable = askable


@dataclass(slots=True)
class Known:
    """What is known so far, for the record of a refusal."""

    credential: VerifiedCredential | None = None
    agent: Agent | None = None


async def prove(
    core: Core, credential: Credential, audiences: frozenset[str], source: str, known: Known
) -> tuple[Agent, VerifiedCredential]:
    """The agent, which may act, and its credential as it counts now. ``source`` is the peer's address.

    Raises TurnedAway.
    """
    verified = known.credential = await _verify(core, credential, audiences, source)
    agent = known.agent = _resolve(core, verified)
    _check_state(core, agent)
    verified = known.credential = _drilled(core, agent, verified)
    return agent, verified


def check_replay(core: Core, agent: Agent, credential: VerifiedCredential, source: str) -> None:
    """That the token does not come from another place than before. Raises TurnedAway."""
    if core.replay.refuses(credential.iss, credential.token_id, source, credential.expires_at, core.now()):
        core.warn(
            "token {token_id} of agent {agent} was used from {source} after another address",
            token_id=credential.token_id,
            agent=agent.id,
            source=source,
        )
        raise TurnedAway(Reason.CREDENTIAL_INVALID, "replay", "the token was first used from elsewhere")


async def record_refusal(
    core: Core, refused: Refused, agent: Agent | None, source: str, event: Callable[[int], Event], *, proving: bool
) -> Refused:
    """What the peer is to hear: ``refused``, without its reference when it was not recorded.

    ``event`` gets how many were not recorded before. ``proving``: whoever fails too often to prove who it is, an
    address or an agent, waits for the answer.
    """
    often = core.flood.suppresses(f"agent {agent.id}" if agent is not None else source, core.clock.seconds())
    if often and proving and refused.reason in PROOFS:
        await deferLater(core.clock, TOO_OFTEN_WAITS, lambda: None)
    if often and agent is None:
        return _without_reference(refused)
    try:
        await core.log.record(event(core.flood.suppressed(source)))
    except LogUnavailable:
        return _without_reference(refused)
    return refused


def _without_reference(refused: Refused) -> Refused:
    """The same refusal, when it was not recorded: no reference, because nobody would find it."""
    return Refused(refused.reason, refused.text, code=refused.code, detail=refused.detail, hint=refused.hint)


async def _verify(core: Core, credential: Credential, audiences: frozenset[str], source: str) -> VerifiedCredential:
    now, started = core.now(), core.clock.seconds()
    try:
        if isinstance(credential, BearerToken):
            if not credential.token:
                raise TurnedAway(Reason.CREDENTIAL_MISSING)
            verified = await core.verifier.verify(credential.token.reveal(), audiences=audiences, now=now)
            _check_possession(verified, credential.confirmed)
        elif isinstance(credential, ClientCertificate):
            verified = core.certificates(credential.chain, now)
        elif isinstance(credential, SSHCertificate):
            verified = core.ssh.certificate(credential.certificate, source=source, now=now)
        else:
            verified = core.ssh.key(credential.key)
    except CredentialRejected as rejected:
        reason = Reason.CREDENTIAL_EXPIRED if rejected.expired else Reason.CREDENTIAL_INVALID
        raise TurnedAway(reason, rejected.code, rejected.detail) from None
    core.tally.took("verify", core.clock.seconds() - started)
    if core.deny_list.denies(verified.iss, verified.token_id):
        raise TurnedAway(Reason.CREDENTIAL_REVOKED)
    return verified


def _check_possession(credential: VerifiedCredential, confirmed: str) -> None:
    if credential.confirmation and credential.confirmation != confirmed:
        raise CredentialRejected("cnf", "bound to a key that was not proven on this connection")


def _resolve(core: Core, credential: VerifiedCredential) -> Agent:
    agent = core.directory.resolve(credential)
    if agent is None:
        raise TurnedAway(Reason.CREDENTIAL_INVALID, "agent-unknown", "no agent is bound to this identity")
    return agent


def _check_state(core: Core, agent: Agent) -> None:
    state = agent.refusal(core.now())
    if state:
        text = f"the agent {agent.id} is {state}"
        raise TurnedAway(Reason.AGENT_INACTIVE, f"agent-{state}", agent.state_reason, text)


def _drilled(core: Core, agent: Agent, credential: VerifiedCredential) -> VerifiedCredential:
    now = core.now()
    shortened = core.drills.shortened(agent.id, credential, now)
    if shortened is not credential and now >= shortened.expires_at:
        text = "the token is older than a credential drill lets it be"
        raise TurnedAway(Reason.CREDENTIAL_EXPIRED, "drill", text, text)
    return shortened
