"""A real PostgreSQL server with TLS, static accounts of each kind of login, and a log that names connections."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import psycopg
from rig.certificates import Authority
from rig.place import Place, free_port

ACCOUNTS = ("svc_reader", "svc_writer", "svc_md5", "svc_clear", "svc_wrong")

HBA = """\
local   all all trust
host    all svc_md5 127.0.0.1/32 md5
hostssl all svc_clear 127.0.0.1/32 password
host    all all 127.0.0.1/32 scram-sha-256
"""

SETTINGS = """\
listen_addresses = '127.0.0.1'
ssl = on
fsync = off
max_connections = 150
shared_buffers = 64MB
log_line_prefix = '%m [%p] %r %u@%d <%a> '
log_connections = on
log_disconnections = on
log_statement = all
"""

TABLES = """\
create table t (id int, b text default 'x');
insert into t select generate_series(1, 5);
create sequence s;
create table invoices (id int primary key, who text);
insert into invoices select i, 'customer ' || i from generate_series(1, 100) i;
create table bulk (line text);
create procedure p() language sql as 'insert into t values (1)';
alter table t owner to svc_writer; alter table invoices owner to svc_writer; alter table bulk owner to svc_writer;
alter sequence s owner to svc_writer;
grant create on schema public to svc_writer;
grant select on t, invoices, bulk to svc_reader, svc_md5, svc_clear;
revoke execute on procedure p() from public; grant execute on procedure p() to svc_writer;
revoke temporary on database app from public;
revoke connect on database postgres from public;
revoke execute on function lo_creat(int), lo_create(oid), lo_from_bytea(oid, bytea) from public;
grant execute on function lo_creat(int), lo_create(oid), lo_from_bytea(oid, bytea) to svc_writer;
"""


def binaries() -> Path | None:
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


class Server:
    """Runs as an unprivileged user when the tests run as root, because PostgreSQL refuses to run as root."""

    def __init__(self, place: Place, authority: Authority, name: str = "pg") -> None:
        found = binaries()
        assert found is not None
        self.bin = found
        self.place = place
        self.authority = authority
        self.port = free_port()
        self.folder = place.folder / name
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"
        self.passwords = {account: place.new_secret(f"password of {account}") for account in ACCOUNTS}
        self._as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []

    def create(self) -> None:
        self.folder.mkdir()
        if self._as_user:
            shutil.chown(self.folder, "nobody", "nogroup")
        self.folder.chmod(0o755)
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N", "--locale=C")
        certificate, key = self.authority.issue(self.place.folder, "postgres")
        for source, target in ((certificate, "server.crt"), (key, "server.key")):
            shutil.copy(source, self.data / target)
            if self._as_user:
                shutil.chown(self.data / target, "nobody", "nogroup")
            (self.data / target).chmod(0o600)
        (self.data / "pg_hba.conf").write_text(HBA)
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"{SETTINGS}port = {self.port}\nunix_socket_directories = '{self.folder}'\n")
        self.start()
        with self.admin("postgres") as connection:
            connection.execute("set log_statement = 'none'")
            for account, password in self.passwords.items():
                encryption = "md5" if account == "svc_md5" else "scram-sha-256"
                connection.execute(f"set password_encryption = '{encryption}'")
                connection.execute(f"create role {account} login password '{password}'")
            connection.execute("create database app")
        with self.admin() as connection:
            connection.execute(TABLES)

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.log), "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop", check=False)

    def admin(self, database: str = "app") -> psycopg.Connection[tuple[object, ...]]:
        """A superuser's connection past the bridge."""
        return psycopg.connect(host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True)

    def ask(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        with self.admin() as connection:
            return connection.execute(sql.encode(), values or None).fetchall()

    def failures(self, account: str) -> int:
        return self.log.read_text().count(f'password authentication failed for user "{account}"')

    def wait_sleeping(self, pid: int) -> None:
        """Until this backend is in ``pg_sleep``."""
        end = time.monotonic() + 5
        while not self.ask("select 1 from pg_stat_activity where pid = %s and wait_event = 'PgSleep'", pid):
            assert time.monotonic() < end, f"backend {pid} does not sleep"
            time.sleep(0.05)

    def wait_gone(self, pid: int, seconds: float = 5.0) -> None:
        """Until no such backend is left."""
        end = time.monotonic() + seconds
        while self.ask("select 1 from pg_stat_activity where pid = %s", pid):
            assert time.monotonic() < end, f"backend {pid} is still there after {seconds} s"
            time.sleep(0.05)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [*self._as_user, str(self.bin / program), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{program} failed with {done.returncode}"
