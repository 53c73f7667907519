"""All vaults behind one call, off the reactor's thread and within a time limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from bridge.accounts.vaults.reference import RemoteVault, SecretReference, SecretUnavailable, Vault
from bridge.adapter import Secret
from bridge.storage import PoolFull, PoolStopped, ThreadPool

READ_TIMEOUT = 5.0  # seconds; a client waits meanwhile


class Vaults:
    """``by_scheme`` names each vault; ``pool`` is theirs alone, so that a vault that hangs holds up nothing else.

    ``remote``: those that are asked over the network, without a thread; a reload replaces them.
    """

    def __init__(
        self, by_scheme: Mapping[str, Vault], pool: ThreadPool, clock: IReactorTime, timeout: float = READ_TIMEOUT
    ) -> None:
        self._by_scheme = dict(by_scheme)
        self.remote: Mapping[str, RemoteVault] = {}
        self._pool = pool
        self._clock = clock
        self._timeout = timeout

    async def read(self, reference: SecretReference) -> Secret:
        """Raises SecretUnavailable."""

        def late(_: object, seconds: float) -> NoReturn:
            raise SecretUnavailable(f"{reference}: no answer within {seconds:g} s")

        reading = self._begun(reference)
        reading.addTimeout(self._timeout, self._clock, late)
        try:
            return await reading
        except (PoolFull, PoolStopped) as error:
            raise SecretUnavailable(f"{reference}: {error}") from None

    def _begun(self, reference: SecretReference) -> Deferred[Secret]:
        remote = self.remote.get(reference.scheme)
        if remote is not None:
            return Deferred.fromCoroutine(remote.read(reference.path))
        vault = self._by_scheme.get(reference.scheme)
        if vault is None:
            raise SecretUnavailable(f"{reference}: no vault of this kind is configured")
        return self._pool.run(vault.in_thread_read, reference.path)
