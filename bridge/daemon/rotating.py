"""A new password for a static account: kept before it is set, set by the account itself, proven by a login.

The store has the password that counts under the account's name, and during a change the new one under NAME.next and
the one before under NAME.previous. Whatever stops a change half way, the next one first finds out which of them counts;
that costs one login that fails at most, so that no account is locked.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from bridge.accounts.vaults import SecretUnavailable, Store
from bridge.adapter import Adapter, BridgeError, Refused, Rotating, Secret
from bridge.admission.survey import survey
from bridge.admission.system import Core, System
from bridge.admission.texts import cause
from bridge.storage import StorageError, ThreadPool
from bridge.translation import facts
from bridge.translation.identifiers import Identifiers
from bridge.translation.log import LogUnavailable
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import FAILURE, INTENT, OUTCOME, PENDING, SECRET_CHANGE

LENGTH = 32
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnopqrstuvwxyz", "23456789", "-_.~"
PURPOSE = "rotate"
RETRY = 3600.0
"""Seconds after which a change that failed on schedule is tried again."""


class CannotRotate(BridgeError):
    """The password was not changed, or it is not known whether it was. The message says which, and what is kept."""


def new_password() -> Secret:
    """190 bits, of letters, digits and signs that need no quoting anywhere; some of each kind, as servers ask."""
    every = "".join(_LETTERS)
    chosen = [random.choice(kind) for kind in _LETTERS] + [random.choice(every) for _ in range(LENGTH - len(_LETTERS))]
    random.SystemRandom().shuffle(chosen)
    return Secret("".join(chosen))


@dataclass(frozen=True, slots=True)
class Rotated:
    system: str
    account: str
    reference: str
    revision: int
    recovered: str


class Rotator:
    """``core``, ``systems`` and ``adapter`` give the present ones. In the reactor's thread."""

    log = Logger()

    def __init__(
        self, core: Callable[[], Core], systems: Callable[[], Mapping[str, System]], adapter: Callable[[str], Adapter],
        store: Store, pool: ThreadPool,
    ) -> None:  # fmt: skip
        self._core = core
        self._systems = systems
        self._adapter = adapter
        self._store = store
        self._pool = pool
        self._identifiers = Identifiers()
        self._failed: dict[tuple[str, str], float] = {}

    async def rotate(self, system: str, account: str, actor: str) -> Rotated:
        """``actor`` is the section of who asked. Recorded before and after. Raises CannotRotate, LogUnavailable."""
        core = self._core()
        name = self._checked(system, account)
        request = self._identifiers.next()[0]
        index = IndexKeys(system=system, account=account)
        shared = {"actor": actor, "legacy": facts.legacy_section(system=system, account=account)}
        subject = f"{system}/{account}"
        asked = {**shared, "change": facts.change_section(subject, None, None)}
        await core.log.record(Event(SECRET_CHANGE, INTENT, PENDING, sections=asked, index=index, id=request))
        shared["corr"] = facts.section(request=request)
        lock = core.changing.setdefault(f"store:{name}", DeferredLock())
        await lock.acquire()
        try:
            before = await self._revision(name)
            recovered = await self._change(self._systems()[system], account, name)
            after = await self._revision(name)
        except (BridgeError, StorageError) as failure:
            text = cause(failure)
            sections = {**shared, "detail": facts.detail_section(text=text)}
            core.log.keep(Event(SECRET_CHANGE, OUTCOME, FAILURE, sections=sections, index=index, request=request))
            raise CannotRotate(f"{subject}: {text}") from None
        finally:
            lock.release()
            if not lock.locked:
                core.changing.pop(f"store:{name}", None)
        change = facts.change_section(subject, {"revision": before}, {"revision": after})
        core.log.keep(
            Event(SECRET_CHANGE, OUTCOME, sections={**shared, "change": change}, index=index, request=request)
        )
        core.breaker.reset(system, account)
        return Rotated(system, account, f"store:{name}", after, recovered)

    def _checked(self, system: str, account: str) -> str:
        """The name in the store. Raises CannotRotate."""
        found, adapter = self._systems()[system], self._adapter(system)
        reference = found.accounts[account].secret
        if not isinstance(adapter, Rotating):
            raise CannotRotate(f"the passwords of a {found.protocol} system cannot be changed by the bridge")
        if reference.scheme != "store":
            raise CannotRotate(f"{system}/{account}: its secret is {reference}; only what is in the store (store:NAME,"
                               " `idbridge secret set`) can be changed")  # fmt: skip
        mine = (found.upstream, found.accounts[account].user)
        for other, name in self._users_of(str(reference)):
            if (other.upstream, other.accounts[name].user) != mine:
                raise CannotRotate(f"{reference} is also the secret of {other.name}/{name}, another account")
        return reference.path

    def _users_of(self, reference: str) -> Iterator[tuple[System, str]]:
        for system in self._systems().values():
            for name, account in system.accounts.items():
                if str(account.secret) == reference:
                    yield system, name

    async def _change(self, system: System, account: str, name: str) -> str:
        recovered = await self._recover(system, account, name)
        old, new = await self._read(name), new_password()
        await self._keep(f"{name}.next", new)
        try:
            await self._set(system, account, new)
        except Refused:
            await self._forget(f"{name}.next")  # the login failed: nothing was asked for
            raise
        except BridgeError as failure:
            settled = await self._recover(system, account, name)
            if settled != "next":
                raise CannotRotate(
                    f"the legacy system did not take it: {failure}; the password is what it was"
                ) from None
        else:
            await self._promote(name, old, new)
        await self._prove(system, account, new)
        await self._forget(f"{name}.previous")
        return recovered

    async def _recover(self, system: System, account: str, name: str) -> str:
        """Settles a change that was not finished: "next" or "current" counts, "" when there was none."""
        new = await self._read_if_there(f"{name}.next")
        if new is None:
            return ""
        old = await self._read(name)
        if await self._works(system, account, old):
            await self._forget(f"{name}.next")
            return "current"
        if await self._works(system, account, new):
            await self._promote(name, old, new)
            return "next"
        raise CannotRotate(f"neither the password under {name} nor that under {name}.next lets the account in; both are"
                           " kept, nothing more is tried")  # fmt: skip

    async def _promote(self, name: str, old: Secret, new: Secret) -> None:
        await self._keep(f"{name}.previous", old)
        await self._keep(name, new)
        await self._forget(f"{name}.next")

    # -- the legacy system

    async def _set(self, system: System, account: str, new: Secret) -> None:
        adapter = self._adapter(system.name)
        assert isinstance(adapter, Rotating)
        async with survey(self._core(), system, account, purpose=PURPOSE) as admission:
            await adapter.rotate(admission, system.facts, new)

    async def _prove(self, system: System, account: str, secret: Secret) -> None:
        adapter = self._adapter(system.name)
        assert isinstance(adapter, Rotating)
        async with survey(self._core(), system, account, secret=secret, purpose=PURPOSE) as admission:
            await adapter.log_in(admission, system.facts)

    async def _works(self, system: System, account: str, secret: Secret) -> bool:
        """Raises Refused when the system cannot be asked: that says nothing about the password."""
        try:
            await self._prove(system, account, secret)
        except Refused as refused:
            if refused.code != "upstream-login-refused":
                raise
            return False
        return True

    # -- the store

    async def _keep(self, name: str, secret: Secret) -> None:
        await self._pool.run(self._store.in_thread_set, name, secret)

    async def _forget(self, name: str) -> None:
        await self._pool.run(self._store.in_thread_delete, name)

    async def _read(self, name: str) -> Secret:
        return await self._pool.run(self._store.in_thread_read, name)

    async def _read_if_there(self, name: str) -> Secret | None:
        there = {one.name for one in await self._pool.run(self._store.in_thread_list)}
        return await self._read(name) if name in there else None

    async def _revision(self, name: str) -> int:
        listed = await self._pool.run(self._store.in_thread_list)
        found = next((one.revision for one in listed if one.name == name), None)
        if found is None:
            raise SecretUnavailable(f"store:{name}: not in the store; run `idbridge secret set {name}`")
        return found

    # -- the schedule

    async def rotate_due(self, every: Mapping[tuple[str, str], float], now: float, actor: str) -> None:
        """Changes what is older than its interval (seconds); what fails is told and tried again after RETRY."""
        if not every:
            return
        updated = {one.name: one.updated for one in await self._pool.run(self._store.in_thread_list)}
        for (system, account), seconds in every.items():
            name = self._systems()[system].accounts[account].secret.path
            due = updated.get(name, now) + seconds <= now and self._failed.get((system, account), 0.0) + RETRY <= now
            if due:
                try:
                    await self.rotate(system, account, actor)
                except (CannotRotate, LogUnavailable) as failure:
                    self._failed[system, account] = now
                    self.log.error("the password of {account} on {system} was not changed: {cause}", account=account,
                                   system=system, cause=str(failure))  # fmt: skip
