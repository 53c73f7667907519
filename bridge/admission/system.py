"""A legacy system as admission knows it, and what all doors share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from bridge.accounts.breaker import CircuitBreaker
from bridge.accounts.vaults import SecretReference, Vaults
from bridge.adapter import AdmissionRequest, Login, Secret, Stream, SystemFacts, TLSSettings
from bridge.admission.drills import Drills
from bridge.admission.flood import FloodGuard
from bridge.admission.live import LiveSessions
from bridge.admission.replay import ReplayGuard
from bridge.admission.tally import Tally
from bridge.admission.turns import Turns
from bridge.identity.agents import Directory
from bridge.identity.deny_list import DenyList
from bridge.identity.ssh import SSHIdentities
from bridge.identity.verifier import VerifiedCredential, Verifier
from bridge.policy import Ledger, Policy
from bridge.policy.access_request import Asking
from bridge.translation.log import TranslationLog
from bridge.translation.recordings import Recordings

CUT_GRACE = 2.0
"""Seconds that an adapter has to say goodbye before both connections are dropped."""


HOST = "host"
"""The fact of a request that names a host of a fleet."""


@dataclass(frozen=True, slots=True)
class StaticAccount:
    """``user`` is the login name in the legacy system; ``name`` is what grants and agents call it."""

    name: str
    user: str
    secret: SecretReference
    passphrase: SecretReference | None = None
    labels: frozenset[str] = frozenset()

    async def login(self, vaults: Vaults, secret: Secret | None = None) -> Login:
        """As the vaults have it now; ``secret`` stands in for what they have. Raises SecretUnavailable."""
        if secret is None:
            secret = await vaults.read(self.secret)
        return Login(self.user, secret, await vaults.read(self.passphrase) if self.passphrase else Secret(b""))


@dataclass(frozen=True, slots=True)
class System:
    """One legacy system. Times are seconds; ``max_session`` and ``idle`` 0: no such limit.

    ``end_with_token``: a session ends when its token does. ``strict_audit``: reads too are durable before they happen.
    ``loopback_plaintext``: a credential is taken in plaintext from this machine. ``encrypts``: the protocol does so by
    itself. ``dial`` takes the host's name, "" when the system is no fleet.
    """

    facts: SystemFacts
    protocol: str
    upstream: str
    labels: frozenset[str]
    accounts: Mapping[str, StaticAccount]
    audiences: frozenset[str]
    dial: Callable[[str], Awaitable[Stream]]
    upstream_tls: TLSSettings | None = None
    upstream_tls_optional: bool = False
    loopback_plaintext: bool = False
    encrypts: bool = False
    strict_audit: bool = False
    end_with_token: bool = True
    max_session: float = 0.0
    idle: float = 0.0

    @property
    def name(self) -> str:
        return self.facts.name

    def has_host(self, host: str) -> bool:
        """Whether ``host`` is one of the fleet; "" is the host of a system that is none."""
        hosts = self.facts.hosts
        return any(fnmatchcase(host, pattern) for pattern in hosts) if host else not hosts

    def facts_at(self, host: str) -> SystemFacts:
        """As if the system were that one host of its fleet: what looks at a host needs no word for fleets."""
        return replace(self.facts, host=host, hosts=()) if host else self.facts

    def circuit(self, account: str, host: str) -> str:
        """What the circuit breaker knows a static login by: on each host of a fleet it is another one."""
        return f"{account}@{host}" if host else account


def host_of(request: AdmissionRequest) -> str:
    """The host of a fleet that was asked for, in lower case; "" when none was."""
    host = request.target.get(HOST, "")
    return host.lower() if isinstance(host, str) else ""


@dataclass(slots=True)
class Core:
    """What every door consults. A reload replaces ``policy`` and ``verifier``, a registry change ``directory``.

    ``clock`` is the reactor (or a test's Clock), for timers; ``now`` is Unix time. ``warn`` tells ops.
    ``withheld`` gives why nobody may be admitted now, "" when nothing is against it.
    """

    log: TranslationLog
    verifier: Verifier
    certificates: Callable[[tuple[bytes, ...], float], VerifiedCredential]
    ssh: SSHIdentities
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
    recordings: Recordings | None = None
    sessions_per_agent: int = 100
    withheld: Callable[[], str] = lambda: ""
    asking: Asking = field(default_factory=Asking)
    ledger: Ledger = field(default_factory=Ledger)
    drills: Drills = field(default_factory=Drills)
    turns: Turns = field(default_factory=Turns)
    live: LiveSessions = field(default_factory=LiveSessions)
    tally: Tally = field(default_factory=Tally)
    flood: FloodGuard = field(default_factory=FloodGuard)
