"""``idbridge reconcile``: the sessions of the static account, as the server lists them to that account itself.

The rows of one's own user are complete without any right (PostgreSQL documentation, 28.2, pg_stat_activity). Parallel
workers have the user's name and no client: they belong to the session that leads them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from adapters.postgres.doctor import logged_in, own_database
from adapters.postgres.upstream import UpstreamLogins
from bridge.adapter import Admission, LegacySession, SystemFacts

SESSIONS = (
    "select coalesce(host(client_addr), ''), greatest(coalesce(client_port, 0), 0), pid,"
    " extract(epoch from backend_start)::bigint, application_name from pg_stat_activity"
    " where usename = current_user and backend_type in ('client backend', 'walsender') and pid <> pg_backend_pid()"
    " order by backend_start limit 1000"
)


async def observe(
    admission: Admission, logins: UpstreamLogins, system: SystemFacts, *, clock: Callable[[], float] = time.monotonic
) -> list[LegacySession]:
    """Raises Refused when the login fails, Unanswered."""
    async with logged_in(admission, logins, system, own_database(system), clock) as (questions, _encrypted):
        rows = await questions.ask(SESSIONS)
    return [LegacySession(row[0], int(row[1]), int(row[2]), float(row[3]), row[4]) for row in rows]
