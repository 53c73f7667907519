"""A real MariaDB server with TLS, static accounts of each kind of login, and a general log that names connections."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import Any

import pymysql
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.place import Place, free_port

SERVER, INSTALL = "mariadbd", "mariadb-install-db"

ACCOUNTS = ("svc_reader", "svc_writer", "svc_ed25519", "svc_tls", "svc_narrow")

SETTINGS = """\
[mysqld]
bind-address = 127.0.0.1
performance_schema = on
character-set-server = utf8mb4
max_connections = 150
max_allowed_packet = 128M
innodb_buffer_pool_size = 64M
innodb_flush_log_at_trx_commit = 0
general_log = on
plugin_load_add = auth_ed25519
skip_name_resolve = on
"""

TABLES = """\
create database app;
create database other;
create table app.t (id int, b varchar(100) default 'x');
insert into app.t (id) values (1), (2), (3), (4), (5);
create table app.invoices (id int primary key, who varchar(100));
insert into app.invoices select seq, concat('customer ', seq) from app.seq_1_to_100;
create table app.bulk (id int primary key auto_increment, line longblob);
create table app.words (id int primary key auto_increment, word varchar(100) character set utf8mb4);
create table other.hidden (id int);
create procedure app.two() begin select 1 as a; select 2 as b; end;
create procedure app.sneaky() sql security definer
  begin set session transaction read write; insert into app.t (id) values (99); end;
grant select on app.* to svc_reader;
grant execute on procedure app.two to svc_reader;
grant select on app.* to svc_ed25519;
grant select on app.* to svc_tls;
grant all on app.* to svc_writer;
grant all on other.* to svc_writer;
create function app.noted() returns int modifies sql data begin insert into app.t (id) values (99); return 1; end;
create view app.noting as select app.noted() as n;
create view app.counting as select count(*) as n, max(id) as m from app.invoices;
grant select on app.invoices to svc_narrow;
"""


def available() -> bool:
    return shutil.which(SERVER, path=_PATH) is not None and shutil.which(INSTALL, path=_PATH) is not None


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


class MariaDB:
    """Runs as an unprivileged user when the tests run as root. ``settings`` go behind the usual ones."""

    def __init__(self, place: Place, authority: Authority, name: str = "mariadb", *, settings: str = "") -> None:
        self.place = place
        self.authority = authority
        self.settings = settings
        self.port = free_port()
        self.folder = place.folder / name
        self.socket = self.folder / "socket"
        self.log = self.folder / "server.log"
        self.general_log = self.folder / "general.log"
        self.passwords = {account: place.new_secret(f"{name} password of {account}") for account in ACCOUNTS}
        self._config = self.folder / "my.cnf"
        self.process: subprocess.Popen[bytes] | None = None
        self._as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []

    def create(self) -> None:
        self.folder.mkdir()
        certificate, key = self.authority.issue(self.place.folder, self.folder.name)
        for source, target in ((certificate, "server.crt"), (key, "server.key"), (self.authority.ca, "ca.pem")):
            shutil.copy(source, self.folder / target)
        (self.folder / "server.key").chmod(0o600)
        self._config.write_text(
            f"{SETTINGS}port = {self.port}\nsocket = {self.socket}\ndatadir = {self.folder}/data\n"
            f"ssl_cert = {self.folder}/server.crt\nssl_key = {self.folder}/server.key\nssl_ca = {self.folder}/ca.pem\n"
            f"general_log_file = {self.general_log}\nlog_error = {self.log}\npid_file = {self.folder}/pid\n"
            + self.settings
        )
        if self._as_user:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, "nobody", "nogroup")
        self.folder.chmod(0o755)
        self.place.secret_files |= {key, self.folder / "server.key"}
        install = [INSTALL, f"--defaults-file={self._config}", "--auth-root-authentication-method=normal",
                   "--skip-test-db"]  # fmt: skip
        subprocess.run(
            self._as_user + install, check=True, timeout=120, cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.start()
        with self.admin() as connection, connection.cursor() as cursor:
            cursor.execute("set global general_log = off")
            for account, password in self.passwords.items():
                how = "ed25519 as password" if account == "svc_ed25519" else "mysql_native_password as password"
                tls = " require ssl" if account == "svc_tls" else ""
                cursor.execute(f"create user {account}@'127.0.0.1' identified via {how}('{password}'){tls}")
            for statement in TABLES.split(";\n"):
                if statement.strip():
                    cursor.execute(_at_host(statement))
            cursor.execute("set global general_log = on")

    def start(self) -> None:
        command = [*self._as_user, shutil.which(SERVER, path=_PATH) or SERVER, f"--defaults-file={self._config}"]
        self.process = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 60
        while not self.socket.exists():
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < end, "MariaDB does not start"
            time.sleep(0.1)
        self.admin().close()

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def admin(self, **more: Any) -> pymysql.Connection[Any]:
        """The administrator's connection past the bridge."""
        return pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True, **more)

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self.admin() as connection, connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())

    def attributes(self, thread: int) -> dict[str, str]:
        """Connection attributes of a live session, by its CONNECTION_ID()."""
        table = "performance_schema.session_connect_attrs"
        rows = self.ask(f"select attr_name, attr_value from {table} where processlist_id = %s", thread)
        return {str(name): str(value) for name, value in rows}


def _at_host(statement: str) -> str:
    for account in ACCOUNTS:
        if statement.lstrip().startswith("grant") and statement.endswith(f" to {account}"):
            return f"{statement}@'127.0.0.1'"
    return statement


# -- a bridge in front of it -------------------------------------------------------------------------------------------

ALL = ["read", "write", "admin"]


def shop_document(server: MariaDB) -> dict[str, Any]:
    """Systems by name; readers are granted ``read``, writers everything."""
    wrong = _system(server, "svc_wrong")
    systems = {
        "shop": _system(server, "svc_reader", "svc_writer"),
        "free": _system(server, "svc_writer", multi_statements=True, local_infile=True),
        "ed25519": _system(server, "svc_ed25519"),
        "tls": _system(server, "svc_tls"),
        "plain": _system(server, "svc_reader", tls="disable"),
        "guarded": _system(server, "svc_writer"),
        "narrow": _system(server, "svc_narrow"),
        "wrong": wrong,
    }
    grants = [
        _grant("reads", "reader", "shop", "svc_reader", ["read"]),
        _grant("writes", "writer", "shop", "svc_writer", ALL),
        _grant("writes-free", "writer", "free", "svc_writer", ALL),
        {**_grant("reads-free", "reader", "free", "svc_writer", ["read"]), "targets": {"statements": ["one"]}},
        _grant("reads-guarded", "reader", "guarded", "svc_writer", ["read"]),
    ]
    for system, account in (
        ("ed25519", "svc_ed25519"), ("tls", "svc_tls"), ("plain", "svc_reader"), ("narrow", "svc_narrow"),
        ("wrong", "svc_wrong"),
    ):  # fmt: skip
        grants.append(_grant(f"reads-{system}", "reader", system, account, ["read"]))
    team = {"kind": "team", "contact": "shop@example.org", "on_call": "https://oncall.example.org/shop"}
    return {
        "bridge": {"drain": "0s"},
        "owners": {"payments": team},
        "roles": {"reader": {"description": "reads"}, "writer": {"description": "writes"}},
        "systems": systems,
        "grants": grants,
    }


def shop_environment(server: MariaDB) -> dict[str, str]:
    environment = {f"PW_{account.upper()}": password for account, password in server.passwords.items()}
    return {**environment, "PW_SVC_WRONG": server.passwords["svc_reader"]}


def _system(server: MariaDB, *accounts: str, tls: str = "verify-full", **options: Any) -> dict[str, Any]:
    upstream: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "tls": tls}
    if tls.startswith("verify"):
        upstream["ca"] = str(server.authority.ca)
    return {
        "protocol": "mysql",
        "upstream": upstream,
        "options": {"family": "mariadb", "default_database": "app", **options},
        "accounts": {account: {"secret": f"env:PW_{account.upper()}"} for account in accounts},
    }


def _grant(id: str, role: str, system: str, account: str, actions: list[str]) -> dict[str, Any]:
    return {"id": id, "roles": [role], "system": system, "account": account, "actions": actions, "default": True}


def connect(
    bridge: Bridge, token: str, system: str = "shop", user: str = "agent", **more: Any
) -> pymysql.Connection[Any]:
    """A client of the bridge, with TLS."""
    settings: dict[str, Any] = {
        "host": "127.0.0.1", "port": bridge.ports[system], "user": user, "password": token, "database": "app",
        "ssl": {"ca": str(bridge.authority.ca)}, "autocommit": True, "connect_timeout": 15, "read_timeout": 30,
    }  # fmt: skip
    return pymysql.connect(**{**settings, **more})


def ask(connection: pymysql.Connection[Any], sql: str, *values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall())
