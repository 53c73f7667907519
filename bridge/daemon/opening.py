"""The bridge's files, and admin commands without a running daemon."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from bridge import __version__
from bridge.accounts.vaults import Store
from bridge.adapter import BridgeError
from bridge.admission.access_requests import AccessRequests
from bridge.admission.demotions import Demotions
from bridge.admission.emergencies import Emergencies
from bridge.admission.usage import UsageStore
from bridge.alerts import Outbox
from bridge.api.commands import call
from bridge.api.history import in_thread_directory
from bridge.api.services import Actor, Services
from bridge.config import Config, difference
from bridge.daemon import conversion
from bridge.daemon.demoting import phases
from bridge.discovery import find_adapters
from bridge.identity.deny_list import DenyList
from bridge.identity.issuer import BuiltinIssuer
from bridge.identity.lifecycle import REVOKED
from bridge.identity.registry import Changed, Registry
from bridge.policy import Ledger, Policy, document
from bridge.storage import StorageError, ThreadPool, open_engine, upgrade, writing
from bridge.translation import facts
from bridge.translation.appender_process import AppenderProcess
from bridge.translation.appending import in_thread_append
from bridge.translation.checkpoints import Checkpoints, load_signer
from bridge.translation.key_change import in_thread_change_key, in_thread_prepare_key
from bridge.translation.log import LogUnavailable
from bridge.translation.note import Signer, VerifierKey
from bridge.translation.overview import Overview
from bridge.translation.personal import salted_event
from bridge.translation.reading import LogReader
from bridge.translation.record import Event, IndexKeys
from bridge.translation.recordings import Recordings
from bridge.translation.vocabulary import (
    CONFIG_CHANGE,
    FAILURE,
    INTENT,
    LOG_KEY,
    OUTCOME,
    PENDING,
    POLICY_VERSION,
    REGISTRY_CHANGE,
)

LOG = "translation.db"

LOCK_WAIT = 3.0
LOCK_STEP = 0.02
"""Seconds that a start waits for the process that appends of a bridge that was killed, and between its looks."""


class StateUnusable(BridgeError):
    """The state directory cannot be used. The message names it and what to do."""


@dataclass(slots=True)
class Storage:
    """Everything below the state directory. ``reading_engine`` is apart, so that readers cannot starve the writer."""

    registry: Registry
    deny_list: DenyList
    store: Store
    usage: UsageStore
    emergencies: Emergencies
    access_requests: AccessRequests
    demotions: Demotions
    issuer: BuiltinIssuer
    checkpoints: Checkpoints
    registry_engine: Engine
    log_engine: Engine
    reading_engine: Engine
    overview: Overview

    now = staticmethod(time.time)

    def sync_declared(self, config: Config) -> list[Changed]:
        """Takes the owners and agents that the file declares. Blocks."""
        return self.registry.in_thread_sync_declared(config.owners, config.agents)

    def dispose(self) -> None:
        for engine in (self.registry_engine, self.log_engine, self.reading_engine, self.overview.engine):
            engine.dispose()


def own_state(config: Config, wait: float = 0.0) -> int:
    """Makes this process the only bridge on its state directory; the descriptor is to be kept open. Blocks.

    A second one would take the sessions of the first for what a crash left open, and record their end. ``wait``:
    seconds for the last commit of one that was killed. Raises StateUnusable.
    """
    state = config.bridge.state
    _make_state(state)
    try:
        lock = os.open(state / "bridge.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateUnusable(f"{state}/bridge.lock: {error.strerror}") from None
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it when the processes end, however
            return lock
        except OSError:
            if time.monotonic() >= end:
                os.close(lock)
                other = "another bridge runs on this directory; stop it, or give each its own"
                raise StateUnusable(f"{state}: {other}") from None
        time.sleep(LOCK_STEP)


def _make_state(state: Path) -> None:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateUnusable(
            f"{state}: {error.strerror}; bridge.state must be a directory of the bridge's user"
        ) from None


def appender_process(config: Config, lock: int) -> AppenderProcess:
    """``lock`` is that of the state directory."""
    state = config.bridge.state
    return AppenderProcess(state / LOG, state, config.log_origin, [lock])


def open_storage(config: Config) -> Storage:
    """Opens, creating what is missing. Blocks.

    Raises StateUnusable, StorageError, KeyRefused, StoreKeyRefused, NoteRefused.
    """
    state = config.bridge.state
    _make_state(state)
    registry_engine = open_engine(state / "registry.db", kind="registry")
    upgrade(registry_engine, "registry")
    log_engine = open_engine(state / LOG, kind="translation")
    upgrade(log_engine, "translation")
    reading_engine = open_engine(state / LOG, kind="translation")
    storage = Storage(
        registry=Registry(registry_engine, now=time.time),
        deny_list=DenyList(registry_engine, now=time.time),
        store=Store(registry_engine, state / "store.key", time.time),
        usage=UsageStore(registry_engine),
        emergencies=Emergencies(registry_engine),
        access_requests=AccessRequests(registry_engine),
        demotions=Demotions(registry_engine),
        issuer=BuiltinIssuer.load_or_create(state / "issuer.key", config.bridge.name),
        checkpoints=Checkpoints(load_signer(state, log_engine, config.log_origin)),
        registry_engine=registry_engine,
        log_engine=log_engine,
        reading_engine=reading_engine,
        overview=Overview(open_engine(state / "overview.db", kind="translation"), reading_engine),
    )
    storage.deny_list.in_thread_load()
    return storage


def recordings_folder(config: Config) -> tuple[Path, Path]:
    """Where recordings lie, and their key."""
    return config.bridge.state / "recordings", config.bridge.state / "recordings.key"


def recordings(config: Config, pool: ThreadPool, clock: Any) -> Recordings:
    return Recordings(*recordings_folder(config), pool, clock, limit=config.limits.recording)


def call_here(config: Config, name: str, parameters: Mapping[str, Any]) -> Any:
    """Runs an admin command in this process, when no daemon is running. Raises BridgeError."""
    storage = open_storage(config)
    try:
        _, given = storage.access_requests.in_thread_given(storage.now())
        policy = conversion.policy(config, find_adapters(), temporary=[one.grant() for one in given])
        served = services(config.bridge.name, storage, policy, salted=config.log.personal == "salted")
        served.break_glass = conversion.break_glass(config)
        served.asking = conversion.asking(config, find_adapters())
        served.planned = partial(phases, config, find_adapters())
        served.quotas = partial(_stored_quotas, config, storage)
        served.spelled = partial(conversion.spelled, config, find_adapters())
        for event in declared_changes(config, storage.sync_declared(config)):
            served.write(event, done=True)
        return call(served, Actor.at_terminal(), name, parameters)
    finally:
        with writing(storage.log_engine) as connection:
            storage.checkpoints.seal(connection)
        storage.dispose()


def services(name: str, storage: Storage, policy: Policy, *, salted: bool = False) -> Services:
    """For commands without a daemon: events are appended by this process. ``salted``: see ``translation.personal``."""

    def record(event: Event) -> int:
        try:
            return in_thread_append(storage.log_engine, name, [event], salted=salted)
        except StorageError as error:
            raise LogUnavailable("failed", str(error)) from None

    return Services(
        name=name,
        registry=storage.registry,
        deny_list=storage.deny_list,
        issuer=storage.issuer,
        reader=LogReader(storage.reading_engine, storage.overview),
        store=storage.store,
        usage=storage.usage,
        outbox=Outbox(storage.registry_engine, 0.0),
        emergencies=storage.emergencies,
        access_requests=storage.access_requests,
        demotions=storage.demotions,
        policy=policy,
        record=record,
        now=time.time,
    )


def _stored_quotas(config: Config, storage: Storage) -> list[dict[str, Any]]:
    ledger = Ledger(conversion.quotas(config))
    ledger.restore(storage.usage.in_thread_load())
    return ledger.rows(storage.now())


def reader(config: Config) -> LogReader:
    """For exports, which are read from the database itself."""
    engine = open_engine(config.bridge.state / LOG, kind="translation")
    upgrade(engine, "translation")
    return LogReader(engine)


def log_evidence(config: Config) -> tuple[Engine, VerifierKey]:
    """For verifying and proving, which read the database itself: the log, and the key that its checkpoints have."""
    engine, signer = log_signer(config)
    return engine, signer.key


def prepared_log_key(config: Config) -> VerifierKey:
    """The next key of the log, which signs nothing yet."""
    return in_thread_prepare_key(config.bridge.state, config.log_origin)


def changed_log_key(config: Config) -> VerifierKey:
    """Replaces the log's key. Raises StateUnusable while a bridge runs."""
    lock = own_state(config)
    try:
        engine, old = log_evidence(config)
        new = prepared_log_key(config)
        change = facts.change_section(old.name, {"public": str(old)}, {"public": str(new)})
        sections = {"actor": Actor.at_terminal().section(), "change": change}
        event = salted_event(Event(LOG_KEY, sections=sections), all=config.log.personal == "salted")
        return in_thread_change_key(engine, config.bridge.state, config.bridge.name, event, config.log_origin)
    finally:
        os.close(lock)


def log_signer(config: Config) -> tuple[Engine, Signer]:
    """The same, with what signs: for evidence packs."""
    state = config.bridge.state
    engine = open_engine(state / LOG, kind="translation")
    upgrade(engine, "translation")
    return engine, load_signer(state, engine, config.log_origin)


def declared_changes(config: Config, changed: list[Changed]) -> list[Event]:
    """What became of the registry because of the owners and agents that the file declares."""
    events = []
    for before, after in changed:
        agent = "state" in after
        subject = after["id"] if agent else f"owner:{after['id']}"
        change = facts.change_section(subject, before, after)
        owner = after["owner"]["id"] if agent else after["id"]
        index = IndexKeys(agent=after["id"] if agent else "", owner=owner)
        events.append(Event(REGISTRY_CHANGE, sections={"actor": _actor(config), "change": change}, index=index))
    return events


def unrecorded_changes(config: Config, storage: Storage) -> list[Event]:
    """What makes the log say what the registry has, where it does not: a change that a crash kept from the log, or an
    older release did not write. Blocks."""
    known, _ = in_thread_directory(LogReader(storage.reading_engine), int(storage.now() * 1000))
    logged, present = (
        {one.id: one.plain() for one in agents} for agents in (known, storage.registry.in_thread_directory())
    )
    lost = {"state": REVOKED, "state_reason": "it is no longer in the registry"}
    events = []
    for id in sorted(logged.keys() | present.keys()):
        before, after = logged.get(id), present.get(id)
        if before is not None and after is None and before["state"] != REVOKED:
            after = {**before, **lost}
        if after is not None and after != before:
            change = facts.change_section(id, before, after)
            detail = facts.detail_section(text="found at the start: the log did not have this change")
            index = IndexKeys(agent=id, owner=after["owner"]["id"])
            sections = {"actor": _actor(config), "change": change, "detail": detail}
            events.append(Event(REGISTRY_CHANGE, sections=sections, index=index))
    return events


def record_intent(config: Config, request: str) -> Event:
    """That a reload is about to be done; ``request`` is its id, which the outcome names."""
    change = facts.change_section(str(config.path), None, {"digest": config.digest})
    sections = {"actor": _actor(config), "change": change}
    return Event(CONFIG_CHANGE, INTENT, PENDING, sections=sections, id=request)


def record_failure(config: Config, request: str, cause: str) -> Event:
    """That a reload could not be done after all."""
    sections = {
        "actor": _actor(config),
        "corr": facts.section(request=request),
        "detail": facts.detail_section(text=cause),
    }
    return Event(CONFIG_CHANGE, OUTCOME, FAILURE, sections=sections, request=request)


def record_load(config: Config, before: Config | None = None, request: str = "") -> Event:
    """The event that a configuration was taken; at a start with its digest alone, at a reload with what changed."""
    old: dict[str, Any] | None = None
    new: dict[str, Any] = {"digest": config.digest, "version": __version__}
    if before is not None:
        changes = difference(before, config)
        old = {"digest": before.digest} | {one["key"]: one["before"] for one in changes if "before" in one}
        new |= {one["key"]: one["after"] for one in changes if "after" in one}
    change = facts.change_section(str(config.path), old, new)
    sections = {"actor": _actor(config), "change": change}
    if not request:
        return Event(CONFIG_CHANGE, sections=sections)
    return Event(CONFIG_CHANGE, OUTCOME, sections={**sections, "corr": facts.section(request=request)}, request=request)


def record_policy(config: Config, policy: Policy) -> Event:
    """The policy in full: what was allowed at a time can then be asked of the log alone."""
    change = facts.change_section("policy", None, document(policy))
    return Event(POLICY_VERSION, sections={"actor": _actor(config), "change": change})


def _actor(config: Config) -> str:
    return facts.actor_section(kind="bridge", id=config.bridge.name)
