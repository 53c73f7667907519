"""All vaults behind one call, off the reactor's thread and within a time limit."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as TooLong
from twisted.internet.interfaces import IReactorTime

from bridge.accounts.vaults.reference import SecretReference, SecretUnavailable, Vault
from bridge.adapter import Secret
from bridge.storage import PoolFull, PoolStopped, ThreadPool

READ_TIMEOUT = 5.0  # seconds; a client waits meanwhile


class Vaults:
    """``by_scheme`` names each vault; ``pool`` is theirs alone, so that a vault that hangs holds up nothing else."""

    def __init__(
        self, by_scheme: Mapping[str, Vault], pool: ThreadPool, clock: IReactorTime, timeout: float = READ_TIMEOUT
    ) -> None:
        self._by_scheme = dict(by_scheme)
        self._pool = pool
        self._clock = clock
        self._timeout = timeout

    async def read(self, reference: SecretReference) -> Secret:
        """Raises SecretUnavailable."""
        vault = self._by_scheme.get(reference.scheme)
        if vault is None:
            raise SecretUnavailable(f"{reference}: no vault of this kind is configured")
        reading = self._pool.run(vault.in_thread_read, reference.path)
        reading.addTimeout(self._timeout, self._clock)
        try:
            return await reading
        except TooLong:
            raise SecretUnavailable(f"{reference}: no answer within {self._timeout:g} s") from None
        except CancelledError:
            raise
        except (PoolFull, PoolStopped) as error:
            raise SecretUnavailable(f"{reference}: {error}") from None
