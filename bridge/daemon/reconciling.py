"""Comparing what legacy systems list with what the bridge knows: asked by ops, and on the schedule of each system."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.task import deferLater

from bridge.adapter import Adapter, BridgeError, LegacySession, Observing
from bridge.admission.reconcile import BYPASSES, Finding, Known, State, compare
from bridge.admission.survey import survey
from bridge.admission.system import HOST, Core, System, host_of
from bridge.translation import facts
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import ALARM, FAILURE, RECONCILE

RECHECK = 1.0
"""Seconds after which a session that is not ours is looked for again: one that was just opening or closing is gone or
known by then."""

REMEMBERED = 10_000
"""Bypasses that were told already. When there are more, some are told again."""

BYPASS = "bypass"


class CannotObserve(BridgeError):
    """The protocol of this system has no way to list an account's sessions."""


class Reconciler:
    """``core``, ``systems`` and ``adapter`` give the present ones; ``clock`` is the reactor."""

    def __init__(
        self, core: Callable[[], Core], systems: Callable[[], dict[str, System]], adapter: Callable[[str], Adapter],
        clock: Any,
    ) -> None:  # fmt: skip
        self._core = core
        self._systems = systems
        self._adapter = adapter
        self._clock = clock
        self._told: set[tuple[str, str, str, int, int, float]] = set()
        self._last: dict[str, float] = {}

    def due(self, every: dict[str, float]) -> list[str]:
        """The systems whose interval (seconds) is over; each counts as begun."""
        now = self._clock.seconds()
        found = [name for name, seconds in every.items() if now - self._last.get(name, float("-inf")) >= seconds]
        self._last |= dict.fromkeys(found, now)
        return found

    def hosts(self, name: str) -> list[str]:
        """Where the schedule looks: of a fleet at the hosts that are listed by name, and those with a session now."""
        system = self._systems()[name]
        if not system.facts.hosts:
            return [""]
        named = {one for one in system.facts.hosts if "*" not in one}
        return sorted(named | {host_of(one.request) for one in self._core().live if one.system.name == name})

    async def reconcile(self, name: str, account: str, host: str = "") -> list[Finding]:
        """``host``: of a fleet, else "".

        Raises CannotObserve, Refused (the login), BridgeError (the listing), LogUnavailable.
        """
        system, adapter = self._systems()[name], self._adapter(name)
        if not isinstance(adapter, Observing):
            raise CannotObserve(f"the sessions of a {system.protocol} system cannot be listed")
        findings = await self._compared(system, adapter, account, host)
        if any(one.state in BYPASSES for one in findings):
            await deferLater(self._clock, RECHECK, lambda: None)
            seen = {one.legacy for one in findings if one.state in BYPASSES}
            again = await self._compared(system, adapter, account, host)
            findings = [one for one in again if one.state not in BYPASSES or one.legacy in seen]
        await self._record(system, account, host, findings)
        return findings

    async def _compared(self, system: System, adapter: Observing, account: str, host: str) -> list[Finding]:
        before = self._known(system, account, host)
        async with survey(self._core(), system, account, host) as admission:
            listed = await adapter.observe(admission, system.facts_at(host))
            own = frozenset(stream.local.host for stream in admission.streams)
        after = self._known(system, account, host)
        findings = compare(listed, (before | after).values(), own | {one.address for one in after.values()})
        lasting = before.keys() & after.keys()
        return [one for one in findings if one.state is not State.STALE or (one.known and one.known.session in lasting)]

    def _known(self, system: System, account: str, at: str) -> dict[str, Known]:
        """Those on the host ``at``, of all accounts here that are the same user there."""
        user = system.accounts[account].user
        same = {name for name, static in system.accounts.items() if static.user == user}
        found = {}
        for session in self._core().live:
            local = str(session.upstream_facts.get("local", ""))
            here = session.system.name == system.name and host_of(session.request) == at
            if here and session.account in same and local:
                host, _, port = local.rpartition(":")
                backend = session.upstream_facts.get("backend", 0)
                number = backend if isinstance(backend, int) else 0
                agent = session.agent
                known = Known(
                    session.session, agent.id, agent.owner, host.strip("[]"), int(port), number, session.dialled_at
                )  # fmt: skip
                found[session.session] = known
        return found

    async def _record(self, system: System, account: str, host: str, findings: Iterable[Finding]) -> None:
        core = self._core()
        index = IndexKeys(system=system.name, account=account, labels=tuple(sorted(system.labels)))
        legacy = facts.legacy_section(
            system=system.name, account=account, labels=tuple(sorted(system.labels)),
            target={HOST: host} if host else None, upstream=system.upstream,
        )  # fmt: skip
        shared = {"actor": facts.actor_section(kind="bridge", id="reconcile"), "legacy": legacy}
        counts = Counter(one.state.value for one in findings)
        detail = facts.detail_section(counts=dict(counts))
        await core.log.record(Event(RECONCILE, sections={**shared, "detail": detail}, index=index))
        for legacy_session in [one.legacy for one in findings if one.state in BYPASSES]:
            if legacy_session is not None and self._is_new(system.name, account, host, legacy_session):
                text = _words(legacy_session)
                core.warn("{account} on {system} is used past the bridge: {text}",
                          account=system.circuit(account, host), system=system.name, text=text)  # fmt: skip
                sections = {**shared, "detail": facts.detail_section(text=text)}
                event = Event(ALARM, outcome=FAILURE, reason=BYPASS, sections=sections, index=index)
                await core.log.record(event)

    def _is_new(self, system: str, account: str, host: str, legacy: LegacySession) -> bool:
        key = (system, account, host, legacy.backend, legacy.port, legacy.started)
        if key in self._told:
            return False
        if len(self._told) >= REMEMBERED:
            self._told.clear()
        self._told.add(key)
        return True


def _words(legacy: LegacySession) -> str:
    where = f"{legacy.address}, port {legacy.port}" if legacy.address else "the legacy host itself"
    name = f", which calls itself {legacy.name}" if legacy.name else ""
    return f"connection {legacy.backend} from {where}{name}"
