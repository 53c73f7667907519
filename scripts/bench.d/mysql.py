"""MySQL: one MariaDB, and the ways to it: direct, through HAProxy as plain TCP, through the bridge."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pymysql

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "integration"))

from rig.bridge import Bridge
from rig.certificates import Authority
from rig.mariadb import MariaDB
from rig.place import Place, free_port

ACCOUNT = "svc_reader"
CLIENTS = 8
POINTS = 100_000
TEXTS = 2_000  # different statements, each with its own literal
ROWS = 2_100_000  # of 95 bytes: about 200 MB on the wire
LINE = 95
WIDE = "select line from wide"
MIB = 1024 * 1024

SETTINGS = """\
performance_schema = off
max_connections = 1200
innodb_buffer_pool_size = 512M
"""

TABLES = f"""\
create table app.points (id int primary key, name varchar(60));
insert into app.points select seq, concat('point ', seq) from app.seq_1_to_{POINTS};
create table app.wide (line char({LINE}) character set latin1) engine = MyISAM;
insert into app.wide select repeat('x', {LINE}) from app.seq_1_to_{ROWS};
"""

PROXY = """\
defaults
  mode tcp
  timeout connect 5s
  timeout client 300s
  timeout server 300s
listen mysql
  bind 127.0.0.1:{port}
  server mysql 127.0.0.1:{server}
"""


@dataclass(frozen=True)
class Route:
    """A way to the server, in plaintext. ``name`` is how the table calls it."""

    name: str
    port: int
    user: str
    password: str

    def command(self, program: str, *options: str) -> list[str]:
        return [program, "--no-defaults", "-h127.0.0.1", f"-P{self.port}", f"-u{self.user}", "--skip-ssl", *options]

    def run(self, command: list[str], seconds: int = 300) -> float:
        """Seconds that it took; its output goes nowhere."""
        started = time.perf_counter()
        done = subprocess.run(
            command, env={**os.environ, "MYSQL_PWD": self.password}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=seconds,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"bench: {command[0]} by way of {self.name} failed: {done.stderr.decode()[-500:]}")
        return time.perf_counter() - started

    def connect(self) -> pymysql.Connection[pymysql.cursors.Cursor]:
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=self.user, password=self.password, database="app",
            ssl_disabled=True, autocommit=True,
        )  # fmt: skip


class Shop:
    """Starts everything in ``folder``; ``close`` ends it."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)
        self.authority = Authority.create(folder)
        self.server = MariaDB(self.place, self.authority, settings=SETTINGS)
        secrets = {"PW_BENCH": self.server.passwords[ACCOUNT]}
        self.bridge = Bridge(self.place, self.authority, "bench", self._document(), secrets)
        self.proxy_port = free_port()
        self.texts = folder / "statements.sql"
        self._proxy: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.server.create()
        with self.server.admin() as connection, connection.cursor() as cursor:
            cursor.execute("set global general_log = off")
            for statement in TABLES.split(";\n"):
                if statement:
                    cursor.execute(statement)
        numbers = random.Random(7)  # the same statements in every run
        lines = [f"select name from points where id = {numbers.randint(1, POINTS)}" for _ in range(TEXTS)]
        self.texts.write_text(";\n".join(lines))
        config = self.place.folder / "haproxy.cfg"
        config.write_text(PROXY.format(port=self.proxy_port, server=self.server.port))
        program = shutil.which("haproxy", path=f"/usr/sbin:{os.environ.get('PATH', '')}") or "haproxy"
        self._proxy = subprocess.Popen([program, "-q", "-db", "-f", str(config)], stdin=subprocess.DEVNULL)
        self.bridge.start()
        self.bridge.agent("bench-1", "reader", owner="bench")

    def close(self) -> None:
        self.bridge.stop()
        if self._proxy is not None:
            self._proxy.terminate()
            self._proxy.wait(10)
        self.server.stop()

    def routes(self) -> list[Route]:
        """The bridge last, with a token of its own: each is good for 15 minutes."""
        password = self.server.passwords[ACCOUNT]
        return [
            Route("direct", self.server.port, ACCOUNT, password),
            Route("HAProxy tcp", self.proxy_port, ACCOUNT, password),
            Route("bridge", self.bridge.ports["shop"], "agent", self.bridge.token("bench-1")),
        ]

    def selects(self, route: Route, count: int) -> float:
        """Statements a second, by mariadb-slap with 8 clients."""
        options = [f"-c{CLIENTS}", f"--number-of-queries={count}", f"--query={self.texts}", "--delimiter=;"]
        command = route.command("mariadb-slap", "--create-schema=app", "--no-drop", "--silent", *options)
        return count / route.run(command)

    def _document(self) -> dict[str, object]:
        return {
            "bridge": {"drain": "0s"},
            "limits": {"connections": 5000, "per_address": 5000, "unauthenticated": 500, "sessions_per_agent": 5000},
            "owners": {"bench": {"kind": "team", "contact": "bench@example.org", "on_call": "nobody"}},
            "roles": {"reader": {"description": "reads"}},
            "systems": {
                "shop": {
                    "protocol": "mysql",
                    "plaintext": "loopback-only",
                    "options": {"family": "mariadb"},
                    "upstream": {"host": "127.0.0.1", "port": self.server.port, "tls": "disable"},
                    "accounts": {ACCOUNT: {"secret": "env:PW_BENCH"}},
                }
            },
            "grants": [
                {"id": "all", "roles": ["reader"], "system": "shop", "account": ACCOUNT, "default": True,
                 "actions": ["read", "write", "admin"]},
            ],
        }  # fmt: skip


def wide(route: Route) -> float:
    """MB a second of the whole table, by the mariadb command line into nothing."""
    return ROWS * LINE / 1e6 / route.run(route.command("mariadb", "--quick", "-N", "-e", WIDE, "app"))


def idle_sessions(route: Route, count: int) -> list[pymysql.Connection[pymysql.cursors.Cursor]]:
    """Open sessions that have run one statement; close them."""
    held = []
    for _ in range(count):
        held.append(route.connect())
        with held[-1].cursor() as cursor:
            cursor.execute("select 1")
    return held
