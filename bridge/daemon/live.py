"""The running bridge as admin commands see it, from their threads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from bridge import __version__
from bridge.adapter import BridgeError, Check, Discovering, Reason, Refused, Stream, Trusting
from bridge.admission.drills import Drill
from bridge.admission.session import Session
from bridge.admission.survey import granted_targets, survey
from bridge.admission.system import System
from bridge.admission.texts import cause
from bridge.api.failure import CommandFailed
from bridge.api.services import Actor
from bridge.daemon.bridge import Bridge
from bridge.storage import StorageError
from bridge.translation import facts
from bridge.translation.log import LogUnavailable
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import ACCOUNT_CHECK

T = TypeVar("T")


class LiveBridge:
    """Implements ``bridge.api.services.Live``."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def _ask(self, function: Callable[[], T]) -> T:
        ask: Callable[[], Any] = function
        answer: T = blockingCallFromThread(self._bridge.reactor, ask)
        return answer

    def _wait(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        start: Callable[[], Any] = lambda: Deferred.fromCoroutine(function())  # noqa: E731
        answer: T = blockingCallFromThread(self._bridge.reactor, start)
        return answer

    def sessions(self) -> list[dict[str, Any]]:
        return self._ask(lambda: [_row(session, self._bridge.core.now()) for session in self._bridge.core.live])

    def end_session(self, session: str, detail: str) -> int:
        live = self._bridge.core.live
        return self._ask(lambda: live.cut(lambda one: one.session == session, Reason.SESSION_STOPPED, detail))

    def quotas(self) -> list[dict[str, Any]]:
        core = self._bridge.core
        return self._ask(lambda: core.ledger.rows(core.now()))

    def test_alert(self, channel: str) -> str:
        return self._wait(lambda: self._bridge.alerting.test(channel))

    def registry_changed(self) -> int:
        return self._wait(self._bridge.take_registry)

    def status(self) -> dict[str, Any]:
        return self._ask(lambda: status(self._bridge))

    def reload(self, actor: Actor) -> dict[str, Any]:
        try:
            changes = self._wait(self._bridge.reload)
        except (BridgeError, LogUnavailable, StorageError, OSError, ValueError) as errors:
            raise CommandFailed(f"nothing was changed:\n{errors}", status=409) from None
        warnings = [str(problem) for problem in self._bridge.config.warnings]
        return {"changes": changes, "digest": self._bridge.config.digest, "warnings": warnings}

    def examine(self, system: str, account: str | None, host: str = "") -> list[dict[str, str]]:
        return self._wait(lambda: _examine(self._bridge, system, account, host))

    def discover(self, system: str, account: str) -> list[dict[str, str]]:
        return self._wait(lambda: _discover(self._bridge, system, account))

    def begin_drill(self, agents: list[str], until: float, life: float) -> int:
        core = self._bridge.core
        drill = Drill(until, life)

        def begin() -> int:
            core.drills.begin(agents, drill)
            live = [one for one in core.live if one.agent.id in agents]
            for session in live:
                session.credential = core.drills.shortened(session.agent.id, session.credential, core.now())
            return len(live)

        return self._ask(begin)

    def end_drill(self) -> list[str]:
        return self._ask(self._bridge.core.drills.end)

    def rotate(self, actor: Actor, system: str, account: str) -> dict[str, Any]:
        try:
            rotated = self._wait(lambda: self._bridge.rotator.rotate(system, account, actor.section()))
        except (BridgeError, LogUnavailable) as failure:
            raise CommandFailed(str(failure), status=502) from None
        return asdict(rotated)

    def reconcile(self, system: str, account: str, host: str = "") -> list[dict[str, str | int]]:
        _check_host(self._bridge.systems[system], host)
        try:
            findings = self._wait(lambda: self._bridge.reconciler.reconcile(system, account, host))
        except (BridgeError, LogUnavailable) as failure:
            raise CommandFailed(f"{account}: {cause(failure)}", status=502) from None
        return [{"host": host, **one.row()} for one in findings]

    def trust(self, system: str, host: str) -> list[dict[str, str]]:
        return self._wait(lambda: _trust(self._bridge, system, host))

    def sinks(self) -> dict[str, dict[str, Any]]:
        return self._ask(self._bridge.copies.sinks.rows)

    def resend(self, sink: str, first: int) -> None:
        try:
            self._wait(lambda: self._bridge.copies.sinks.resend(sink, first))
        except (BridgeError, StorageError, OSError) as failure:
            raise CommandFailed(str(failure), status=409) from None

    def secret_changed(self, reference: str) -> None:
        bridge = self._bridge

        def reset() -> None:
            for system in bridge.systems.values():
                for account in system.accounts.values():
                    if str(account.secret) == reference:
                        bridge.core.breaker.reset(system.name, account.name)

        self._ask(reset)

    def reset_breaker(self, system: str, account: str) -> bool:
        return self._ask(lambda: self._bridge.core.breaker.reset(system, account))


def _row(session: Session, now: float) -> dict[str, Any]:
    return {
        "session": session.session,
        "agent": session.agent.id,
        "owner": session.agent.owner,
        "system": session.system.name,
        "account": session.account,
        "source": str(session.source),
        "client": session.request.client,
        "opened": int(session.opened_at),
        "seconds": int(now - session.opened_at),
        "idle": int(now - session.last_used),
        "token_expires": session.credential.expires_at,
        "operations": dict(session.operations),
        "upstream": session.upstream_facts,
    }


def status(bridge: Bridge) -> dict[str, Any]:
    core = bridge.core
    circuits = core.breaker.open_circuits(core.now())
    return {
        "name": bridge.config.bridge.name,
        "version": __version__,
        "ready": bridge.ready,
        "log": bridge.translation.unavailable or "ok",
        "log_pending": bridge.translation.pending(),
        "attestations": bridge.attesting.state(),
        "archive": {"last": bridge.keeping.archived, "failure": bridge.keeping.failure},
        "config": str(bridge.config.path),
        "digest": bridge.config.digest,
        "agents": len(core.directory),
        "sessions": len(core.live),
        "systems": {
            name: {
                "protocol": system.protocol,
                "listen": bridge.listening(name),
                "upstream": system.upstream,
                "sessions": sum(1 for session in core.live if session.system.name == name),
            }
            for name, system in bridge.systems.items()
        },
        "issuers": bridge.issuers.state(),
        "sinks": bridge.copies.sinks.rows(),
        "open_circuits": {f"{system}/{account}": int(left) for (system, account), left in circuits.items()},
    }


def _check_host(system: System, host: str) -> None:
    if not system.has_host(host):
        raise CommandFailed("name a host of the fleet" if system.facts.hosts else "the system is no fleet", status=400)


async def _examine(bridge: Bridge, system: str, account: str | None, host: str) -> list[dict[str, str]]:
    found = bridge.systems[system]
    _check_host(found, host)
    rows = []
    for name in [account] if account else found.accounts:
        for check in await _checks(bridge, system, name, host):
            told = {"level": check.level, "title": check.title, "detail": check.detail}
            rows.append({"account": name, "host": host, **told})
    return rows


async def _checks(bridge: Bridge, system: str, account: str, host: str) -> list[Check]:
    found = bridge.systems[system]
    try:
        async with survey(bridge.core, found, account, host) as admission:
            targets = granted_targets(bridge.core.policy, system, account)
            return await bridge.adapter(system).examine(admission, found.facts_at(host), targets)
    except Refused as refused:
        return [Check("problem", "the bridge cannot log in as this account", cause(refused))]


async def _discover(bridge: Bridge, name: str, account: str) -> list[dict[str, str]]:
    adapter, system = bridge.adapter(name), bridge.systems[name]
    if not isinstance(adapter, Discovering):
        raise CommandFailed(f"accounts of {system.protocol} cannot be listed", status=400)
    try:
        async with survey(bridge.core, system, account) as admission:
            return await adapter.discover(admission, system.facts)
    except Refused as refused:
        raise CommandFailed(cause(refused), status=502) from None


async def _trust(bridge: Bridge, name: str, host: str) -> list[dict[str, str]]:
    adapter, system = bridge.adapter(name), bridge.systems[name]
    if not isinstance(adapter, Trusting):
        raise CommandFailed(f"a {system.protocol} host shows no key of its own; see upstream.tls", status=400)
    _check_host(system, host)
    index = IndexKeys(system=name)
    sections = {"actor": facts.actor_section(kind="bridge", id="trust")}
    sections["legacy"] = facts.legacy_section(system=name, account="", upstream=host or system.upstream)
    streams: list[Stream] = []

    async def connect() -> Stream:
        streams.append(await system.dial(host))
        return streams[-1]

    try:
        await bridge.core.log.record(Event(ACCOUNT_CHECK, sections=sections, index=index))
        return await adapter.trust(connect, system.facts, host or bridge.config.systems[name].upstream.host or "")
    except (BridgeError, LogUnavailable) as failure:
        raise CommandFailed(str(failure), status=502) from None
    finally:
        for stream in streams:
            await stream.close()
