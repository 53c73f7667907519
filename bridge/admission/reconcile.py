"""Which sessions of a static account did not come through the bridge: the legacy system's list beside our own.

A session is ours when the legacy side's number for it *and* the client's port are those that were recorded when its
login succeeded; where the legacy system tells only one of them, that one; where it tells neither, one of ours from the
same address, the nearest in time: how many are not ours is certain then, and which ones where the clocks agree. What a
session calls itself proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from bridge.adapter import LegacySession


class State(StrEnum):
    MATCHED = "matched"  # an agent's session through the bridge
    FOREIGN = "foreign"  # from somewhere else, past the bridge
    SAME_HOST = "same-host"  # from the bridge's own host, and yet not through it
    STALE = "stale"  # ours is open, and the legacy system does not list it


BYPASSES = frozenset({State.FOREIGN, State.SAME_HOST})


@dataclass(frozen=True, slots=True)
class Known:
    """A live session of the bridge. ``address`` and ``port`` are our end of its legacy connection, ``dialled`` is when
    it was made, in Unix seconds."""

    session: str
    agent: str
    owner: str
    address: str
    port: int
    backend: int
    dialled: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """``legacy`` is None for a stale one, ``known`` for one that is not ours."""

    state: State
    legacy: LegacySession | None
    known: Known | None

    def row(self) -> dict[str, str | int]:
        legacy, known = self.legacy, self.known
        return {
            "state": self.state.value,
            "session": known.session if known else "",
            "agent": known.agent if known else "",
            "owner": known.owner if known else "",
            "address": legacy.address if legacy else known.address if known else "",
            "port": legacy.port if legacy else known.port if known else 0,
            "backend": legacy.backend if legacy else known.backend if known else 0,
            "started": int(legacy.started) if legacy else 0,
            "name": legacy.name if legacy else "",
        }


def compare(listed: Iterable[LegacySession], known: Iterable[Known], own: frozenset[str]) -> list[Finding]:
    """``own`` are addresses by which the legacy system may know the bridge's host."""
    ours = list(known)
    left = {one.session: one for one in ours}
    findings = []
    for legacy in listed:
        match = next((one for one in left.values() if _same(legacy, one)), None) or _nearest(legacy, left.values())
        if match is not None:
            del left[match.session]
            findings.append(Finding(State.MATCHED, legacy, match))
        else:
            findings.append(Finding(_stranger(legacy, own), legacy, None))
    return findings + [Finding(State.STALE, None, one) for one in left.values()]


def _same(legacy: LegacySession, known: Known) -> bool:
    numbers = [(legacy.backend, known.backend), (legacy.port, known.port)]
    told = [theirs == ours for theirs, ours in numbers if theirs and ours]
    return bool(told) and all(told)


def _nearest(legacy: LegacySession, ours: Iterable[Known]) -> Known | None:
    """Of those that the legacy system gives no number to compare by."""
    if legacy.port or not legacy.started:
        return None
    like = [one for one in ours if one.address == legacy.address and not (legacy.backend and one.backend)]
    return min(like, key=lambda one: abs(one.dialled - legacy.started), default=None)


def _stranger(legacy: LegacySession, own: frozenset[str]) -> State:
    if legacy.address in own or _loopback(legacy.address):
        return State.SAME_HOST
    return State.FOREIGN


def _loopback(address: str) -> bool:
    """A loopback address, or none: somebody on the legacy host, which is then the bridge's own or as near."""
    try:
        return not address or ip_address(address).is_loopback
    except ValueError:
        return False
