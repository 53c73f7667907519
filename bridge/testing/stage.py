"""The real core on files in a folder, with the legacy side played: what conformance and door tests stand on.

Everything but the two networks is the product: registry, built-in issuer, verifier, policy, vault pool, translation
log on SQLite. ``story`` holds the order of what matters: each dial with the types of the events that were durable by
then, and each reading of the secret.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from bridge.accounts.breaker import CircuitBreaker
from bridge.accounts.vaults import SecretReference, SecretUnavailable, Vaults
from bridge.adapter import Action, Adapter, Address, Secret, Stream, StreamClosed, SystemFacts
from bridge.admission.attendance import attend
from bridge.admission.replay import ReplayGuard
from bridge.admission.system import Core, StaticAccount, System
from bridge.identity.agents import Agent
from bridge.identity.deny_list import DenyList
from bridge.identity.issuer import NAME, BuiltinIssuer
from bridge.identity.jwt import IssuerSettings, JWTVerifier
from bridge.identity.key_sets import FixedKeys
from bridge.identity.registry import Registry
from bridge.identity.ssh import SSHIdentities
from bridge.identity.verifier import CredentialRejected, VerifiedCredential
from bridge.policy import Grant, Mode, Policy, SystemPolicy
from bridge.storage import ThreadPool, open_engine, upgrade
from bridge.testing.streams import MemoryStream, memory_pair
from bridge.translation.appender import OwnAppender
from bridge.translation.reading import Filters, LogReader
from bridge.translation.sql import SQLLog

BRIDGE = "stage"
SYSTEM = "orders"
AGENT = "deploy-7"
OWNER = "payments"
READER, WRITER = "svc_reader", "svc_writer"
PASSWORD = "legacy-pa55word-canary"  # noqa: S105 - the static secret of the played legacy system
START = 1_800_000_000.0
CLIENT = Address("127.0.0.1", 40007)
UPSTREAM = Address("192.0.2.20", 5432)
STEP = 0.002
LIMIT = 10.0  # seconds of real time for anything that a test waits for

GRANTS = (
    Grant("read", roles=frozenset({"reader"}), systems=frozenset({SYSTEM}), account=READER,
          actions=frozenset({Action.READ}), default=True),
    Grant("write", roles=frozenset({"writer"}), systems=frozenset({SYSTEM}), account=WRITER,
          actions=frozenset({Action.READ, Action.WRITE})),
)  # fmt: skip


class WatchedVault:
    """A vault with one secret; ``reads`` counts, ``fault`` makes it fail."""

    def __init__(self, story: list[str]) -> None:
        self.fault = ""
        self._story = story

    def in_thread_read(self, path: str) -> Secret:
        self._story.append(f"secret {path}")
        if self.fault:
            raise SecretUnavailable(f"played:{path}: {self.fault}")
        return Secret(PASSWORD)


class Stage:
    """``await Stage.open(…)``, and ``await stage.close()`` at the end. ``reactor`` is the real one, for threads only.

    ``time`` is Unix time as the core sees it; ``clock`` drives its timers. ``legacy`` are the far ends of what was
    dialled. ``unreachable`` makes the next dials fail.
    """

    def __init__(self, folder: Path, reactor: Any) -> None:
        self.folder = folder
        self.reactor = reactor
        self.time = START
        self.clock = Clock()
        (folder / "system").mkdir(mode=0o700)
        self.story: list[str] = []
        self.warnings: list[str] = []
        self.legacy: list[MemoryStream] = []
        self.unreachable = ""
        self.on_dial: Callable[[MemoryStream], None] = lambda far: None
        self.vault = WatchedVault(self.story)
        registry_engine = open_engine(folder / "registry.db", kind="registry")
        upgrade(registry_engine, "registry")
        log_engine = open_engine(folder / "translation.db", kind="translation")
        upgrade(log_engine, "translation")
        reading = open_engine(folder / "translation.db", kind="translation")
        self._engines = (registry_engine, log_engine, reading)
        self.registry = Registry(registry_engine, now=lambda: self.time)
        self.deny_list = DenyList(registry_engine, now=lambda: self.time)
        self.issuer = BuiltinIssuer.load_or_create(folder / "issuer.key", BRIDGE)
        self.log_engine = log_engine
        self.log = SQLLog(
            OwnAppender(log_engine), reactor, BRIDGE, node="n1", version="0", first_retry=0.05, last_retry=0.1
        )
        self.reader = LogReader(reading)
        self.pool = ThreadPool("played-vault", 1, reactor)
        self.core: Core
        self.system: System

    @classmethod
    async def open(
        cls,
        folder: Path,
        reactor: Any,
        *,
        protocol: str = "played",
        options: Any = None,
        grants: Iterable[Grant] = GRANTS,
        mode: Mode = Mode.ENFORCE,
        replay: str = "bind",
        roles: Iterable[str] = ("reader",),
        **system: Any,
    ) -> Stage:
        stage = cls(folder, reactor)
        stage.registry.in_thread_create_owner(OWNER, kind="team", contact="payments@corp.example")
        stage.add_agent(AGENT, roles=roles)
        await stage.log.start()
        stage._build(protocol, options, grants, mode, replay, system)
        stage.refresh()
        return stage

    def _build(
        self, protocol: str, options: Any, grants: Iterable[Grant], mode: Mode, replay: str, system: Mapping[str, Any]
    ) -> None:
        accounts = {
            name: StaticAccount(name, f"{name}_login", SecretReference("played", name)) for name in (READER, WRITER)
        }
        defaults: dict[str, Any] = {
            "facts": SystemFacts(SYSTEM, options, folder=str(self.folder / "system")),
            "protocol": protocol,
            "upstream": str(UPSTREAM),
            "labels": frozenset({"pii"}),
            "accounts": accounts,
            "audiences": frozenset({f"bridge:{BRIDGE}/{SYSTEM}"}),
            "dial": self._dial,
            "loopback_plaintext": True,
        }
        self.system = System(**{**defaults, **system})
        self.core = Core(
            log=self.log,
            verifier=self._verifier(),
            certificates=_no_certificates,
            ssh=SSHIdentities((), self._by_key),
            directory=self.registry.in_thread_directory(),
            deny_list=self.deny_list,
            policy=self.policy(grants, mode),
            vaults=Vaults({"played": self.vault}, self.pool, self.reactor),
            breaker=CircuitBreaker(),
            replay=ReplayGuard(replay),
            clock=self.clock,
            now=lambda: self.time,
            warn=lambda text, **fields: self.warnings.append(text.format(**fields)),
            node="n1",
            version="0",
        )

    def policy(self, grants: Iterable[Grant], mode: Mode = Mode.ENFORCE) -> Policy:
        return Policy(grants, [SystemPolicy(SYSTEM, (READER, WRITER), frozenset({"pii"}), mode)])

    def _verifier(self) -> JWTVerifier:
        own = self.issuer.settings()
        agents = IssuerSettings("agent-key", "", "agent-key", ("EdDSA",), accept_bridge_audience=True)
        return JWTVerifier(
            [own, agents],
            {NAME: FixedKeys(self.issuer.key_set())},
            bridge_audience=f"bridge:{BRIDGE}",
            is_agent=lambda issuer, claims: self.core.directory.knows(issuer, claims),
            agent_keys=self._keys_of,
        )

    def _by_key(self, key: str) -> Agent | None:
        return self.core.directory.by_key(key)

    def _keys_of(self, agent: str) -> tuple[str, ...]:
        found = self.core.directory.by_id(agent)
        return found.public_keys if found else ()

    # -- what tests do

    def add_agent(self, id: str, **fields: Any) -> None:
        given = {"purpose": "Tests.", "roles": ("reader",), "environment": "production", "owner": OWNER, **fields}
        self.registry.in_thread_create(id, **given)

    def move(self, verb: str, agent: str = AGENT) -> None:
        """Changes an agent's state, and lets the core take it, as the daemon does."""
        self.registry.in_thread_move(agent, verb, reason="a test")
        self.refresh()

    def refresh(self) -> None:
        self.core.directory = self.registry.in_thread_directory()
        self.deny_list.in_thread_load()

    def token(self, agent: str = AGENT, **changes: Any) -> bytes:
        given: dict[str, Any] = {"audiences": [f"bridge:{BRIDGE}/{SYSTEM}"], "ttl": 600, "now": self.time, **changes}
        return self.issuer.mint(agent, **given).encode()

    def pair(self, client: Address = CLIENT, split: int = 10**6) -> tuple[MemoryStream, MemoryStream]:
        """The client's end and the bridge's end of a new connection."""
        return memory_pair(self.clock, client=client, split=split)

    async def _dial(self, host: str) -> Stream:
        durable = [event["type"] for event in self.events()]
        self.story.append(f"dial after {durable[-1] if durable else 'nothing'}")
        if self.unreachable:
            raise StreamClosed(self.unreachable)
        near, far = memory_pair(self.clock, client=Address("192.0.2.1", 50000 + len(self.legacy)), server=UPSTREAM)
        self.legacy.append(far)
        self.on_dial(far)
        return near

    def attend(self, adapter: Adapter, server_end: MemoryStream) -> Deferred[None]:
        """Runs the adapter on a connection as the listener does, and closes it after."""
        return Deferred.fromCoroutine(self._attend(adapter, server_end))

    async def _attend(self, adapter: Adapter, server_end: MemoryStream) -> None:
        try:
            await attend(self.core, self.system, adapter, server_end, lambda: None)
        finally:
            await server_end.close()

    def replace_system(self, **changes: Any) -> None:
        self.system = replace(self.system, **changes)

    # -- the log

    def events(self, type: str = "") -> list[dict[str, Any]]:
        """What is durable now, oldest first, without the log's own start."""
        found = self.reader.in_thread_find(Filters(type=type), 1000, oldest_first=True)
        return [fields for event in found if not (fields := event.fields)["type"].startswith("log.")]

    async def written(self) -> list[dict[str, Any]]:
        """All events, once nothing waits to be written."""
        await self.until(lambda: not self.log.pending() or bool(self.log.unavailable))
        return self.events()

    def break_log(self) -> None:
        """From now on the log takes nothing, as after a failed commit."""
        self.log._fail("played: no space left on the device")

    async def until(self, condition: Callable[[], object]) -> None:
        """Lets threads report and coroutines run until ``condition`` holds."""
        waited = 0.0
        while not condition():
            assert waited < LIMIT, "waited in vain"
            await deferLater(self.reactor, STEP, lambda: None)
            waited += STEP

    async def within(self, waiting: Awaitable[Any]) -> Any:
        """``waiting``'s result, or TimeoutError after the limit."""
        running: Deferred[Any] = Deferred.fromCoroutine(_awaited(waiting))
        running.addTimeout(LIMIT, self.reactor)
        return await running

    async def close(self) -> None:
        await self.log.stop()
        await self.pool.stop()
        for engine in self._engines:
            engine.dispose()


async def _awaited(waiting: Awaitable[Any]) -> Any:
    return await waiting


def _no_certificates(chain: tuple[bytes, ...], now: float) -> VerifiedCredential:
    raise CredentialRejected("certificate", "no certificates on this stage")
