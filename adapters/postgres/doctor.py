"""``idbridge doctor``: what the static account can really do, asked of the server itself as that account.

"Read-only guaranteed" is said only when no way to write was found (research D3, level 2); every other finding names the
way. The guard of a read-only session stops accidents; this finds out whether it has to.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from adapters.postgres import codec
from adapters.postgres.codec import Back
from adapters.postgres.framing import Framer
from adapters.postgres.startup import UpstreamStartup
from adapters.postgres.upstream import UpstreamLogins
from bridge.adapter import Action, Admission, BridgeError, Check, Stream, StreamClosed, SystemFacts

QUERY_TIMEOUT = 30.0
"""Seconds for one question; catalogs of many thousand tables answer in under one."""

MAX_DATABASES = 50
"""Looked into besides the first: each costs a login, and more are named by grants or not meant at all."""

MAX_ROWS = 1000
"""Rows kept of one answer; the questions themselves have a LIMIT."""

Row = tuple[str, ...]


class Unanswered(BridgeError):
    """The server refused a question; the message is its SQLSTATE and text."""


class Questions:
    """Simple queries over a stream that is logged in, one after the other."""

    def __init__(self, upstream: Stream) -> None:
        self._upstream = upstream
        self._framer = Framer(limits={**codec.BACK_LARGE, Back.DATA_ROW: 1 << 20}, default_limit=1 << 20)

    async def ask(self, sql: str) -> list[Row]:
        """The rows as text, NULL as an empty one. Raises Unanswered, StreamClosed, TimedOut."""
        await self._upstream.send(codec.query(sql.encode("utf-8")))
        rows: list[Row] = []
        failure = ""
        while True:
            data = await self._upstream.receive(QUERY_TIMEOUT)
            if not data:
                raise StreamClosed("the legacy server closed the connection")
            for frame in self._framer.feed(data):
                body = self._framer.buffer[frame.start + 5 : frame.end]
                if frame.kind == Back.DATA_ROW and len(rows) < MAX_ROWS:
                    values = codec.parse_data_row(body)
                    rows.append(tuple((value or b"").decode("utf-8", "replace") for value in values))
                elif frame.kind == Back.ERROR_RESPONSE:
                    fields = codec.parse_error(body)
                    failure = f"{fields.code}: {fields.message}"
                elif frame.kind == Back.READY_FOR_QUERY:
                    if failure:
                        raise Unanswered(failure)
                    return rows


_READ_ONLY_ROLES = "'pg_read_all_data','pg_monitor','pg_read_all_settings','pg_read_all_stats','pg_stat_scan_tables'"
_OURS = "c.relnamespace not in (select oid from pg_namespace where nspname ~ '^pg_toast|^pg_temp|^information_schema$')"

# (title of the finding, what each row tells, the question). Any row is a way to write.
_WAYS: tuple[tuple[str, str], ...] = (
    (
        "the role has an attribute beyond reading",
        "select unnest(array[case when rolsuper then 'SUPERUSER' end, case when rolcreaterole then 'CREATEROLE' end,"
        " case when rolcreatedb then 'CREATEDB' end, case when rolreplication then 'REPLICATION' end,"
        " case when rolbypassrls then 'BYPASSRLS' end]) from pg_roles where rolname = current_user",
    ),
    (
        "the role is a member of a role that can do more",
        "select rolname from pg_roles r where rolname <> current_user and pg_has_role(current_user, oid, 'MEMBER')"
        " and (rolsuper or rolcreaterole or rolreplication"
        f" or (rolname ~ '^pg_' and rolname not in ({_READ_ONLY_ROLES})))"
        " order by 1 limit 20",
    ),
    (
        "tables can be written",
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        f" where c.relkind in ('r','p','v','f','m') and {_OURS} and (has_table_privilege(c.oid,"
        " 'INSERT,UPDATE,DELETE,TRUNCATE,TRIGGER') or has_any_column_privilege(c.oid, 'INSERT,UPDATE'))"
        " and not (n.nspname = 'pg_catalog' and c.relname = 'pg_settings') order by 1 limit 20",
    ),
    (
        "sequences can be moved",
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        f" where {_OURS} and case when c.relkind = 'S' then has_sequence_privilege(c.oid, 'USAGE,UPDATE') end"
        " order by 1 limit 20",
    ),
    (
        "objects belong to the role, so it can grant itself every right on them",
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where pg_has_role(current_user, c.relowner, 'MEMBER') and c.relkind in ('r','p','v','m','S','f')"
        " union all select 'schema ' || nspname from pg_namespace where pg_has_role(current_user, nspowner, 'MEMBER')"
        " and nspname !~ '^pg_' union all select 'function ' || proname from pg_proc where"
        " pg_has_role(current_user, proowner, 'MEMBER') union all select 'database ' || datname from pg_database"
        " where pg_has_role(current_user, datdba, 'MEMBER') limit 20",
    ),
    (
        "objects can be created",
        "select 'schema ' || nspname from pg_namespace where nspname !~ '^pg_' and has_schema_privilege(oid, 'CREATE')"
        " union all select 'database ' || current_database() || ' (schemas)' where"
        " has_database_privilege(current_database(), 'CREATE') limit 20",
    ),
    (
        "functions that run with their owner's rights (SECURITY DEFINER) can be called",
        "select n.nspname || '.' || p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where p.prosecdef and n.nspname not in ('pg_catalog', 'information_schema')"
        " and has_function_privilege(p.oid, 'EXECUTE') and has_schema_privilege(n.oid, 'USAGE') order by 1 limit 20",
    ),
    (
        "functions in an untrusted language or of another connection can be called",
        "select n.nspname || '.' || p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " left join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'"
        " left join pg_extension e on e.oid = d.refobjid join pg_language l on l.oid = p.prolang"
        " where ((l.lanname not in ('internal', 'c', 'sql') and not l.lanpltrusted)"
        " or e.extname in ('dblink', 'adminpack', 'pg_cron', 'pg_background'))"
        " and has_function_privilege(p.oid, 'EXECUTE')"
        " and has_schema_privilege(n.oid, 'USAGE') order by 1 limit 20",
    ),
    (
        "foreign servers can be used (postgres_fdw, file_fdw, dblink)",
        "select srvname from pg_foreign_server where has_server_privilege(oid, 'USAGE')"
        " union all select 'user mapping for ' || srvname from pg_user_mappings"
        " where umuser = 0 or usename = current_user limit 20",
    ),
    (
        "server files can be read or written, or programs run, by built-in functions",
        "select distinct proname from pg_proc where proname in ('pg_read_file', 'pg_read_binary_file', 'pg_ls_dir',"
        " 'lo_export', 'lo_import', 'pg_file_write', 'pg_reload_conf', 'pg_promote', 'pg_switch_wal')"
        " and has_function_privilege(oid, 'EXECUTE') order by 1 limit 20",
    ),
    (
        "large objects can be created (revoke EXECUTE on these from PUBLIC)",
        "select distinct proname from pg_proc where proname in ('lo_creat', 'lo_create', 'lo_from_bytea')"
        " and has_function_privilege(oid, 'EXECUTE') order by 1 limit 20",
    ),
    (
        "default privileges will let the role write objects that are created later",
        "select coalesce(n.nspname, 'any schema') || ' (' || d.defaclobjtype::text || ')' from pg_default_acl d"
        " left join pg_namespace n on n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a where (a.grantee = 0 or"
        " pg_has_role(current_user, a.grantee, 'MEMBER'))"
        " and a.privilege_type in ('INSERT','UPDATE','DELETE','TRUNCATE')"
        " limit 20",
    ),
)

# Always possible, whatever the rights; told so that nobody is surprised.
_ALWAYS = (
    "every account can NOTIFY, take advisory locks, and end other sessions of its own (the guard refuses the last)"
)


_DATABASES = (
    "select datname from pg_database where datallowconn and not datistemplate"
    " and has_database_privilege(datname, 'connect') order by 1"
)


async def examine(
    admission: Admission,
    logins: UpstreamLogins,
    system: SystemFacts,
    targets: Mapping[str, frozenset[str]],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> list[Check]:
    """Looks into each database that the grants name, else into all that the account may connect to.

    Raises Refused when a login fails.
    """
    first, *others = sorted(targets.get("database", ())) or [own_database(system)]
    async with logged_in(admission, logins, system, first, clock) as (questions, encrypted):
        if "database" not in targets:
            others = [row[0] for row in await questions.ask(_DATABASES) if row[0] != first]
        checks = await findings(questions, first, encrypted, writes=Action.WRITE in admission.actions)
    if len(others) > MAX_DATABASES:
        checks.append(Check("problem", f"only {MAX_DATABASES} of {len(others)} more databases were looked into"))
    for database in others[:MAX_DATABASES]:
        async with logged_in(admission, logins, system, database, clock) as (questions, encrypted):
            checks += await findings(questions, database, encrypted, writes=Action.WRITE in admission.actions)
    return checks


def own_database(system: SystemFacts) -> str:
    """Where the bridge asks on its own behalf."""
    return system.options.default_database or "postgres"


@asynccontextmanager
async def logged_in(
    admission: Admission, logins: UpstreamLogins, system: SystemFacts, database: str, clock: Callable[[], float]
) -> AsyncIterator[tuple[Questions, bool]]:
    """As the static account; closes at the end. Gives also whether the connection is encrypted."""
    user = admission.login.user
    named = {"user": user, "database": database, "application_name": admission.stamp}
    startup = UpstreamStartup(tuple((name.encode(), value.encode()) for name, value in named.items()), (), {})
    upstream, facts = await logins.log_in(
        admission,
        startup,
        protocol=system.options.protocol,
        timeout=system.upstream_timeout,
        pass_errors=True,
        clock=clock,
    )
    try:
        await admission.established({"backend": facts.backend_pid, "server_version": facts.server_version})
        yield Questions(upstream), upstream.tls is not None
    finally:
        await upstream.close()


async def findings(questions: Questions, database: str, encrypted: bool, *, writes: bool = False) -> list[Check]:
    """What ``examine`` reports of a connection that is logged in; ``writes``: the account is granted for writing."""
    checks = [Check.of_encryption(encrypted)]
    ways = unanswered = 0
    for title, sql in _WAYS:
        try:
            found = [row[0] for row in await questions.ask(sql) if row[0]]
        except Unanswered as failed:
            checks.append(Check("warning", f"not found out: {title}", str(failed)))
            unanswered += 1
            continue
        if found:
            ways += 1
            checks.append(Check("warning", title, f"in database {database}: {', '.join(found)}"))
    standby = (await questions.ask("select pg_is_in_recovery()"))[0][0] == "t"
    checks.append(_verdict(ways, unanswered, standby, database, writes))
    checks.append(Check("ok", "what no account can be denied", _ALWAYS))
    return checks


def _verdict(ways: int, unanswered: int, standby: bool, database: str, writes: bool) -> Check:
    if standby:
        return Check("ok", "read-only guaranteed", "the server is a hot standby")
    if writes and (ways or unanswered):
        return Check("ok", "the account can write, and grants let agents write as it", f"database {database}")
    if unanswered:
        return Check("problem", "read-only is not guaranteed", f"{unanswered} questions could not be answered")
    if ways:
        return Check(
            "problem",
            "read-only is not guaranteed",
            f"{ways} ways to write were found in database {database}; give read-only agents an account of their own",
        )
    return Check("ok", "read-only guaranteed", f"no way to write was found in database {database}")
