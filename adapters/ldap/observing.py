"""``idbridge reconcile``: the static account's sessions, as OpenLDAP lists them in ``cn=Monitor`` (slapd-monitor(5)).

Where the account may not read that, OpenLDAP's stats log tells the same (``stats_log``). 389 Directory Server lists
sessions without their ports and Active Directory none, so that nobody could tell whose they are.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Awaitable, Callable
from typing import Any

from adapters.ldap import codec
from adapters.ldap.questions import LEVEL, Entry, logged_in
from adapters.ldap.stats_log import PEER, end, in_thread_open_sessions
from adapters.ldap.upstream import unavailable
from bridge.adapter import Admission, LegacySession, SystemFacts

Deferring = Callable[..., Awaitable[Any]]

CONNECTIONS = "cn=Connections,cn=Monitor"
_READ = ("monitorConnectionPeerAddress", "monitorConnectionNumber", "monitorConnectionStartTime")
_PEER = re.compile(PEER)


async def observe(
    admission: Admission, system: SystemFacts, clock: Callable[[], float], deferring: Deferring | None
) -> list[LegacySession]:
    """Raises Refused when the login fails, or when nothing tells the sessions."""
    log: str = system.options.stats_log
    async with logged_in(admission, system, clock) as questions:
        if await questions.entry(CONNECTIONS) is not None:
            of_account = codec.equality(b"monitorConnectionAuthzDN", admission.login.user)
            found = [session(one) for one in await questions.search(CONNECTIONS, of_account, *_READ, scope=LEVEL)]
        elif log and deferring is not None:
            found = await _logged(admission, log, deferring)
        else:
            raise unavailable(admission, f"the directory does not list its sessions to this account ({CONNECTIONS})")
        own = questions.directory.stream.local.port
    return [one for one in found if one.port != own]


async def _logged(admission: Admission, log: str, deferring: Deferring) -> list[LegacySession]:
    try:
        found: list[LegacySession] = await deferring(in_thread_open_sessions, log, admission.login.user)
    except OSError as error:
        raise unavailable(admission, f"stats_log: {error}") from None
    return found


def session(entry: Entry) -> LegacySession:
    """A client on a Unix socket (``PATH=…``) has no address."""
    peer = _PEER.fullmatch(entry.text("monitorConnectionPeerAddress"))
    return LegacySession(
        *end(peer), entry.number("monitorConnectionNumber"), _moment(entry.text("monitorConnectionStartTime"))
    )


def _moment(text: str) -> float:
    try:
        return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC).timestamp()
    except ValueError:
        return 0.0
