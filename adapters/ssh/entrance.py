"""The way in of one connection: key exchange, proof, admission, the host's login; only then is the agent told yes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from adapters.ssh.authentication import Login, Methods
from adapters.ssh.host_keys import HostKeys
from adapters.ssh.hosts import Hosts
from adapters.ssh.options import Options
from adapters.ssh.public_keys import NO_LIMITS, Limits
from adapters.ssh.refusals import PROTOCOL_ERROR
from adapters.ssh.server import AgentLeg, accept, say
from adapters.ssh.upstream import HostLeg
from adapters.ssh.users import Wish, read_wish
from bridge.adapter import (
    Admission,
    AdmissionRequest,
    Credential,
    Deadline,
    Door,
    PeerFault,
    Reason,
    Stream,
    TimedOut,
)


class Outer(NamedTuple):
    """What the outer connection of ``ssh -J`` has proven, and the host that the inner one is for."""

    credential: Credential
    limits: Limits
    host: str = ""


class Entrance:
    """``enter`` is called once. Then ``admission`` and ``host`` are there, or ``jumping`` for one that only jumps.

    ``outer`` is given for an inner connection.
    """

    def __init__(
        self,
        door: Door,
        hosts: Hosts,
        clock: Callable[[], float],
        *,
        outer: Outer | None = None,
    ) -> None:
        self._door = door
        self._hosts = hosts
        self._clock = clock
        self._outer = outer
        self._admitted = False
        self._options: Options = door.system.options
        self.leg: AgentLeg
        self.admission: Admission
        self.host: HostLeg
        self.limits: Limits = NO_LIMITS
        self.jumping: Outer | None = None

    async def enter(self, client: Stream, host_keys: HostKeys) -> AgentLeg:
        """Raises Refused, PeerFault, TimedOut, StreamClosed; the client was told."""
        system = self._door.system
        self.leg = await accept(client, host_keys, timeout=system.hello_timeout, seconds=self._clock)
        login = Login(
            self.leg,
            methods(self._options, inherited=self._outer is not None),
            self._judge,
            Deadline(system.auth_timeout, self._clock, "the login took too long"),
            self._outer.credential if self._outer is not None else None,
        )
        try:
            await login.run()
        except PeerFault as fault:
            await say(self.leg, PROTOCOL_ERROR, str(fault))
            raise
        except TimedOut as late:
            await say(self.leg, PROTOCOL_ERROR, str(late))
            raise
        return self.leg

    async def leave(self, detail: str) -> None:
        """Ends the session, if there is one, while the client's connection goes on."""
        if self._admitted:
            await self.admission.end(detail)

    async def _judge(self, user: str, credential: Credential, limits: Limits) -> None:
        options = self._options
        if self._outer is None and options.jump and user == options.jump_user:
            await self._door.verify(credential)
            self.jumping = Outer(credential, limits)
            return
        if self._outer is not None and credential is self._outer.credential:
            limits = self._outer.limits
        wish = await self._wish(user)
        target = {"host": wish.host} if wish.host else {}
        request = AdmissionRequest(wish.account, target, self.leg.facts.get("software", ""))
        within = self.leg.stream if self._outer is not None else None
        self.admission = await self._door.admit(credential, request, within=within)
        self._admitted = True
        self.limits = limits
        self.host = await self._hosts.log_in(self.admission, self._door.system, wish.host)

    async def _wish(self, user: str) -> Wish:
        system, outer = self._door.system, self._outer
        try:
            wish = read_wish(user, fleet=bool(system.hosts) and outer is None)
        except PeerFault as fault:
            raise await self._door.turn_away(Reason.PROTOCOL, detail=str(fault)) from None
        if outer is None:
            return wish
        alone = not system.hosts and outer.host == system.host.lower()
        return Wish(wish.account, "" if alone else outer.host)


def methods(options: Options, *, inherited: bool) -> Methods:
    alone = "key" in options.methods and options.public_key_alone
    return Methods(
        token="token" in options.methods,
        certificate="certificate" in options.methods,
        key=alone,
        key_with_token="key" in options.methods and not alone,
        inherited=inherited,
        banner="" if inherited else options.banner,
    )
