"""Socket addresses as the contract's ``Address``."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from bridge.adapter import Address

_NOWHERE = Address("", 0)


def address_of(sock: socket.socket, *, peer: bool) -> Address:
    """The socket's end point; an empty one when the kernel does not know it any more."""
    try:
        return from_name(sock.getpeername() if peer else sock.getsockname())
    except OSError:
        return _NOWHERE


def from_name(name: Any) -> Address:
    if isinstance(name, tuple):
        return Address(plain_host(str(name[0])), int(name[1]))
    return Address(name if isinstance(name, str) else "", 0)


def plain_host(host: str) -> str:
    """An IPv4 address that reached a dual-stack socket is written as IPv4 (RFC 4291, 2.5.5.2)."""
    if not host.startswith("::ffff:"):
        return host
    mapped = ipaddress.IPv6Address(host).ipv4_mapped
    return host if mapped is None else str(mapped)
