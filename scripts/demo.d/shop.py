"""A legacy shop for the tour: a real MariaDB on loopback with TLS and two static accounts."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path

PATH = f"/usr/sbin:{os.environ.get('PATH', '')}"
START_LIMIT = 60.0

SYSTEM = """\
  shop:
    protocol: mysql
    listen: 127.0.0.1:{bridge_port}
    upstream: {{host: 127.0.0.1, port: {port}, tls: verify-full, ca: ca.pem}}
    labels: [pii]
    options: {{family: mariadb}}
    accounts:
      svc_looker: {{secret: "store:shop/svc_looker"}}
      svc_clerk: {{secret: "store:shop/svc_clerk"}}
"""

GRANTS = """\
  - {id: look-at-shop, roles: [reader], system: shop, account: svc_looker, actions: [read], default: true}
  - {id: change-shop, roles: [writer], system: shop, account: svc_clerk, actions: [read, write], default: true}
"""

SETTINGS = """\
[mysqld]
port = {port}
bind-address = 127.0.0.1
socket = {folder}/socket
datadir = {folder}/data
pid_file = {folder}/pid
log_error = {folder}/log
ssl_cert = {folder}/mariadb.crt
ssl_key = {folder}/mariadb.key
performance_schema = on
skip_name_resolve = on
innodb_flush_log_at_trx_commit = 0
"""

TABLES = """
create database shop;
create table shop.orders (id int primary key, customer varchar(60), amount int);
insert into shop.orders select seq, concat('customer ', seq), seq * 10 from shop.seq_1_to_1000;
create user svc_looker@'127.0.0.1' identified by '{svc_looker}';
create user svc_clerk@'127.0.0.1' identified by '{svc_clerk}';
grant select on shop.* to svc_looker@'127.0.0.1';
grant select, insert, update, delete on shop.* to svc_clerk@'127.0.0.1';
"""


class Shop:
    """``root`` has the certificate of ``mariadb``; ``folder`` is made in it."""

    def __init__(self, root: Path, port: int, bridge_port: int) -> None:
        self.root = root
        self.folder = root / "mariadb"
        self.port = port
        self.bridge_port = bridge_port
        self.passwords = {name: secrets.token_urlsafe(18) for name in ("svc_looker", "svc_clerk")}
        self.server: subprocess.Popen[bytes] | None = None
        self._as_user = ["setpriv", "--reuid=nobody", "--clear-groups"] if os.geteuid() == 0 else []

    def system(self) -> str:
        return SYSTEM.format(bridge_port=self.bridge_port, port=self.port)

    def start(self) -> None:
        self.folder.mkdir()
        settings = self.folder / "my.cnf"
        settings.write_text(SETTINGS.format(port=self.port, folder=self.folder))
        for name in ("mariadb.crt", "mariadb.key"):
            shutil.copy(self.root / name, self.folder / name)
        if self._as_user:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, "nobody")
        install = [_program("mariadb-install-db"), f"--defaults-file={settings}", "--skip-test-db"]
        options = ["--auth-root-authentication-method=normal"]
        subprocess.run([*self._as_user, *install, *options], check=True, capture_output=True, cwd="/", timeout=120)
        command = [*self._as_user, _program("mariadbd"), f"--defaults-file={settings}"]
        self.server = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)  # fmt: skip
        deadline = time.monotonic() + START_LIMIT
        while not (self.folder / "socket").exists():
            if time.monotonic() > deadline or self.server.poll() is not None:
                raise RuntimeError("MariaDB did not start:\n" + (self.folder / "log").read_text())
            time.sleep(0.1)
        self.as_administrator(TABLES.format(**self.passwords))

    def as_administrator(self, sql: str) -> str:
        """Past the bridge, through the server's own socket."""
        command = ["mariadb", "--no-defaults", f"--socket={self.folder}/socket", "-uroot", "-N"]
        done = subprocess.run(command, input=sql, text=True, capture_output=True, check=False, timeout=60)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def close(self) -> None:
        if self.server is not None:
            self.server.terminate()
            try:
                self.server.wait(30)
            except subprocess.TimeoutExpired:
                self.server.kill()


def _program(name: str) -> str:
    return shutil.which(name, path=PATH) or name
