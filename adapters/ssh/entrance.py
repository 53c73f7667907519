"""The way in of one connection: key exchange, proof, admission, the host's login; only then is the agent told yes."""

from __future__ import annotations

from collections.abc import Callable

from adapters.ssh.authentication import Login, Methods
from adapters.ssh.host_keys import HostKeys
from adapters.ssh.hosts import Hosts
from adapters.ssh.options import Options
from adapters.ssh.public_keys import NO_LIMITS, Limits
from adapters.ssh.refusals import PROTOCOL_ERROR
from adapters.ssh.server import AgentLeg, accept
from adapters.ssh.upstream import HostLeg
from adapters.ssh.users import Wish, read_wish
from bridge.adapter import (
    Admission,
    AdmissionRequest,
    Credential,
    Door,
    PeerFault,
    Reason,
    Stream,
    StreamClosed,
    SystemFacts,
    TimedOut,
)


class Entrance:
    """``enter`` is called once. Then ``admission`` and ``host`` are there, or ``outer`` for one that only jumps.

    ``inherited`` is the proof of the outer connection, ``host_name`` the host that it asked for (``ssh -J``).
    """

    def __init__(
        self,
        door: Door,
        hosts: Hosts,
        clock: Callable[[], float],
        *,
        inherited: Credential | None = None,
        host_name: str = "",
    ) -> None:
        self._door = door
        self._hosts = hosts
        self._clock = clock
        self._inherited = inherited
        self._host_name = host_name
        self._options: Options = door.system.options
        self.leg: AgentLeg
        self.admission: Admission
        self.host: HostLeg
        self.limits: Limits = NO_LIMITS
        self.outer: Credential | None = None

    async def enter(self, client: Stream, host_keys: HostKeys) -> AgentLeg:
        """Raises Refused, PeerFault, TimedOut, StreamClosed; the client was told."""
        system = self._door.system
        self.leg = await accept(client, host_keys, timeout=system.hello_timeout, seconds=self._clock)
        login = Login(
            self.leg,
            methods(self._options, inherited=self._inherited is not None),
            self._judge,
            self._clock() + system.auth_timeout,
            self._clock,
            self._inherited,
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

    async def _judge(self, user: str, credential: Credential, limits: Limits) -> None:
        options = self._options
        if options.jump and user == options.jump_user and self._inherited is None:
            await self._door.verify(credential)
            self.outer = credential
            return
        wish = await self._wish(user)
        target = {"host": wish.host} if wish.host else {}
        request = AdmissionRequest(wish.account, target, self.leg.facts.get("software", ""))
        self.admission = await self._door.admit(credential, request)
        self.limits = limits
        self.host = await self._hosts.log_in(self.admission, self._door.system, wish.host)

    async def _wish(self, user: str) -> Wish:
        system: SystemFacts = self._door.system
        try:
            wish = read_wish(user, fleet=bool(system.hosts) and not self._host_name)
        except PeerFault as fault:
            raise await self._door.turn_away(Reason.PROTOCOL, detail=str(fault)) from None
        return Wish(wish.account, self._host_name) if self._host_name else wish


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


async def say(leg: AgentLeg, code: int, text: str) -> None:
    """The last words; nobody may be there to hear them."""
    try:
        leg.disconnect(code, text)
        await leg.flush()
    except StreamClosed:
        return
