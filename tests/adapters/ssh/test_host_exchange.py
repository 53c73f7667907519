"""The host's side up to the login, against Conch's server on a memory stream; and what of paramiko is relied on."""

from __future__ import annotations

import inspect
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paramiko.message import Message
from paramiko.transport import Transport
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from adapters.ssh import host_exchange
from adapters.ssh.fields import string
from adapters.ssh.host_exchange import CERTIFICATE, Engine, HostKeyRefused, NothingInCommon
from adapters.ssh.host_keys import HostKeys, in_thread_host_keys
from adapters.ssh.levels import LEVELS
from adapters.ssh.server import AgentLeg, accept
from adapters.ssh.upstream import HostLeg, exchanged
from bridge.adapter import PeerFault, StreamClosed
from bridge.testing.streams import memory_pair

DATA = 94


async def direct(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def trusting(key: bytes) -> None:
    """Any key will do."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> HostKeys:
    return in_thread_host_keys((), str(tmp_path_factory.mktemp("keys")))


class Pair:
    """``leg`` is the bridge's towards the host; ``host`` the other end, once both have finished."""

    def __init__(self, keys: HostKeys, check: Callable[[bytes], None] = trusting, level: str = "modern",
                 pinned: tuple[str, ...] = ("ssh-ed25519",), deferring: Any = direct) -> None:  # fmt: skip
        self.clock = Clock()
        self.near, self.far = memory_pair(self.clock, capacity=10**9)
        self.engine = Engine(level, pinned, check, deferring=deferring, seconds=self.clock.seconds)
        self.results: list[Any] = []
        self.served: list[Any] = []
        _run(accept(self.far, keys, timeout=10, seconds=self.clock.seconds), self.served)
        _run(exchanged(self.near, self.engine, timeout=10, clock=self.clock.seconds), self.results)

    @property
    def leg(self) -> HostLeg:
        assert isinstance(self.results[0], HostLeg), self.results
        return self.results[0]

    @property
    def failure(self) -> Exception:
        assert isinstance(self.results[0], Exception)
        return self.results[0]

    def host(self) -> AgentLeg:
        """As after a login, of which only the service was asked for."""
        self.leg.write(b"\x05" + string("ssh-userauth"))
        _run(self.leg.flush(), [])
        answers: list[Any] = []
        _run(self.leg.message(10), answers)
        assert answers == [b"\x06" + string("ssh-userauth")]
        host = self.served[0]
        assert isinstance(host, AgentLeg)
        host.exchange.authenticated = True
        return host


def _run(coroutine: Any, results: list[Any]) -> None:
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, lambda failure: results.append(failure.value))


class Taken:
    """What a leg's ``run`` gave."""

    def __init__(self, leg: HostLeg | AgentLeg) -> None:
        self.messages: list[bytes] = []
        self.ended: list[Any] = []
        _run(leg.run(self.messages.append, self._after), self.ended)

    async def _after(self) -> None:
        pass


def test_what_was_agreed_on(keys: HostKeys) -> None:
    pair = Pair(keys)
    assert pair.leg.facts == {
        "software": pair.leg.facts["software"], "kex": "mlkem768x25519-sha256", "host_key": "ssh-ed25519",
        "cipher": "aes128-gcm@openssh.com",
    }  # fmt: skip
    assert pair.engine.agreed_on_strict_kex
    assert pair.engine.host_key_blob.startswith(string("ssh-ed25519"))


def test_messages_both_ways_and_new_keys_from_either_side(keys: HostKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that are written during an exchange follow it, in order (paramiko#822, twisted#4790)."""
    pair = Pair(keys)
    host = pair.host()
    from_host, from_bridge = Taken(pair.leg), Taken(host)
    for number in range(3):
        pair.leg.write(bytes((DATA, number)))
        host.write(bytes((DATA, 100 + number)))
    _run(pair.leg.flush(), [])
    _run(host.flush(), [])
    hash_before = pair.engine.H
    monkeypatch.setattr(host_exchange, "REKEY_BYTES", 1)
    pair.clock.advance(1)
    pair.engine.rekey_if_due()
    assert pair.engine.exchanging
    pair.leg.write(bytes((DATA, 3)))
    pair.leg.write(bytes((DATA, 4)))
    assert pair.engine.held == 4
    _run(pair.leg.flush(), [])
    monkeypatch.undo()
    assert from_host.ended + from_bridge.ended == []
    assert not pair.engine.exchanging
    assert hash_before != pair.engine.H
    host.exchange.sendKexInit()
    host.write(bytes((DATA, 103)))
    _run(host.flush(), [])
    assert [message[1] for message in from_bridge.messages if message[0] == DATA] == [0, 1, 2, 3, 4]
    assert [message[1] for message in from_host.messages if message[0] == DATA] == [100, 101, 102, 103]
    assert from_host.ended + from_bridge.ended == []


def test_new_keys_after_an_hour(keys: HostKeys) -> None:
    pair = Pair(keys)
    pair.clock.advance(host_exchange.REKEY_SECONDS - 1)
    pair.engine.rekey_if_due()
    assert not pair.engine.exchanging
    pair.clock.advance(1)
    pair.engine.rekey_if_due()
    assert pair.engine.exchanging


def test_what_waits_for_an_exchange_is_bounded(keys: HostKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(keys)
    pair.engine._send_kex_init()
    pair.leg.write(bytes((DATA,)) * (host_exchange.HELD_BYTES - 1))
    with pytest.raises(PeerFault):
        pair.leg.write(bytes((DATA, 0)))


def test_only_one_at_a_time_seals(keys: HostKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a thread computes, whatever is written is held back, also when the host began the exchange.

    NEWKEYS is not for a thread: what was held back is sealed then, and the other direction seals as soon as it may.
    """
    monkeypatch.setattr(host_exchange, "_is_slow", lambda exchange: True)
    aside, talking = 0, False

    async def deferring(function: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal aside
        aside += 1
        if talking:
            held = pair.engine.held
            pair.engine.put(b"\x02")
            pair.engine.put(bytes((DATA, aside)))
            assert pair.engine.held == held + 3
        return function(*arguments)

    pair = Pair(keys, deferring=deferring)
    assert aside == 2  # KEXINIT and the host's reply
    host = pair.host()
    talking = True
    taken = Taken(host)
    assert Taken(pair.leg).ended == []
    host.exchange.sendKexInit()
    _run(host.flush(), [])
    assert aside == 4
    assert taken.messages == [bytes((DATA, 3)), bytes((DATA, 4))]


def test_a_host_key_that_is_not_pinned_ends_it_before_new_keys(keys: HostKeys) -> None:
    """Nothing goes to the host after its reply: neither NEWKEYS nor a word about an account."""

    def check(key: bytes) -> None:
        raise HostKeyRefused("not pinned")

    pair = Pair(keys, check)
    assert isinstance(pair.failure, HostKeyRefused)
    _, _, packets = bytes(pair.near.sent).partition(b"\r\n")
    sent = []
    while packets:
        (length,) = struct.unpack("!I", packets[:4])
        sent.append(packets[5])
        packets = packets[4 + length :]
    assert sent == [20, 30]


def test_another_host_key_in_a_later_exchange_is_refused(keys: HostKeys, tmp_path: Path) -> None:
    pair = Pair(keys)
    with pytest.raises(HostKeyRefused, match="within a connection"):
        pair.engine._verify_key(b"another key", string("ssh-ed25519") + string(b"x"))


def test_a_signature_of_another_algorithm_is_refused(keys: HostKeys) -> None:
    """paramiko takes any hash that the class of the key knows: rsa-sha2-512 could be answered with SHA-1."""
    pair = Pair(keys)
    with pytest.raises(HostKeyRefused, match="another algorithm"):
        pair.engine._verify_key(pair.engine.host_key_blob, string("ssh-rsa") + string(b"x"))


def test_nothing_in_common_is_said_by_its_kind(keys: HostKeys) -> None:
    """Only the pinned kinds of keys are asked for."""
    pair = Pair(keys, pinned=("ecdsa-sha2-nistp521",))
    assert isinstance(pair.failure, NothingInCommon)
    assert str(pair.failure) == "no acceptable host key"


def test_pinned_kinds_that_the_level_has_not() -> None:
    """Nothing is sent."""
    engine = Engine("modern", ("ssh-dss",), trusting, deferring=direct, seconds=lambda: 0.0)
    with pytest.raises(NothingInCommon, match="pinned kinds"):
        engine.begin()
    assert not engine.out.data


def test_a_host_that_says_goodbye_ends_the_session_in_order(keys: HostKeys) -> None:
    pair = Pair(keys)
    host = pair.host()
    from_host = Taken(pair.leg)
    host.write(bytes((DATA, 1)))
    host.disconnect(11, "see you")
    _run(host.flush(), [])
    assert from_host.messages == [bytes((DATA, 1))]
    assert from_host.ended == [""]


@pytest.mark.parametrize("level", LEVELS)
def test_only_algorithms_of_the_level_are_offered(level: str) -> None:
    every = tuple(name for one in LEVELS.values() for name in one.host_keys)
    engine = Engine(level, (*every, f"ssh-ed25519{CERTIFICATE}"), trusting, deferring=direct, seconds=lambda: 0.0)
    chosen = LEVELS[level]
    assert set(engine._preferred_keys) == {*chosen.host_keys, f"ssh-ed25519{CERTIFICATE}"}
    assert engine.preferred_kex == chosen.kex
    assert engine.preferred_ciphers == chosen.ciphers
    assert engine.preferred_macs == chosen.macs
    assert set(chosen.kex) <= set(engine._kex_info)
    assert set(chosen.host_keys) <= set(engine._key_info)


# -- hosts that are none


def fed(*chunks: bytes) -> Engine:
    engine = Engine("legacy", ("ssh-ed25519",), trusting, deferring=direct, seconds=lambda: 0.0)
    engine.begin()
    for chunk in chunks:
        assert list(engine.feed(chunk)) == []
    return engine


def test_lines_before_the_version(keys: HostKeys) -> None:
    """RFC 4253 section 4.2; old hosts say 1.99 (section 5.1)."""
    assert fed(b"Welcome\r\nto the jungle\n", b"SSH-1.99-Ci", b"sco-1.25\n").facts["software"] == "Cisco-1.25"


@pytest.mark.parametrize(
    "said",
    [b"SSH-1.5-old\n", b"x" * 300, b"HTTP/1.1 400 Bad Request\r\n" * 51, b"SSH-2.0-" + b"x" * 300 + b"\n"],
    ids=["SSH 1", "one long line", "many lines", "long version"],
)
def test_what_is_no_ssh_server(said: bytes) -> None:
    with pytest.raises(PeerFault):
        fed(said)


def clear(payload: bytes) -> bytes:
    padding = 8 - (5 + len(payload)) % 8 + 8
    return struct.pack("!IB", 1 + len(payload) + padding, padding) + payload + bytes(padding)


@pytest.mark.parametrize("message", [5, 6, 50, 52, 80, 94, 100, 192])
def test_no_message_of_the_login_or_later_before_the_key_exchange(message: int) -> None:
    with pytest.raises(PeerFault, match="before the key exchange"):
        fed(b"SSH-2.0-x\r\n", clear(bytes((message, 0, 0, 0, 0))))


def test_a_message_out_of_order_within_the_exchange() -> None:
    with pytest.raises(PeerFault):
        fed(b"SSH-2.0-x\r\n", clear(bytes((21,))))


def test_a_host_that_says_goodbye_is_quoted_in_printable_words() -> None:
    with pytest.raises(StreamClosed, match="too many connections"):
        fed(b"SSH-2.0-x\r\n", clear(b"\x01" + bytes(4) + string("too many\x1b connections".replace("\x1b", "")) * 2))


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_arbitrary_bytes(chunks: list[bytes], framed: bool) -> None:
    """Nothing but PeerFault, StreamClosed and what negotiation says comes out."""
    engine = Engine("legacy", ("ssh-ed25519",), trusting, deferring=direct, seconds=lambda: 0.0)
    engine.begin()
    try:
        list(engine.feed(b"SSH-2.0-x\r\n"))
        for chunk in chunks:
            for found in engine.feed(clear(chunk or b"\x14") if framed else chunk):
                assert callable(found)
                results: list[Any] = []
                _run(found(), results)
                if isinstance(results[0], Exception):
                    raise results[0]
    except (PeerFault, StreamClosed, NothingInCommon):
        pass


@given(st.binary(max_size=120))
def test_arbitrary_negotiation(body: bytes) -> None:
    engine = fed(b"SSH-2.0-x\r\n")
    results: list[Any] = []
    for found in engine.feed(clear(b"\x14" + bytes(16) + body)):
        assert callable(found)
        _run(found(), results)
    assert all(isinstance(result, PeerFault | NothingInCommon) for result in results)
    assert results


# -- what of paramiko is relied on; the version is pinned


def test_paramiko_is_the_pinned_version() -> None:
    assert paramiko.__version__.startswith("5.1.")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_send_kex_init", []), ("_negotiate_keys", ["m"]), ("_parse_newkeys", ["m"]), ("_parse_ext_info", ["msg"]),
        ("_expect_packet", ["ptypes"]), ("_verify_key", ["host_key", "sig"]), ("_activate_outbound", []),
        ("_activate_inbound", []), ("_compute_key", ["id", "nbytes"]), ("_set_K_H", ["k", "h"]),
        ("_send_message", ["data"]),
    ],
)  # fmt: skip
def test_methods_of_paramiko(name: str, parameters: list[str]) -> None:
    """Those that ``Engine`` overrides or calls."""
    assert list(inspect.signature(getattr(Transport, name)).parameters)[1:] == parameters


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("_negotiate_keys", ["_send_kex_init", "_parse_kex_init", "kex_engine.start_kex"]),
        ("_parse_newkeys", ["_activate_inbound", "need_rekey", "local_kex_init = self.remote_kex_init = None"]),
        ("_send_message", ["packetizer.send_message"]),
        ("_verify_key", ["_key_info", "host_key_type", "verify_ssh_sig"]),
        ("_parse_ext_info", ["server_extensions"]),
    ],
)
def test_what_the_methods_of_paramiko_do(name: str, calls: list[str]) -> None:
    source = inspect.getsource(getattr(Transport, name))
    for call in calls:
        assert call in source


def test_key_exchanges_of_paramiko_call_back_in_this_order(keys: HostKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secret, then the host's key, then new keys: the check comes before anything is encrypted for the host."""
    order: list[str] = []
    for name in ("_set_K_H", "_verify_key", "_activate_outbound", "_activate_inbound"):
        original = getattr(Engine, name)

        def noted(self: Engine, *arguments: Any, name: str = name, original: Any = original) -> Any:
            order.append(name)
            return original(self, *arguments)

        monkeypatch.setattr(Engine, name, noted)
    assert Pair(keys).leg
    assert order == ["_set_K_H", "_verify_key", "_activate_outbound", "_activate_inbound"]


def test_attributes_of_paramiko() -> None:
    """Those that ``Engine`` reads or sets exist after its constructor."""
    engine = Engine("modern", ("ssh-ed25519",), trusting, deferring=direct, seconds=lambda: 0.0)
    for name in (
        "in_kex", "initial_kex_done", "agreed_on_strict_kex", "local_kex_init", "remote_kex_init", "kex_engine",
        "_expected_packet", "server_extensions", "session_id", "host_key_type", "local_version", "remote_version",
        "packetizer", "_preferred_kex", "_preferred_ciphers", "_preferred_macs", "_preferred_keys",
    ):  # fmt: skip
        assert hasattr(engine, name), name
    assert {20, 21, 7} <= set(engine._handler_table)
    assert not engine.is_alive()
    assert Message(b"x").asbytes() == b"x"
