"""``idbridge doctor``: what the static account can really do, asked of the server itself as that account.

"Read-only guaranteed" is said only when no way to write was found (research D3, level 2); every other finding names the
way. The guard of a read-only session stops accidents; this finds out whether it has to.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from adapters.mysql.login import Wanted, stamped
from adapters.mysql.questions import Questions, Row, Unanswered
from adapters.mysql.upstream import UpstreamLogins
from bridge.adapter import Action, Admission, Check, SystemFacts

HARMLESS = frozenset({
    "USAGE", "SELECT", "SHOW VIEW", "SHOW DATABASES", "PROCESS", "REPLICATION CLIENT", "BINLOG MONITOR",
    "SLAVE MONITOR", "REPLICA MONITOR", "REFERENCES", "SHOW_ROUTINE", "SHOW ROUTINE", "SHOW CREATE ROUTINE",
})  # fmt: skip
"""Privileges that change nothing. Every other one is a way to write, or to get at one."""

_GRANT = re.compile(r"GRANT (?P<what>.+?) ON (?P<where>.+?) TO ", re.IGNORECASE | re.DOTALL)
_ROLE = re.compile(r"GRANT (?P<roles>.+?) TO ", re.IGNORECASE | re.DOTALL)
_COLUMNS = re.compile(r"\([^()]*\)")
_IDENTIFIED = re.compile(r" IDENTIFIED (BY|VIA|WITH) .*?(?= (REQUIRE|WITH) |$)", re.IGNORECASE | re.DOTALL)
_PAST_READ_ONLY = re.compile(
    r"\bSUPER\b|READ.ONLY ADMIN|CONNECTION_ADMIN|^GRANT ALL PRIVILEGES ON \*\.\*", re.IGNORECASE
)
_MARIADB = re.compile(r"(\d+)\.(\d+)\..*MariaDB")

MAX_ROLES = 50
"""Roles looked into; each is one question."""

# Servers print the call of a stored function with its database, `app`.`f`(…). A definition that is hidden is empty.
_VIEWS = (
    "select concat(table_schema, '.', table_name) from information_schema.views where security_type = 'DEFINER'"
    " and table_schema not in ('sys', 'information_schema', 'performance_schema')"
    " and (coalesce(view_definition, '') = '' or view_definition regexp '`[^`]+`[.]`[^`]+` *[(]') order by 1 limit 21"
)

_OPEN_SCHEMAS = "select schema_name from information_schema.schemata where schema_name regexp '^test(_.*)?$'"

_ALWAYS = "every account can take locks with GET_LOCK, and end other sessions of its own (the guard refuses the last)"


@dataclass
class Findings:
    """What was found so far. ``ways``: titles of ways to write, with where; ``unanswered``: what could not be asked."""

    ways: list[Check] = field(default_factory=list)
    unanswered: list[Check] = field(default_factory=list)

    def way(self, title: str, found: list[str]) -> None:
        if found:
            self.ways.append(Check("warning", title, ", ".join(found[:20])))


async def examine(
    admission: Admission,
    logins: UpstreamLogins,
    system: SystemFacts,
    targets: Mapping[str, frozenset[str]],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> list[Check]:
    """Rights of MySQL are one account's on the whole server, so one login sees them all. Raises Refused when it fails.

    ``targets``: the databases that grants narrow to; each must be there for the account.
    """
    async with logged_in(admission, logins, system, clock) as (questions, encrypted):
        writes = Action.WRITE in admission.actions
        checks = [Check.of_encryption(encrypted), *await findings(questions, writes=writes)]
        checks += await _missing(questions, targets.get("database", frozenset()))
    return [*checks, Check("ok", "what no account can be denied", _ALWAYS)]


@asynccontextmanager
async def logged_in(
    admission: Admission, logins: UpstreamLogins, system: SystemFacts, clock: Callable[[], float]
) -> AsyncIterator[tuple[Questions, bool]]:
    """As the static account, without a database; closes at the end. Gives also whether the connection is encrypted."""
    wanted = Wanted(admission.login.user, 0, attributes=stamped(admission.stamp, "", ()))
    upstream, facts = await logins.log_in(
        admission,
        wanted,
        timeout=system.upstream_timeout,
        pass_errors=True,
        take_key=system.options.ask_public_key,
        clock=clock,
    )
    try:
        await admission.established({"backend": facts.thread_id, "server_version": facts.server_version})
        yield Questions(upstream, clock), upstream.tls is not None
    finally:
        await upstream.close()


async def findings(questions: Questions, *, writes: bool = False) -> list[Check]:
    """What ``examine`` reports of a connection that is logged in; ``writes``: the account is granted for writing."""
    found = Findings()
    grants, roles = await _grants(questions, found)
    found.way("privileges beyond reading", privileges(grants))
    unread = sum(not _GRANT.match(line) and not _is_role(line) for line in grants)
    found.way("grants that cannot be read", [f"{unread} lines of SHOW GRANTS"] if unread else [])
    views = await _asked(questions, _VIEWS, "views that call stored functions", found)
    found.way("views that run with their definer's rights call stored functions, or hide it", [row[0] for row in views])
    schemas = await _asked(questions, _OPEN_SCHEMAS, "databases that are open to everyone", found)
    title = "databases whose names begin with test, which servers open to everyone by default"
    found.way(title, [row[0] for row in schemas])
    read_only = await _asked(questions, "select @@global.read_only", "whether the server is read-only", found)
    standby = bool(read_only) and read_only[0][0] in ("1", "ON") and not any(map(_PAST_READ_ONLY.search, grants))
    told = [Check("ok", "roles that the account can use", ", ".join(roles))] if roles else []
    return [*told, *found.unanswered, *found.ways, _verdict(found, standby, writes)]


async def _grants(questions: Questions, found: Findings) -> tuple[list[str], list[str]]:
    """The lines of SHOW GRANTS: the account's, and those of every role it can put on (and of PUBLIC on MariaDB)."""
    lines = await _lines(questions, "show grants", "the account's privileges", found)
    version = await _asked(questions, "select version()", "the server's version", found)
    mariadb = _MARIADB.match(version[0][0]) if version else None
    roles = sorted({role for line in lines for role in roles_in(line)})
    for role in roles[:MAX_ROLES]:
        sql = f"show grants for {role}" if mariadb else f"show grants for current_user() using {role}"
        lines += await _lines(questions, sql, f"the privileges of role {role}", found)
    if len(roles) > MAX_ROLES:
        found.unanswered.append(Check("warning", "not found out: some roles", f"only {MAX_ROLES} were looked into"))
    if mariadb and (int(mariadb[1]), int(mariadb[2])) >= (10, 11):
        lines += await _lines(questions, "show grants for public", "what PUBLIC may", found)
    return lines, roles


async def _lines(questions: Questions, sql: str, what: str, found: Findings) -> list[str]:
    """Lines of SHOW GRANTS, with the hash of the account's password cut off."""
    return [_IDENTIFIED.sub(" ", row[0]) for row in await _asked(questions, sql, what, found)]


async def _asked(questions: Questions, sql: str, what: str, found: Findings) -> list[Row]:
    try:
        return await questions.ask(sql)
    except Unanswered as failed:
        found.unanswered.append(Check("warning", f"not found out: {what}", str(failed)))
        return []


def _is_role(line: str) -> bool:
    return " ON " not in line.upper() and _ROLE.match(line) is not None


def roles_in(line: str) -> list[str]:
    """Roles that this line of SHOW GRANTS gives, as the server quotes them; [] when it gives privileges."""
    matched = _ROLE.match(line)
    if not _is_role(line) or matched is None:
        return []
    return [role.strip() for role in matched["roles"].split(",")]


def privileges(grants: list[str]) -> list[str]:
    """``privilege on where`` for each that is not harmless; GRANT OPTION and PROXY among them."""
    beyond = []
    for line in grants:
        matched = _GRANT.match(line)
        if matched is None:
            continue
        names = [name.strip().upper() for name in _COLUMNS.sub("", matched["what"]).split(",")]
        beyond += [f"{name} on {matched['where']}" for name in names if name not in HARMLESS]
        if "WITH GRANT OPTION" in line.upper():
            beyond.append(f"GRANT OPTION on {matched['where']}")
    return sorted(set(beyond))


async def _missing(questions: Questions, databases: frozenset[str]) -> list[Check]:
    if not databases or any("*" in name for name in databases):
        return []
    there = {row[0] for row in await questions.ask("select schema_name from information_schema.schemata limit 10000")}
    missing = sorted(databases - there)
    title = "databases that grants name are not there for the account"
    return [Check("warning", title, ", ".join(missing))] if missing else []


def _verdict(found: Findings, standby: bool, writes: bool) -> Check:
    if standby:
        return Check("ok", "read-only guaranteed", "the server is read_only, and the account cannot write past that")
    if writes and (found.ways or found.unanswered):
        return Check("ok", "the account can write, and grants let agents write as it")
    if found.unanswered:
        questions = f"{len(found.unanswered)} questions could not be answered"
        return Check("problem", "read-only is not guaranteed", questions)
    if found.ways:
        advice = f"{len(found.ways)} ways to write were found; give read-only agents an account of their own"
        return Check("problem", "read-only is not guaranteed", advice)
    return Check("ok", "read-only guaranteed", "no way to write was found")
