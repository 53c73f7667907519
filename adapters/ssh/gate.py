"""What an agent may start and reach on a host: each asked of the policy, and recorded, before the host hears of it.

The system's own rules (no shell, no forwarding, a certificate's limits) are kept here as well; what they refuse of a
session is recorded as an operation that was denied.
"""

from __future__ import annotations

from dataclasses import replace

from adapters.ssh import operations
from adapters.ssh.channels import Channel
from adapters.ssh.codec import Asked, Terminal
from adapters.ssh.fields import Fields
from adapters.ssh.options import Options
from adapters.ssh.public_keys import Limits
from adapters.ssh.recording import Screen
from bridge.adapter import Admission, Operation, Outcome, PeerFault, Permit, Reason, Refused, Result, SystemFacts

SSH_PORT = 22
LARGEST_PORT = 65535
CUT = "a zero byte within a text: some hosts read only what stands before it"
WITHOUT_TERMINAL = Terminal("dumb", 0, 0)


async def denied(admission: Admission, operation: Operation, text: str) -> Refused:
    """Records what the bridge itself refuses. What the grants refuse as well is raised, in their own words."""
    permit = await admission.permit(operation)
    admission.outcome(permit, Outcome(Result.DENIED, detail=text))
    return Refused(Reason.ACTION_DENIED, text, reference=admission.session)


def survived(refused: Refused) -> Refused:
    """Only a refusal of one operation leaves the session alive; others are raised."""
    if refused.reason not in (Reason.ACTION_DENIED, Reason.QUOTA):
        raise refused
    return refused


class Gate:
    """Everything here raises Refused, and PeerFault. ``ssh_port`` is that of the host."""

    def __init__(
        self, admission: Admission, system: SystemFacts, options: Options, limits: Limits, *, ssh_port: int = SSH_PORT
    ) -> None:
        self._admission = admission
        self._statements = system.statements
        self._recording = "required" if system.record_all else options.recording
        self._options = options
        self._limits = limits
        self._no_forward = tuple(f":{port}" for port in {SSH_PORT, ssh_port})

    async def start(self, asked: Asked) -> Permit | None:
        """Of exec, shell or subsystem. None for SFTP, whose operations are asked for one by one."""
        if asked.kind == "shell":
            if self._options.exec_only:
                raise await denied(
                    self._admission, operations.shell(), "only commands are served here, no interactive shell"
                )
            return await self._admission.permit(operations.shell())
        line = Fields(asked.rest).string()
        if b"\0" in line:
            raise PeerFault(CUT)
        text = operations.readable(line)
        if asked.kind == "subsystem":
            return None if text == "sftp" else await self._admission.permit(operations.subsystem(text))
        return None if operations.is_sftp_server(text) else await self._command(line)

    async def _command(self, line: bytes) -> Permit:
        operation = operations.command(line, self._statements, self._options.read_commands)
        uncovered = self._uncovered(operation, operations.readable(line))
        if uncovered is not None:
            operation = replace(operation, target={**operation.target, "command": uncovered})
        return await self._admission.permit(operation)

    def _uncovered(self, operation: Operation, text: str) -> str | None:
        """The simple command of a line that no grant covers; "" when the line could run something that is not seen."""
        parts = operations.simple_commands(text)
        for part in [""] if parts is None else parts:
            if not self._admission.may(operation.action, {**operation.target, "command": part}):
                return part
        return None

    async def forward(self, rest: bytes) -> Permit:
        """Of a connection to where a direct-tcpip channel leads (RFC 4254 section 7.2)."""
        operation = self._forward(rest, remote=False)
        if operation.objects[0].endswith(self._no_forward):
            raise await denied(self._admission, operation, "a host's SSH is reached through the bridge, with ssh -J")
        return await self._forwarding(operation)

    async def listen(self, rest: bytes) -> Permit:
        """Of a port that the host forwards to the agent (section 7.1)."""
        return await self._forwarding(self._forward(rest, remote=True))

    @staticmethod
    def _forward(rest: bytes, *, remote: bool) -> Operation:
        fields = Fields(rest)
        host, port = fields.text(), fields.number()
        if "\0" in host:
            raise PeerFault(CUT)
        if port > LARGEST_PORT:  # some hosts take the lower 16 bits of it
            raise PeerFault("there is no such port")
        return operations.forward(host, port, remote=remote)

    async def _forwarding(self, operation: Operation) -> Permit:
        if not (self._options.forwarding and self._limits.forwarding):
            raise await denied(self._admission, operation, "forwarding is not served here")
        return await self._admission.permit(operation)

    def screen(self, channel: Channel, kind: str) -> Screen | None:
        """What records a session: of a shell without a terminal too, for whoever types into a pipe."""
        terminal = channel.terminal or (WITHOUT_TERMINAL if kind == "shell" else None)
        if terminal is None or self._recording == "off":
            return None
        required = self._recording == "required"
        recording = self._admission.recording(f"terminal-{channel.agent}", required=required)
        return Screen(recording, terminal, f"{self._admission.agent.id} as {self._admission.account}")
