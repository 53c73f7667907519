"""The running bridge: what all doors share, one listener per address, and everything that changes while it runs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from bridge import __version__
from bridge.accounts.breaker import CircuitBreaker
from bridge.accounts.vaults import EnvironmentVault, FileVault, Vault, Vaults
from bridge.adapter import Adapter, Address, BridgeError, Reason, Stream
from bridge.admission.attendance import attend
from bridge.admission.replay import ReplayGuard
from bridge.admission.system import Core, System
from bridge.admission.texts import cause
from bridge.alerts import Channels, Outbox
from bridge.api.asking import AskingDoor
from bridge.config import Config, difference, load
from bridge.daemon import conversion
from bridge.daemon.alert_settings import settings as alert_settings
from bridge.daemon.alerting import Alerting
from bridge.daemon.attesting import Attesting
from bridge.daemon.delivering import Copies
from bridge.daemon.demoting import Demoting, phases
from bridge.daemon.emergencies import BreakGlass
from bridge.daemon.giving import Giving
from bridge.daemon.heartbeat import Heartbeat
from bridge.daemon.issuers import Issuers
from bridge.daemon.keeping import Keeping
from bridge.daemon.metering import Metering
from bridge.daemon.opening import (
    Storage,
    declared_changes,
    record_failure,
    record_intent,
    record_load,
    record_policy,
    recordings,
    unrecorded_changes,
)
from bridge.daemon.pruning import Pruning
from bridge.daemon.reconciling import Reconciler
from bridge.daemon.rotating import Rotator
from bridge.daemon.vaults import remote_vaults
from bridge.discovery import find_adapters
from bridge.net.connection import Connection
from bridge.net.dialer import Dialer
from bridge.net.listener import Accepted, Listener
from bridge.net.tls import ServerTLS
from bridge.policy import Grant, Ledger, Policy
from bridge.policy.demotion import Demotion
from bridge.policy.phases import Phases
from bridge.rounds import Rounds
from bridge.storage import StorageError, ThreadPool
from bridge.translation import facts
from bridge.translation.appender import Appender, OwnAppender
from bridge.translation.log import LogUnavailable
from bridge.translation.record import Event
from bridge.translation.recovery import in_thread_close_open
from bridge.translation.sql import SQLLog

REVIEW_INTERVAL = 1.0
"""Seconds between looks at expiry, idleness and changes of the registry: a revocation bites within it."""

OVERVIEW_INTERVAL = 5.0
"""Seconds between additions to the overview of the log; what is younger is read from the log itself."""

RECONCILE_INTERVAL = 5.0
"""Seconds between looks at whose schedule is due."""

SETTLE_INTERVAL = 5.0
"""Seconds between looks at which break-glass is over or whose review is overdue."""

PRUNE_INTERVAL = 600.0
"""Seconds between looks at recordings that were kept long enough."""

LAST_WORDS = 5.0
"""Seconds at a shutdown for goodbyes and their grace, when the sessions have been cut."""

ASKING = ""
"""In place of a system's name: the listener at which agents ask for access."""

ASKING_WAITS = 64
"""Requests of agents that may wait for their thread: more are told to come back."""

VAULT_THREADS = 4
ADAPTER_THREADS = 4


class Bridge:
    """``start``, ``reload``, ``stop``; the rest is asked by ``live`` and the health pages. In the reactor's thread.

    Without an ``appender``, the log is appended to in this process.
    """

    log = Logger()

    def __init__(self, reactor: Any, config: Config, storage: Storage, appender: Appender | None = None) -> None:
        self.reactor = reactor
        self.config = config
        self.storage = storage
        self.ready = False
        self.pool = ThreadPool("admin", 2, reactor)
        self._vault_pool = ThreadPool("vaults", VAULT_THREADS, reactor)
        vaults: dict[str, Vault] = {"env": EnvironmentVault(), "file": FileVault(), "store": storage.store}
        self._vaults = Vaults(vaults, self._vault_pool, reactor)
        self._vaults.remote = remote_vaults(config, reactor, self._vaults)
        self._adapter_pool = ThreadPool("adapters", ADAPTER_THREADS, reactor)
        self._attest_pool = ThreadPool("attestations", 1, reactor)
        self._recording_pool = ThreadPool("recordings", 1, reactor)  # one thread: frames stay in order
        self._recordings = recordings(config, self._recording_pool, reactor)
        self.translation = SQLLog(
            appender or OwnAppender(storage.log_engine, storage.checkpoints),
            reactor, config.bridge.name, storage.overview.alike.add,
            node=_node(), version=__version__,
        )  # fmt: skip
        self.translation.salted = config.log.personal == "salted"
        self.attesting = Attesting(reactor, storage.log_engine, self._attest_pool, self.translation.keep)
        self.keeping = Keeping(reactor, storage.reading_engine, self.translation, storage.now)
        self._heartbeat = Heartbeat(reactor, self.translation.post, _node(), __version__)
        self.issuers = Issuers(reactor, self._keys_changed)
        self._adapter_types = find_adapters()
        self._adapters: dict[str, Adapter] = {}
        self.listeners: dict[tuple[str, Address], Listener] = {}
        self.systems: dict[str, System] = {}
        self._reviewing = Rounds(self._review, REVIEW_INTERVAL, reactor, self._review_failed)
        self._reconciling = Rounds(self._reconcile_due, RECONCILE_INTERVAL, reactor, self._reconcile_failed)
        self.reconciler = Reconciler(lambda: self.core, lambda: self.systems, self.adapter, reactor)
        self._overview_pool = ThreadPool("overview", 1, reactor)
        self._summing_up = Rounds(self._sum_up, OVERVIEW_INTERVAL, reactor, self._sum_up_failed)
        self.rotator = Rotator(
            lambda: self.core, lambda: self.systems, self.adapter, storage.store, self._adapter_pool, self._rotated
        )
        self._retired: list[Listener] = []
        self._retired_adapters: list[Adapter] = []
        self.policy_taken: Callable[[Policy], None] = lambda policy: None  # told of each new one after a reload
        self._reloading = DeferredLock()
        self._break_glass = BreakGlass(
            storage.emergencies, self._adapter_pool, reactor.seconds, storage.now, self.translation.keep, self._owner_of
        )
        self._break_glass.rules = conversion.break_glass(config)
        self._demoting = Demoting(
            config.bridge.name, storage.demotions, self._adapter_pool, storage.now, self.translation.keep
        )
        self._settling = Rounds(self._settle, SETTLE_INTERVAL, reactor, self._settle_failed)
        self._stopping = False
        self._looking = False
        self._giving = Giving(
            storage.access_requests, self._adapter_pool, storage.now, self.translation.keep, self._owner_of
        )
        self.asking_pool = ThreadPool("requests", 1, reactor, queue_limit=ASKING_WAITS)
        self.asking_door: AskingDoor | None = None  # once there is something to ask
        self.server_tls: ServerTLS | None = None
        self.core = self._core(config)
        self._mode_end = conversion.next_end(config, storage.now())
        self._alert_pool = ThreadPool("alerts", 1, reactor)
        self.alerting = Alerting(
            config.bridge.name, Outbox(storage.registry_engine, config.alerts.repeat), storage.reading_engine,
            storage.registry, self._alert_pool, reactor, storage.now, self.translation.keep,
            lambda channels, mail: Channels(
                channels, mail, config.bridge.name, self.core.vaults, reactor, storage.now
            ),
        )  # fmt: skip
        self.copies = Copies(
            storage.reading_engine, self.translation, config.bridge.state, self.core.vaults, reactor, storage.now,
            lambda why: self.core.live.cut(lambda session: True, Reason.LOG_UNAVAILABLE, why),
        )  # fmt: skip
        self.core.withheld = lambda: self.copies.withheld
        keeping = conversion.retention(config)
        self._pruning = Pruning(self._recordings, self.translation, self._adapter_pool, keeping, storage.now)
        self._prune = Rounds(self._prune_due, PRUNE_INTERVAL, reactor, self._prune_failed)
        self.metering = Metering(self.core.ledger, storage.usage, self._adapter_pool, reactor, storage.now)

    def _core(self, config: Config) -> Core:
        directory = self.storage.registry.in_thread_directory()
        verifier, sources = self.issuers.prepare(config, self.storage.issuer, lambda: self.core.directory)
        self.issuers.take(sources)
        return Core(
            log=self.translation,
            verifier=verifier,
            certificates=self.issuers.certificates(config),
            ssh=self.issuers.ssh(config, lambda: self.core.directory),
            directory=directory,
            deny_list=self.storage.deny_list,
            policy=self._policy(config),
            vaults=self._vaults,
            breaker=CircuitBreaker(),
            replay=ReplayGuard(config.credentials.replay),
            clock=self.reactor,
            now=self.storage.now,
            warn=self.log.warn,
            node=_node(),
            version=__version__,
            recordings=self._recordings,
            sessions_per_agent=config.limits.sessions_per_agent,
            asking=conversion.asking(config, self._adapter_types),
            ledger=Ledger(conversion.quotas(config), conversion.prices(config)),
        )

    # -- life

    async def start(self) -> None:
        """Opens the log, closes what a crash left open, then listens.

        Raises OSError, TLSMisconfigured, LogUnavailable, DemotionRefused.
        """
        self.attesting.take(self.attesting.prepare(self.config.log))
        await self.translation.start()
        self.translation.on_failure(self._log_failed)
        self.translation.on_recovered(self._log_recovered)
        recovery = self._adapter_pool.run(in_thread_close_open, self.storage.log_engine, self.translation.name)
        sessions, operations = await recovery
        if sessions or operations:
            self.log.warn("closed {sessions} sessions that the last stop left open", sessions=sessions)
        modes = await self._adapter_pool.run(phases, self.config, self._adapter_types)
        demotion = await self._demoting.admit(modes)
        await self.translation.record(record_load(self.config))
        await self.translation.record(record_policy(self.config, self.core.policy))
        for event in await self._adapter_pool.run(unrecorded_changes, self.config, self.storage):
            self.translation.keep(event)
        await self._declare(self.config)
        await self._keep_modes(modes, demotion)
        await self.take_registry()
        await self.metering.start()
        await self.alerting.start(await self._adapter_pool.run(alert_settings, self.config))
        self.issuers.start()
        await self.copies.take(self.config)
        tls = self.server_tls = conversion.server_tls(self.config)
        self.systems = {name: self._system(self.config, name, tls) for name in self.config.systems}
        for name in self.systems:
            self._start_adapter(name)
        self.listeners = self._opened(self.config)
        self._reviewing.start()
        self.attesting.start()
        self._heartbeat.start()
        self._settling.start()
        self._summing_up.start()
        self._prune.start(now=True)
        self.keeping.take(self.config)
        self.keeping.start()
        self.ready = True
        self._reconciling.start(now=True)  # at once: a change of a secret that a crash cut off keeps agents out

    async def stop(self) -> None:
        """Stops accepting, waits ``drain`` for sessions to end, tells the rest, writes the end of everything."""
        self.ready, self._stopping = False, True
        for listener in self.listeners.values():
            listener.stop_accepting()
        await self._drain(self.config.bridge.drain)
        self.core.live.cut(lambda session: True, Reason.SHUTDOWN, "")
        await self._drain(LAST_WORDS)
        for listener in self._every_listener():
            listener.cancel_all()
        await self._drain(0.0)
        self._heartbeat.stop()
        for rounds in (self._reviewing, self._reconciling, self._summing_up, self._prune, self._settling):
            rounds.stop()
        for adapter in (*self._adapters.values(), *self._retired_adapters):
            adapter.stop()
        self.issuers.stop()
        await self.metering.stop()
        await self.alerting.stop()
        await self.keeping.stop()
        await self._recording_pool.stop(grace=2.0)  # before the log, which hears of the end of each
        await self.translation.stop()
        await self.copies.stop()
        await self.attesting.stop()
        for pool in (
            self._attest_pool,
            self._overview_pool,
            self.pool,
            self._vault_pool,
            self.asking_pool,
            self._adapter_pool,
            self._alert_pool,
        ):
            await pool.stop(grace=2.0)

    async def _drain(self, seconds: float) -> None:
        """Waits until no connection lives, ``seconds`` at most in all."""
        end = self.reactor.seconds() + seconds
        for listener in self._every_listener():
            waiting = Deferred.fromCoroutine(listener.drained())
            left = max(end - self.reactor.seconds(), 0.01)
            waiting.addTimeout(left, self.reactor, onTimeoutCancel=lambda result, timeout: None)
            await waiting

    def _every_listener(self) -> list[Listener]:
        return [*self.listeners.values(), *self._retired]

    # -- systems and listeners

    def _system(self, config: Config, name: str, tls: ServerTLS | None) -> System:
        system = config.systems[name]
        encrypts = self._adapter_types[system.protocol].encrypts
        upstream = None if encrypts else conversion.upstream_tls(system)
        own, port, timeout = system.upstream.host or "", system.upstream.port, system.upstream.timeout
        dialer = Dialer(self.reactor, conversion.stream_limits(config))

        async def dial(host: str) -> Stream:
            return await dialer.connect(host or own, port, timeout)

        return System(
            facts=conversion.system_facts(config, name, tls),
            protocol=system.protocol,
            upstream=str(Address(own or "*", port)),
            labels=frozenset(system.labels),
            accounts=conversion.accounts(system),
            audiences=conversion.audiences(config, name),
            dial=dial,
            upstream_tls=upstream,
            upstream_tls_optional=upstream is not None and upstream.optional,
            loopback_plaintext=system.plaintext == "loopback-only",
            encrypts=encrypts,
            strict_audit=system.audit == "strict",
            end_with_token=system.session_after_expiry == "end",
            max_session=system.max_session or 0.0,
            idle=system.idle or 0.0,
        )

    def _start_adapter(self, name: str) -> None:
        """The one before it, if any, serves the sessions that it has."""
        Path(self.systems[name].facts.folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        if name in self._adapters:
            self._retired_adapters.append(self._adapters[name])
        adapter = self._adapter_types[self.config.systems[name].protocol]()
        adapter.start(self._adapter_pool.run)
        self._adapters[name] = adapter

    def _opened(self, config: Config) -> dict[tuple[str, Address], Listener]:
        """The listeners that ``config`` wants and that are not there yet, accepting; all or none. Raises OSError.

        An address that goes from one system to another is left out until its listener is closed.
        """
        held = {address for _, address in self.listeners}
        wanted = {(name, address) for name, address in _addresses(config) if address not in held}
        opened: dict[tuple[str, Address], Listener] = {}
        for name, address in sorted(wanted, key=str):
            listener = Listener(
                self.reactor,
                address,
                self._server(name),
                limits=conversion.accept_limits(config),
                stream_limits=conversion.stream_limits(config),
                turned_away=lambda reason, system=name: self._turned_away(system, reason),  # type: ignore[misc]
            )
            try:
                listener.start()
            except OSError:
                _close(opened)
                raise
            opened[name, address] = listener
        return opened

    def _close_others(self, config: Config) -> None:
        """Closes the listeners that ``config`` no longer has; their sessions live on."""
        wanted = _addresses(config)
        self._retired = [listener for listener in self._retired if listener.open]
        for key in self.listeners.keys() - wanted:
            listener = self.listeners.pop(key)
            listener.stop_accepting()
            self._retired.append(listener)

    def _server(self, name: str) -> Callable[[Connection, Accepted], Any]:
        async def serve(client: Connection, accepted: Accepted) -> None:
            if name == ASKING:
                if self.asking_door is not None:
                    await self.asking_door.serve(client, accepted.authenticated)
                return
            system = self.systems.get(name)
            if system is None:
                return  # opened for a configuration that is not taken yet, or closed with one that was
            await attend(self.core, system, self._adapters[name], client, accepted.authenticated)

        return serve

    def listening(self, system: str) -> list[str]:
        """Where it really listens, as host:port."""
        return [str(listener.address) for (name, _), listener in self.listeners.items() if name == system]

    def audiences(self) -> frozenset[str]:
        """Of tokens with which agents ask for access: those of all systems."""
        return frozenset().union(*(system.audiences for system in self.systems.values()))

    def adapter(self, system: str) -> Adapter:
        return self._adapters[system]

    async def _reconcile_due(self) -> None:
        """What fails here is told and tried again at the next time."""
        await self._rotate_due()
        every = {name: one.reconcile for name, one in self.config.systems.items() if one.reconcile and self.ready}
        for name in self.reconciler.due(every):
            for account, host in product(self.systems[name].accounts, self.reconciler.hosts(name)):
                try:
                    await self.reconciler.reconcile(name, account, host)
                except (BridgeError, LogUnavailable) as failure:
                    where = self.systems[name].circuit(account, host)
                    self.log.warn("the sessions of {account} on {system} could not be compared: {cause}",
                                  account=where, system=name, cause=cause(failure))  # fmt: skip

    def _sum_up(self) -> Deferred[None]:
        """Never fails: without the overview, answers take longer and are the same."""
        adding = self._overview_pool.run(self.storage.overview.in_thread_catch_up, 1.0)
        return adding.addCallbacks(
            lambda _blocks: None,
            lambda failure: self.log.warn(
                "the overview of the log was not brought up to date: {cause}", cause=failure.getErrorMessage()
            ),
        )

    def _sum_up_failed(self, failure: Any) -> None:
        self.log.failure("the overview of the log is not brought up to date any more", failure=failure)

    async def _prune_due(self) -> None:
        """What fails here is told and tried again at the next time."""
        try:
            await self._pruning.run()
        except (LogUnavailable, OSError) as failure:
            self.log.warn("recordings could not be removed: {cause}", cause=str(failure))

    def _prune_failed(self, failure: Any) -> None:
        self.log.failure("removing recordings failed and is not tried any more", failure=failure)

    async def _rotate_due(self) -> None:
        every = {
            (name, account): one.rotate
            for name, system in self.config.systems.items()
            for account, one in system.accounts.items()
            if one.rotate and self.ready
        }
        await self.rotator.look(every, self.core.now(), facts.actor_section(kind="bridge", id="schedule"))

    def _reconcile_failed(self, failure: Any) -> None:
        self.log.failure("comparing sessions failed and is not tried any more", failure=failure)

    def _turned_away(self, system: str, reason: str) -> None:
        self.log.warn("{system}: a connection was dropped at the limit {limit}", system=system, limit=reason)

    # -- changes

    async def reload(self) -> list[dict[str, Any]]:
        """See ``_reload``; one after the other."""
        changes: list[dict[str, Any]] = await self._reloading.run(self._reload)
        return changes

    async def _reload(self) -> list[dict[str, Any]]:
        """Takes the file again, wholly or not at all; returns what changed.

        What needs a restart (the bridge's name, its state directory) must not change.
        Raises RestartNeeded, DemotionRefused, ConfigErrors, TLSMisconfigured, VaultMisconfigured, OSError.
        """
        new = await self._adapter_pool.run(load, self.config.path, self._adapter_types)
        if (new.bridge.name, new.bridge.state) != (self.config.bridge.name, self.config.bridge.state):
            raise RestartNeeded("bridge.name and bridge.state change only with a restart")
        if new.log_origin != self.config.log_origin:
            raise RestartNeeded("log.origin changes only with a new log: its checkpoints have the old one")
        changes = difference(self.config, new)
        alerts = await self._adapter_pool.run(alert_settings, new)
        tls = conversion.server_tls(new)
        systems = {name: self._system(new, name, tls) for name in new.systems}
        temporary = self._temporary()
        policy = self._policy(new)
        modes = await self._adapter_pool.run(phases, new, self._adapter_types)
        demotion = await self._demoting.admit(modes)
        verifier, sources = self.issuers.prepare(new, self.storage.issuer, lambda: self.core.directory)
        certificates = self.issuers.certificates(new)
        ssh = self.issuers.ssh(new, lambda: self.core.directory)
        remote = remote_vaults(new, self.reactor, self._vaults)
        attesting = self.attesting.prepare(new.log)
        opened = self._opened(new)
        try:
            request = await self._declare_recorded(new)
        except BaseException:
            _close(opened)
            raise
        # Nothing below waits or fails before all of it is taken.
        if self._temporary() != temporary:  # given or revoked meanwhile
            policy = self._policy(new)
        old, self.config = self.config, new
        self.translation.keep(record_load(new, old, request))
        if policy.digest != self.core.policy.digest:
            self.translation.keep(record_policy(new, policy))
        changed = [name for name in systems if name not in old.systems or _protocol(old, name) != _protocol(new, name)]
        self.systems = systems
        for name in changed:
            self._start_adapter(name)
        core = self.core
        core.policy, core.verifier, core.certificates, core.ssh = policy, verifier, certificates, ssh
        core.asking, self.server_tls = conversion.asking(new, self._adapter_types), tls
        self.policy_taken(policy)
        self._mode_end = conversion.next_end(new, self.core.now())
        self.alerting.take(alerts)
        core.ledger.take(conversion.quotas(new), conversion.prices(new))
        core.sessions_per_agent = new.limits.sessions_per_agent
        self._vaults.remote = remote
        self._recordings.limit = new.limits.recording
        self._pruning.retention = conversion.retention(new)
        core.replay.mode = new.credentials.replay
        self._break_glass.rules = conversion.break_glass(new)
        self.attesting.take(attesting)
        self.keeping.take(new)
        self.translation.salted = new.log.personal == "salted"
        self.issuers.take(sources)
        self.issuers.start()
        self.listeners.update(opened)
        self._close_others(new)
        try:
            self.listeners.update(self._opened(new))
        except OSError as error:
            self.log.critical("an address that changed its system cannot be opened again: {cause}", cause=str(error))
        await self._keep_modes(modes, demotion)
        await self.take_registry()
        await self.copies.take(new)
        return changes

    async def _keep_modes(self, modes: Phases, demotion: Demotion | None) -> None:
        try:
            await self._demoting.taken(modes, demotion)
        except StorageError as failure:  # the next change is then held against the modes before
            self.log.error("the modes that were taken were not written down: {cause}", cause=str(failure))

    async def _declare_recorded(self, new: Config) -> str:
        """Takes what the file declares between an intent and its outcome; returns the intent's id."""
        request = self.translation.identifiers.next()[0]
        await self.translation.record(record_intent(new, request))
        try:
            await self._declare(new)
        except (BridgeError, StorageError) as failure:
            self.translation.keep(record_failure(new, request, str(failure)))
            raise
        return request

    async def _declare(self, config: Config) -> None:
        for event in declared_changes(config, await self._adapter_pool.run(self.storage.sync_declared, config)):
            self.translation.keep(event)

    async def take_registry(self) -> int:
        """Takes the present registry and deny list; returns how many live sessions ended because of it."""
        directory = await self._adapter_pool.run(self.storage.registry.in_thread_directory)
        if directory.version >= self.core.directory.version:  # else one that was read later is there already
            self.core.directory = directory
        await self._adapter_pool.run(self.storage.deny_list.in_thread_load)
        if await self._break_glass.take():
            self._take_emergencies()
        ended = self._take_given() if await self._giving.take() else 0
        ended += self._end_refused()
        for session in self.core.live:  # its agent may have another owner, or the configuration other quotas
            session.meter_anew()
        return ended

    def _temporary(self) -> list[Grant]:
        """What several people opened in an emergency, or somebody gave to an agent that asked."""
        return [one.grant() for one in self._break_glass.open] + self._giving.grants

    def _policy(self, config: Config) -> Policy:
        return conversion.policy(config, self._adapter_types, self.storage.now(), self._temporary())

    def _take_policy(self) -> None:
        """Time, a break-glass or an approval changed it; also for the sessions that live."""
        policy = self.core.policy = self._policy(self.config)
        self.translation.keep(record_policy(self.config, policy))
        self.policy_taken(policy)

    def _take_emergencies(self) -> None:
        """Others are open than before."""
        opened = {one.id for one in self._break_glass.open}
        self._take_policy()
        self.core.live.cut(
            lambda session: session.emergency not in {"", *opened}, Reason.SESSION_EXPIRED, "the break-glass is over"
        )

    def _take_given(self) -> int:
        """Something else is given than before; returns how many live sessions that ended."""
        self._take_policy()
        live = [session for session in self.core.live if not session.is_over()]
        for session in live:
            session.review(self.core.now())
        return sum(1 for session in live if session.is_over())

    async def _settle(self) -> None:
        """What fails here is told and tried again at the next time."""
        try:
            await self._break_glass.settle()
        except StorageError as failure:
            self.log.error("the end of a break-glass was not written down: {cause}", cause=str(failure))

    def _settle_failed(self, failure: Any) -> None:
        self.log.failure("break-glass is not looked after any more", failure=failure)

    async def _rotated(self, system: str, account: str) -> None:
        try:
            await self._break_glass.rotated(system, account)
        except StorageError as failure:
            self.log.error(
                "that {account} on {system} has a new password was not noted: {cause}",
                account=account,
                system=system,
                cause=str(failure),
            )

    def _owner_of(self, agent: str) -> str:
        found = self.core.directory.by_id(agent)
        return found.owner.id if found is not None else ""

    def _end_refused(self) -> int:
        now, core = self.core.now(), self.core

        def refused(session: Any) -> bool:
            agent = core.directory.by_id(session.agent.id)
            credential = session.credential
            return (
                agent is None or bool(agent.refusal(now)) or core.deny_list.denies(credential.iss, credential.token_id)
            )

        return core.live.cut(refused, Reason.SESSION_REVOKED, "")

    def _review(self) -> None:
        self.copies.review()
        now = self.core.now()
        if now >= self._mode_end:
            self._end_modes(now)
        if self._break_glass.end():
            self._take_emergencies()
        for session in self.core.live:
            session.review(now)
        if not self._looking:
            self._looking = True
            looking = Deferred.fromCoroutine(self._look_at_registry())
            looking.addErrback(lambda failure: self.log.failure("the registry cannot be read", failure=failure))
            looking.addBoth(lambda _: setattr(self, "_looking", False))

    def _end_modes(self, now: float) -> None:
        """What was on trial until now is enforced, also in sessions that live."""
        self._take_policy()
        self._mode_end = conversion.next_end(self.config, now)
        self.log.warn("a mode has ended: what was on trial is enforced from now on")

    async def _look_at_registry(self) -> None:
        """Another process may have changed it, when the command line found no socket."""
        if await self._giving.settle():
            self._take_given()
        version = await self._adapter_pool.run(self.storage.registry.in_thread_version)
        if version != self.core.directory.version:
            await self.take_registry()

    def _review_failed(self, failure: Any) -> None:
        self.log.failure("reviewing the sessions failed; stopping, because nothing would end them", failure=failure)
        self.reactor.stop()

    def _log_failed(self, why: str) -> None:
        self.ready = False
        self.log.critical("the translation log cannot be written: {why}; all sessions end", why=why)
        self.core.live.cut(lambda session: True, Reason.LOG_UNAVAILABLE, why)
        self.alerting.log_failed(why)

    def _log_recovered(self) -> None:
        self.ready = not self._stopping
        self.log.warn("the translation log can be written again")

    def _keys_changed(self, event: Event) -> None:
        self.translation.keep(event)


def _addresses(config: Config) -> set[tuple[str, Address]]:
    listening = {(name, address) for name, system in config.systems.items() for address in system.listen}
    return listening | ({(ASKING, config.requests.listen)} if config.requests.listen else set())


def _close(opened: Mapping[tuple[str, Address], Listener]) -> None:
    for listener in opened.values():
        listener.stop_accepting()


class RestartNeeded(BridgeError):
    """A change that a reload cannot make."""


def _protocol(config: Config, name: str) -> str:
    return config.systems[name].protocol


def _node() -> str:
    return socket.gethostname()
