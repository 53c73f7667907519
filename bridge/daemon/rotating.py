"""New secrets for static accounts, when ops ask for it or their interval is over, and what a crash left of a change.

Each is recorded before and after; while it goes on, whoever wants to log in as the account waits (``Turns``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from math import inf

from twisted.logger import Logger

from bridge.accounts.vaults import Store
from bridge.adapter import Adapter, BridgeError, Rotating
from bridge.admission.system import Core, System
from bridge.admission.texts import cause
from bridge.daemon.changing import LEFT, LONGEST_NAME, CannotRotate, Disagreeing, Exchange, Kept, NoneLetsIn
from bridge.storage import PoolFull, PoolStopped, StorageError, ThreadPool
from bridge.translation import facts
from bridge.translation.identifiers import Identifiers
from bridge.translation.log import LogUnavailable
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import FAILURE, INTENT, OUTCOME, PENDING, SECRET_CHANGE

RETRY = 3600.0
"""Seconds after which a change that failed on schedule is tried again."""

SOON = 60.0
"""Seconds after which it is asked again which secret counts, where nobody answered: agents may be kept out so long."""


@dataclass(frozen=True, slots=True)
class Rotated:
    system: str
    account: str
    reference: str
    revision: int
    recovered: str


class Rotator:
    """``core``, ``systems`` and ``adapter`` give the present ones; ``done`` is told of each system and account that
    has a new password. In the reactor's thread."""

    log = Logger()

    def __init__(
        self, core: Callable[[], Core], systems: Callable[[], Mapping[str, System]], adapter: Callable[[str], Adapter],
        store: Store, pool: ThreadPool, done: Callable[[str, str], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._core = core
        self._systems = systems
        self._adapter = adapter
        self._store = store
        self._pool = pool
        self._done = done
        self._identifiers = Identifiers()
        self._not_before: dict[tuple[str, str, bool], float] = {}

    async def rotate(self, system: str, account: str, actor: str, *, only_settle: bool = False) -> Rotated:
        """``actor`` is the section of who asked. Recorded before and after. Raises CannotRotate, LogUnavailable.

        ``only_settle``: no new secret is made once it is found out which counts after a change that was cut off.
        """
        adapter = self._checked(system, account)
        core = self._core()
        request = self._identifiers.next()[0]
        index = IndexKeys(system=system, account=account)
        shared = {"actor": actor, "legacy": facts.legacy_section(system=system, account=account)}
        subject = f"{system}/{account}"
        asked = {**shared, "change": facts.change_section(subject, None, None)}
        await core.log.record(Event(SECRET_CHANGE, INTENT, PENDING, sections=asked, index=index, id=request))
        shared["corr"] = facts.section(request=request)
        found = self._systems()[system]
        reference = found.accounts[account].secret
        kept = Kept(self._store, self._pool, reference.path)
        exchange = Exchange(core, found, account, adapter, kept)
        try:
            async with core.turns.changing(str(reference)):
                before = await kept.revision()
                recovered = await exchange.settle()
                if not only_settle:
                    await exchange.make()
                after = await kept.revision()
        except (BridgeError, StorageError) as failure:
            text = cause(failure)
            sections = {**shared, "detail": facts.detail_section(text=text)}
            core.log.keep(Event(SECRET_CHANGE, OUTCOME, FAILURE, sections=sections, index=index, request=request))
            self._put_off(system, account, failure, only_settle=only_settle)
            raise CannotRotate(f"{subject}: {text}") from None
        change = facts.change_section(subject, {"revision": before}, {"revision": after})
        core.log.keep(
            Event(SECRET_CHANGE, OUTCOME, sections={**shared, "change": change}, index=index, request=request)
        )
        for other, name in self._users_of(str(reference)):
            core.breaker.reset(other.name, name)
            for settles in (True, False):
                self._not_before.pop((other.name, name, settles), None)
            if not only_settle:
                await self._done(other.name, name)
        return Rotated(system, account, str(reference), after, recovered)

    def _checked(self, system: str, account: str) -> Rotating:
        """What can do it. Raises CannotRotate."""
        found, adapter = self._systems()[system], self._adapter(system)
        reference = found.accounts[account].secret
        if not isinstance(adapter, Rotating):
            raise CannotRotate(f"the passwords of a {found.protocol} system cannot be changed by the bridge")
        if found.facts.hosts:
            raise CannotRotate(f"{system} is a fleet: its hosts share the secret and cannot all change it at once; give"
                               " a host a system of its own")  # fmt: skip
        if reference.scheme != "store":
            raise CannotRotate(f"{system}/{account}: its secret is {reference}; only what is in the store (store:NAME,"
                               " `idbridge secret set`) can be changed")  # fmt: skip
        if len(reference.path) > LONGEST_NAME:
            raise CannotRotate(f"{reference}: a name in the store can have {LONGEST_NAME} characters to be changed")
        mine = (found.upstream, found.accounts[account].user)
        for other, name in self._users_of(str(reference)):
            if (other.upstream, other.accounts[name].user) != mine:
                raise CannotRotate(f"{reference} is also the secret of {other.name}/{name}, another account")
        return adapter

    def _users_of(self, reference: str) -> Iterator[tuple[System, str]]:
        for system in self._systems().values():
            for name, account in system.accounts.items():
                if str(account.secret) == reference:
                    yield system, name

    # -- by itself

    async def look(self, every: Mapping[tuple[str, str], float], now: float, actor: str) -> None:
        """Settles what was not finished, then changes what is older than its interval (seconds).

        What fails is told and tried again later, but not where no secret lets in.
        """
        try:
            stored = {one.name: one.updated for one in await self._pool.run(self._store.in_thread_list)}
        except (StorageError, PoolFull, PoolStopped) as failure:
            self.log.warn("it is not known whose secret is due to be changed: {cause}", cause=str(failure))
            return
        old = [one for one, seconds in every.items() if stored.get(self._name(*one), now) + seconds <= now]
        due = [(one, True) for one in self._unfinished(stored)] + [(one, False) for one in old]
        for (system, account), only_settle in due:
            key = system, account, only_settle
            if self._not_before.get(key, now) > now:
                continue
            try:
                await self.rotate(system, account, actor, only_settle=only_settle)
            except (CannotRotate, LogUnavailable) as failure:
                if self._not_before.get(key, now) <= now:
                    self._not_before[key] = now + RETRY  # it did not even begin
                self.log.error("the secret of {account} on {system} was not changed: {cause}", account=account,
                               system=system, cause=str(failure))  # fmt: skip

    def _put_off(self, system: str, account: str, failure: Exception, *, only_settle: bool) -> None:
        """Until when neither is tried again by itself."""
        never, now = isinstance(failure, NoneLetsIn), self._core().now()
        settled = RETRY if isinstance(failure, Disagreeing) else SOON
        self._not_before[system, account, True] = inf if never else now + settled
        if not only_settle:
            self._not_before[system, account, False] = inf if never else now + RETRY

    def _name(self, system: str, account: str) -> str:
        return self._systems()[system].accounts[account].secret.path

    def _unfinished(self, stored: Container[str]) -> list[tuple[str, str]]:
        """One account of each reference that has something left in the store and is not being changed now."""
        found: dict[str, tuple[str, str]] = {}
        for system in self._systems().values():
            for name, account in system.accounts.items():
                reference = str(account.secret)
                left = any(f"{account.secret.path}.{one}" in stored for one in LEFT)
                if account.secret.scheme == "store" and left and not self._core().turns.is_changing(reference):
                    found.setdefault(reference, (system.name, name))
        return list(found.values())
