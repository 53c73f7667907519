"""Access for a time while the bridge runs: what is given counts, and it is written down that it is over."""

from __future__ import annotations

from collections.abc import Callable

from bridge.admission.access_requests import AccessRequests
from bridge.policy import Grant
from bridge.policy.access_request import AccessRequest, State
from bridge.storage import ThreadPool
from bridge.translation import facts
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import ACCESS_GRANT, ACCESS_REQUEST


class Giving:
    """``keep`` gives an event to the log and ``owner_of`` the owner of an agent. In the reactor's thread, but for the
    start, which reads what counts already."""

    def __init__(
        self,
        store: AccessRequests,
        pool: ThreadPool,
        now: Callable[[], float],
        keep: Callable[[Event], None],
        owner_of: Callable[[str], str],
    ) -> None:
        self._store = store
        self._pool = pool
        self._now = now
        self._keep = keep
        self._owner_of = owner_of
        self._version, self._given = store.in_thread_given(now())

    @property
    def grants(self) -> list[Grant]:
        return [one.grant() for one in self._given]

    async def take(self) -> bool:
        """Takes what the database has; whether that is something else than before. Raises StorageError."""
        version, given = await self._pool.run(self._store.in_thread_given, self._now())
        if version < self._version:
            return False  # what was read later is there already
        before, self._version, self._given = self._given, version, given
        return given != before

    async def settle(self) -> bool:
        """Writes down that requests have lapsed, and that what was given is over; whether the latter was so.

        Raises StorageError.
        """
        settled = await self._pool.run(self._store.in_thread_settle, self._now())
        for before, after in settled:
            self._record(before, after)
        return any(after.state is State.OVER for _, after in settled) and await self.take()

    def _record(self, before: AccessRequest, after: AccessRequest) -> None:
        now, owner = self._now(), self._owner_of(after.agent)
        type = ACCESS_GRANT if after.state is State.OVER else ACCESS_REQUEST
        was = {**before.plain(now), "state": before.state.value}
        sections = {
            "actor": facts.actor_section(kind="bridge", id="requests"),
            "agent": facts.agent_section(id=after.agent, owner=owner),
            "legacy": facts.legacy_section(system=after.system, account=after.account),
            "change": facts.change_section(after.id, was, after.plain(now)),
        }
        index = IndexKeys(session=after.id, agent=after.agent, owner=owner, system=after.system, account=after.account)
        self._keep(Event(type, sections=sections, index=index))
