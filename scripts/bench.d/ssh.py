"""SSH: one sshd, and the ways to it: direct, through the same bridge built on asyncssh, through the bridge.

OpenSSH's client does the work, with one cipher and one key exchange everywhere: the ways differ in nothing else.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import asyncssh
from measuring import resident

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "integration"))

from rig.bridge import Bridge, processor_time
from rig.certificates import Authority
from rig.place import Place, free_port
from rig.sshd import Account, Sshd, run

AGENT = "bench-1"
PEER = "asyncssh bridge"
ALIKE = (
    "-F", "none", "-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
    "-o", "IdentitiesOnly=yes", "-o", "KexAlgorithms=curve25519-sha256", "-c", "aes128-gcm@openssh.com",
)  # fmt: skip
MIB = 1024 * 1024
FIRST = 30  # sessions
Measured = TypeVar("Measured")
SETTINGS = "LogLevel ERROR\nMaxStartups 100\nMaxSessions 10\n"


@dataclass(frozen=True)
class Lane:
    """A way to the host. ``token``: typed by sshpass instead of the key."""

    name: str
    port: int
    user: str
    key: str
    token: str = ""

    def command(self, *remote: str) -> list[str]:
        proof = ["-o", "PubkeyAuthentication=no"] if self.token else ["-i", self.key]
        typed = ["sshpass", "-e"] if self.token else []
        return [*typed, "ssh", *ALIKE, *proof, "-p", str(self.port), f"{self.user}@127.0.0.1", *remote]

    def run(self, *remote: str, stdin: Path | None = None) -> tuple[float, bytes]:
        """Seconds that it took, and what it printed."""
        started = time.perf_counter()
        with (stdin or Path(os.devnull)).open("rb") as source:
            done = subprocess.run(
                self.command(*remote), env={**os.environ, "SSHPASS": self.token}, stdin=source, capture_output=True,
                timeout=300,
            )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"bench: ssh by way of {self.name} failed: {done.stderr.decode()[-500:]}")
        return time.perf_counter() - started, done.stdout


class Fleet:
    """Starts everything in ``folder``; ``close`` ends it. ``bulk`` is the bytes of one transfer."""

    def __init__(self, folder: Path, bulk: int) -> None:
        self.bulk = bulk
        self.place = Place(folder)
        self.account = Account(self.place)
        self.account_key, self.agent_key = folder / "account", folder / "agent"
        for key in (self.account_key, self.agent_key):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        with self.account.authorized_keys.open("ab") as file:
            file.write(self.account_key.with_suffix(".pub").read_bytes())
        self.host = Sshd(self.place, self.account, "sshd-bench", SETTINGS)
        self.bridge = Bridge(
            self.place, Authority.create(folder), "bench", self._document(), {"KEY_BENCH": self.account_key.read_text()}
        )
        self._peer: subprocess.Popen[bytes] | None = None
        self._peer_port = free_port()
        self.source = folder / "zeros"

    def start(self) -> None:
        self.account.create()
        self.host.start()
        with self.source.open("wb") as file:
            file.truncate(self.bulk)
        self.bridge.start()
        public = self.agent_key.with_suffix(".pub").read_text().strip()
        self.bridge.agent(AGENT, "operator", owner="bench", public_keys=[public])
        given = {
            "port": self._peer_port, "host_port": self.host.port, "account": self.account.name,
            "account_key": str(self.account_key), "agent_key": str(self.agent_key.with_suffix(".pub")),
            "known_hosts": str(self.host.known_hosts),
        }  # fmt: skip
        program = str(Path(__file__).with_name("asyncssh_bridge.py"))
        self._peer = subprocess.Popen([sys.executable, program], env={**os.environ, "PEER": json.dumps(given)},
                                      stdin=subprocess.DEVNULL)  # fmt: skip
        time.sleep(2)

    def close(self) -> None:
        self.bridge.stop()
        if self._peer is not None:
            self._peer.terminate()
            self._peer.wait(10)
        self.host.stop()
        self.account.remove()

    def lanes(self) -> list[Lane]:
        return [
            Lane("direct", self.host.port, self.account.name, str(self.account_key)),
            Lane(PEER, self._peer_port, AGENT, str(self.agent_key)),
            Lane("bridge", self.bridge.ports["hosts"], "agent", str(self.agent_key)),
        ]

    def by_token(self) -> Lane:
        return Lane("bridge, a token by sshpass", self.bridge.ports["hosts"], "agent", "", self.bridge.token(AGENT))

    def down(self, lane: Lane) -> float:
        """MB a second; the bytes are counted here."""
        with subprocess.Popen(
            lane.command(f"head -c {self.bulk} /dev/zero"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as running:
            assert running.stdout is not None
            started = time.perf_counter()
            buffer, got = bytearray(MIB), 0
            while count := running.stdout.readinto(buffer):  # type: ignore[attr-defined]
                got += count
        took = time.perf_counter() - started
        return self._rate(lane, took, got)

    def up(self, lane: Lane) -> float:
        took, said = lane.run("wc -c", stdin=self.source)
        return self._rate(lane, took, int(said))

    def processor_time(self, lane: Lane) -> float:
        """Seconds that the bridge of that way has used; 0 where there is none."""
        process = {PEER: self._peer, "bridge": self.bridge.process}.get(lane.name)
        return processor_time(process.pid) if process else 0.0

    def _rate(self, lane: Lane, took: float, got: int) -> float:
        if got != self.bulk:
            raise SystemExit(f"bench: by way of {lane.name} {got} bytes came instead of {self.bulk}")
        return self.bulk / 1e6 / took

    @staticmethod
    def true(lane: Lane) -> float:
        """Milliseconds of a whole `ssh host true`, the median of ten."""
        return statistics.median(lane.run("true")[0] for _ in range(10)) * 1000

    def idle_sessions(self, count: int) -> tuple[float, int]:
        """KiB of the bridge's memory for each further session in which `cat` waits, and the threads that came as well.

        The first ones are not counted: they bring what all share, such as the threads of the pools.
        """
        lane = self.lanes()[-1]
        pid = self.bridge.process.pid if self.bridge.process else 0
        found = asyncio.run(_holding(lane, (FIRST, FIRST + count), lambda: (resident(pid, log=False), _threads(pid))))
        (before, threads), (after, more) = found
        return (after - before) / count, more - threads

    def _document(self) -> dict[str, object]:
        return {
            "bridge": {"drain": "0s"},
            "limits": {"connections": 5000, "per_address": 5000, "unauthenticated": 500, "sessions_per_agent": 5000},
            "owners": {"bench": {"kind": "team", "contact": "bench@example.org", "on_call": "nobody"}},
            "roles": {"operator": {"description": "operates"}},
            "systems": {
                "hosts": {
                    "protocol": "ssh",
                    "upstream": {"host": "127.0.0.1", "port": self.host.port, "tls": "disable"},
                    "options": {"known_hosts": str(self.host.known_hosts), "public_key_alone": True},
                    "accounts": {"svc": {"secret": "env:KEY_BENCH", "user": self.account.name}},
                }
            },
            "grants": [
                {"id": "all", "roles": ["operator"], "system": "hosts", "account": "svc", "default": True,
                 "actions": ["read", "write", "admin"]},
            ],
        }  # fmt: skip


async def _holding(lane: Lane, counts: tuple[int, ...], measure: Callable[[], Measured]) -> list[Measured]:
    """What ``measure`` says when so many sessions are open. asyncssh holds the clients' ends: so many processes of ssh
    would not fit beside the host's."""
    key = asyncssh.read_private_key(lane.key)
    held, found = [], []
    for number in range(1, max(counts) + 1):
        connection = await asyncssh.connect(
            "127.0.0.1", lane.port, username=lane.user, client_keys=[key], known_hosts=None, config=None,
            agent_path=None, kex_algs=["curve25519-sha256"], encryption_algs=["aes128-gcm@openssh.com"],
        )  # fmt: skip
        held.append((connection, await connection.create_process("cat")))
        if number in counts:
            await asyncio.sleep(1)
            found.append(measure())
    for connection, _process in held:
        connection.close()
        await connection.wait_closed()
    return found


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
