"""LDAP: one OpenLDAP, and the ways to it: direct, through OpenLDAP's own proxy (back-ldap), through the bridge."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "integration"))

from rig.bridge import Bridge
from rig.certificates import Authority
from rig.directory import SUFFIX, dn, document, environment, found, grant, system
from rig.place import Place, free_port
from rig.slapd import Slapd

from adapters.ldap import codec
from adapters.ldap.codes import NOT_FINAL
from adapters.ldap.framing import LIMIT_UPSTREAM, Framer

ACCOUNT = "svc_reader"
ENTRIES = 10_000
STALLED = 10
ONE = f"uid=user07,ou=people,{SUFFIX}"
MANY = f"ou=many,{SUFFIX}"
PROXY, DIRECT, BRIDGE = "slapd back-ldap", "direct", "bridge"
LOCAL = f"cn=local,{SUFFIX}"  # who clients of back-ldap are
TIMEOUT = 60.0

BACK_LDAP = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_ldap
sizelimit unlimited
database ldap
suffix "{suffix}"
uri "ldap://127.0.0.1:{port}"
rootdn "{local}"
rootpw "{password}"
chase-referrals no
idassert-bind bindmethod=simple binddn="{account}" credentials="{password}" mode=none
idassert-authzFrom "*"
"""


@dataclass(frozen=True)
class Door:
    """A way to the directory. ``name`` is how the table calls it."""

    name: str
    port: int
    user: str
    password: str
    tls: ssl.SSLContext | None = None

    def connect(self) -> Client:
        return Client(self)


class Client:
    """A connection that is bound. Its own work is next to nothing, so that what is measured is the way."""

    def __init__(self, door: Door) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", door.port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if door.tls is not None:
            self.socket = door.tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
        if self.ask(codec.simple_bind(door.user.encode(), door.password.encode())) != 1:
            raise SystemExit(f"bench: the Bind by way of {door.name} failed")

    def ask(self, operation: bytes, number: int = 1) -> int:
        """How many messages the answer has."""
        self.socket.sendall(codec.request(number, operation))
        framer, heard = Framer(LIMIT_UPSTREAM), 0
        while True:
            framer.add(self.socket.recv(65536))
            while (message := framer.next()) is not None:
                heard += 1
                if message.tag not in NOT_FINAL:
                    return heard

    def close(self) -> None:
        self.socket.sendall(codec.request(3, bytes((0x42, 0))))
        self.socket.close()


READ_ONE = codec.search(ONE.encode(), 0, codec.present(b"objectClass"), (b"cn", b"mail"))
READ_MANY = codec.search(MANY.encode(), 2, codec.present(b"uid"), ())


class People:
    """Starts everything in ``folder``; ``close`` ends it."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)
        self.authority = Authority.create(folder)
        self.server = Slapd(self.place, self.authority, many=ENTRIES, log_level="none")
        self.bridge = Bridge(self.place, self.authority, "bench", self._document(), environment(self.server))
        self._proxy_port = free_port()
        self._proxy: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.server.create()
        config = self.place.folder / "back-ldap.conf"
        config.touch(0o600)
        config.write_text(BACK_LDAP.format(
            suffix=SUFFIX, port=self.server.port, local=LOCAL, account=dn(ACCOUNT),
            password=self.server.passwords[ACCOUNT],
        ))  # fmt: skip
        command = [found("slapd"), "-d", "none", "-h", f"ldap://127.0.0.1:{self._proxy_port}/", "-f", str(config)]
        self._proxy = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.bridge.start()
        self.bridge.agent("bench-1", "reader")
        self._wait(self._proxy_port)

    @staticmethod
    def _wait(port: int) -> None:
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def close(self) -> None:
        self.bridge.stop()
        if self._proxy is not None:
            self._proxy.terminate()
            self._proxy.wait(10)
        self.server.stop()

    def doors(self) -> list[Door]:
        """The bridge last, with a token of its own: each is good for 15 minutes."""
        password = self.server.passwords[ACCOUNT]
        return [
            Door(DIRECT, self.server.port, dn(ACCOUNT), password),
            Door(PROXY, self._proxy_port, LOCAL, password),
            Door(BRIDGE, self.bridge.ports["plain"], "agent", self.bridge.token("bench-1")),
        ]

    def tls_doors(self) -> list[Door]:
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        return [
            Door(DIRECT, self.server.tls_port, dn(ACCOUNT), self.server.passwords[ACCOUNT], context),
            Door(BRIDGE, self.bridge.ports["people"], "agent", self.bridge.token("bench-1"), context),
        ]

    def _document(self) -> dict[str, object]:
        plain = system(self.server, ACCOUNT)
        plain |= {
            "plaintext": "loopback-only",
            "upstream": {"host": "127.0.0.1", "port": self.server.port, "tls": "disable"},
        }
        systems = {"plain": plain, "people": system(self.server, ACCOUNT)}
        made = document(systems, [grant("reader", name, ACCOUNT, "read") for name in systems])
        return made | {"limits": {"connections": 5000, "per_address": 5000, "unauthenticated": 500,
                                  "sessions_per_agent": 5000}}  # fmt: skip


def searches(door: Door, count: int) -> float:
    """Searches of one entry a second, one after the other on one connection."""
    client = door.connect()
    if client.ask(READ_ONE) != 2:
        raise SystemExit(f"bench: the search by way of {door.name} found nothing")
    started = time.perf_counter()
    for _ in range(count):
        client.ask(READ_ONE)
    rate = count / (time.perf_counter() - started)
    client.close()
    return rate


def sessions(door: Door, count: int) -> float:
    """Connections a second: connect, Bind, a search of one entry, Unbind; one after the other."""
    started = time.perf_counter()
    for _ in range(count):
        client = door.connect()
        client.ask(READ_ONE)
        client.close()
    return count / (time.perf_counter() - started)


def whole(door: Door, folder: Path) -> float:
    """Entries a second of ``ldapsearch`` for all of them, its output into nothing; its start counts."""
    password = folder / "password"
    password.touch(0o600)
    password.write_text(door.password)
    where = ["-H", f"ldap://127.0.0.1:{door.port}", "-x", "-D", door.user, "-y", str(password)]
    command = ["ldapsearch", *where, "-LLL", "-b", MANY, "(uid=*)"]
    started = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, "LDAPNOINIT": "1"}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, timeout=120,
    )  # fmt: skip
    spent = time.perf_counter() - started
    password.unlink()
    if done.returncode:
        raise SystemExit(f"bench: ldapsearch by way of {door.name} failed: {done.stderr.decode()[-500:]}")
    return ENTRIES / spent


def check_whole(door: Door) -> None:
    """Nobody is quick by leaving something out."""
    client = door.connect()
    heard = client.ask(READ_MANY)
    client.close()
    if heard != ENTRIES + 1:
        raise SystemExit(f"bench: {heard - 1} entries by way of {door.name} instead of {ENTRIES}")


def stall(door: Door, seconds: float = 3.0) -> None:
    """``STALLED`` clients ask for all entries and read none."""
    clients = [door.connect() for _ in range(STALLED)]
    for client in clients:
        client.socket.sendall(codec.request(2, READ_MANY))
    time.sleep(seconds)
    for client in clients:
        client.socket.close()
