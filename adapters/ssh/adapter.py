"""The story of one SSH connection: the way in (``entrance``), then the relay, or the inner connection of ``ssh -J``."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from twisted.internet.defer import DeferredLock

from adapters.ssh import keys, rotating
from adapters.ssh.doctor import look_around
from adapters.ssh.entrance import Entrance, Outer
from adapters.ssh.host_keys import HostKeys, HostKeyUnusable, in_thread_host_keys
from adapters.ssh.hosts import Hosts
from adapters.ssh.jump import Jump
from adapters.ssh.observing import observe
from adapters.ssh.options import Options as SSHOptions
from adapters.ssh.refusals import PROTOCOL_ERROR, rule, spoken
from adapters.ssh.relaying import relay
from adapters.ssh.server import AgentLeg, say
from adapters.ssh.trusting import trust
from bridge.adapter import (
    Admission,
    BridgeError,
    Check,
    Door,
    LegacySession,
    Login,
    PeerFault,
    Reason,
    Refused,
    Secret,
    Stream,
    SystemFacts,
)


class SSHAdapter:
    """One instance per system. ``clock`` is monotonic seconds."""

    name: ClassVar[str] = "ssh"
    default_port: ClassVar[int] = 22
    Options: ClassVar[type[Any]] = SSHOptions
    targets: ClassVar[frozenset[str]] = frozenset({"host"})
    operation_targets: ClassVar[frozenset[str]] = frozenset({"command", "path", "forward"})
    encrypts: ClassVar[bool] = True

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts = Hosts(clock)
        self._host_keys: HostKeys | None = None
        self._reading = DeferredLock()

    def start(self, deferring: Callable[..., Awaitable[Any]]) -> None:
        self._hosts.deferring = deferring

    def stop(self) -> None:
        pass

    async def serve(self, client: Stream, door: Door) -> None:
        entrance = Entrance(door, self._hosts, self._clock)
        try:
            keys = await self._keys(door.system)
        except HostKeyUnusable as why:
            raise await door.turn_away(Reason.INTERNAL, detail=str(why)) from None
        await entrance.enter(client, keys)
        if entrance.jumping is None:
            await self._relayed(entrance, door.system)
        else:
            await self._jumped(entrance.leg, entrance.jumping, door)

    async def _jumped(self, leg: AgentLeg, outer: Outer, door: Door) -> None:
        """``ssh -J``: the inner connections, each with a session of its own."""
        options: SSHOptions = door.system.options

        async def inner(client: Stream, host: str) -> None:
            entrance = Entrance(door, self._hosts, self._clock, outer=outer._replace(host=host))
            keys = await self._keys(door.system)
            detail = ""
            try:
                await entrance.enter(client, keys.for_host(host, time.time()))
                await self._relayed(entrance, door.system)
            except BridgeError as end:
                detail = str(end)
                raise
            finally:
                await entrance.leave(detail)

        try:
            await Jump(leg, inner, options.max_channels, self._clock).run()
        except PeerFault as fault:
            await say(leg, PROTOCOL_ERROR, str(fault))
            raise

    async def _relayed(self, entrance: Entrance, system: SystemFacts) -> None:
        leg, admission = entrance.leg, entrance.admission

        told = False

        async def goodbye(refused: Refused) -> None:
            nonlocal told
            if not told:  # whoever ends the session ends the host's side too, which is then found to be lost
                told = True
                await say(leg, rule(refused).code, spoken(refused))

        admission.on_cut(goodbye)
        try:
            await relay(leg, entrance.host, admission, system, system.options, limits=entrance.limits)
        except Refused as refused:
            await goodbye(refused)
            raise
        except PeerFault as fault:
            await say(leg, PROTOCOL_ERROR, str(fault))
            raise

    async def _keys(self, system: SystemFacts) -> HostKeys:
        """One at a time, so that connections that come first together do not each make their own."""
        await self._reading.acquire()
        try:
            if self._host_keys is None:
                files = system.options.host_key
                self._host_keys = await self._hosts.deferring(in_thread_host_keys, files, system.folder)
            return self._host_keys
        finally:
            self._reading.release()

    async def trust(
        self, connect: Callable[[], Awaitable[Stream]], system: SystemFacts, host: str
    ) -> list[dict[str, str]]:
        return await trust(connect, system, host, deferring=self._hosts.deferring, clock=self._clock)

    async def examine(
        self, admission: Admission, system: SystemFacts, targets: Mapping[str, frozenset[str]]
    ) -> list[Check]:
        """Logs in as the static account and lets ``doctor`` look around."""
        leg = await self._hosts.log_in(admission, system, "")
        return await look_around(leg, admission.actions, admission.stamp)

    async def observe(self, admission: Admission, system: SystemFacts) -> list[LegacySession]:
        return await observe(await self._hosts.log_in(admission, system, ""))

    async def rotate(self, admission: Admission, system: SystemFacts, new: Secret) -> None:
        await rotating.rotate(self._hosts, admission, system, new)

    async def log_in(self, admission: Admission, system: SystemFacts) -> None:
        await self._hosts.log_in(admission, system, "")

    @staticmethod
    def is_key(secret: Secret) -> bool:
        return keys.is_key(secret)

    async def successor(self, login: Login) -> Secret:
        made: Secret = await self._hosts.deferring(keys.in_thread_successor, login)
        return made

    async def withdraw(self, admission: Admission, system: SystemFacts, key: Secret) -> None:
        await rotating.withdraw(self._hosts, admission, system, key)


ADAPTER = SSHAdapter
