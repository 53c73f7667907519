"""Servers that lack what clients believe in: a real MySQL 5.5, a MariaDB 10.1 without DEPRECATE_EOF, and an 11.4."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.mariadb import ask, connect
from rig.old_servers import KINDS, Kind, OldServer, missing
from rig.place import Place

HERE = Path(__file__).parent
DEPRECATE_EOF = 1 << 24
CLIENTS = {
    "mysqlclient": ["/usr/bin/python3", "-c", "import MySQLdb as m, os; k = {'ssl': {'ca': os.environ['CA']}}"],
    "connector": [str(HERE / "python" / ".venv" / "bin" / "python"), "-c",
                  "import mysql.connector as m, os; k = {'ssl_ca': os.environ['CA'], 'use_pure': False}"],
    "aiomysql": [sys.executable, "-c", "import pymysql as m, os; k = {'ssl': {'ca': os.environ['CA']}}"],
}  # fmt: skip
BODY = """
c = m.connect(host='127.0.0.1', port=int(os.environ['PORT']), user='agent', password=os.environ['TOKEN'],
              database='app', **k)
u = c.cursor()
u.execute('select b from t where id = 3')
print(u.fetchall()[0][0])
u.execute('select repeat(%s, 1000000)', ('x',))
print(len(u.fetchall()[0][0]))
c.close()
"""


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def old(request: pytest.FixtureRequest, place: Place, authority: Authority) -> Iterator[tuple[OldServer, Bridge]]:
    kind: Kind = request.param
    if why := missing(kind):
        pytest.skip(why)
    server = OldServer(place, kind)
    bridge: Bridge | None = None
    try:
        server.start()
        bridge = server.bridge(place, authority)
        yield server, bridge
    finally:
        if bridge is not None:
            bridge.stop()
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)  # a few hundred megabytes


def test_a_row_before_and_after_the_server_is_known(old: tuple[OldServer, Bridge]) -> None:
    """warpgate#2337: DEPRECATE_EOF was offered for a server without it."""
    server, bridge = old
    token = bridge.token("manager-1")
    for _ in range(2):
        with connect(bridge, token) as connection:
            assert ask(connection, "select b from t where id = 2") == [("two",)]
            ask(connection, "insert into words values (%s)", "\U0001f600")
            assert ask(connection, "select word from words limit 1") == [("\U0001f600",)]
            with pytest.raises(pymysql.err.ProgrammingError):
                ask(connection, "select * from missing")
    with server.admin() as direct, connect(bridge, token) as connection:
        assert connection.get_server_info() == direct.get_server_info()
        lacking = not direct.server_capabilities & DEPRECATE_EOF
        assert lacking is not bool(connection.server_capabilities & DEPRECATE_EOF)
        assert lacking is ("11.4" not in server.kind.name)


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_that_believe_in_newer_servers(old: tuple[OldServer, Bridge], client: str) -> None:
    _, bridge = old
    command = [*CLIENTS[client][:2], CLIENTS[client][2] + BODY]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {client} here")
    environment = {**os.environ, "CA": str(bridge.authority.ca), "PORT": str(bridge.ports["shop"]),
                   "TOKEN": bridge.token("manager-1")}  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    bridge.place.keep(f"{client}-old", done.stdout + done.stderr)
    assert done.stdout.split() == ["three", "1000000"], done.stderr


def test_a_read_only_session(old: tuple[OldServer, Bridge]) -> None:
    """MySQL 5.5 has no READ ONLY transactions: the session begins with an alarm, and the guard alone holds."""
    server, bridge = old
    with connect(bridge, bridge.token("clerk-1")) as connection:
        assert ask(connection, "select count(*) from t") == [(3,)]
        with pytest.raises(pymysql.err.MySQLError):
            ask(connection, "delete from t")
    if "5.5" in server.kind.name:
        bridge.wait(lambda: "read-only-seat-belt" in str(bridge.events(type="alarm")), 5, "alarmed")
    else:
        assert bridge.events(type="alarm") == []


def test_the_doctor_of_an_old_server(old: tuple[OldServer, Bridge]) -> None:
    _, bridge = old
    found: list[dict[str, Any]] = bridge.call("doctor", system="shop")
    assert any("ALL PRIVILEGES on `app`.*" in str(one) for one in found)
