"""A login as a static account for ``doctor``: no agent stands behind it, and nothing of it is relayed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from bridge.accounts.vaults import SecretUnavailable
from bridge.adapter import (
    Action,
    AgentFacts,
    BridgeError,
    Login,
    Operation,
    Outcome,
    Permit,
    Reason,
    Recording,
    Refused,
    Secret,
    Stream,
    Target,
    TLSSettings,
)
from bridge.admission.identifiers import new_id
from bridge.admission.system import HOST, Core, System
from bridge.admission.texts import TEXTS
from bridge.policy import Effect, Grant, Policy
from bridge.translation import facts
from bridge.translation.log import LogUnavailable
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import ACCOUNT_CHECK


class Survey:
    """Implements as much of ``Admission`` as a look at a static account's own rights needs; permits no operation."""

    upstream_tls: TLSSettings | None
    actions: frozenset[Action]

    def __init__(self, core: Core, system: System, account: str, login: Login, host: str) -> None:
        self.session = new_id("chk_")
        self.agent = AgentFacts("idbridge", "the bridge's doctor", "")
        self.account = account
        self.login = login
        self.stamp = f"ib:{self.session}"
        self.upstream_tls = system.upstream_tls
        self.upstream_tls_optional = system.upstream_tls_optional
        self.actions = frozenset().union(*(one.actions for one in _leading_to(core.policy, system.name, account)))
        self.host = host
        self._circuit = system.circuit(account, host)
        self._core = core
        self._system = system
        self.streams: list[Stream] = []

    async def connect(self) -> Stream:
        try:
            stream = await self._system.dial(self.host)
        except BridgeError as failure:
            raise self._refused("upstream-unreachable", str(failure)) from None
        self.streams.append(stream)
        return stream

    async def login_refused(self, cause: str) -> Refused:
        self._core.breaker.refused(self._system.name, self._circuit, self.login.secret, self._core.now())
        return self._refused("upstream-login-refused", cause)

    async def established(self, facts: Mapping[str, str | int]) -> None:
        self._core.breaker.succeeded(self._system.name, self._circuit)

    async def permit(self, operation: Operation) -> Permit:
        raise self._refused("survey", "a survey permits no operation of an agent")

    def permit_at_once(self, operation: Operation) -> None:
        """None: ``permit`` says why not."""

    def outcome(self, permit: Permit, outcome: Outcome) -> None:
        raise RuntimeError("a survey has no operations")

    def may(self, action: Action, target: Target, *, strictly: bool = False) -> bool:
        return False

    @property
    def narrowing(self) -> frozenset[str]:
        return frozenset()

    def recording(self, name: str, *, required: bool) -> Recording:
        raise self._refused("survey", "a survey is not recorded")

    async def end(self, detail: str = "") -> None:
        """Its connections are closed with the survey."""

    def alarm(self, code: str, detail: str) -> None:
        self._core.warn("{code}: {detail}", code=code, detail=detail)

    def on_cut(self, hear: Callable[[Refused], Awaitable[None]], *, outlives_expiry: bool = False) -> None:
        """A survey is never cut: it is short, and every wait in it has a limit."""

    def each_second(self, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Nor looked at, for the same reason."""

    def _refused(self, code: str, detail: str) -> Refused:
        text, hint = TEXTS[Reason.UPSTREAM_UNAVAILABLE]
        return Refused(Reason.UPSTREAM_UNAVAILABLE, text, reference=self.session, code=code, detail=detail, hint=hint)


def granted_targets(policy: Policy, system: str, account: str) -> dict[str, frozenset[str]]:
    """What allow grants narrow the account to, fact by fact; a fact that one of them leaves open is not narrowed."""
    grants = _leading_to(policy, system, account)
    named = {fact for grant in grants for fact in grant.targets}
    return {
        fact: frozenset[str]().union(*(grant.targets[fact] for grant in grants))
        for fact in named
        if all(fact in grant.targets for grant in grants)
    }


def _leading_to(policy: Policy, system: str, account: str) -> list[Grant]:
    found = policy.systems[system]
    allowing = (one for one in policy.grants if one.effect is Effect.ALLOW)
    return [one for one in allowing if one.account == account and one.selects(found)]


@asynccontextmanager
async def survey(
    core: Core, system: System, account: str, host: str = "", *, secret: Secret | None = None, purpose: str = "doctor"
) -> AsyncIterator[Survey]:
    """Recorded before anything is dialled; connections are closed at the end. Raises Refused.

    ``host``: of a fleet. ``secret``: to log in with, in place of what the account's vault has; without one the
    account's secret is not changed meanwhile.
    """
    reference = str(system.accounts[account].secret)
    turn = core.turns.looking(reference) if secret is None else nullcontext()
    async with turn, _surveyed(core, system, account, host, secret, purpose) as looking:
        yield looking


@asynccontextmanager
async def _surveyed(
    core: Core, system: System, account: str, host: str, secret: Secret | None, purpose: str
) -> AsyncIterator[Survey]:
    static = system.accounts[account]
    index = IndexKeys(system=system.name, account=account)
    actor = facts.actor_section(kind="bridge", id=purpose)
    target = {HOST: host} if host else None
    legacy = facts.legacy_section(system=system.name, account=account, target=target, upstream=system.upstream)
    text, hint = TEXTS[Reason.LOG_UNAVAILABLE]
    try:
        await core.log.record(Event(ACCOUNT_CHECK, sections={"actor": actor, "legacy": legacy}, index=index))
        login = await static.login(core.vaults, secret)
    except LogUnavailable as failure:
        raise Refused(Reason.LOG_UNAVAILABLE, text, detail=str(failure), hint=hint) from None
    except SecretUnavailable as failure:
        text, hint = TEXTS[Reason.UPSTREAM_UNAVAILABLE]
        raise Refused(Reason.UPSTREAM_UNAVAILABLE, text, detail=str(failure), hint=hint) from None
    looking = Survey(core, system, account, login, host)
    try:
        yield looking
    finally:
        for stream in looking.streams:
            await stream.close()
