"""``idbridge reconcile``: the static account's sessions, as the directory lists them.

OpenLDAP has them in ``cn=Monitor`` (slapd-monitor(5)); where the account may not read that, its stats log tells the
same (``stats_log``). 389 Directory Server has them in the attribute ``connection`` of ``cn=monitor``, without ports:
address and time must do. Active Directory lists none.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Awaitable, Callable
from typing import Any

from adapters.ldap import codec
from adapters.ldap.questions import LEVEL, Entry, Questions, logged_in
from adapters.ldap.stats_log import PEER, end, in_thread_open_sessions, normal
from adapters.ldap.upstream import unavailable
from bridge.adapter import Admission, LegacySession, SystemFacts

Deferring = Callable[..., Awaitable[Any]]

CONNECTIONS = "cn=Connections,cn=Monitor"
_READ = ("monitorConnectionPeerAddress", "monitorConnectionNumber", "monitorConnectionStartTime")
_PEER = re.compile(PEER)

MONITOR_389 = "cn=monitor"

WHERE = f"{CONNECTIONS} of OpenLDAP, the attribute connection of {MONITOR_389} of 389 Directory Server"

_CONNECTION_389 = re.compile(r"\d+:(\d{14}Z):\d+:\d+:[^:]*:(.*):\d+:\d+:\d+:(\d+):ip=(.*)")
"""Descriptor, begin, operations begun and ended, busy or not, bind DN, three counts, number, address."""


async def observe(
    admission: Admission, system: SystemFacts, clock: Callable[[], float], deferring: Deferring | None
) -> list[LegacySession]:
    """Raises Refused when the login fails, or when nothing tells the sessions."""
    log: str = system.options.stats_log
    async with logged_in(admission, system, clock) as questions:
        monitor = await questions.entry(MONITOR_389, "connection")
        if await questions.entry(CONNECTIONS) is not None:
            of_account = codec.equality(b"monitorConnectionAuthzDN", admission.login.user)
            found = [session(one) for one in await questions.search(CONNECTIONS, of_account, *_READ, scope=LEVEL)]
        elif monitor is not None and monitor.texts("connection"):
            local = questions.directory.stream.local.host
            return without_own(sessions_389(monitor, admission.login.user), local)
        elif log and deferring is not None:
            found = await _logged(admission, log, deferring)
        else:
            raise unavailable(admission, f"the directory does not list its sessions to this account ({WHERE})")
        own = questions.directory.stream.local.port
    return [one for one in found if one.port != own]


async def lists_sessions(questions: Questions) -> bool:
    """Whether the account may see who is connected."""
    monitor = await questions.entry(MONITOR_389, "connection")
    shown = monitor is not None and bool(monitor.texts("connection"))
    return shown or await questions.entry(CONNECTIONS) is not None


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


def sessions_389(monitor: Entry, user: str) -> list[LegacySession]:
    """Those of the account whose login name is ``user``, in the order of their numbers."""
    wanted, found = normal(user), []
    for line in monitor.texts("connection"):
        parts = _CONNECTION_389.fullmatch(line)
        if parts is not None and normal(parts[2]) == wanted:
            address = "" if parts[4] == "local" else parts[4]
            found.append(LegacySession(address, 0, int(parts[3]), _moment(parts[1])))
    return sorted(found, key=lambda one: one.backend)


def without_own(sessions: list[LegacySession], local: str) -> list[LegacySession]:
    """Without the one that asks, from the address ``local``: the last of that address, where it is known by it."""
    last = next((one for one in reversed(sessions) if one.address == local), sessions[-1] if sessions else None)
    return [one for one in sessions if one is not last]


def _moment(text: str) -> float:
    try:
        return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC).timestamp()
    except ValueError:
        return 0.0
