"""The client's side of the start as a conversation, TLS in the middle of it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from adapters.mysql import codec
from adapters.mysql.carriers import new_nonce
from adapters.mysql.codec import Cap, Greeting, HandshakeResponse, SSLRequest, packets
from adapters.mysql.greeting import MAX_AHEAD, MAX_LOGIN_PAYLOAD, Opening, ahead, ask_token, greet
from adapters.mysql.probe import OWN
from bridge.adapter import Deadline, PeerFault, StreamClosed, TimedOut
from bridge.testing import FakeTLS, MemoryStream, Voice, memory_pair

FLAGS = OWN | Cap.SSL
GREETING = Greeting(b"8.0.36", 7, new_nonce(), FLAGS, plugin=b"caching_sha2_password")
ANSWER = HandshakeResponse(FLAGS, b"agent", b"s" * 32, b"app", b"caching_sha2_password", ((b"_client_name", b"test"),))
REQUEST = packets(codec.ssl_request(SSLRequest(FLAGS, 1 << 24, 45)), 1)


class Scene:
    """A client, and the adapter's greeting at work on the other end."""

    def __init__(self, tls: bool = True) -> None:
        self.clock = Clock()
        near, far = memory_pair(self.clock)
        self.far: MemoryStream = far
        self.client = Voice("client", far)
        self.results: list[Any] = []
        settings = FakeTLS(server_side=True) if tls else None
        self._run(greet(near, GREETING, settings, Deadline(10, self.clock.seconds)))

    def _run(self, coroutine: Any) -> None:
        Deferred.fromCoroutine(coroutine).addBoth(self.results.append)

    def greeted(self) -> Scene:
        self.client.hears(packets(codec.greeting(GREETING), 0))
        return self

    @property
    def result(self) -> Any:
        assert self.results, "it still waits"
        found = self.results.pop()
        if hasattr(found, "raiseException"):
            found.raiseException()
        return found

    def token(self, opening: Opening) -> None:
        self._run(ask_token(opening, Deadline(10, self.clock.seconds)))


def test_the_server_speaks_first_and_takes_the_answer_in_any_pieces() -> None:
    scene = Scene().greeted()
    for byte in packets(codec.handshake_response(ANSWER), 1):
        scene.client.says(bytes((byte,)))
    opening = scene.result
    assert opening.response.user == b"agent"
    assert ahead(opening) == b""


def test_tls_in_the_middle_and_the_token_inside() -> None:
    scene = Scene().greeted()
    scene.client.says(REQUEST)
    agreed = Deferred.fromCoroutine(scene.far.start_tls(FakeTLS(server_side=False)))
    assert agreed.called
    scene.client.says(packets(codec.handshake_response(ANSWER), 2))
    scene.token(scene.result)
    scene.client.hears(packets(b"\x01\x04", 3)).says(packets(b"the-token\0", 4), b"ahead")
    assert scene.result.reveal() == b"the-token"


@pytest.mark.parametrize("version", [b"\x03\x01", b"\x03\x03"])
def test_a_client_hello_in_the_same_segment_belongs_to_the_handshake(version: bytes) -> None:
    """warpgate#1421: 4 of 75 connections had it so; as a packet it would be one of 66 or 197 kB."""
    replayed: list[bytes] = []
    scene = Scene()
    near = scene.far.other

    async def start_tls(settings: object, *, replay: bytes = b"", timeout: float = 10.0) -> None:
        replayed.append(replay)

    near.start_tls = start_tls  # type: ignore[method-assign, assignment]
    hello = b"\x16" + version + b"\x02\x00\x01\x00\x01\xfc" + version + b"r" * 500
    scene.greeted().client.says(REQUEST + hello)
    assert replayed == [hello]


def test_tls_that_was_not_offered_is_a_fault() -> None:
    scene = Scene(tls=False).greeted()
    scene.client.says(REQUEST)
    with pytest.raises(PeerFault):
        assert scene.result


@pytest.mark.parametrize(
    "sent",
    [
        packets(codec.handshake_response(ANSWER), 2),
        packets(b"", 1),
        packets(b"x" * 31, 1),
        (MAX_LOGIN_PAYLOAD + 1).to_bytes(3, "little") + b"\x01",
        packets(codec.handshake_response(ANSWER._replace(capabilities=Cap.SSL)), 1),
    ],
    ids=["out of order", "empty", "short", "long", "pre-4.1"],
)
def test_what_no_client_sends_is_a_fault(sent: bytes) -> None:
    scene = Scene().greeted()
    scene.client.says(sent)
    with pytest.raises(PeerFault):
        assert scene.result


def test_a_client_that_leaves_and_one_that_waits() -> None:
    scene = Scene().greeted()
    scene.client.hangs_up()
    with pytest.raises(StreamClosed):
        assert scene.result
    scene = Scene().greeted()
    scene.clock.advance(6)
    scene.client.says(b"\x01")
    scene.clock.advance(6)
    with pytest.raises(TimedOut):
        assert scene.result


def test_only_so_much_may_be_sent_ahead() -> None:
    scene = Scene().greeted()
    scene.client.says(packets(codec.handshake_response(ANSWER), 1), b"\x01\x00\x00\x00\x0e")
    assert ahead(scene.result) == b"\x01\x00\x00\x00\x0e"
    scene = Scene().greeted()
    scene.client.says(packets(codec.handshake_response(ANSWER), 1) + b"x" * (MAX_AHEAD + 1))
    with pytest.raises(PeerFault):
        ahead(scene.result)
