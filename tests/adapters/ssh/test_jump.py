"""The outer connection of ``ssh -J``: a channel is a stream, with windows and limits; what else is asked is refused."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conch_client import Client, Meeting
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity
from twisted.internet.defer import Deferred

from adapters.ssh import codec
from adapters.ssh.channel_stream import STALL_LIMIT, WINDOW, ChannelStream
from adapters.ssh.codec import Opening
from adapters.ssh.fields import Fields, flag, string
from adapters.ssh.host_keys import AUTHORITY, CERTIFIED, in_thread_host_keys
from adapters.ssh.jump import IDLE_LIMIT, TICK, Jump
from adapters.ssh.server import AgentLeg, accept
from bridge.adapter import PeerFault, Reason, Refused, Stream, StreamClosed, TimedOut


class Jumping(Meeting):
    """A client in an outer connection; ``inner`` are the streams that its channels became, with their hosts."""

    every: list[Jumping] = []

    def __init__(self, folder: Path, most: int = 4) -> None:
        super().__init__(folder)
        self.every.append(self)
        self.inner: list[tuple[Stream, str]] = []
        self.ends: list[Any] = []
        self.over: list[Deferred[Any]] = []
        self.run(lambda: self._serve(most))
        self.client.start()
        self.client.ask_service()
        self.client.take(6)

    async def _serve(self, most: int) -> str:
        leg: AgentLeg = await accept(self.near, self.host_keys, timeout=10, seconds=self.clock.seconds)
        leg.exchange.authenticated = True
        await Jump(leg, self._inner, most, self.clock.seconds).run()
        return "over"

    async def _inner(self, stream: Stream, host: str) -> None:
        """Goes on until a test ends it, or the stream does."""
        self.inner.append((stream, host))
        waiting: Deferred[Any] = Deferred()
        self.over.append(waiting)
        await waiting

    # -- the client

    def open(self, number: int = 7, host: str = "web-3", window: int = 2**20, kind: str = "direct-tcpip") -> None:
        rest = string(host) + struct.pack("!I", 22) + string("127.0.0.1") + struct.pack("!I", 4711)
        self.client.send(Opening(kind, number, window, 32768, rest).compose())

    def opened(self, **more: Any) -> ChannelStream:
        self.open(**more)
        assert struct.unpack("!IIII", self.client.take(91))[0] == more.get("number", 7)
        stream = self.inner[-1][0]
        assert isinstance(stream, ChannelStream)
        return stream

    def await_(self, coroutine: Any) -> list[Any]:
        """What it gives, once it does."""
        found: list[Any] = []
        Deferred.fromCoroutine(coroutine).addCallbacks(found.append, lambda failure: found.append(failure.value))
        return found

    def heard(self) -> list[tuple[int, bytes]]:
        self.client.pump()
        said, self.client.said = self.client.said, []
        return said


@pytest.fixture(autouse=True)
def _all_ends() -> Iterator[None]:
    """What a test leaves open."""
    yield
    for jumping in Jumping.every:
        for waiting in jumping.over:
            if not waiting.called:
                waiting.callback(None)
        jumping.far.abort()
        assert jumping.result
    Jumping.every.clear()


def test_a_channel_is_a_stream_to_the_host_it_names(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    stream = jumping.opened(host="Web-3.Example.org")
    assert jumping.inner[0][1] == "web-3.example.org"
    assert stream.peer == jumping.near.peer
    got = jumping.await_(stream.receive(5.0))
    assert not got
    jumping.client.send(codec.data(stream.ours, b"hello"))
    assert got == [b"hello"]
    assert jumping.await_(stream.send(b"and back")) == [None]
    assert jumping.client.take(94) == struct.pack("!I", 7) + string("and back")


def test_end_of_file_goes_both_ways(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    stream = jumping.opened()
    jumping.client.send(codec.data(stream.ours, b"last"))
    jumping.client.send(codec.eof(stream.ours))
    assert [jumping.await_(stream.receive())[0] for _ in range(3)] == [b"last", b"", b""]
    jumping.await_(stream.send_eof())
    assert jumping.heard() == [(codec.EOF, struct.pack("!I", 7))]


def test_each_gives_what_comes_and_ends_with_the_channel(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    stream = jumping.opened()
    taken: list[bytes] = []

    async def take(data: bytes) -> None:
        taken.append(data)

    ended = jumping.await_(stream.each(take))
    jumping.client.send(codec.data(stream.ours, b"one"))
    jumping.client.send(codec.close(stream.ours))
    assert taken == [b"one"]
    assert ended == ["the channel was closed"]


def test_the_clients_window_is_kept_and_its_largest_packet(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    stream = jumping.opened(window=40_000)
    sent = jumping.await_(stream.send(bytes(50_000)))
    assert [len(payload) - 8 for number, payload in jumping.heard() if number == codec.DATA] == [32_768, 7_232]
    assert not sent
    jumping.client.send(codec.adjust(stream.ours, 40_000))
    assert sent == [None]
    assert [len(payload) - 8 for number, payload in jumping.heard() if number == codec.DATA] == [10_000]


def test_the_own_window_is_refilled_by_what_was_read(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    stream = jumping.opened()
    for _ in range(WINDOW // 32_768 // 2):
        jumping.client.send(codec.data(stream.ours, bytes(32_768)))
    assert not jumping.heard()  # nothing was read yet
    for _ in range(WINDOW // 32_768 // 2):
        jumping.await_(stream.receive())
    assert jumping.heard() == [(codec.WINDOW_ADJUST, struct.pack("!II", 7, WINDOW // 2))]


def test_more_than_the_window_is_a_fault(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    stream = jumping.opened()
    for _ in range(WINDOW // 32_768):
        jumping.client.send(codec.data(stream.ours, bytes(32_768)))
    assert not jumping.result
    jumping.client.send(codec.data(stream.ours, b"x"))
    jumping.over[0].callback(None)
    assert isinstance(jumping.outcome, PeerFault)


def test_small_messages_do_not_take_more_memory_than_their_bytes(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    stream = jumping.opened()
    for _ in range(3000):
        jumping.client.send(codec.data(stream.ours, b"x"))
    chunks = [len(jumping.await_(stream.receive())[0]) for _ in range(3)]
    assert chunks == [1024, 1024, 952]


def test_waits_have_their_limits(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    stream = jumping.opened(window=10)
    got = jumping.await_(stream.receive(8.0))
    sent = jumping.await_(stream.send(bytes(11)))
    jumping.clock.pump([TICK] * 2)
    assert isinstance(got[0], TimedOut)
    assert not sent
    jumping.clock.pump([TICK] * int(STALL_LIMIT / TICK))
    assert isinstance(sent[0], StreamClosed)


@pytest.mark.parametrize("kind", ["session", "x11", "direct-streamlocal@openssh.com", "forwarded-tcpip"])
def test_only_connections_to_hosts_are_opened(tmp_path: Path, kind: str) -> None:
    jumping = Jumping(tmp_path)
    jumping.open(kind=kind)
    assert jumping.client.take(92)[:8] == struct.pack("!II", 7, codec.PROHIBITED)


@pytest.mark.parametrize("host", ["", "a b", "-oProxyCommand=x", "web/..", "x" * 300])
def test_only_hosts_are_named(tmp_path: Path, host: str) -> None:
    jumping = Jumping(tmp_path)
    jumping.open(host=host)
    assert jumping.client.take(92)[:8] == struct.pack("!II", 7, codec.CONNECT_FAILED)
    assert not jumping.inner


def test_only_so_many_at_once(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path, most=2)
    first = jumping.opened(number=1)
    jumping.opened(number=2)
    jumping.open(number=3)
    jumping.client.take(92)
    jumping.over[0].callback(None)
    assert jumping.heard() == [(codec.CLOSE, struct.pack("!I", 1))]
    jumping.client.send(codec.close(first.ours))
    jumping.opened(number=4)


def test_what_is_asked_beside_is_refused(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    stream = jumping.opened()
    jumping.client.send(b"\x50" + string("tcpip-forward") + flag(True) + string("") + struct.pack("!I", 0))
    jumping.client.send(codec.request(stream.ours, "exec", string("id"), want_reply=True))
    assert [number for number, _ in jumping.heard()] == [codec.REQUEST_FAILURE, codec.CHANNEL_FAILURE]
    jumping.client.send(codec.data(99, b"of a channel that is not there"))
    assert not jumping.result


def test_a_refusal_within_ends_its_channel_only(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    jumping.opened(number=1)
    jumping.opened(number=2)
    jumping.over[0].errback(Refused(Reason.NOT_GRANTED, "no"))
    assert jumping.heard() == [(codec.CLOSE, struct.pack("!I", 1))]
    assert not jumping.result


def test_a_defect_within_is_not_swallowed(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    jumping.opened()
    jumping.over[0].errback(ZeroDivisionError())
    jumping.await_(jumping.far.close())
    assert isinstance(jumping.outcome, ZeroDivisionError)


def test_the_end_of_the_outer_connection_ends_all_within(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    stream = jumping.opened()
    got = jumping.await_(stream.receive())
    jumping.await_(jumping.far.close())
    assert isinstance(got[0], StreamClosed)
    assert not jumping.result  # until what it began is over
    jumping.over[0].callback(None)
    assert jumping.outcome == "over"


def test_a_connection_in_which_nothing_is_open_ends(tmp_path: Path) -> None:
    jumping = Jumping(tmp_path)
    stream = jumping.opened()
    jumping.clock.pump([TICK] * int(IDLE_LIMIT / TICK) * 2)
    assert not jumping.result  # one is open
    jumping.over[0].callback(None)
    jumping.client.send(codec.close(stream.ours))
    jumping.heard()
    jumping.clock.pump([TICK] * (int(IDLE_LIMIT / TICK) + 2))
    assert [number for number, _ in jumping.heard()] == [1]
    assert jumping.outcome == "over"


def test_a_channel_that_the_client_never_closes_keeps_no_connection(tmp_path: Path) -> None:
    """What it was opened for is over; nobody else would end such a connection."""
    jumping = Jumping(tmp_path)
    jumping.opened()
    jumping.over[0].callback(None)
    jumping.clock.pump([TICK] * (int(IDLE_LIMIT / TICK) + 2))
    assert [number for number, _ in jumping.heard()] == [97, 1]
    assert jumping.outcome == "over"


def test_nothing_is_sent_while_the_outer_connection_exchanges_keys(tmp_path: Path) -> None:
    """More channels than one would else fill what is held back."""
    jumping = Jumping(tmp_path)
    stream = jumping.opened()
    stream._leg.exchange.sendKexInit()
    sent = jumping.await_(stream.send(b"later"))
    assert not sent
    assert stream._leg.exchange.held == 0
    jumping.client.pump()
    assert sent == [None]
    assert jumping.client.take(94) == struct.pack("!I", 7) + string("later")


# -- under the host's name


def test_the_inner_connection_shows_a_certificate_of_its_host(tmp_path: Path) -> None:
    keys = in_thread_host_keys((), str(tmp_path)).for_host("web-3", 1_800_000_000.0)
    assert keys.algorithms == [CERTIFIED, b"ssh-ed25519"]
    authority = serialization.load_ssh_public_key((tmp_path / f"{AUTHORITY}.pub").read_bytes())
    found = load_ssh_public_identity(CERTIFIED + b" " + base64.b64encode(keys.keys[CERTIFIED].blob()))
    assert isinstance(found, SSHCertificate)
    found.verify_cert_signature()
    assert found.signature_key() == authority
    assert found.valid_principals == [b"web-3"]
    assert found.valid_after < 1_800_000_000 < found.valid_before


class Certified(Client):
    """Conch does not know certificates: this one only keeps the reply."""

    def _ssh_KEX_ECDH_REPLY(self, packet: bytes) -> None:
        self.reply = packet


def test_the_certificates_key_signs_the_exchange(tmp_path: Path) -> None:
    meeting = Meeting(tmp_path)
    keys = meeting.host_keys.for_host("web-3", 1_800_000_000.0)
    meeting.client = Certified(meeting.far, supportedPublicKeys=[CERTIFIED])
    meeting.run(lambda: accept(meeting.near, keys, timeout=10, seconds=meeting.clock.seconds))
    meeting.client.start()
    fields = Fields(meeting.client.reply)
    assert fields.string() == keys.keys[CERTIFIED].blob()
    fields.string()  # the bridge's half of the exchange
    signature = Fields(fields.string())
    assert signature.name() == "ssh-ed25519"
    assert len(signature.string()) == 64
