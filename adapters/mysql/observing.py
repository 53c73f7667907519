"""``idbridge reconcile``: the sessions of the static account, as the server lists them to that account itself.

The rows of one's own user are complete without any right (manual, "The INFORMATION_SCHEMA PROCESSLIST Table"). When a
session began is not told; TIME is how long its present state lasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from adapters.mysql.doctor import logged_in
from adapters.mysql.upstream import UpstreamLogins
from bridge.adapter import Admission, LegacySession, SystemFacts

SESSIONS = (
    "select host, id from information_schema.processlist where user = substring_index(user(), '@', 1)"
    " and id <> connection_id() and command <> 'Daemon' order by id limit 1000"
)


async def observe(
    admission: Admission, logins: UpstreamLogins, system: SystemFacts, *, clock: Callable[[], float] = time.monotonic
) -> list[LegacySession]:
    """Raises Refused when the login fails, Unanswered."""
    async with logged_in(admission, logins, system, clock) as (questions, _encrypted):
        rows = await questions.ask(SESSIONS)
    return [session(host, int(number)) for host, number in rows]


def session(host: str, number: int) -> LegacySession:
    """``host`` is ``address:port``, with a name for the address where the server asks DNS; a socket has no port."""
    address, _, port = host.rpartition(":")
    if not port.isdigit() or not address:
        return LegacySession("" if host == "localhost" else host, 0, number)
    return LegacySession("127.0.0.1" if address == "localhost" else address, int(port), number)
