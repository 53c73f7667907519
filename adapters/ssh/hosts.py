"""Logins to the legacy hosts: a few at a time on each, and every failure told to the right people.

sshd drops connections when many are not logged in yet (MaxStartups, 10 by default) and punishes an address whose
logins fail (PerSourcePenalties); all agents share the bridge's address, so the bridge stays below both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import DeferredSemaphore

from adapters.ssh import upstream
from adapters.ssh.host_exchange import HostKeyRefused, NothingInCommon
from adapters.ssh.options import Options
from adapters.ssh.upstream import HostLeg, LoginRefused
from bridge.adapter import Admission, PeerFault, Reason, Refused, StreamClosed, SystemFacts, TimedOut
from bridge.wire.ssh_keys import fingerprint

MOST_WAITING = 100
"""Logins that wait for one host. Each takes a second at most where all is well; more is a host that does not answer."""


class Hosts:
    """``deferring`` as of ``Adapter.start``; ``clock`` is monotonic seconds."""

    deferring: Callable[..., Awaitable[Any]]

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turns: dict[str, DeferredSemaphore] = {}

    async def log_in(self, admission: Admission, system: SystemFacts, host: str) -> HostLeg:
        """The host's leg, recorded as established. ``host``: of a fleet, else "". Raises Refused."""
        options: Options = system.options
        name = host or system.host  # one host, whoever asks for it: agents or the doctor
        turns = self._turns.setdefault(name, DeferredSemaphore(options.handshakes))
        if len(turns.waiting) >= MOST_WAITING:
            raise _refused(admission, Reason.TOO_MANY, "too many logins wait for this host", "")
        await turns.acquire()
        try:
            leg = await self._logged_in(admission, system, host)
        finally:
            turns.release()
            if turns.tokens == options.handshakes:
                self._turns.pop(name, None)
        shown = fingerprint(leg.engine.host_key_blob)
        await admission.established({**leg.facts, "host_key": f"{leg.facts.get('host_key', '')} {shown}".strip()})
        return leg

    async def _logged_in(self, admission: Admission, system: SystemFacts, host: str) -> HostLeg:
        stream = await admission.connect()
        try:
            return await upstream.log_in(
                stream,
                login=admission.login,
                options=system.options,
                host=host or system.host,
                timeout=system.upstream_timeout,
                deferring=self.deferring,
                clock=self._clock,
            )
        except LoginRefused as refused:
            raise await admission.login_refused(str(refused)) from None
        except (HostKeyRefused, NothingInCommon) as refused:
            admission.alarm("host-key" if isinstance(refused, HostKeyRefused) else "algorithms", str(refused))
            raise _unavailable(admission, str(refused)) from None
        except (PeerFault, TimedOut, StreamClosed) as broken:
            raise _unavailable(admission, str(broken)) from None


def _unavailable(admission: Admission, cause: str) -> Refused:
    return _refused(admission, Reason.UPSTREAM_UNAVAILABLE, "the legacy host is unavailable", cause)


def _refused(admission: Admission, reason: Reason, text: str, cause: str) -> Refused:
    return Refused(reason, text, reference=admission.session, detail=cause)
