"""The PROXY protocol header, versions 1 and 2, as HAProxy and cloud load balancers send it (proxy-protocol.txt).

A trusted proxy must send it; a header from anybody else is never looked for, so it cannot be forged.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass

from bridge.adapter import Address, PeerFault, Stream
from bridge.net.addresses import plain_host

V1_LIMIT = 107  # section 2.1: the longest line, CRLF included
V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V2_LIMIT = 16 + 2048  # addresses and a generous list of TLVs
_V1_START = b"PROXY "


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """``source`` and ``destination`` are None for LOCAL and UNKNOWN: the proxy speaks for itself (a health check)."""

    source: Address | None
    destination: Address | None
    length: int


def parse_header(data: bytes) -> ProxyHeader | None:
    """The header at the start of ``data``; None when more bytes are needed. Raises PeerFault."""
    if data.startswith(V2_SIGNATURE[: len(data)]) and data:
        return _version_2(data)
    if data.startswith(_V1_START[: len(data)]):
        return _version_1(data)
    raise PeerFault("a trusted proxy sent no PROXY protocol header")


def _version_1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, V1_LIMIT)
    if end < 0:
        if len(data) >= V1_LIMIT:
            raise PeerFault("the PROXY protocol line is too long")
        return None
    words = data[:end].split(b" ")
    if words[1:2] == [b"UNKNOWN"]:
        return ProxyHeader(None, None, end + 2)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise PeerFault("the PROXY protocol line is malformed")
    return ProxyHeader(_text_address(words[2], words[4]), _text_address(words[3], words[5]), end + 2)


def _text_address(host: bytes, port: bytes) -> Address:
    try:
        literal = str(ipaddress.ip_address(host.decode("ascii")))
    except ValueError:
        raise PeerFault("the PROXY protocol line holds a malformed address") from None
    if not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise PeerFault("the PROXY protocol line holds a malformed port")
    return Address(plain_host(literal), int(port))


def _version_2(data: bytes) -> ProxyHeader | None:
    if len(data) < 16:
        return None
    version_command, family, size = data[12], data[13], int.from_bytes(data[14:16], "big")
    if version_command not in (0x20, 0x21):
        raise PeerFault("the PROXY protocol version or command is unknown")
    if 16 + size > V2_LIMIT:
        raise PeerFault("the PROXY protocol header is too long")
    if len(data) < 16 + size:
        return None
    if version_command == 0x20:  # LOCAL
        return ProxyHeader(None, None, 16 + size)
    return _binary_addresses(family, data[16 : 16 + size])


def _binary_addresses(family: int, body: bytes) -> ProxyHeader:
    layout = {0x11: (socket.AF_INET, "!4s4sHH"), 0x21: (socket.AF_INET6, "!16s16sHH")}.get(family)
    if layout is None:  # UNSPEC, UNIX, datagrams: the receiver uses the real addresses
        return ProxyHeader(None, None, 16 + len(body))
    address_family, shape = layout
    if len(body) < struct.calcsize(shape):
        raise PeerFault("the PROXY protocol header is too short for its addresses")
    source, destination, source_port, destination_port = struct.unpack_from(shape, body)
    return ProxyHeader(
        Address(plain_host(socket.inet_ntop(address_family, source)), source_port),
        Address(plain_host(socket.inet_ntop(address_family, destination)), destination_port),
        16 + len(body),
    )


async def read_header(stream: Stream, timeout: float) -> ProxyHeader:
    """Reads the header and puts what follows it back. Raises PeerFault, TimedOut, StreamClosed."""
    data = b""
    while True:
        chunk = await stream.receive(timeout)
        if not chunk:
            raise PeerFault("a trusted proxy closed the connection before its PROXY protocol header")
        data += chunk
        header = parse_header(data)
        if header is not None:
            stream.unread(data[header.length :])
            return header
