"""The bridge's own store of secrets, opened past the bridge."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rig.bridge import Bridge

from bridge.accounts.vaults import Store
from bridge.adapter import Secret
from bridge.storage import open_engine


@contextmanager
def opened(bridge: Bridge) -> Iterator[Store]:
    engine = open_engine(bridge.state / "registry.db", kind="registry")
    try:
        yield Store(engine, bridge.state / "store.key", time.time)
    finally:
        engine.dispose()


def stored(bridge: Bridge, name: str) -> str:
    """What the bridge made, which from now on is looked for in everything that the run leaves."""
    with opened(bridge) as store:
        secret = store.in_thread_read(name).reveal_text()
    bridge.place.secrets[f"rotated {len(bridge.place.secrets)}"] = secret.encode()
    return secret


def keep(bridge: Bridge, name: str, secret: str) -> None:
    """As a change does that is then cut off."""
    with opened(bridge) as store:
        store.in_thread_set(name, Secret(secret))


def names(bridge: Bridge) -> set[str]:
    return {row["name"] for row in bridge.cli_json("secret", "list")}
