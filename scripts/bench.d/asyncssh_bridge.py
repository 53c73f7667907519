"""The bridge's data path as one would build it on asyncssh: a peer to measure, not a product.

It lets in one key, opens a connection of its own to the host for each of the agent's, and relays what runs there, with
back-pressure both ways. It decides nothing and records nothing. Its arguments come as JSON in ``PEER``.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import asyncssh

CIPHER, KEX = ["aes128-gcm@openssh.com"], ["curve25519-sha256"]


class HostSession(asyncssh.SSHClientSession[bytes]):
    """What runs on the host; its output goes to the agent's channel."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent

    def connection_made(self, chan: Any) -> None:
        self.chan = chan

    def data_received(self, data: bytes, datatype: Any) -> None:
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self._agent.write_stderr(data)
        else:
            self._agent.write(data)

    def eof_received(self) -> bool:
        self._agent.write_eof()
        return True

    def exit_status_received(self, status: int) -> None:
        self.status = status

    def connection_lost(self, exc: Exception | None) -> None:
        self._agent.exit(getattr(self, "status", 255))

    def pause_writing(self) -> None:
        self._agent.pause_reading()

    def resume_writing(self) -> None:
        self._agent.resume_reading()


class AgentSession(asyncssh.SSHServerSession[bytes]):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._host: Any = None
        self._early: list[bytes] = []  # what comes before the host is there
        self._ended = False

    def connection_made(self, chan: Any) -> None:
        self._chan = chan

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def session_started(self) -> None:
        self._chan.pause_reading()
        self._starting = asyncio.ensure_future(self._start(self._command))

    async def _start(self, command: str) -> None:
        connection = await self._server.host()
        self._host, _ = await connection.create_session(
            lambda: HostSession(self._chan), command, encoding=None, window=2**21, max_pktsize=2**15
        )
        for data in self._early:
            self._host.write(data)
        self._chan.resume_reading()
        if self._ended:
            self._host.write_eof()

    def data_received(self, data: bytes, datatype: Any) -> None:
        if self._host is None:
            self._early.append(data)
        else:
            self._host.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        if self._host is not None:
            self._host.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._host is not None:
            self._host.pause_reading()

    def resume_writing(self) -> None:
        if self._host is not None:
            self._host.resume_reading()


class Server(asyncssh.SSHServer):
    """One connection of an agent. ``given`` are the arguments, the keys read."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._connection: asyncio.Future[Any] | None = None

    async def host(self) -> Any:
        if self._connection is None:
            options = {"known_hosts": self._given["known_hosts"], "client_keys": [self._given["account_key"]],
                       "agent_path": None, "config": None}  # fmt: skip
            self._connection = asyncio.ensure_future(
                asyncssh.connect("127.0.0.1", self._given["host_port"], username=self._given["account"],
                                 encryption_algs=CIPHER, kex_algs=KEX, **options)
            )  # fmt: skip
        return await asyncio.shield(self._connection)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None and self._connection.done() and not self._connection.exception():
            self._connection.result().close()

    def session_requested(self) -> AgentSession:
        return AgentSession(self)


async def main() -> None:
    given = json.loads(os.environ["PEER"])
    given["account_key"] = asyncssh.read_private_key(given["account_key"])
    given["known_hosts"] = asyncssh.read_known_hosts(given["known_hosts"])
    acceptor = await asyncssh.create_server(
        lambda: Server(given), "127.0.0.1", given["port"],
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys=given["agent_key"], encryption_algs=CIPHER, kex_algs=KEX, encoding=None,
        line_editor=False, window=2**21, max_pktsize=2**15, compression_algs=None,
    )  # fmt: skip
    await acceptor.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
