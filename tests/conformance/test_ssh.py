"""The SSH adapter keeps every promise, with the real core and a played sshd.

The client is the bridge's own leg towards hosts, the host the bridge's own leg towards agents: paramiko and Conch each
meet the other one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - tests own the process
from twisted.internet.task import Clock

from adapters.ssh import codec
from adapters.ssh.adapter import SSHAdapter
from adapters.ssh.authentication import Login, Methods
from adapters.ssh.codec import Asked, Confirmation, Opening
from adapters.ssh.environment import SESSION, SESSION_WHERE_LC
from adapters.ssh.fields import Fields, flag, string
from adapters.ssh.host_exchange import Engine
from adapters.ssh.host_keys import HostKeys, in_thread_host_keys
from adapters.ssh.options import Options
from adapters.ssh.public_keys import Limits
from adapters.ssh.server import AgentLeg, accept
from adapters.ssh.upstream import HostLeg, exchanged
from bridge.adapter import Credential, Deadline, Reason, Refused, StreamClosed
from bridge.testing.conformance import CHECKS, ConformanceSuite
from bridge.testing.streams import MemoryStream
from bridge.wire.ssh_keys import fingerprint

ALGORITHMS = ("ssh-ed25519",)
WINDOW = 2**20


async def at_once(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


def seconds() -> float:
    return 0.0


class SSHScenario:
    protocol = "ssh"
    garbage = b"\xff" * 64

    def __init__(self, folder: Path) -> None:
        self.host_keys: HostKeys = in_thread_host_keys((), str(folder))
        self.options = Options(fingerprints=(fingerprint(self.host_keys.keys[b"ssh-ed25519"].blob()),))
        self.operations: list[bytes] = []
        self.silent = False
        self._variables: dict[str, str] = {}
        self._legs: dict[MemoryStream, HostLeg] = {}
        self._channel = 0

    def adapter(self) -> SSHAdapter:
        adapter = SSHAdapter(Clock().seconds)
        adapter.start(at_once)
        return adapter

    # -- the client

    async def log_in(self, client: MemoryStream, token: bytes, account: str, *, stamp: str = "") -> str:
        engine = Engine("modern", ALGORITHMS, lambda key: None, deferring=at_once, seconds=seconds)
        leg = self._legs[client] = await exchanged(client, engine, timeout=10, clock=seconds)
        leg.write(b"\x05" + string("ssh-userauth"))
        body = string(account) + string("ssh-connection") + string("password") + flag(False) + string(token)
        leg.write(b"\x32" + body)
        await leg.flush()
        heard = ""
        try:
            while True:
                payload = await leg.message(10)
                if payload[0] == 53:
                    heard += Fields(payload, 1).text()
                elif payload[0] == 52:
                    if stamp:
                        await self._run(client, "true", ((SESSION, stamp),))
                        self.operations.clear()
                    return ""
                elif payload[0] == 51:
                    await client.close()  # no other proof to give
                    return heard or "failed"
        except StreamClosed as closed:
            return f"{heard} {closed}"

    async def _run(self, client: MemoryStream, command: str, variables: tuple[tuple[str, str], ...] = ()) -> str:
        """ "" for exit status 0, else what stood on stderr, or the last words of the connection."""
        leg = self._legs[client]
        number, self._channel = self._channel, self._channel + 1
        leg.write(codec.Opening("session", number, WINDOW, 32768, b"").compose())
        said, status = "", -1
        try:
            await leg.flush()
            while True:
                payload = await leg.message(10)
                if payload[0] == codec.OPEN_CONFIRMATION:
                    theirs = Confirmation.parse(payload).sender
                    for name, value in variables:
                        leg.write(codec.environment(theirs, name, value))
                    leg.write(codec.request(theirs, "exec", string(command), want_reply=True))
                    await leg.flush()
                elif payload[0] == codec.EXTENDED_DATA:
                    said += Fields(payload, 9).text(4096)
                elif payload[0] == codec.CHANNEL_REQUEST:
                    status = Fields(Asked.parse(payload).rest).number()
                elif payload[0] == codec.CLOSE:
                    leg.write(codec.close(theirs))
                    await leg.flush()
                    return "" if status == 0 else said or "no exit status"
        except StreamClosed as closed:
            return str(closed)

    async def read(self, client: MemoryStream) -> str:
        return await self._run(client, "id")

    async def write(self, client: MemoryStream) -> str:
        return await self._run(client, "rm file")

    async def change_identity(self, client: MemoryStream) -> str:
        """Another login on the connection (RFC 4252 section 5.3: ignored)."""
        leg = self._legs[client]
        leg.write(b"\x32" + string("root") + string("ssh-connection") + string("none"))
        leg.write(bytes((codec.GLOBAL_REQUEST,)) + string("after") + flag(True))
        await leg.flush()
        payload = await leg.message(10)
        return "ignored" if payload[0] == codec.REQUEST_FAILURE else ""

    async def change_stamp(self, client: MemoryStream) -> str:
        await self._run(client, "true", ((SESSION, "ib:forged"), (SESSION_WHERE_LC, "ib:forged")))
        return "" if any("forged" in value for value in self._variables.values()) else "kept"

    async def last_words(self, client: MemoryStream) -> str:
        try:
            while True:
                await self._legs[client].message(10)
        except StreamClosed as closed:
            return str(closed)

    # -- the host

    def stamp_of(self, sent: bytes) -> str:
        return self._variables[SESSION]

    async def legacy(self, stream: MemoryStream, *, password: str, accept: bool) -> None:
        leg = await accept_agent(stream, self.host_keys)

        async def judge(user: str, credential: Credential, limits: Limits) -> None:
            if not accept or credential.token.reveal() != password.encode():  # type: ignore[union-attr]
                raise Refused(Reason.CREDENTIAL_INVALID, "no")

        await Login(leg, Methods(certificate=False, key_with_token=False), judge, Deadline(100, seconds)).run()
        await leg.run(self._hosted(leg), leg.flush)

    def _hosted(self, leg: AgentLeg) -> Callable[[bytes], None]:
        agents: dict[int, int] = {}
        closed: set[int] = set()

        def take(payload: bytes) -> None:
            if payload[0] == codec.OPEN:
                opening = Opening.parse(payload)
                agents[opening.sender + 100] = opening.sender
                leg.write(b"\x5b" + struct.pack("!IIII", opening.sender, opening.sender + 100, WINDOW, 32768))
            elif payload[0] == codec.CLOSE:
                if (ours := codec.recipient(payload)) not in closed:  # a host answers a close with its own
                    leg.write(codec.close(agents[ours]))
            elif payload[0] == codec.CHANNEL_REQUEST:
                asked = Asked.parse(payload)
                if asked.kind == "env":
                    fields = Fields(asked.rest)
                    name = fields.text()
                    self._variables[name] = fields.text()
                elif asked.kind == "exec":
                    self._executed(leg, agents[asked.recipient], Fields(asked.rest).string())
                    closed.add(asked.recipient)

        return take

    def _executed(self, leg: AgentLeg, agent: int, command: bytes) -> None:
        self.operations.append(command)
        if not self.silent:
            leg.write(codec.answer(agent, success=True))
            for payload in (codec.exit_status(agent, 0), codec.eof(agent), codec.close(agent)):
                leg.write(payload)


async def accept_agent(stream: MemoryStream, host_keys: HostKeys) -> AgentLeg:
    return await accept(stream, host_keys, timeout=10, seconds=seconds)


@pytest.mark.parametrize("name", CHECKS)
@pytest_twisted.ensureDeferred
async def test_promise(name: str, tmp_path: Path) -> None:
    (tmp_path / "stage").mkdir()
    await ConformanceSuite(SSHScenario(tmp_path), tmp_path / "stage", reactor).run(name)
