"""Secrets of vaults that are asked over the network, for a command without a reactor: one runs for it, once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bridge.accounts.vaults import SecretReference, SecretUnavailable, Vault, Vaults
from bridge.adapter import BridgeError, Secret
from bridge.config import Config
from bridge.daemon.vaults import remote_vaults
from bridge.storage import ThreadPool

Fetched = dict[SecretReference, Secret | BridgeError]
"""What each reference leads to, or why it cannot be read now."""


class Interrupted(BridgeError):
    """It was ended from outside before everything was read."""


def fetch(config: Config, local: Mapping[str, Vault], references: Collection[SecretReference]) -> Fetched:
    """Once in a process. ``local``: by scheme, for what the bridge logs in to the vaults with. Raises Interrupted."""
    from twisted.internet import reactor as installed  # noqa: TID251  the one place of this process that takes it

    reactor: Any = installed
    vaults = Vaults(local, ThreadPool("vaults", 1, reactor), reactor)
    found: Fetched = {}

    failures: list[Failure] = []

    async def read() -> None:
        try:
            await _read(config, reactor, vaults, references, found)
        finally:
            reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(read()).addErrback(failures.append))
    reactor.run()
    for failure in failures:
        failure.raiseException()
    if not found.keys() >= set(references):
        raise Interrupted("interrupted while the vaults were asked")
    return found


async def _read(
    config: Config, reactor: Any, vaults: Vaults, references: Collection[SecretReference], found: Fetched
) -> None:
    try:
        vaults.remote = remote_vaults(config, reactor, vaults)
    except BridgeError as misconfigured:
        found.update(dict.fromkeys(references, misconfigured))
        return
    for reference in references:
        try:
            found[reference] = await vaults.read(reference)
        except SecretUnavailable as cause:
            found[reference] = cause
