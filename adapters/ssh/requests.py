"""What an agent asks inside of a channel (RFC 4254 section 5.4): variables, a terminal, and above all a start.

What the bridge refuses inside a channel it answers like a host would: the request succeeds, one line on stderr says
why, and the channel ends with exit status 126. A client shows that line; of a failed request it would show nothing.
"""

from __future__ import annotations

from dataclasses import replace

from adapters.ssh import codec, operations
from adapters.ssh.channels import Channel
from adapters.ssh.codec import Asked, Terminal
from adapters.ssh.environment import allowed, stamps
from adapters.ssh.fields import Fields, string
from adapters.ssh.gate import Gate, survived
from adapters.ssh.leg import Leg
from adapters.ssh.options import Options
from adapters.ssh.public_keys import Limits
from adapters.ssh.scp import Files
from adapters.ssh.sftp import SFTPTap
from bridge.adapter import Admission, Refused

NOT_EXECUTABLE = 126
"""The exit status of a command that may not be run, as shells give it."""

MOST_VARIABLES = 64
LONGEST_VARIABLE = 8 * 1024


class ChannelRequests:
    """Of all channels of one session."""

    def __init__(
        self, agent: Leg, host: Leg, admission: Admission, gate: Gate, options: Options, limits: Limits
    ) -> None:
        self._agent = agent
        self._host = host
        self._admission = admission
        self._gate = gate
        self._options = options
        self._limits = limits

    async def asked(self, channel: Channel, asked: Asked) -> None:
        kind = asked.kind
        if kind in ("exec", "shell", "subsystem"):
            await self._started(channel, asked)
        elif kind == "env":
            self._variable(channel, asked)
        elif kind == "pty-req":
            channel.terminal = Terminal.parse(asked.rest)
            self._forward_or_fail(channel, asked, self._limits.pty)
        elif kind == "window-change":
            size = Fields(asked.rest)
            if channel.recorder is not None:
                channel.recorder.resize(size.number(), size.number())
            self._forward_or_fail(channel, asked, True)
        else:
            known = kind in ("signal", "break", "xon-xoff", "eow@openssh.com")
            self._forward_or_fail(channel, asked, known)

    def _forward_or_fail(self, channel: Channel, asked: Asked, forward: bool) -> None:
        if forward:
            if asked.want_reply:
                channel.answers.asked_host()
            self._host.write(asked.compose())
        elif asked.want_reply:
            self._answer(channel, success=False)

    def _answer(self, channel: Channel, *, success: bool) -> None:
        assert channel.agent is not None
        for payload in channel.answers.ours(codec.answer(channel.agent, success=success)):
            self._agent.write(payload)

    def _variable(self, channel: Channel, asked: Asked) -> None:
        fields = Fields(asked.rest)
        name = fields.string(256).decode("utf-8", "replace")
        fields.string(LONGEST_VARIABLE)
        channel.environment += 1
        good = channel.environment <= MOST_VARIABLES and allowed(name, self._options.environment)
        self._forward_or_fail(channel, asked, good)

    async def _started(self, channel: Channel, asked: Asked) -> None:
        if channel.started or channel.kind != "session":
            self._forward_or_fail(channel, asked, False)
            return
        channel.started = True
        if self._limits.command is not None:
            asked = replace(asked, kind="exec", rest=string(self._limits.command))
        try:
            permit = await self._gate.start(asked)
            if permit is None:
                channel.tap = SFTPTap(channel, self._agent, self._host, self._admission)
            else:
                channel.permits.append(permit)
                channel.recorder = self._gate.screen(channel, asked.kind)
                if asked.kind == "exec":
                    flags = operations.scp_flags(operations.readable(Fields(asked.rest).string()))
                    channel.sends = Files() if "-t" in flags else None
                    channel.gives = Files() if "-f" in flags else None
        except Refused as refused:
            self._refuse(channel, asked, survived(refused))
            return
        assert channel.host is not None
        for name, value in stamps(self._admission.stamp):
            self._host.write(codec.environment(channel.host, name, value))
        if asked.want_reply:
            channel.starting = channel.answers.asked_host()
        self._host.write(asked.compose())

    def _refuse(self, channel: Channel, asked: Asked, refused: Refused) -> None:
        """The agent is told of the close when the host has closed: only then may it use the channel's number again."""
        assert channel.agent is not None
        if asked.want_reply:
            channel.answers.asked_host()
        success = codec.answer(channel.agent, success=True)
        for payload in channel.answers.all(success):  # the host's would come too late
            self._agent.write(payload)
        text = f"identity-bridge: {refused}\r\n" + (f"{refused.hint}\r\n" if refused.hint else "")
        number = channel.agent
        for payload in (
            codec.stderr(number, text.encode()),
            codec.exit_status(number, NOT_EXECUTABLE),
            codec.eof(number),
        ):
            self._agent.write(payload)
        if channel.host is not None:
            self._host.write(codec.close(channel.host))
        channel.refused = True
