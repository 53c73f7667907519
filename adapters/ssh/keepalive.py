"""Whether a side that says nothing is still there: `keepalive@openssh.com`, a global request that every implementation
answers, if only with a failure (RFC 4254 section 4). A connection can be dead while TCP still holds it: the machine
is frozen, or the peer is behind a proxy or a tunnel."""

from __future__ import annotations

from collections.abc import Callable

from adapters.ssh import codec
from adapters.ssh.fields import flag, string
from adapters.ssh.wire import WireLeg

REQUEST = bytes((codec.GLOBAL_REQUEST,)) + string("keepalive@openssh.com") + flag(True)


class Keepalive:
    """Of one leg. ``ask`` writes the request to it. ``interval`` is seconds of silence before each; a side that leaves
    ``most`` of them unanswered is given up after one more."""

    def __init__(self, leg: WireLeg, ask: Callable[[], None], interval: int, most: int) -> None:
        self._leg = leg
        self._ask = ask
        self._interval = interval
        self._most = most
        self._heard = 0
        self._silent = 0
        self._asked = 0

    async def look(self, other: WireLeg) -> None:
        """Once a second. A leg that is not read, or cannot take more, because one of the two waits is not silent."""
        leg = self._leg
        if leg.busy or other.busy or leg.chunks != self._heard:
            self._heard, self._silent, self._asked = leg.chunks, 0, 0
            return
        self._silent += 1
        if self._silent % self._interval:
            return
        if self._asked == self._most:
            leg.give_up(f"none of {self._most} keepalives was answered in {self._silent} s")
            return
        self._asked += 1
        self._ask()
        await leg.send()
