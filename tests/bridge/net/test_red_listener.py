"""Floods from one address: the others get in, and the daemon's log stays readable."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor, task  # noqa: TID251

from bridge.adapter import Address
from bridge.net import AcceptLimits, Connection, Listener
from bridge.net.listener import Accepted


class Flooded:
    def __init__(self, **limits: int) -> None:
        self.told: list[str] = []
        self.clients: list[socket.socket] = []
        self.listener = Listener(
            reactor, Address("127.0.0.1", 0), self.serve, limits=AcceptLimits(**limits), turned_away=self.told.append
        )
        self.listener.start()

    async def serve(self, connection: Connection, accepted: Accepted) -> None:
        while data := await connection.receive():
            await connection.send(data)

    async def dial(self, source: str) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.listener.address.port), 5, (source, 0))
        client.setblocking(False)
        self.clients.append(client)
        await task.deferLater(reactor, 0.02)
        return client

    async def lives(self, client: socket.socket) -> bool:
        try:
            client.send(b"ping")
            await task.deferLater(reactor, 0.05)
            return client.recv(4) == b"ping"
        except OSError:
            return False


@pytest.fixture
def flooded() -> Iterator[Any]:
    made: list[Flooded] = []

    def make(**limits: int) -> Flooded:
        made.append(Flooded(**limits))
        return made[-1]

    yield make
    for one in made:
        for client in one.clients:
            client.close()
        one.listener.stop_accepting()
        one.listener.cancel_all()


@pytest_twisted.ensureDeferred
async def test_one_address_cannot_take_all_places_of_strangers(flooded: Any) -> None:
    door = flooded(unauthenticated=4)
    greedy = [await door.dial("127.0.0.2") for _ in range(4)]
    other = await door.dial("127.0.0.3")
    assert await door.lives(other)
    assert not await door.lives(greedy[0])
    assert all([await door.lives(client) for client in greedy[1:]])
    assert door.listener.unauthenticated == 4
    assert not await door.lives(await door.dial("127.0.0.2"))  # the greedy one makes no room for itself


@pytest_twisted.ensureDeferred
async def test_a_flood_over_a_limit_is_told_once_a_second(flooded: Any) -> None:
    door = flooded(per_address=1)
    for _ in range(10):
        await door.dial("127.0.0.2")
    assert door.told == ["per-address"]
