"""The steps by which a static secret is exchanged for a new one, and how a change that was cut off is settled.

The store has the secret that counts under the account's name; during a change also the new one under NAME.next, and the
one before under NAME.previous until nothing is left of it. Each step leaves a state from which ``settle`` finds out, at
the price of one login that fails at most, which secret counts; so none is ever lost, and no account is locked.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import ParamSpec, TypeVar

from bridge.accounts.vaults import MAX_NAME, SecretUnavailable, Store
from bridge.adapter import BridgeError, NotTaken, Refused, Rekeying, Rotating, Secret
from bridge.admission.survey import Survey, survey
from bridge.admission.system import Core, System
from bridge.admission.texts import cause
from bridge.storage import PoolFull, PoolStopped, ThreadPool

P = ParamSpec("P")
T = TypeVar("T")

LENGTH = 32
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnopqrstuvwxyz", "23456789", "-_.~"
PURPOSE = "rotate"
NEXT, CURRENT = "next", "current"
LEFT = NEXT, "previous"
"""Endings of what is in the store beside an account's secret while it is changed."""

LONGEST_NAME = MAX_NAME - max(len(f".{ending}") for ending in LEFT)


class CannotRotate(BridgeError):
    """The secret was not changed, or it is not known whether it was. The message says which, and what is kept."""


class Disagreeing(CannotRotate):
    """The legacy system said yes and does no. It may be one server of several that the others have not told yet."""


class NoneLetsIn(CannotRotate):
    """Neither the old nor the new secret works. Nobody but a person may try again: the account would be locked."""


def new_password() -> Secret:
    """190 bits, of letters, digits and signs that need no quoting anywhere; some of each kind, as servers ask."""
    every = "".join(_LETTERS)
    chosen = [random.choice(kind) for kind in _LETTERS] + [random.choice(every) for _ in range(LENGTH - len(_LETTERS))]
    random.SystemRandom().shuffle(chosen)
    return Secret("".join(chosen))


class Kept:
    """What the store has of one account: ``name`` counts, ``name.next`` and ``name.previous`` are of a change."""

    def __init__(self, store: Store, pool: ThreadPool, name: str) -> None:
        self.name = name
        self.next, self.previous = (f"{name}.{ending}" for ending in LEFT)
        self._store = store
        self._pool = pool

    async def keep(self, name: str, secret: Secret) -> None:
        await self._run(self._store.in_thread_set, name, secret)

    async def forget(self, name: str) -> None:
        await self._run(self._store.in_thread_delete, name)

    async def read(self) -> Secret:
        return await self._run(self._store.in_thread_read, self.name)

    async def left(self, name: str) -> Secret | None:
        """Of a change that was not finished; None: there is none."""
        there = {one.name for one in await self._run(self._store.in_thread_list)}
        return await self._run(self._store.in_thread_read, name) if name in there else None

    async def revision(self) -> int:
        listed = await self._run(self._store.in_thread_list)
        found = next((one.revision for one in listed if one.name == self.name), None)
        if found is None:
            raise SecretUnavailable(f"store:{self.name}: not in the store; run `idbridge secret set {self.name}`")
        return found

    async def _run(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Raises SecretUnavailable, StorageError, ValueError."""
        try:
            return await self._pool.run(function, *arguments, **named)
        except (PoolFull, PoolStopped) as failure:
            raise SecretUnavailable(f"store:{self.name}: {failure}") from None


class Exchange:
    """Of the secret of one account whose turn it is. What a step raises (Refused, CannotRotate, StorageError,
    SecretUnavailable) says what happened; ``settle`` goes on from wherever that was."""

    def __init__(self, core: Core, system: System, account: str, adapter: Rotating, kept: Kept) -> None:
        self._core = core
        self._system = system
        self._account = account
        self._adapter = adapter
        self._kept = kept

    async def settle(self, *, refused: bool = False) -> str:
        """Which secret counts after a change that was not finished: NEXT or CURRENT; "" when there was none.

        The new one is tried first, for a directory may let the one before in for another hour; ``refused``: last,
        because the legacy system has said no to it.
        """
        kept, settled = self._kept, ""
        new = await kept.left(kept.next)
        if new is not None:
            old = await kept.read()
            settled = NEXT if new == old else await self._found_out(old, new, refused=refused)
            if settled == CURRENT and not refused:
                await self._withdraw(old, new)
            elif settled == NEXT and new != old:
                await self._promote(old, new)
            await kept.forget(kept.next)
        await self._clear()
        return settled

    async def make(self) -> None:
        """A new secret: kept, set by a login with the old one, proven by a login of its own."""
        kept, old = self._kept, await self._kept.read()
        new = await self._successor(old)
        await kept.keep(kept.next, new)
        try:
            await self._set(old, new)
        except Refused:
            await kept.forget(kept.next)  # the login failed: nothing was asked for
            raise
        except BridgeError as failure:
            if await self.settle(refused=isinstance(failure, NotTaken)) == CURRENT:
                raise CannotRotate(f"the legacy system did not take it: {failure}; the old one counts") from None
        else:
            await self._prove(old, new)
            await self._clear()

    async def _prove(self, old: Secret, new: Secret) -> None:
        """The legacy system said yes. What it does at a login counts more; where that cannot be asked, its yes does."""
        kept = self._kept
        try:
            proven = await self._works(new)
        except Refused as refused:
            await self._promote(old, new)
            await kept.forget(kept.next)
            raise CannotRotate(f"it was changed, but no login could prove it: {cause(refused)}") from None
        if not proven and not await self._works(old):
            raise self._neither()
        if not proven:
            raise Disagreeing("the legacy system said yes, but still lets in the old one alone; both are kept, it is"
                              " found out later which counts")  # fmt: skip
        await self._promote(old, new)
        await kept.forget(kept.next)

    async def _found_out(self, old: Secret, new: Secret, *, refused: bool) -> str:
        order = (CURRENT, NEXT) if refused else (NEXT, CURRENT)
        for word in order:
            if await self._works(new if word == NEXT else old):
                return word
        raise self._neither()

    def _neither(self) -> NoneLetsIn:
        kept = self._kept
        return NoneLetsIn(f"neither what is under {kept.name} nor what is under {kept.next} lets the account in; both"
                          " are kept, nothing more is tried")  # fmt: skip

    async def _promote(self, old: Secret, new: Secret) -> None:
        await self._kept.keep(self._kept.previous, old)
        await self._kept.keep(self._kept.name, new)

    async def _clear(self) -> None:
        """Nothing is left of the secret before: of a key not on the legacy system either."""
        kept = self._kept
        previous = await kept.left(kept.previous)
        if previous is None:
            return
        current = await kept.read()
        if previous != current:
            try:
                await self._withdraw(current, previous)
            except BridgeError as failure:
                raise CannotRotate(f"the new one counts, but the one before still lets in: {cause(failure)}; it is kept"
                                   f" as {kept.previous} and taken away later") from None  # fmt: skip
        await kept.forget(kept.previous)

    # -- the legacy system

    def _keys(self, secret: Secret) -> Rekeying | None:
        """None: it is a password."""
        return self._adapter if isinstance(self._adapter, Rekeying) and self._adapter.is_key(secret) else None

    async def _successor(self, old: Secret) -> Secret:
        keys = self._keys(old)
        if keys is None:
            return new_password()
        return await keys.successor(await self._system.accounts[self._account].login(self._core.vaults, old))

    async def _set(self, old: Secret, new: Secret) -> None:
        async with self._logging_in(old) as admission:
            await self._adapter.rotate(admission, self._system.facts, new)

    async def _withdraw(self, using: Secret, gone: Secret) -> None:
        keys = self._keys(gone)
        if keys is not None:
            async with self._logging_in(using) as admission:
                await keys.withdraw(admission, self._system.facts, gone)

    async def _works(self, secret: Secret) -> bool:
        """Raises Refused when the system cannot be asked: that says nothing about the secret."""
        try:
            async with self._logging_in(secret) as admission:
                await self._adapter.log_in(admission, self._system.facts)
        except Refused as refused:
            if refused.code != "upstream-login-refused":
                raise
            return False
        return True

    def _logging_in(self, secret: Secret) -> AbstractAsyncContextManager[Survey]:
        return survey(self._core, self._system, self._account, secret=secret, purpose=PURPOSE)
