"""Packets: what is sealed is opened, however it is cut; what was altered or is no packet is refused."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ssh.packets import CIPHERS, ETM, MACS, MAX_PACKET, Keys, Opener, Sealer
from bridge.adapter import PeerFault

SECRETS = os.urandom(64), os.urandom(64), os.urandom(64)
EVERY = [
    Keys(cipher, mac, *SECRETS)
    for cipher, (mode, _) in CIPHERS.items()
    for mac in ([next(iter(MACS))] if mode == "gcm" else [*MACS, *(f"{mac}{ETM}" for mac in MACS)])
]


def pair(keys: Keys | None, restart: bool = False) -> tuple[Sealer, Opener]:
    sealer, opener = Sealer(), Opener()
    if keys is not None:
        assert list(opener.feed(sealer.seal(b"before"))) == [b"before"]
        sealer.take_keys(keys, restart=restart)
        opener.take_keys(keys, restart=restart)
    return sealer, opener


@pytest.mark.parametrize("keys", [None, *EVERY], ids=lambda keys: f"{keys.cipher} {keys.mac}" if keys else "plain")
@pytest.mark.parametrize("restart", [False, True])
def test_what_is_sealed_is_opened(keys: Keys | None, restart: bool) -> None:
    sealer, opener = pair(keys, restart)
    payloads = [bytes([94]) + os.urandom(size) for size in (0, 1, 7, 8, 15, 16, 17, 1000, 32768)]
    stream = b"".join(map(sealer.seal, payloads))
    assert list(opener.feed(stream)) == payloads
    assert sealer.sequence == opener.sequence
    if keys is not None:
        assert payloads[-1][:64] not in stream


@pytest.mark.parametrize("keys", [None, EVERY[0], EVERY[2], EVERY[-1]])
def test_cut_anywhere(keys: Keys | None) -> None:
    sealer, opener = pair(keys)
    stream = sealer.seal(b"\x5e" + b"first") + sealer.seal(b"\x5esecond")
    found = [payload for at in range(len(stream)) for payload in opener.feed(stream[at : at + 1])]
    assert found == [b"\x5efirst", b"\x5esecond"]


@pytest.mark.parametrize("keys", EVERY, ids=lambda keys: f"{keys.cipher} {keys.mac}")
def test_a_flipped_bit_is_refused(keys: Keys) -> None:
    for at in (0, 3, 5, 20, -1):
        sealer, opener = pair(keys)
        packet = bytearray(sealer.seal(b"\x5e" + b"x" * 40))
        packet[at] ^= 1
        with pytest.raises(PeerFault):
            # A longer length only waits for more, which then does not authenticate.
            list(opener.feed(bytes(packet) + bytes(MAX_PACKET)))


def test_a_packet_in_another_place_is_refused() -> None:
    sealer, opener = pair(EVERY[0])
    first, second = sealer.seal(b"\x5efirst"), sealer.seal(b"\x5esecond")
    with pytest.raises(PeerFault):
        list(opener.feed(second + first))


@pytest.mark.parametrize("length", [0, 4, 13, MAX_PACKET + 4, 2**31, 2**32 - 1])
@pytest.mark.parametrize("keys", [None, EVERY[0], EVERY[10]])
def test_an_announced_length_out_of_bounds_is_refused_before_it_is_buffered(keys: Keys | None, length: int) -> None:
    _, opener = pair(keys)
    with pytest.raises(PeerFault):
        list(opener.feed(length.to_bytes(4, "big") + bytes(12)))


@pytest.mark.parametrize(
    "packet", [b"\0\0\0\x0c\x03" + bytes(11), b"\0\0\0\x0c\x0c" + bytes(11), b"\0\0\0\x0c\x0b" + bytes(11)]
)
def test_wrong_padding_is_refused(packet: bytes) -> None:
    with pytest.raises(PeerFault):
        list(Opener().feed(packet))


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.sampled_from([None, EVERY[0], EVERY[2], EVERY[-1]]))
def test_no_bytes_raise_anything_but_a_fault_of_the_peer(chunks: list[bytes], keys: Keys | None) -> None:
    _, opener = pair(keys)
    try:
        for chunk in chunks:
            list(opener.feed(chunk))
    except PeerFault:
        return
