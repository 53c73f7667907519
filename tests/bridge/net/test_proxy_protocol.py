"""The PROXY protocol parser: the specification's examples, and anything at all."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapter import Address, PeerFault
from bridge.net.proxy_protocol import V1_LIMIT, V2_LIMIT, V2_SIGNATURE, ProxyHeader, parse_header

V1 = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
V2 = V2_SIGNATURE + b"\x21\x11" + struct.pack("!H", 15) + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + b"\x13\x88\x15\x38TLV"


def test_version_1_line() -> None:
    """Section 2.1."""
    assert parse_header(V1 + b"GET") == ProxyHeader(
        Address("192.168.0.1", 56324), Address("192.168.0.11", 443), len(V1)
    )


def test_version_2_with_a_tlv() -> None:
    """Section 2.2: what follows the addresses is skipped."""
    assert parse_header(V2) == ProxyHeader(Address("10.0.0.1", 5000), Address("10.0.0.2", 5432), len(V2))


def test_version_2_over_ipv6() -> None:
    """16-byte addresses."""
    body = socket.inet_pton(socket.AF_INET6, "2001:db8::1") * 2 + struct.pack("!HH", 1, 2)
    header = parse_header(V2_SIGNATURE + b"\x21\x21" + struct.pack("!H", 36) + body)
    assert header is not None
    assert header.source == Address("2001:db8::1", 1)


@pytest.mark.parametrize(
    "data",
    [b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", V2_SIGNATURE + b"\x20\x00\x00\x00", V2_SIGNATURE + b"\x21\x00\x00\x00"],
)
def test_proxy_that_speaks_for_itself(data: bytes) -> None:
    """UNKNOWN, LOCAL, UNSPEC: the real addresses are used."""
    assert parse_header(data) == ProxyHeader(None, None, len(data))


@pytest.mark.parametrize("data", [V1, V2])
def test_every_prefix_asks_for_more(data: bytes) -> None:
    """Byte by byte."""
    assert all(parse_header(data[:size]) is None for size in range(len(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        b"PROXY TCP4 1.2.3.400 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        b"PROXY " + b"x" * V1_LIMIT,
        V2_SIGNATURE + b"\x31\x11\x00\x0c",
        V2_SIGNATURE + b"\x21\x11" + struct.pack("!H", V2_LIMIT),
        V2_SIGNATURE + b"\x21\x11\x00\x04abcd",
    ],
)
def test_malformed_header_is_a_peer_fault(data: bytes) -> None:
    """Malformed, too long, another version."""
    with pytest.raises(PeerFault):
        parse_header(data)


@given(
    st.one_of(
        st.binary(max_size=64),
        st.binary(max_size=64).map(lambda tail: V2_SIGNATURE + tail),
        st.binary(max_size=64).map(lambda tail: b"PROXY " + tail),
    )
)
def test_any_bytes_give_a_header_a_question_or_a_fault(data: bytes) -> None:
    """Nothing else is raised, and a header never claims more than there is."""
    try:
        header = parse_header(data)
    except PeerFault:
        return
    assert header is None or header.length <= len(data)
