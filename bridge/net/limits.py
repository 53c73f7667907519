"""The bounds of a connection and of a listener, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

READ_SIZE = 256 * 1024  # one recv: large enough that a bulk copy is bound by memory, not by calls
TLS_READ_SIZE = 64 * 1024  # a memory BIO keeps its largest size for good, so it is fed in smaller pieces


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bytes and seconds of one connection."""

    read_ahead: int = READ_SIZE  # received but not asked for: reading pauses above it
    high_water: int = 256 * 1024  # unsent: ``send`` waits above it …
    low_water: int = 64 * 1024  # … until it is down to this
    stall: float = 300.0  # a peer that takes nothing for so long, while ``send`` waits, is gone (a pager may pause)
    close_grace: float = 5.0  # ``close`` waits so long for the unsent
    linger: float = (
        1.0  # after our end of file, so that a last error message is not lost to a reset (RFC 1122, 4.2.2.13)
    )
    keepalive: tuple[int, int, int] = (60, 10, 6)  # idle, interval, count: a dead idle peer is found in two minutes


@dataclass(frozen=True, slots=True)
class AcceptLimits:
    """What strangers may hold of one listener."""

    total: int = 4096
    per_address: int = 1024
    unauthenticated: int = 256  # across all addresses: what a flood of half-open hellos can take
    backlog: int = 1024
    proxy_header: float = 5.0  # seconds for the PROXY protocol header
    trusted_proxies: tuple[str, ...] = ()  # networks (CIDR) that must send a PROXY header; () turns it off
