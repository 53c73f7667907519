"""Peers that mean harm, on a running bridge: each is ended, and the next honest one is served."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import paramiko
import pytest
from paramiko.common import cMSG_CHANNEL_DATA, cMSG_CHANNEL_OPEN, cMSG_CHANNEL_REQUEST
from paramiko.message import Message
from rig.bridge import Bridge
from rig.ssh_clients import Client, resident

pytestmark = pytest.mark.integration

PATIENCE = 15.0


@pytest.fixture(autouse=True)
def honest_clients_are_served(operator: Client, gate: Bridge) -> Iterator[None]:
    """And what the others sent is not kept."""
    operator.ssh("true")
    before = resident(gate)
    yield
    assert operator.ssh("echo served").stdout == b"served\n"
    assert resident(gate) - before < 32_000_000


def until_closed(connection: socket.socket) -> bytes:
    connection.settimeout(PATIENCE)
    got = b""
    try:
        while chunk := connection.recv(65536):
            got += chunk
    except ConnectionResetError:
        pass
    return got


def packet(payload: bytes, padding: int = 4) -> bytes:
    while (5 + len(payload) + padding) % 8:
        padding += 1
    return struct.pack("!IB", 1 + len(payload) + padding, padding) + payload + bytes(padding)


USERAUTH = b"\x32" + b"".join(struct.pack("!I", len(x)) + x for x in (b"agent", b"ssh-connection", b"none"))


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-1.5-old\r\n",
        b"\0" * 100_000,
        b"SSH-2.0-x\r\n" + struct.pack("!I", 5_000_000) + bytes(100_000),
        b"SSH-2.0-x\r\n" + packet(USERAUTH),
        b"SSH-2.0-x\r\n" + bytes(range(256)) * 400,
    ],
    ids=["http", "version 1", "zeros", "5 MB packet", "login before the keys", "noise"],
)
def test_strangers_are_ended_at_once(gate: Bridge, said: bytes) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", gate.ports["hosts"])) as connection:
        try:
            connection.sendall(said)
        except (BrokenPipeError, ConnectionResetError):
            return
        until_closed(connection)
    assert time.monotonic() - began < PATIENCE


@pytest.fixture
def transport(operator: Client) -> Iterator[paramiko.Transport]:
    made = paramiko.Transport(("127.0.0.1", int(operator.port)))
    made.connect(username="agent", password=operator.token)
    yield made
    made.close()


def ended(transport: paramiko.Transport) -> None:
    end = time.monotonic() + PATIENCE
    while transport.is_active():
        assert time.monotonic() < end, "still connected"
        time.sleep(0.05)


def message(kind: bytes, *fields: int | bytes | bool) -> Message:
    made = Message()
    made.add_byte(kind)
    for field in fields:
        if isinstance(field, bool):
            made.add_boolean(field)
        elif isinstance(field, int):
            made.add_int(field)
        else:
            made.add_string(field)
    return made


def test_more_than_the_window(transport: paramiko.Transport) -> None:
    channel = transport.open_session()
    channel.exec_command("sleep 60")
    with suppress(EOFError, OSError):
        for _ in range(200):
            transport._send_message(message(cMSG_CHANNEL_DATA, channel.remote_chanid, bytes(32768)))
    ended(transport)


def test_requests_that_are_never_waited_for(transport: paramiko.Transport) -> None:
    channel = transport.open_session()
    channel.exec_command("sleep 60")
    with suppress(EOFError, OSError):
        for _ in range(20_000):
            transport._send_message(message(cMSG_CHANNEL_REQUEST, channel.remote_chanid, b"signal", True, b"USR9"))
    ended(transport)


def test_a_flood_of_channels(transport: paramiko.Transport) -> None:
    """Those beyond the limit are declined; the connection goes on."""
    for number in range(5000):
        transport._send_message(message(cMSG_CHANNEL_OPEN, b"session", 1000 + number, 2**21, 32768))
    transport.global_request("after-all-of-them@example.org", wait=True)
    assert transport.is_active()


def test_a_packet_of_5_mb_after_the_login(transport: paramiko.Transport) -> None:
    with suppress(EOFError, OSError):
        transport._send_message(message(cMSG_CHANNEL_DATA, 0, bytes(5_000_000)))
    ended(transport)
