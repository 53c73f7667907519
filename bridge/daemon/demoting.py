"""A configuration that makes modes less strict is not taken until a second person has approved exactly that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime

from bridge.adapter import Adapter, BridgeError
from bridge.admission.demotions import Demotions
from bridge.config import Config
from bridge.config.grants import Grant
from bridge.config.systems import System
from bridge.daemon import conversion
from bridge.policy import Effect, Mode
from bridge.policy.demotion import Demotion, State, digest, plain, rows
from bridge.policy.phases import GrantPhase, Lowered, Phase, Phases, SystemPhase, lowered
from bridge.storage import ThreadPool
from bridge.translation import facts
from bridge.translation.demotion_words import FILE
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import DEMOTION, DENIED


class DemotionRefused(BridgeError):
    """Nothing was taken. The message says what would become less strict and what to do."""


def phases(config: Config, adapters: Mapping[str, type[Adapter]]) -> Phases:
    policy = conversion.policy(config, adapters, 0.0)
    written = {one.id: one for one in config.grants}
    systems = {
        name: SystemPhase(_phase(system.mode, system.mode_until), _accounts(system))
        for name, system in config.systems.items()
    }
    grants = {
        grant.id: GrantPhase(
            _own(written[grant.id]),
            Effect(grant.effect),
            frozenset(name for name, system in policy.systems.items() if grant.selects(system)),
            json.dumps([sorted(grant.agents), sorted(grant.roles), sorted(grant.owners), sorted(grant.cost_centres),
                        sorted(grant.environments), grant.account]),
        )
        for grant in policy.grants
    }  # fmt: skip
    return Phases(systems, grants, config.breakglass.people, config.breakglass.approvals)


def _own(grant: Grant) -> Phase | None:
    return _phase(grant.mode, grant.mode_until) if grant.mode else None


def _phase(mode: str, until: datetime | None) -> Phase:
    return Phase(Mode(mode), until.timestamp() if until else None)


def _accounts(system: System) -> frozenset[str]:
    upstream = system.upstream
    hosts = [upstream.host] if upstream.host else upstream.hosts
    users = {account.user or name for name, account in system.accounts.items()}
    return frozenset(f"{user}@{host}:{upstream.port}" for user in users for host in hosts)


class Demoting:
    """``keep`` gives an event to the log. In the reactor's thread."""

    def __init__(
        self,
        name: str,
        store: Demotions,
        pool: ThreadPool,
        now: Callable[[], float],
        keep: Callable[[Event], None],
    ) -> None:
        self._name = name
        self._store = store
        self._pool = pool
        self._now = now
        self._keep = keep

    async def admit(self, new: Phases) -> Demotion | None:
        """The demotion that lets ``new`` be taken, None when it needs none. Raises DemotionRefused, StorageError."""
        before = await self._pool.run(self._store.in_thread_phases)
        changes = lowered(before, new, self._now()) if before is not None else ()
        if before is None or not changes:
            return None
        every = await self._pool.run(self._store.in_thread_all)
        same = [one for one in every if one.digest == digest(changes)]
        states = {one.state(before.people, self._name, self._now()): one for one in same}
        if State.APPROVED in states:
            return states[State.APPROVED]
        self._record_refusal(changes)
        asked = states.get(State.REQUESTED)
        raise DemotionRefused(_told(changes, before, asked.id if asked else ""))

    async def taken(self, new: Phases, demotion: Demotion | None) -> None:
        """``new`` counts from now on. Raises StorageError."""
        now = int(self._now())
        before = await self._pool.run(self._store.in_thread_phases)
        await self._pool.run(self._store.in_thread_keep, new, now, demotion.id if demotion else "")
        if demotion is None or before is None:
            return
        done = await self._pool.run(self._store.in_thread_find, demotion.id)
        old, row = (plain(one, before.people, self._name, now) for one in (demotion, done or demotion))
        sections = {
            "actor": facts.actor_section(kind="bridge", id=self._name),
            "change": facts.change_section(demotion.id, old, row),
        }
        self._keep(Event(DEMOTION, sections=sections, index=IndexKeys(session=demotion.id)))

    def _record_refusal(self, changes: tuple[Lowered, ...]) -> None:
        sections = {
            "actor": facts.actor_section(kind="bridge", id=self._name),
            "change": facts.change_section(FILE, None, {"changes": rows(changes)}),
            "detail": facts.detail_section(text="a configuration that nobody has approved was not taken"),
        }
        self._keep(Event(DEMOTION, outcome=DENIED, sections=sections))


def _told(changes: tuple[Lowered, ...], before: Phases, asked: str) -> str:
    """``asked`` is the id of what was asked for and not approved yet, if any."""
    what = "; ".join(map(str, changes))
    if not before.people:
        how = "there is nobody who could approve it: name people in breakglass.people first"
    elif asked:
        how = f"a second person must approve it: idbridge demotion approve {asked}"
    else:
        how = "one person must ask for it (idbridge demotion request), another one approve it"
    return f"this makes less strict: {what}; {how}"
