"""``idbridge ssh trust``: the keys that a host shows, beside what is pinned. Nothing of ours is said to it."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from adapters.ssh.fields import Fields
from adapters.ssh.host_exchange import NothingInCommon
from adapters.ssh.known_hosts import host_name
from adapters.ssh.options import Options
from adapters.ssh.upstream import in_thread_pins, scan
from bridge.adapter import Stream, SystemFacts
from bridge.wire.ssh_keys import fingerprint

KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512")
OLD_KINDS = {"modern": (), "compat": ("ssh-rsa",), "legacy": ("ssh-rsa", "ssh-dss")}


async def trust(
    connect: Callable[[], Awaitable[Stream]],
    system: SystemFacts,
    host: str,
    *,
    deferring: Callable[..., Awaitable[Any]],
    clock: Callable[[], float],
) -> list[dict[str, str]]:
    """A row for each kind of key, as ``Trusting.trust`` says. One connection each: a server shows one at a time."""
    options: Options = system.options
    rows: dict[bytes, dict[str, str]] = {}
    for algorithm in (*KINDS, *OLD_KINDS[options.level]):
        stream = await connect()
        port = stream.peer.port  # a closed one tells no address
        try:
            blob = await scan(
                stream, options, algorithm, timeout=system.upstream_timeout, deferring=deferring, clock=clock
            )
        except NothingInCommon:
            continue
        finally:
            await stream.close()
        name = host or system.host
        pins = await deferring(partial(in_thread_pins, options, name, port, enrolling=True))
        kind = Fields(blob).name()
        rows[blob] = {
            "type": kind,
            "fingerprint": fingerprint(blob),
            "line": f"{host_name(name, port)} {kind} {base64.b64encode(blob).decode()}",
            "file": options.known_hosts,
            "state": pins.state(blob),
        }
    return list(rows.values())
