"""From the login to the end: messages between the agent's leg and the host's, with a gate in front of each request.

Two pumps, each one direction. A pump takes one message, perhaps waits for a permit, writes to the other leg, and after
each chunk waits until the other leg has taken it: order and bounded memory follow from that alone.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

from adapters.ssh import codec
from adapters.ssh.channels import Channel, Window
from adapters.ssh.codec import Asked, Confirmation, Opening
from adapters.ssh.fields import Fields
from adapters.ssh.gate import SSH_PORT, Gate, survived
from adapters.ssh.global_requests import GlobalRequests
from adapters.ssh.keepalive import REQUEST as KEEPALIVE
from adapters.ssh.keepalive import Keepalive
from adapters.ssh.leg import Leg
from adapters.ssh.options import Options
from adapters.ssh.public_keys import NO_LIMITS, Limits
from adapters.ssh.requests import ChannelRequests
from adapters.ssh.wire import WireLeg
from bridge.adapter import (
    Admission,
    PeerFault,
    Reason,
    Refused,
    Stream,
    StreamClosed,
    SystemFacts,
    Take,
)
from bridge.adapter.relay import Side
from bridge.adapter.relay import relay as both_ways

RESERVE = 64 * 1024
"""Of the agent's window, kept from the host: the bridge's own answers (SFTP refusals) go into it."""

BY_APPLICATION = 11


async def relay(
    agent: WireLeg,
    host: WireLeg,
    admission: Admission,
    system: SystemFacts,
    options: Options,
    *,
    limits: Limits = NO_LIMITS,
) -> None:
    """Until one side has gone. Raises what the legs and the gate raise, Refused where the host has gone while something
    ran there, and StreamClosed where the agent's connection broke; every permit has its outcome then."""
    session = Relay(agent, host, admission, system, options, limits, ssh_port=host.stream.peer.port)
    if options.keepalive:
        of_host = Keepalive(host, session.ask_host, options.keepalive, options.keepalive_unanswered)
        of_agent = Keepalive(agent, session.ask_agent, options.keepalive, options.keepalive_unanswered)

        async def look() -> None:
            try:
                await of_host.look(agent)
                await of_agent.look(host)
            except StreamClosed:
                return  # the relay hears it too

        admission.each_second(look)

    async def goodbye() -> None:
        host.disconnect(BY_APPLICATION, "the agent has gone")
        await host.flush()
        await host.stream.close()

    async def to_host(data: bytes) -> None:
        await host.flush()

    async def to_agent(data: bytes) -> None:
        await agent.flush()

    try:
        end = await both_ways(
            _source(agent, session.from_agent),
            _source(host, session.from_host),
            to_upstream=to_host,
            to_client=to_agent,
            on_client_eof=goodbye,
        )
        left_open = session.runs_something()
    finally:
        session.end()
    cause = (agent if end.side is Side.CLIENT else host).given_up or end.cause
    if end.side is Side.UPSTREAM and left_open:
        text = "the connection to the legacy system was lost"
        raise Refused(Reason.UPSTREAM_LOST, text, reference=admission.session, detail=cause)
    if end.side is Side.CLIENT and cause:
        raise StreamClosed(cause)


class _Source:
    """A leg where the shared relay expects a stream: its messages are taken one by one, and a chunk ends with the pump,
    which has nothing to do but let the other leg send what was written."""

    def __init__(self, leg: Leg, take: Any) -> None:
        self._leg = leg
        self._take = take

    async def each(self, pump: Take) -> str:
        async def after() -> None:
            waits = pump(b"")
            if waits is not None:
                await waits

        return await self._leg.run(self._take, after)


def _source(leg: Leg, take: Any) -> Stream:
    source: Any = _Source(leg, take)
    stream: Stream = source
    return stream


class Relay:
    """One session's channels. ``from_agent`` and ``from_host`` take a message each; what must wait is a coroutine."""

    def __init__(
        self, agent: Leg, host: Leg, admission: Admission, system: SystemFacts, options: Options, limits: Limits,
        *, ssh_port: int = SSH_PORT,
    ) -> None:  # fmt: skip
        self._agent = agent
        self._host = host
        self._admission = admission
        self._gate = Gate(admission, system, options, limits, ssh_port=ssh_port)
        self._requests = ChannelRequests(agent, host, admission, self._gate, options, limits)
        self._options = options
        self._by_agent: dict[int, Channel] = {}  # by the agent's number: what the host's messages name
        self._by_host: dict[int, Channel] = {}
        self._delayed: list[Opening] = []
        self._global = GlobalRequests(agent, host, admission, self._gate)

    def ask_host(self) -> None:
        """Whether it is still there."""
        self._global.ask_host(KEEPALIVE)

    def ask_agent(self) -> None:
        """Its answer goes nowhere, as all answers of the agent."""
        self._agent.write(KEEPALIVE)

    def runs_something(self) -> bool:
        """Whether the host has a channel that it has not closed."""
        return any(not channel.closed_by_host for channel in self._by_host.values())

    # -- from the agent

    def from_agent(self, payload: bytes) -> Any:
        message = payload[0]
        if message == codec.DATA:
            channel = self._of_agent(payload)
            size = codec.size(payload)
            if channel is None or channel.refused:
                return None
            if (more := channel.room.used(size)) and channel.agent is not None:
                self._agent.write(codec.adjust(channel.agent, more))
            if not channel.started and channel.kind == "session":
                return None  # nothing runs that could take it, and it must not wait at the host for what will
            channel.sent += size
            if channel.tap is not None:
                return channel.tap.from_agent(payload)
            if channel.sends is not None:
                channel.sends.seen(payload, len(payload) - size)
            self._host.write(payload)
            return None
        if message == codec.CHANNEL_REQUEST:
            asked = Asked.parse(payload)
            channel = self._by_host.get(asked.recipient)
            if channel is None or channel.refused or channel.agent is None:
                return None
            return self._requests.asked(channel, asked)
        if message == codec.OPEN:
            return self._opened(Opening.parse(payload))
        if message == codec.GLOBAL_REQUEST:
            return self._global.asked(payload)
        self._passed_on(message, payload)
        return None

    def _passed_on(self, message: int, payload: bytes) -> None:
        if message in (codec.REQUEST_SUCCESS, codec.REQUEST_FAILURE):
            return  # the host's own global requests are answered by the bridge
        channel = self._of_agent(payload)
        if channel is None:
            return
        if message == codec.WINDOW_ADJUST:
            self._adjusted(channel, payload)
        elif message == codec.CLOSE:
            channel.closed_by_agent = True
            if not channel.refused:
                self._host.write(payload)
            self._forget_if_over(channel)
            self._open_delayed()
        elif message in (codec.OPEN_CONFIRMATION, codec.OPEN_FAILURE):
            self._agent_opened(channel, message, payload)
        elif message == codec.EXTENDED_DATA:
            raise PeerFault("only hosts have an error output")
        elif not channel.refused and message in (codec.EOF, codec.CHANNEL_SUCCESS, codec.CHANNEL_FAILURE):
            self._host.write(payload)
        elif not codec.OPEN <= message <= codec.CHANNEL_FAILURE:
            raise PeerFault("a message that is none of the connection protocol")

    def _agent_opened(self, channel: Channel, message: int, payload: bytes) -> None:
        """The answer to a channel that the host opened (forwarded-tcpip)."""
        if channel.agent is not None:
            raise PeerFault("a channel is opened twice")
        if message == codec.OPEN_CONFIRMATION:
            confirmed = Confirmation.parse(payload)
            if confirmed.sender in self._by_agent:
                raise PeerFault("a channel number is used twice")
            channel.agent, channel.window = confirmed.sender, Window(confirmed.window)
            self._by_agent[confirmed.sender] = channel
        else:
            channel.closed_by_agent = channel.closed_by_host = True
            self._forget_if_over(channel)
        self._host.write(payload)

    def _adjusted(self, channel: Channel, payload: bytes) -> None:
        more = channel.window.widened(Fields(payload, 5).number())
        if more and not channel.refused and channel.host is not None:
            self._host.write(codec.adjust(channel.host, more))
        if channel.tap is not None:
            channel.tap.may_speak()

    def _of_agent(self, payload: bytes) -> Channel | None:
        """The channel that a message of the agent's names; None for one that is over (its last messages cross)."""
        try:
            return self._by_host.get(codec.recipient(payload))
        except struct.error:
            raise PeerFault("a message is too short") from None

    # -- opening

    async def _opened(self, opening: Opening) -> None:
        if opening.sender in self._by_agent:
            raise PeerFault("a channel number is used twice")
        if len(self._by_agent) >= self._options.max_channels:
            self._not_opened(opening, codec.SHORTAGE, "too many channels")
            return
        channel = Channel(opening.kind, agent=opening.sender, window=Window(opening.window))
        if opening.kind == "session":
            if self._global.no_more_sessions:
                self._not_opened(opening, codec.PROHIBITED, "no more sessions were asked for")
                return
            if opening.window > 4 * RESERVE:
                channel.window = Window(opening.window, RESERVE)
                opening = replace(opening, window=opening.window - RESERVE)
        elif opening.kind == "direct-tcpip":
            try:
                channel.permits.append(await self._gate.forward(opening.rest))
            except Refused as refused:
                self._not_opened(opening, codec.PROHIBITED, str(survived(refused)))
                return
        else:
            self._not_opened(opening, codec.UNKNOWN_TYPE, "only sessions and direct-tcpip are served")
            return
        self._by_agent[opening.sender] = channel
        self._delayed.append(opening)
        self._open_delayed()

    def _open_delayed(self) -> None:
        """Not while the agent still speaks to a refused channel, which the host has closed: the host might give that
        channel's number to the new one."""
        if any(one.refused and not one.closed_by_agent for one in self._by_agent.values()):
            return
        for opening in self._delayed:
            self._host.write(opening.compose())
        self._delayed.clear()

    def _not_opened(self, opening: Opening, reason: int, text: str) -> None:
        self._agent.write(codec.open_failure(opening.sender, reason, text))

    # -- from the host

    def from_host(self, payload: bytes) -> Any:
        message = payload[0]
        if message in (codec.GLOBAL_REQUEST, codec.REQUEST_SUCCESS, codec.REQUEST_FAILURE):
            return self._global.from_host(payload)
        if message == codec.OPEN:
            return self._from_afar(Opening.parse(payload), payload)
        channel = self._of_host(payload)
        if channel is None:
            return None
        if message == codec.CLOSE:
            self._closed_by_host(channel, payload)
        elif channel.refused:
            return None
        elif message in (codec.DATA, codec.EXTENDED_DATA):
            return self._shown(channel, message, payload)
        elif message == codec.CHANNEL_REQUEST:
            self._told(channel, payload)
        elif message in (codec.CHANNEL_SUCCESS, codec.CHANNEL_FAILURE):
            self._host_answered(channel, message, payload)
        else:
            self._host_opened(channel, message, payload)
        return None

    def _host_answered(self, channel: Channel, message: int, payload: bytes) -> None:
        """Where the host declines a subsystem, clients of PuTTY's family ask for a command in the same channel."""
        if channel.starting:
            channel.starting -= 1
            if not channel.starting and message == codec.CHANNEL_FAILURE:
                channel.started = False
                channel.status = "not started"
                channel.finish(self._admission)
                channel.recorder, channel.tap, channel.status = None, None, ""
                channel.sends = channel.gives = None
        for answer in channel.answers.from_host(payload):
            self._agent.write(answer)

    def _shown(self, channel: Channel, message: int, payload: bytes) -> Any:
        size = codec.size(payload)
        channel.received += size
        if (more := channel.window.used(size)) and channel.host is not None:
            self._host.write(codec.adjust(channel.host, more))
        if channel.recorder is not None:
            channel.recorder.show(payload[-size:] if size else b"")
        if channel.tap is not None and message == codec.DATA:
            channel.tap.from_host(payload)
            return None
        if channel.gives is not None and message == codec.DATA:
            channel.gives.seen(payload, len(payload) - size)
        self._agent.write(payload)
        return None

    def _told(self, channel: Channel, payload: bytes) -> None:
        asked = Asked.parse(payload)
        if asked.kind == "exit-status":
            channel.status = str(Fields(asked.rest).number())
        elif asked.kind == "exit-signal":
            channel.status = f"SIG{Fields(asked.rest).name()}"
        self._agent.write(payload)

    def _host_opened(self, channel: Channel, message: int, payload: bytes) -> None:
        if message == codec.OPEN_CONFIRMATION:
            confirmed = Confirmation.parse(payload)
            if channel.host is not None or confirmed.sender in self._by_host:
                raise PeerFault("the host opened a channel twice")
            channel.host, channel.room = confirmed.sender, Window(confirmed.window)
            self._by_host[confirmed.sender] = channel
        elif message == codec.OPEN_FAILURE:
            if channel.host is not None:
                raise PeerFault("the host declines a channel that it has opened")
            channel.closed_by_agent = channel.closed_by_host = True
            channel.status = "not opened"
            self._forget_if_over(channel)
        elif message == codec.WINDOW_ADJUST:
            if (more := channel.room.widened(Fields(payload, 5).number())) and channel.agent is not None:
                self._agent.write(codec.adjust(channel.agent, more))
            return
        self._agent.write(payload)

    def _closed_by_host(self, channel: Channel, payload: bytes) -> None:
        channel.closed_by_host = True
        self._agent.write(payload)
        self._forget_if_over(channel)

    def _from_afar(self, opening: Opening, payload: bytes) -> None:
        """A connection to a port that the host forwards to the agent; sshd opens none that was not asked for."""
        full = len(self._by_host) >= self._options.max_channels
        if opening.kind != "forwarded-tcpip" or not self._global.listening or full or opening.sender in self._by_host:
            self._host.write(codec.open_failure(opening.sender, codec.PROHIBITED, "not served"))
            return
        self._by_host[opening.sender] = Channel(opening.kind, host=opening.sender, room=Window(opening.window))
        self._agent.write(payload)

    def _of_host(self, payload: bytes) -> Channel | None:
        try:
            return self._by_agent.get(codec.recipient(payload))
        except struct.error:
            raise PeerFault("the host sent a message that is too short") from None

    # -- the end

    def _forget_if_over(self, channel: Channel) -> None:
        if not channel.over:
            return
        if channel.agent is not None:
            self._by_agent.pop(channel.agent, None)
        if channel.host is not None:
            self._by_host.pop(channel.host, None)
        channel.finish(self._admission)

    def end(self) -> None:
        for channel in {*self._by_agent.values(), *self._by_host.values()}:
            channel.finish(self._admission)
        self._by_agent.clear()
        self._by_host.clear()
