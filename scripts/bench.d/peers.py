"""What is measured: one PostgreSQL, and the ways to it. Each way is a connection string for libpq and a password."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "integration"))

from rig.bridge import Bridge
from rig.certificates import Authority
from rig.place import Place, free_port
from rig.postgres import Server

ACCOUNT = "svc_reader"
POOLING, ONCE = "pgbouncer, session mode", "pgbouncer, a server login each"
SCALE = 5
ROWS = 2_100_000  # of 100 bytes each in COPY's text format: about 200 MB
CONNECTIONS = 1_200

BOUNCER = """\
[databases]
app = host=127.0.0.1 port={postgres} dbname=app
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = md5
auth_file = {folder}/users.txt
pool_mode = session
default_pool_size = 60
server_lifetime = {lifetime}
max_client_conn = 300
ignore_startup_parameters = extra_float_digits
server_tls_sslmode = disable
client_tls_sslmode = allow
client_tls_cert_file = {folder}/pgbouncer.pem
client_tls_key_file = {folder}/pgbouncer.key
log_connections = 0
log_disconnections = 0
"""

PROXY = """\
defaults
  mode tcp
  timeout connect 5s
  timeout client 300s
  timeout server 300s
listen pg
  bind 127.0.0.1:{port}
  server pg 127.0.0.1:{postgres}
"""


@dataclass(frozen=True)
class Way:
    """``name`` is how the table calls it."""

    name: str
    conninfo: str
    password: str

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PGPASSWORD": self.password}


class Peers:
    """Starts everything in ``folder``; ``close`` ends it."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)
        self.authority = Authority.create(folder)
        self.server = Server(self.place, self.authority)
        self.bridge = Bridge(self.place, self.authority, "bench", self._document(), self._secrets())
        self._ports = {name: free_port() for name in (POOLING, ONCE, "haproxy")}
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.server.create()
        self._tune()
        self._fill()
        self._start_bouncer(POOLING, lifetime=3600)
        self._start_bouncer(ONCE, lifetime=0)
        self._start_proxy()
        self.bridge.start()
        self.bridge.agent("bench-1", "reader", owner="bench")

    def close(self) -> None:
        self.bridge.stop()
        for process in self._processes:
            process.terminate()
            process.wait(10)
        self.server.stop("immediate")

    # -- the ways

    def direct(self, tls: bool = False) -> Way:
        return self._way("direct", self.server.port, tls)

    def bouncer(self, tls: bool = False) -> Way:
        return self._way(POOLING, self._ports[POOLING], tls)

    def bouncer_once(self, tls: bool = False) -> Way:
        """With a server connection of its own for each client, as the bridge does it."""
        return self._way(ONCE, self._ports[ONCE], tls)

    def proxy(self) -> Way:
        return self._way("HAProxy tcp", self._ports["haproxy"], False)

    def through_bridge(self, tls: bool = False) -> Way:
        """With a token of its own: each is good for 15 minutes."""
        token = self.bridge.token("bench-1")
        return self._way("bridge", self.bridge.ports["warehouse"], tls, "agent", token)

    def _way(self, name: str, port: int, tls: bool, user: str = ACCOUNT, password: str = "") -> Way:
        mode = f"verify-full sslrootcert={self.authority.ca}" if tls else "disable"
        where = f"host=127.0.0.1 port={port} user={user} dbname=app sslmode={mode}"
        return Way(name, where, password or self.server.passwords[ACCOUNT])

    # -- making them

    def _document(self) -> dict[str, object]:
        return {
            "bridge": {"drain": "0s"},
            "limits": {"connections": 5000, "per_address": 5000, "unauthenticated": 500, "sessions_per_agent": 5000},
            "owners": {"bench": {"kind": "team", "contact": "bench@example.org", "on_call": "nobody"}},
            "roles": {"reader": {"description": "reads"}},
            "systems": {
                "warehouse": {
                    "protocol": "postgres",
                    "plaintext": "loopback-only",
                    "upstream": {"host": "127.0.0.1", "port": self.server.port, "tls": "disable"},
                    "accounts": {ACCOUNT: {"secret": "env:PW_BENCH"}},
                }
            },
            "grants": [
                {"id": "all", "roles": ["reader"], "system": "warehouse", "account": ACCOUNT, "default": True,
                 "actions": ["read", "write", "admin"]},
            ],
        }  # fmt: skip

    def _secrets(self) -> dict[str, str]:
        return {"PW_BENCH": self.server.passwords[ACCOUNT]}

    def _tune(self) -> None:
        with self.server.admin("postgres") as connection:
            for setting in (
                f"max_connections = {CONNECTIONS}",
                "fsync = on",  # the tests' server is quicker than a real one
                "shared_buffers = '128MB'",
                "log_statement = 'none'",
                "log_connections = off",
                "log_disconnections = off",
            ):
                connection.execute(f"alter system set {setting}".encode())
        self.server.stop()
        self.server.start()

    def _fill(self) -> None:
        where = f"host={self.server.folder} port={self.server.port} user=postgres dbname=app"
        command = [str(self.server.bin / "pgbench"), "-i", "-q", "-s", str(SCALE), where]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        with self.server.admin() as connection:
            wide = f"create table wide as select repeat('x', 95) as line from generate_series(1, {ROWS})"
            connection.execute(wide.encode())
            connection.execute(f"grant select on all tables in schema public to {ACCOUNT}".encode())
            connection.execute("vacuum analyze")

    def _start_bouncer(self, name: str, lifetime: int) -> None:
        folder = self.place.folder / name.replace(" ", "-").replace(",", "")
        folder.mkdir()
        for source in self.authority.issue(folder, "pgbouncer"):
            source.chmod(0o600)
        (folder / "users.txt").write_text(f'"{ACCOUNT}" "{self.server.passwords[ACCOUNT]}"\n')
        settings = BOUNCER.format(postgres=self.server.port, port=self._ports[name], folder=folder, lifetime=lifetime)
        (folder / "pgbouncer.ini").write_text(settings)
        if os.getuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "nobody", "nogroup")
        self._run([*self.server._as_user, _program("pgbouncer"), "-q", str(folder / "pgbouncer.ini")], folder.name)
        self._wait(self._way(name, self._ports[name], False))

    def _start_proxy(self) -> None:
        config = self.place.folder / "haproxy.cfg"
        config.write_text(PROXY.format(postgres=self.server.port, port=self._ports["haproxy"]))
        self._run([_program("haproxy"), "-q", "-db", "-f", str(config)], "haproxy")
        self._wait(self.proxy())

    def _run(self, command: list[str], name: str) -> None:
        with (self.place.folder / f"{name}.log").open("wb") as out:
            self._processes.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
            )

    def _wait(self, way: Way, seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                psycopg.connect(way.conninfo, password=way.password).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


def _program(name: str) -> str:
    return shutil.which(name, path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}") or name
