"""The agent's side up to the service: what is exchanged with whom, and that strangers get nothing else.

The hardening list of research/ssh.md, part B, points 1 to 6, 8, 13 to 15.
"""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

import pytest
from conch_client import Meeting, packet
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from adapters.ssh import server
from adapters.ssh.fields import Fields, string
from adapters.ssh.host_keys import HostKeys, in_thread_host_keys
from adapters.ssh.packets import MAX_PACKET
from adapters.ssh.server import CIPHERS, KEX, MACS, SIGNATURES, AgentLeg, Exchange, accept
from bridge.adapter import PeerFault, StreamClosed, TimedOut

VERSION = b"SSH-2.0-test\r\n"
KEXINIT_FIELDS = 10


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> HostKeys:
    return in_thread_host_keys((), str(tmp_path_factory.mktemp("keys")))


def accepted(folder: Path, **offers: Any) -> Meeting:
    """A client that got as far as the service."""
    meeting = Meeting(folder, **offers)
    meeting.run(lambda: accept(meeting.near, meeting.host_keys, timeout=10, seconds=meeting.clock.seconds))
    meeting.client.start()
    meeting.client.ask_service()
    return meeting


def stranger(folder: Path, *sent: bytes) -> Meeting:
    """A peer that sends these bytes and nothing else."""
    meeting = Meeting(folder)
    meeting.run(lambda: accept(meeting.near, meeting.host_keys, timeout=10, seconds=meeting.clock.seconds))
    for data in sent:
        meeting.far.other._arrive(data)
    return meeting


def kexinit(*, kex: str = "curve25519-sha256", compression: str = "none", follows: bool = False) -> bytes:
    lists = [kex, "ssh-ed25519", "aes128-ctr", "aes128-ctr", "hmac-sha2-256", "hmac-sha2-256", compression, compression]
    return b"\x14" + bytes(16) + b"".join(map(string, lists)) + string("") * 2 + bytes((follows,)) + bytes(4)


def offered(meeting: Meeting) -> list[str]:
    """The lists of our KEXINIT."""
    _, _, rest = bytes(meeting.near.sent).partition(b"\r\n")
    fields = Fields(rest, 5 + 17)
    return [fields.name(4096) for _ in range(KEXINIT_FIELDS)]


# -- the exchange


@pytest.mark.parametrize("kex", KEX[1:])  # mlkem: Conch has only the server; real clients do it (integration)
def test_every_key_exchange_ends_in_the_service(tmp_path: Path, kex: str) -> None:
    meeting = accepted(tmp_path, supportedKeyExchanges=[kex.encode()])
    assert isinstance(meeting.outcome, AgentLeg)
    assert meeting.outcome.facts["kex"] == kex
    assert meeting.client.take(6) == string("ssh-userauth")


@pytest.mark.parametrize("mac", ["hmac-sha2-256", "hmac-sha2-512"])
@pytest.mark.parametrize("cipher", [name for name in CIPHERS if name.endswith("ctr")])
def test_ciphers_and_macs(tmp_path: Path, cipher: str, mac: str) -> None:
    meeting = accepted(tmp_path, supportedCiphers=[cipher.encode()], supportedMACs=[mac.encode()])
    facts = meeting.outcome.facts
    assert (facts["cipher"], facts["mac"]) == (cipher, mac)


def test_only_what_is_strong_is_offered_and_no_compression(tmp_path: Path) -> None:
    lists = offered(stranger(tmp_path))
    assert [name for name in lists[0].split(",") if not name.startswith(("kex-strict", "ext-info"))] == list(KEX)
    assert "kex-strict-s-v00@openssh.com" in lists[0]
    assert lists[2] == lists[3] == ",".join(CIPHERS)
    assert lists[4] == lists[5] == ",".join(MACS)
    assert lists[6] == lists[7] == "none"
    assert not any(word in text for text in lists for word in ("sha1", "cbc", "md5", "group1-", "zlib"))


def test_the_version_tells_nothing_of_what_runs_here(tmp_path: Path) -> None:
    line = bytes(stranger(tmp_path).near.sent).partition(b"\r\n")[0]
    assert line == b"SSH-2.0-idbridge"


def test_rsa_keys_are_taken_although_the_host_key_is_ed25519(tmp_path: Path) -> None:
    """RFC 8308 section 3.1: what agents may sign with; the first message after our NEWKEYS."""
    meeting = accepted(tmp_path)
    number, payload = meeting.client.said[0]
    fields = Fields(payload)
    assert (number, fields.number(), fields.name()) == (7, 1, "server-sig-algs")
    algorithms = fields.name(4096).split(",")
    assert set(SIGNATURES) <= set(algorithms)
    assert "ssh-rsa" not in algorithms


def test_a_wrong_guess_is_passed_over(tmp_path: Path) -> None:
    """RFC 4253 section 7: first_kex_packet_follows."""
    guess = kexinit(kex="diffie-hellman-group14-sha1,curve25519-sha256", follows=True)
    meeting = stranger(tmp_path, VERSION, packet(guess), packet(b"\x1e" + string("guess")))
    assert not meeting.result
    meeting.far.other._arrive(packet(b"\x1e" + string(bytes(31) + b"\x09")))
    assert bytes(meeting.near.sent).count(string("ssh-ed25519")) == 3  # offered; the key itself; its signature


# -- strangers


@pytest.mark.parametrize("message", [0, 2, 3, 4, 5, 6, 7, 21, 30, 50, 52, 61, 80, 90, 94, 98, 200])
def test_nothing_comes_before_the_key_exchange(tmp_path: Path, message: int) -> None:
    meeting = stranger(tmp_path, VERSION, packet(bytes((message,)) + string("agent")))
    assert isinstance(meeting.outcome, PeerFault)


@pytest.mark.parametrize("message", [5, 6, 50, 52, 61, 80, 90, 94, 98, 200])
def test_nothing_comes_within_the_first_exchange(tmp_path: Path, message: int) -> None:
    meeting = stranger(tmp_path, VERSION, packet(kexinit()), packet(bytes((message,)) + string("agent")))
    assert isinstance(meeting.outcome, PeerFault)


@pytest.mark.parametrize("message", [2, 3, 4])
def test_strict_key_exchange_refuses_even_what_is_ignored(tmp_path: Path, message: int) -> None:
    """OpenSSH PROTOCOL section 1.10; Terrapin (CVE-2023-48795) put such messages there."""
    ignored = packet(bytes((message,)) + string(""))
    strict = kexinit(kex="curve25519-sha256,kex-strict-c-v00@openssh.com")
    assert not stranger(tmp_path, VERSION, packet(kexinit()), ignored).result
    assert isinstance(stranger(tmp_path, VERSION, packet(strict), ignored).outcome, PeerFault)


@pytest.mark.parametrize("payload", [kexinit(), b"\x15", b"\x1f", b"\x22" + bytes(12)])
def test_messages_of_the_exchange_come_in_their_order(tmp_path: Path, payload: bytes) -> None:
    meeting = stranger(tmp_path, VERSION, packet(kexinit()), packet(payload))
    assert isinstance(meeting.outcome, PeerFault)


@pytest.mark.parametrize("compression", ["zlib", "zlib@openssh.com"])
def test_who_insists_on_compression_is_refused(tmp_path: Path, compression: str) -> None:
    meeting = stranger(tmp_path, VERSION, packet(kexinit(compression=compression)))
    assert isinstance(meeting.outcome, PeerFault)
    assert bytes(meeting.near.sent).rstrip(b"\0").count(b"\x01\x00\x00\x00\x03") == 1  # told once, by its code


def test_strict_key_exchange_is_no_method(tmp_path: Path) -> None:
    meeting = stranger(tmp_path, VERSION, packet(kexinit(kex="kex-strict-s-v00@openssh.com")))
    assert isinstance(meeting.outcome, PeerFault)


@pytest.mark.parametrize("size", [MAX_PACKET + 8, 5 * 1024 * 1024, 2**32 - 8])
def test_a_large_packet_is_refused_by_its_length(tmp_path: Path, size: int) -> None:
    meeting = stranger(tmp_path, VERSION, struct.pack("!I", size - size % 8 + 4))
    assert isinstance(meeting.outcome, PeerFault)


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-" + b"x" * 300,
        b"SSH-2.0-\xff\r\n",
        b"hello\nSSH-2.0-x\r\n",
    ],
)
def test_who_is_no_ssh_client_is_left_without_an_answer(tmp_path: Path, line: bytes) -> None:
    meeting = stranger(tmp_path, line)
    before = len(meeting.near.sent)
    assert isinstance(meeting.outcome, PeerFault)
    assert len(meeting.near.sent) == before


def test_a_version_may_come_byte_by_byte(tmp_path: Path) -> None:
    meeting = stranger(tmp_path, *(VERSION[at : at + 1] for at in range(len(VERSION))))
    assert not meeting.result


def test_garbage_after_the_exchange_does_not_authenticate(tmp_path: Path) -> None:
    meeting = accepted(tmp_path)
    waiting: list[Any] = []
    meeting.run(lambda: meeting.outcome.message(5.0))
    meeting.far.other._arrive(b"\x5a" * 64)
    waiting = meeting.result[1:]
    assert isinstance(waiting[0], PeerFault)


def test_a_client_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    meeting = stranger(tmp_path, VERSION)
    meeting.clock.advance(10.1)
    assert isinstance(meeting.outcome, TimedOut)


def test_another_service_is_refused(tmp_path: Path) -> None:
    meeting = Meeting(tmp_path)
    meeting.run(lambda: accept(meeting.near, meeting.host_keys, timeout=10, seconds=meeting.clock.seconds))
    meeting.client.start()
    meeting.client.send(b"\x05" + string("ssh-connection"))
    assert isinstance(meeting.outcome, PeerFault)
    assert meeting.client.take(1)[:4] == b"\0\0\0\2"


def test_no_new_exchange_before_the_login(tmp_path: Path) -> None:
    """Each costs us signatures, and no client wants it."""
    meeting = accepted(tmp_path)
    meeting.run(lambda: meeting.outcome.message(5.0))
    meeting.client.sendKexInit()
    assert isinstance(meeting.result[1], PeerFault)


def test_a_goodbye_is_no_fault(tmp_path: Path) -> None:
    meeting = stranger(tmp_path, VERSION, packet(b"\x01\0\0\0\x0b" + string("bye") + string("")))
    assert isinstance(meeting.outcome, StreamClosed)


def test_bytes_that_drip_do_not_gain_time(tmp_path: Path) -> None:
    meeting = stranger(tmp_path, VERSION)
    for byte in packet(kexinit())[:5]:
        meeting.clock.advance(2.1)
        meeting.far.other._arrive(bytes((byte,)))
    assert isinstance(meeting.outcome, TimedOut)


@given(st.sampled_from(KEX), st.binary(max_size=80) | st.binary(min_size=1216, max_size=1216))
def test_only_peer_faults_come_out_of_a_strangers_half_of_the_keys(keys: HostKeys, kex: str, half: bytes) -> None:
    exchange = Exchange(keys, Clock().seconds)
    exchange.begin()
    list(exchange.feed(VERSION))
    with contextlib.suppress(PeerFault):
        list(exchange.feed(packet(kexinit(kex=kex)) + packet(b"\x1e" + string(half))))
    assert not exchange.secure


@given(st.sampled_from([20, 21, 30]), st.binary(max_size=400))
def test_only_peer_faults_come_out_of_an_exchange(keys: HostKeys, message: int, rest: bytes) -> None:
    for before in ([], [kexinit()]):
        exchange = Exchange(keys, Clock().seconds)
        exchange.begin()
        list(exchange.feed(VERSION))
        try:
            for payload in (*before, bytes((message,)) + rest):
                list(exchange.feed(packet(payload)))
        except PeerFault:
            pass
        assert not exchange.secure


# -- new keys


class Running:
    """A leg after the login, and what it took."""

    def __init__(self, folder: Path) -> None:
        self.meeting = accepted(folder)
        self.leg: AgentLeg = self.meeting.outcome
        self.leg.exchange.authenticated = True
        self.meeting.client.take(6)
        self.took: list[bytes] = []
        self.meeting.run(lambda: self.leg.run(lambda payload: self._take(payload), self._after))

    def _take(self, payload: bytes) -> None:
        self.took.append(payload)

    async def _after(self) -> None:
        pass

    def say(self, payload: bytes) -> None:
        self.leg.write(payload)
        self.meeting.run(self.leg.flush)
        self.meeting.client.pump()


def test_the_client_may_ask_for_new_keys(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.meeting.client.sendKexInit()
    running.meeting.client.pump()
    running.meeting.client.send(b"\x5eafter")
    running.say(b"\x5ereply")
    assert running.took == [b"\x5eafter"]
    assert running.meeting.client.take(94) == b"reply"


def test_new_keys_after_enough_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REKEY_BYTES", 100_000)
    running = Running(tmp_path)
    first = running.leg.exchange._opener._cipher
    for _ in range(5):
        running.meeting.client.send(b"\x5e" + bytes(30_000))
    assert running.leg.exchange._opener._cipher is not first
    assert not running.leg.exchange.exchanging
    assert len(running.took) == 5


def test_new_keys_after_an_hour(tmp_path: Path) -> None:
    running = Running(tmp_path)
    first = running.leg.exchange._opener._cipher
    running.meeting.client.send(b"\x5eone")
    assert running.leg.exchange._opener._cipher is first
    running.meeting.clock.advance(3601)
    running.meeting.client.send(b"\x5etwo")
    assert running.leg.exchange._opener._cipher is not first


def test_what_is_written_during_an_exchange_waits_and_comes_in_order(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.leg.exchange.sendKexInit()
    running.leg.write(b"\x5eone")
    running.leg.write(b"\x5etwo")
    flushed: list[str] = []

    async def flushing() -> None:
        await running.leg.flush()
        flushed.append("done")

    running.meeting.run(flushing)
    assert not flushed  # whoever reads the other side waits for this
    running.meeting.client.pump()
    assert flushed
    assert [running.meeting.client.take(94) for _ in range(2)] == [b"one", b"two"]


def test_a_leg_that_is_busy_does_not_wait_for_its_own_exchange(tmp_path: Path) -> None:
    """Two legs that exchange keys at once, each waiting in its ``run`` for the other, would never go on."""
    running = Running(tmp_path)
    flushed: list[bytes] = []

    async def take_and_answer(payload: bytes) -> None:
        running.leg.exchange.sendKexInit()
        running.leg.write(b"\x5eanswer")
        await running.leg.flush()
        flushed.append(payload)

    running._take = take_and_answer
    running.meeting.client.send(b"\x5easks")
    assert flushed == [b"\x5easks"]
    running.meeting.client.pump()
    assert running.meeting.client.take(94) == b"answer"


def test_more_than_a_window_is_not_held_back(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.leg.exchange.sendKexInit()
    for _ in range(127):
        running.leg.write(b"\x5e" + bytes(32_768))
    with pytest.raises(PeerFault):
        running.leg.write(b"\x5e" + bytes(65_536))


def test_messages_of_the_login_after_it(tmp_path: Path) -> None:
    """RFC 4252 section 5.3: late requests are ignored; anything else has no place."""
    running = Running(tmp_path)
    running.meeting.client.send(b"\x32" + string("agent"))
    running.meeting.client.send(b"\x5edata")
    assert running.took == [b"\x5edata"]
    running.meeting.client.send(b"\x3d\0\0\0\0")
    assert isinstance(running.meeting.result[-1], PeerFault)


def test_a_goodbye_ends_the_run_in_order(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.meeting.client.send(b"\x01\0\0\0\x0b" + string("bye") + string(""))
    assert running.meeting.result[-1] == ""
