"""Accepting and dialling over loopback: limits, the PROXY protocol, draining, causes of failure."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor, task  # noqa: TID251
from twisted.internet.defer import Deferred

from bridge.adapter import Address, StreamClosed
from bridge.net import AcceptLimits, ConnectFailed, Connection, Dialer, Listener, StreamLimits
from bridge.net.listener import Accepted

HERE = Address("127.0.0.1", 0)


class Door:
    """A listener whose connections stay until the test ends them, and what it saw."""

    def __init__(self, limits: AcceptLimits, address: Address = HERE) -> None:
        self.turned_away: list[str] = []
        self.accepted: list[tuple[Connection, Accepted]] = []
        self.clients: list[Connection] = []
        self.dialer = Dialer(reactor)
        self.listener = Listener(reactor, address, self.serve, limits=limits, turned_away=self.turned_away.append)
        self.listener.start()

    async def serve(self, connection: Connection, accepted: Accepted) -> None:
        self.accepted.append((connection, accepted))
        while data := await connection.receive():
            await connection.send(data)

    async def dial(self) -> Connection:
        address = self.listener.address
        client = await self.dialer.connect(address.host, address.port, 5)
        self.clients.append(client)
        return client

    async def works(self, client: Connection) -> bool:
        try:
            await client.send(b"ping")
            return await client.receive(5) == b"ping"
        except StreamClosed:
            return False


@pytest.fixture
def opened() -> Iterator[Any]:
    doors: list[Door] = []

    def make(address: Address = HERE, **limits: Any) -> Door:
        doors.append(Door(AcceptLimits(**limits), address))
        return doors[-1]

    yield make
    for door in doors:
        for client in door.clients:
            client.abort()
        door.listener.stop_accepting()


async def until(holds: Any) -> None:
    for _ in range(400):
        if holds():
            return
        await task.deferLater(reactor, 0.005)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [({"total": 2}, "total"), ({"per_address": 2}, "per-address"), ({"unauthenticated": 2}, "unauthenticated")],
)
@pytest_twisted.ensureDeferred
async def test_connection_over_a_limit_is_closed_and_the_others_live(opened: Any, limits: Any, reason: str) -> None:
    """The third of two: closed at once, reported, and a place that is freed can be taken."""
    door = opened(**limits)
    first, second = await door.dial(), await door.dial()
    assert await door.works(first)
    assert await door.works(second)
    assert not await door.works(await door.dial())
    assert door.turned_away == [reason]
    await second.close()
    await until(lambda: door.listener.open == 1)
    assert await door.works(await door.dial())


@pytest_twisted.ensureDeferred
async def test_authenticated_connections_leave_the_place_of_a_stranger(opened: Any) -> None:
    """Only strangers count; marking twice frees one place, not two."""
    door = opened(unauthenticated=1)
    assert await door.works(await door.dial())
    door.accepted[0][1].authenticated()
    door.accepted[0][1].authenticated()
    assert door.listener.unauthenticated == 0
    assert await door.works(await door.dial())
    assert not await door.works(await door.dial())


@pytest_twisted.ensureDeferred
async def test_draining_waits_for_the_last_connection(opened: Any) -> None:
    """No new connections, the old one goes on, ``drained`` fires after it."""
    door = opened()
    client = await door.dial()
    assert await door.works(client)
    address = door.listener.address
    door.listener.stop_accepting()
    drained = Deferred.fromCoroutine(door.listener.drained())
    with pytest.raises(ConnectFailed, match="connection refused"):
        await door.dialer.connect(address.host, address.port, 5)
    assert await door.works(client)
    assert not drained.called
    await client.close()
    await drained


@pytest_twisted.ensureDeferred
async def test_failing_coroutine_is_logged_and_the_listener_goes_on(
    opened: Any, expected_failures: list[type[BaseException]]
) -> None:
    """The connection is closed, the count is right, the next one is served."""
    expected_failures.append(ZeroDivisionError)
    door = opened()
    healthy = door.listener._serve

    async def broken(connection: Connection, accepted: Accepted) -> None:
        raise ZeroDivisionError

    door.listener._serve = broken
    assert await (await door.dial()).receive(5) == b""
    door.listener._serve = healthy
    assert await door.works(await door.dial())
    assert door.listener.open == 1


@pytest_twisted.ensureDeferred
async def test_cancel_all_ends_every_connection(opened: Any) -> None:
    """Shutdown: each coroutine is cancelled and its connection closed."""
    door = opened()
    client = await door.dial()
    assert await door.works(client)
    door.listener.cancel_all()
    assert await client.receive(5) == b""
    await door.listener.drained()


@pytest_twisted.ensureDeferred
async def test_out_of_files_is_survived(opened: Any) -> None:
    """At the limit of open files one client is closed, the listener rests, and serves again later."""
    door = opened()
    assert await door.works(await door.dial())
    waiting = socket.create_connection((door.listener.address.host, door.listener.address.port))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    fillers = []
    try:
        with suppress(OSError):
            while True:
                fillers.append(os.open(os.devnull, os.O_RDONLY))
        await until(lambda: door.listener._resting is not None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        waiting.close()
        for filler in fillers:
            os.close(filler)
    assert await door.works(await door.dial())


@pytest_twisted.ensureDeferred
async def test_proxy_header_names_the_real_client(opened: Any) -> None:
    """The address counts for the limits and the log; bytes behind the header are the client's first."""
    door = opened(trusted_proxies=("127.0.0.0/8",))
    client = await door.dial()
    await client.send(b"PROXY TCP4 198.51.100.4 203.0.113.9 5000 5432\r\nhello")
    assert await client.receive(5) == b"hello"
    connection, accepted = door.accepted[0]
    assert (connection.peer, connection.local) == (Address("198.51.100.4", 5000), Address("203.0.113.9", 5432))
    assert accepted.host == "198.51.100.4"


@pytest.mark.parametrize("said", [b"hello there, I am no proxy", b"PROXY TCP4 nonsense\r\n", b""])
@pytest_twisted.ensureDeferred
async def test_trusted_proxy_without_a_header_is_turned_away(opened: Any, said: bytes) -> None:
    """Malformed, missing, or late."""
    door = opened(trusted_proxies=("127.0.0.0/8",), proxy_header=0.05)
    client = await door.dial()
    if said:
        await client.send(said)
    assert await client.receive(5) == b""
    assert not door.accepted


@pytest_twisted.ensureDeferred
async def test_header_of_an_untrusted_peer_is_data(opened: Any) -> None:
    """It cannot forge its address."""
    door = opened(trusted_proxies=("203.0.113.0/24",))
    client = await door.dial()
    await client.send(b"PROXY TCP4 198.51.100.4 203.0.113.9 5000 5432\r\n")
    assert (await client.receive(5)).startswith(b"PROXY")
    assert door.accepted[0][0].peer.host == "127.0.0.1"


@pytest_twisted.ensureDeferred
async def test_unix_socket_is_listened_on_and_dialled(opened: Any, tmp_path: Path) -> None:
    """The path is the host; the file is removed after draining."""
    path = str(tmp_path / "socket")
    door = opened(Address(path, 0))
    assert await door.works(await door.dial())
    door.listener.stop_accepting()
    assert not os.path.exists(path)


@pytest_twisted.ensureDeferred
async def test_name_is_resolved_and_a_dead_address_passed_over() -> None:
    """``localhost`` may be ::1 first: the address that answers is used."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        connection = await Dialer(reactor).connect("localhost", listening.getsockname()[1], 5)
        assert connection.peer.host == "127.0.0.1"
        connection.abort()


@pytest_twisted.ensureDeferred
async def test_unknown_name_and_silence_have_a_cause() -> None:
    """The words are for ops."""
    with pytest.raises(ConnectFailed, match=r"no-such-host\.invalid"):
        await Dialer(reactor).connect("no-such-host.invalid", 5432, 5)
    with socket.socket() as full:  # a backlog that is full does not answer
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        filling = [socket.socket() for _ in range(3)]
        for sock in filling:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        with pytest.raises(ConnectFailed, match=r"no answer within 0\.2 s"):
            await Dialer(reactor).connect("127.0.0.1", full.getsockname()[1], 0.2)
        for sock in filling:
            sock.close()


def test_stall_limit_cuts_a_peer_that_takes_nothing() -> None:
    """On an injected clock: ``send`` waits, and after the limit raises StreamClosed."""

    class Time(task.Clock):
        def addReader(self, reader: object) -> None: ...

        removeReader = addWriter = removeWriter = addReader

    clock, (near, far) = Time(), socket.socketpair()
    connection = Connection(clock, near, StreamLimits(stall=30))
    heard: list[Any] = []
    Deferred.fromCoroutine(connection.send(bytes(16 * 2**20))).addErrback(lambda failure: heard.append(failure.value))
    clock.advance(29)
    assert not heard
    clock.advance(2)
    assert isinstance(heard[0], StreamClosed)
    assert connection.lost
    assert not clock.getDelayedCalls()
    far.close()
