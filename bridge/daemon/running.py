"""The process: signals, sockets for admin and health, systemd's notifications, and the exit status."""

from __future__ import annotations

import gc
import os
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.server import Site

from bridge import __version__
from bridge.adapter import BridgeError
from bridge.api.asking import AskingDoor
from bridge.api.failure import CommandFailed
from bridge.api.server import admin_site
from bridge.config import Config
from bridge.daemon import conversion, observing
from bridge.daemon.bridge import Bridge
from bridge.daemon.calling import load_config
from bridge.daemon.demoting import phases
from bridge.daemon.health import Health
from bridge.daemon.live import LiveBridge
from bridge.daemon.opening import LOCK_WAIT, appender_process, open_storage, own_state, services
from bridge.discovery import find_adapters
from bridge.net import quick_reactor
from bridge.policy import Policy
from bridge.policy.phases import Phases
from bridge.storage import KeyRefused, StorageError
from bridge.translation.log import LogUnavailable

log = Logger(namespace="bridge.daemon")

SWITCH_INTERVAL = 0.5e-3
"""Seconds the log's thread may hold the interpreter while the reactor waits for it; Python's 5 ms are 50 statements,
and at 10 µs the two threads do little but take turns (measured)."""

YOUNG_OBJECTS = 10_000
"""New containers between looks for cyclic garbage: a few megabytes. At Python's 700 every look finds nothing but events
that wait for the next flush."""

CANNOT_START = (BridgeError, StorageError, KeyRefused, LogUnavailable, OSError, ValueError)
"""What a start may fail with that is the operator's to mend; all else is a defect, shown with its traceback."""


def run_forever(config_path: Path, *, log_format: str) -> int:
    """Until a signal. 0 after an orderly stop, 1 when it could not start."""
    os.umask(0o077)
    try:
        config = load_config(config_path)
        appender = appender_process(config, own_state(config, LOCK_WAIT))  # the state is ours until both processes end
        appender.start()
        storage = open_storage(config)
    except CANNOT_START as failure:
        sys.stderr.write(f"idbridge: cannot start: {failure}\n")
        return 1
    quick_reactor.install()
    from twisted.internet import reactor  # noqa: TID251  the one place that takes it

    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(YOUNG_OBJECTS)

    observing.begin(log_format)
    process = Process(reactor, Bridge(reactor, config, storage, appender), config)
    reactor.callWhenRunning(process.start)
    reactor.run()
    storage.dispose()
    return process.status


class Process:
    """One bridge in one process."""

    def __init__(self, reactor: Any, bridge: Bridge, config: Config) -> None:
        self._reactor = reactor
        self._bridge = bridge
        self._config = config
        self._admin: Any = None
        self._metrics: Any = None
        self._stopping = False
        self.status = 0

    def start(self) -> None:
        self._reactor.callLater(0, self._take_signals)
        Deferred.fromCoroutine(self._start()).addErrback(self._start_failed)

    def _take_signals(self) -> None:
        """After the reactor has set its own, which would stop it without draining."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)

    async def _start(self) -> None:
        for problem in self._config.warnings:
            log.warn("{problem}", problem=str(problem))
        await self._bridge.start()
        self._open_admin()
        gc.collect()
        gc.freeze()  # what is here now stays: modules and configuration need not be looked through again
        listening = {name: self._bridge.listening(name) for name in self._bridge.systems}
        log.info("identity-bridge {version} is ready: {listening}", version=__version__, listening=listening)
        notify("READY=1")

    def _open_admin(self) -> None:
        bridge = self._bridge
        served = services(self._config.bridge.name, bridge.storage, bridge.core.policy)

        def taken(policy: Policy) -> None:
            served.policy, served.asking = policy, bridge.core.asking
            served.break_glass = conversion.break_glass(bridge.config)

        bridge.policy_taken = taken
        taken(bridge.core.policy)
        served.record = bridge.translation.record_blocking
        served.live = LiveBridge(bridge)
        served.quotas = served.live.quotas
        served.planned = self._planned
        served.spelled = lambda system, target: conversion.spelled(bridge.config, find_adapters(), system, target)
        bridge.asking_door = AskingDoor(
            bridge.core, served, bridge.asking_pool.run, lambda: bridge.server_tls, bridge.audiences
        )
        path = self._config.admin_socket
        _remove_stale(path)
        self._admin = self._reactor.listenUNIX(str(path), admin_site(served, bridge.pool.run), mode=0o600)
        if self._config.admin.metrics is not None:
            address = self._config.admin.metrics
            site = Site(Health(bridge))  # type: ignore[no-untyped-call]
            self._metrics = self._reactor.listenTCP(address.port, site, interface=address.host)

    def _planned(self) -> Phases:
        """In a thread."""
        try:
            return phases(load_config(self._config.path), find_adapters())
        except BridgeError as errors:
            raise CommandFailed(f"the file cannot be taken:\n{errors}", status=409) from None

    def _start_failed(self, failure: Any) -> None:
        self.status = 1
        if failure.check(*CANNOT_START):
            log.critical("cannot start: {cause}", cause=failure.getErrorMessage())
        else:
            log.failure("cannot start", failure=failure)
        self._stop()

    def _signalled(self, number: int, frame: object) -> None:
        action = self._reload if number == signal.SIGHUP else self._stop
        self._reactor.callFromThread(action)

    def _reload(self) -> None:
        notify("RELOADING=1")
        reloading = Deferred.fromCoroutine(self._bridge.reload())
        reloading.addCallback(lambda changes: log.info("configuration taken: {count} changes", count=len(changes)))
        reloading.addErrback(self._reload_failed)
        reloading.addBoth(lambda _: notify("READY=1"))

    def _reload_failed(self, failure: Any) -> None:
        if failure.check(*CANNOT_START):
            log.error("the new configuration was not taken, nothing changed: {cause}", cause=failure.getErrorMessage())
        else:
            log.failure("the new configuration was not taken", failure=failure)

    def _stop(self) -> None:
        if self._stopping:
            self._reactor.stop()  # asked twice: now
            return
        self._stopping = True
        notify("STOPPING=1")
        log.info("stopping")
        stopping = Deferred.fromCoroutine(self._close())
        stopping.addErrback(lambda failure: log.failure("stopping failed", failure=failure))
        stopping.addBoth(lambda _: self._reactor.stop() if self._reactor.running else None)

    async def _close(self) -> None:
        for port in (self._admin, self._metrics):
            if port is not None:
                await port.stopListening()
        await self._bridge.stop()


def _remove_stale(path: Path) -> None:
    """A socket that a crash left; one that somebody answers at is another bridge's."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(f"{path}: is not a socket; admin.socket must name a place of its own")
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX)
    try:
        probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
        return
    finally:
        probe.close()
    raise OSError(f"{path}: another bridge answers at this socket")


def notify(state: str) -> None:
    """Tells systemd (sd_notify(3)); does nothing when it does not ask."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            return
