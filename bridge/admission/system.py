"""A legacy system as admission knows it, and what all doors share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.accounts.breaker import CircuitBreaker
from bridge.accounts.vaults import SecretReference, Vaults
from bridge.adapter import Stream, SystemFacts, TLSSettings
from bridge.admission.flood import FloodGuard
from bridge.admission.live import LiveSessions
from bridge.admission.replay import ReplayGuard
from bridge.admission.tally import Tally
from bridge.identity.agents import Directory
from bridge.identity.deny_list import DenyList
from bridge.identity.verifier import VerifiedCredential, Verifier
from bridge.policy import Policy
from bridge.translation.log import TranslationLog

CUT_GRACE = 2.0
"""Seconds that an adapter has to say goodbye before both connections are dropped."""


@dataclass(frozen=True, slots=True)
class StaticAccount:
    """``user`` is the login name in the legacy system; ``name`` is what grants and agents call it."""

    name: str
    user: str
    secret: SecretReference
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class System:
    """One legacy system. Times are seconds; ``max_session`` and ``idle`` 0: no such limit.

    ``end_with_token``: a session ends when its token does. ``strict_audit``: reads too are durable before they happen.
    ``loopback_plaintext``: a credential is taken in plaintext from this machine.
    """

    facts: SystemFacts
    protocol: str
    upstream: str
    labels: frozenset[str]
    accounts: Mapping[str, StaticAccount]
    audiences: frozenset[str]
    dial: Callable[[], Awaitable[Stream]]
    upstream_tls: TLSSettings | None = None
    upstream_tls_optional: bool = False
    loopback_plaintext: bool = False
    strict_audit: bool = False
    end_with_token: bool = True
    max_session: float = 0.0
    idle: float = 0.0

    @property
    def name(self) -> str:
        return self.facts.name


@dataclass(slots=True)
class Core:
    """What every door consults. A reload replaces ``policy`` and ``verifier``, a registry change ``directory``.

    ``clock`` is the reactor (or a test's Clock), for timers; ``now`` is Unix time. ``warn`` tells ops.
    """

    log: TranslationLog
    verifier: Verifier
    certificates: Callable[[tuple[bytes, ...], float], VerifiedCredential]
    directory: Directory
    deny_list: DenyList
    policy: Policy
    vaults: Vaults
    breaker: CircuitBreaker
    replay: ReplayGuard
    clock: Any
    now: Callable[[], float]
    warn: Callable[..., None]
    node: str = ""
    version: str = ""
    sessions_per_agent: int = 100
    live: LiveSessions = field(default_factory=LiveSessions)
    tally: Tally = field(default_factory=Tally)
    flood: FloodGuard = field(default_factory=FloodGuard)
