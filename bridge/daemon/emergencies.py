"""Break-glass while the bridge runs: what is open counts, ends in time whatever the clock does, and is told of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf

from bridge.admission.emergencies import Emergencies
from bridge.policy.emergency import Emergency, Rules, State, plain
from bridge.storage import ThreadPool
from bridge.translation import facts
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import BREAK_GLASS

REMIND = 86_400
"""Seconds between reminders that a review is overdue."""


class BreakGlass:
    """``open`` are those that count. ``clock`` is monotonic seconds, ``keep`` gives an event to the log and
    ``owner_of`` the owner of an agent. In the reactor's thread."""

    def __init__(
        self,
        store: Emergencies,
        pool: ThreadPool,
        clock: Callable[[], float],
        now: Callable[[], float],
        keep: Callable[[Event], None],
        owner_of: Callable[[str], str],
    ) -> None:
        self.rules = Rules()
        self.open: list[Emergency] = []
        self._store = store
        self._pool = pool
        self._clock = clock
        self._now = now
        self._keep = keep
        self._owner_of = owner_of
        self._ends: dict[str, float] = {}  # by id, on the monotonic clock: nobody sets that back

    async def take(self) -> bool:
        """Takes what the database has; whether that is something else than before. Raises StorageError."""
        every = await self._pool.run(self._store.in_thread_unsettled)
        now, before = self._now(), self.open
        for one in every:
            if one.is_open(now):
                self._ends.setdefault(one.id, self._clock() + min(one.ends - now, one.seconds))
        self.open = [one for one in every if not self._is_over(one, now)]
        return [one.id for one in before] != [one.id for one in self.open]

    def end(self) -> bool:
        """Drops what is over; whether there was any."""
        now, before = self._now(), self.open
        self.open = [one for one in before if not self._is_over(one, now)]
        return len(self.open) < len(before)

    def _is_over(self, one: Emergency, now: float) -> bool:
        return one.state(self.rules, now) is not State.OPEN or self._clock() >= self._ends.get(one.id, inf)

    async def settle(self) -> None:
        """Writes down what is over, and once a day whose review is overdue. Raises StorageError."""
        now = int(self._now())
        for one in await self._pool.run(self._store.in_thread_unsettled):
            if not one.ended and self._is_over(one, now):
                await self._change(one, lambda found: replace(found, ended=found.ended or now), "it is over")
            elif one.overdue(self.rules, now) and now - one.reminded >= REMIND:
                await self._change(one, lambda found: replace(found, reminded=now), "its review is overdue")

    async def rotated(self, system: str, account: str) -> None:
        """The account has a new password. Raises StorageError."""
        now = int(self._now())
        for before, after in await self._pool.run(self._store.in_thread_rotated, system, account, now):
            self._record(before, after, "the static password was changed")

    async def _change(self, one: Emergency, change: Callable[[Emergency], Emergency], text: str) -> None:
        pair = await self._pool.run(self._store.in_thread_change, one.id, change)
        if pair is not None and pair[0] != pair[1]:
            self._record(*pair, text)

    def _record(self, before: Emergency, after: Emergency, text: str) -> None:
        now, owner = self._now(), self._owner_of(after.agent)
        rows = (plain(one, self.rules, now, owner) for one in (before, after))
        index = IndexKeys(session=after.id, agent=after.agent, owner=owner, system=after.system, account=after.account)
        sections = {
            "actor": facts.actor_section(kind="bridge", id="break-glass"),
            "change": facts.change_section(after.id, *rows),
            "detail": facts.detail_section(text=text),
        }
        self._keep(Event(BREAK_GLASS, sections=sections, index=index))
