"""A whole bridge in this process, with a toy protocol and a legacy server that only listens."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_twisted
from pydantic import BaseModel, ConfigDict
from twisted.internet import defer, reactor  # noqa: TID251 - tests own the process
from twisted.internet.task import deferLater

from bridge.adapter import AdmissionRequest, BearerToken, Check, LegacySession, Refused, Secret, Stream
from bridge.config import load
from bridge.daemon import bridge as bridge_module
from bridge.daemon.bridge import Bridge
from bridge.daemon.opening import open_storage
from bridge.net.connection import Connection
from bridge.net.dialer import Dialer
from bridge.net.limits import StreamLimits
from bridge.net.listener import Listener
from bridge.policy import Policy

LIMIT = 10.0


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Toy:
    """``token\\n`` → ``WELCOME\\n`` or ``ERROR …\\n``; then nothing until the client leaves."""

    name: ClassVar[str] = "toy"
    default_port: ClassVar[int] = 7
    Options: ClassVar[type[Any]] = Options
    targets: ClassVar[frozenset[str]] = frozenset()
    operation_targets: ClassVar[frozenset[str]] = frozenset()
    encrypts: ClassVar[bool] = False
    running: ClassVar[list[Toy]] = []
    listed: ClassVar[list[LegacySession]] = []

    def start(self, deferring: Any) -> None:
        Toy.running.append(self)

    def stop(self) -> None:
        Toy.running.remove(self)

    async def examine(self, admission: Any, system: Any, targets: Any) -> list[Check]:
        await (await admission.connect()).close()
        return [Check("ok", "it answers")]

    async def discover(self, admission: Any, system: Any) -> list[dict[str, str]]:
        await (await admission.connect()).close()
        return [{"account": "one"}]

    async def observe(self, admission: Any, system: Any) -> list[LegacySession]:
        await admission.connect()
        return Toy.listed

    async def trust(self, connect: Any, system: Any, host: str) -> list[dict[str, str]]:
        assert host == "127.0.0.1"
        assert Path(system.folder).stat().st_mode & 0o777 == 0o700
        await connect()
        return [{"state": "new"}]

    async def serve(self, client: Stream, door: Any) -> None:
        token = (await client.receive(5)).strip()
        try:
            session = await door.admit(BearerToken(Secret(token)), AdmissionRequest())
            await session.connect()
            await session.established({"backend": 7})
        except Refused as refused:
            await client.send(f"ERROR {refused}\n".encode())
            raise

        async def hear(refused: Refused) -> None:
            await client.send(f"BYE {refused}\n".encode())

        session.on_cut(hear)
        await client.send(b"WELCOME\n")
        while await client.receive():
            pass


ADAPTERS: Any = {"toy": Toy}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class House:
    """A configuration, the bridge that runs it, and clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listed = Toy.listed
        self.listed.clear()
        self.path = folder / "bridge.yaml"
        self.port, self.other_port, self.upstream_port = free_port(), free_port(), free_port()
        self.bridge: Bridge
        self.legacy: Listener
        self.clients: list[Connection] = []

    def write(self, *, systems: str = "", agents: str = "", grants: str = "", more: str = "") -> None:
        self.path.write_text(
            f"""\
bridge: {{name: house, state: {self.folder / "state"}, drain: 0s}}
owners:
  payments: {{kind: team, contact: pay@corp.example}}
roles: {{reader: {{}}}}
agents:
  deploy-7:
    {{owner: payments, purpose: Deploys., roles: [reader], environment: production, expires: {_soon()}}}
{agents}
systems:
  orders:
    protocol: toy
    listen: 127.0.0.1:{self.port}
    plaintext: loopback-only
    upstream: {{host: 127.0.0.1, port: {self.upstream_port}, tls: disable}}
    accounts: {{svc: {{secret: "env:HOUSE_SECRET"}}}}
{systems}
grants:
  - {{id: g, roles: [reader], system: orders, account: svc, actions: [read], default: true}}
{grants}
{more}
"""
        )

    def second(self, name: str = "stock", port: int = 0) -> str:
        return f"""\
  {name}:
    protocol: toy
    listen: 127.0.0.1:{port or self.other_port}
    plaintext: loopback-only
    upstream: {{host: 127.0.0.1, port: {self.upstream_port}, tls: disable}}
    accounts: {{svc: {{secret: "env:HOUSE_SECRET"}}}}
"""

    async def start(self) -> None:
        self.legacy = Listener(reactor, _address(self.upstream_port), _swallow)
        self.legacy.start()
        config = load(self.path, ADAPTERS)
        self.bridge = Bridge(reactor, config, open_storage(config))
        await self.bridge.start()

    async def stop(self) -> None:
        await self.bridge.stop()
        for client in self.clients:
            client.abort()
        self.legacy.stop_accepting()
        self.legacy.cancel_all()
        await self.until(lambda: not self.legacy.open)
        self.bridge.storage.dispose()

    def token(self, agent: str = "deploy-7", **changes: Any) -> bytes:
        storage = self.bridge.storage
        given: dict[str, Any] = {"audiences": ["bridge:house"], "ttl": 600, "now": storage.now(), **changes}
        return storage.issuer.mint(agent, **given).encode()

    async def client(self, token: bytes = b"", port: int = 0) -> tuple[Connection, str]:
        """A connection, and what it heard first."""
        dialer = Dialer(reactor, StreamLimits())
        client = await dialer.connect("127.0.0.1", port or self.port, 5.0)
        self.clients.append(client)
        await client.send((token or self.token()) + b"\n")
        return client, (await client.receive(5.0)).decode()

    async def until(self, condition: Callable[[], object]) -> None:
        waited = 0.0
        while not condition():
            assert waited < LIMIT, "waited in vain"
            await deferLater(reactor, 0.01, lambda: None)
            waited += 0.01

    def events(self, type: str = "") -> list[dict[str, Any]]:
        from bridge.translation.reading import Filters, LogReader

        found = LogReader(self.bridge.storage.reading_engine).in_thread_find(
            Filters(type=type), 1000, oldest_first=True
        )
        return [one.fields for one in found]

    @property
    def policy(self) -> Policy:
        return self.bridge.core.policy


async def _swallow(connection: Connection, accepted: Any) -> None:
    while await connection.receive():
        pass


def _address(port: int) -> Any:
    from bridge.adapter import Address

    return Address("127.0.0.1", port)


def _soon() -> str:
    import datetime

    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)).date().isoformat()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Started with one system and one agent."""
    monkeypatch.setattr(bridge_module, "find_adapters", lambda: ADAPTERS)
    monkeypatch.setenv("HOUSE_SECRET", "static-pa55word-canary")
    made = House(tmp_path)
    made.write()
    pytest_twisted.blockon(defer.Deferred.fromCoroutine(made.start()))
    yield made
    pytest_twisted.blockon(defer.Deferred.fromCoroutine(made.stop()))
    assert Toy.running == [], "an adapter was not stopped"
