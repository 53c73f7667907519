"""Real clients of MySQL log in by token, work, and the log says which agent did what."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pymysql
import pytest
import sqlalchemy
import typing_extensions
from rig.bridge import Bridge
from rig.mariadb import MariaDB, ask, connect
from rig.mysql_wire import MySQLTalk, error

from tests.adapters.mysql.bypasses import WAYS_OUT

HERE = Path(__file__).parent
JDBC = Path("/usr/share/java/mariadb-java-client.jar")
CONNECTOR_J = HERE / "java" / "build" / "mysql-connector-j-9.7.0.jar"
CONNECTOR = HERE / "python" / ".venv" / "bin" / "python"
SYSTEM_PYTHON = "/usr/bin/python3"
LONG = 17_000_000  # more than one packet


@pytest.fixture(scope="session")
def manager(shop: Bridge) -> str:
    return shop.token("manager-1")


def environment(shop: Bridge, token: str, **more: str) -> dict[str, str]:
    return {**os.environ, "TOKEN": token, "MYSQL_PWD": token, "CA": str(shop.authority.ca),
            "PORT": str(shop.ports["shop"]), **more}  # fmt: skip


def run(shop: Bridge, name: str, command: list[str], token: str, **more: str) -> str:
    done = subprocess.run(
        command, env=environment(shop, token, **more), capture_output=True, timeout=120, text=True, check=False
    )
    shop.place.keep(name, done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr
    return done.stdout


def operations(shop: Bridge, text: str) -> list[dict[str, Any]]:
    """The finished operations with this text, oldest first; waits until they are flushed."""

    def found() -> list[dict[str, Any]]:
        return [e for e in shop.events(type="operation", text=text) if e["phase"] != "intent"]

    shop.wait(found, 5, f"logged: {text}")
    return found()


def attributed(shop: Bridge, client: str) -> None:
    """The client's marked query and its failing one are in the log, as the agent's."""
    (event,) = operations(shop, f"{client}_marker")
    assert (event["agent"]["id"], event["legacy"]["account"]) == ("manager-1", "svc_writer")
    assert (event["outcome"], event["result"]["rows"]) == ("success", 1)
    (failure,) = operations(shop, f"missing_{client}")
    assert (failure["outcome"], failure["result"]["code"]) == ("failure", "1146")


def worked(shop: Bridge, out: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in out.splitlines()]
    for one in found:
        assert "customer 3" in str(one["query"])
        assert one["long"] == LONG
        assert one["error"][0] == 1146
        assert one["two"] == [1, 2]
        attributed(shop, one["client"])
    return found


def mariadb_cli(shop: Bridge, *more: str) -> list[str]:
    return ["mariadb", "-h127.0.0.1", f"-P{shop.ports['shop']}", "-uagent", "--ssl-verify-server-cert",
            f"--ssl-ca={shop.authority.ca}", "-N", "app", *more]  # fmt: skip


def test_the_mariadb_command_line(shop: Bridge, manager: str) -> None:
    out = run(shop, "mariadb", mariadb_cli(shop, "-e", "select who as cli_marker from invoices where id = 3"), manager)
    assert out == "customer 3\n"
    (event,) = operations(shop, "cli_marker")
    assert event["result"]["rows"] == 1


def test_literals_stay_out_of_the_log(shop: Bridge, manager: str) -> None:
    with connect(shop, manager) as connection:
        assert ask(connection, "select 'mysql-secret-literal' as literal_marker") == [("mysql-secret-literal",)]
    (event,) = operations(shop, "literal_marker")
    assert "mysql-secret-literal" not in str(event)


def test_pymysql(shop: Bridge, manager: str) -> None:
    with connect(shop, manager, autocommit=False) as connection:
        assert ask(connection, "select who as pymysql_marker from invoices where id = %s", 3) == [("customer 3",)]
        assert len(ask(connection, f"select repeat('x', {LONG})")[0][0]) == LONG
        with pytest.raises(pymysql.err.ProgrammingError):
            ask(connection, "select * from missing_pymysql")
        ask(connection, "insert into words (word) values (%s)", "rolled back")
        connection.rollback()
        assert ask(connection, "select count(*) from words where word = 'rolled back'") == [(0,)]
        connection.ping()
        connection.select_db("app")
    attributed(shop, "pymysql")


def test_aiomysql(shop: Bridge, manager: str) -> None:
    worked(shop, run(shop, "aiomysql", [sys.executable, str(HERE / "clients" / "mysql_aio.py")], manager))


def test_mysqlclient(shop: Bridge, manager: str) -> None:
    if subprocess.run([SYSTEM_PYTHON, "-c", "import MySQLdb"], capture_output=True, check=False).returncode:
        pytest.skip("the system's Python has no MySQLdb")
    worked(shop, run(shop, "mysqlclient", [SYSTEM_PYTHON, str(HERE / "clients" / "mysql_mysqldb.py")], manager))


def test_connector_python(shop: Bridge, manager: str) -> None:
    """libmysqlclient 9.1 among them, mysql_clear_password in the handshake, and a token file of OpenID Connect."""
    if not CONNECTOR.exists():
        pytest.skip("mysql-connector-python is not installed")
    out = run(shop, "connector", [str(CONNECTOR), str(HERE / "clients" / "mysql_connector.py")], manager)
    c_or_pure = [one["class"][0] for one in worked(shop, out)]
    assert c_or_pure == ["C", "M", "M", "M", "C"]


def test_node(shop: Bridge, manager: str) -> None:
    """proxysql#1350, #1029: a parameter of 40 MB."""
    if shutil.which("node") is None or not (HERE / "node" / "node_modules" / "mysql2").exists():
        pytest.skip("no Node.js clients here")
    out = run(shop, "node", ["node", str(HERE / "clients" / "mysql_select.js")], manager, BLOB="40000000")
    for one in worked(shop, out):
        assert one["prepared"] == "customer 4"
        assert one["blob"] == 40_000_000


def test_mariadb_connector_j(shop: Bridge, manager: str) -> None:
    """proxysql#4637: batches come in a pipeline."""
    if shutil.which("java") is None or not JDBC.exists():
        pytest.skip("no MariaDB Connector/J here")
    out = run(shop, "jdbc", ["java", "-cp", str(JDBC), str(HERE / "clients" / "MariaSelect.java")], manager)
    assert out.split("\n")[:6] == ["customer 3", str(LONG), "1146 42S02", "50", "1", "2"]
    attributed(shop, "jdbc")


def test_mysql_connector_j(shop: Bridge, manager: str, tmp_path: Path) -> None:
    """It misreads caching_sha2_password of a MariaDB; its query timeout sends KILL QUERY with the greeting's number."""
    if shutil.which("java") is None or not CONNECTOR_J.exists():
        pytest.skip("MySQL Connector/J was not fetched; java/artifacts.txt says how")
    trusted = tmp_path / "trusted.p12"
    subprocess.run(
        ["keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", str(shop.authority.ca), "-keystore",
         str(trusted), "-storetype", "PKCS12", "-storepass", "changeit"], check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    command = ["java", "-cp", str(CONNECTOR_J), str(HERE / "clients" / "ConnectorJ.java")]
    out = run(shop, "connectorj", command, manager, TRUSTED=str(trusted))
    assert out.split("\n")[:4] == ["customer 3", "1146 42S02", "timeout", "customer 4"]
    attributed(shop, "connectorj")


@pytest.mark.parametrize(
    ("driver", "python"),
    [("pymysql", sys.executable), ("mysqldb", SYSTEM_PYTHON), ("mysqlconnector", str(CONNECTOR))],
)
def test_sqlalchemy(shop: Bridge, manager: str, driver: str, python: str, tmp_path: Path) -> None:
    """Our SQLAlchemy, also where the driver is another Python's: it needs nothing that is compiled."""
    for module in (sqlalchemy, typing_extensions):
        place = Path(module.__file__)
        place = place.parent if place.name == "__init__.py" else place
        (tmp_path / place.name).symlink_to(place)
    modules = {"pymysql": "pymysql", "mysqldb": "MySQLdb", "mysqlconnector": "mysql.connector"}
    more = {"PYTHONPATH": str(tmp_path)}
    if (
        not Path(python).exists()
        or subprocess.run(
            [python, "-c", f"import {modules[driver]}"], capture_output=True, check=False, timeout=60
        ).returncode
    ):
        pytest.skip(f"no {driver} here")
    out = run(shop, driver, [python, str(HERE / "clients" / "mysql_sqlalchemy.py"), driver], manager, **more)
    said = json.loads(out)
    assert "invoices" in said.pop("tables")
    assert said == {"query": "customer 3", "kept": 0, "error": 1146, "mariadb": True}
    attributed(shop, f"sqlalchemy_{driver}")


# -- what hardly any client library does -----------------------------------------------------------------------------


def prepare(talk: MySQLTalk, text: str) -> bytes:
    """The server's number of a statement with one parameter and one column."""
    answer = talk.command(0x16, text.encode())
    assert (answer[0], answer[5:9]) == (0, b"\1\0\1\0")
    for _ in range(4):  # the parameter, EOF, the column, EOF
        talk.hear()
    return answer[1:5]


def to_eof(talk: MySQLTalk) -> tuple[list[bytes], int]:
    """The packets before the next EOF, and its status."""
    found = []
    while (packet := talk.hear())[0] != 0xFE:
        assert packet[0] != 0xFF, packet
        found.append(packet)
    return found, int.from_bytes(packet[3:5], "little")


def test_a_cursor_is_one_operation_with_all_its_rows(shop: Bridge, manager: str) -> None:
    with MySQLTalk(shop.ports["shop"]) as talk:
        assert talk.log_in(manager, shop.authority.ca)[0] == 0
        number = prepare(talk, "select id as cursor_marker from invoices where id between 1 and ? order by id")
        read_only, once, four = b"\1", b"\1\0\0\0", b"\0\1\3\0\4\0\0\0"
        talk.command(0x17, number + read_only + once + four)  # how many columns
        columns, status = to_eof(talk)
        assert (len(columns), status & 0x40) == (1, 0x40)
        ids, last = [], 0
        while not last:
            talk.say(b"\x1c" + number + b"\3\0\0\0", sequence=0)
            rows, status = to_eof(talk)
            ids += [int.from_bytes(row[2:6], "little") for row in rows]
            last = status & 0x80
        assert ids == [1, 2, 3, 4]
    (event,) = operations(shop, "cursor_marker")
    assert (event["outcome"], event["result"]["rows"]) == ("success", 4)


def test_a_value_comes_in_pieces(shop: Bridge, manager: str) -> None:
    with MySQLTalk(shop.ports["shop"]) as talk:
        assert talk.log_in(manager, shop.authority.ca)[0] == 0
        number = prepare(talk, "select length(?) as pieces_marker")
        for _ in range(3):
            talk.say(b"\x18" + number + b"\0\0" + b"x" * 100_000, sequence=0)  # answered by nothing
        talk.command(0x17, number + b"\0" + b"\1\0\0\0" + b"\0\1\xfc\0")
        to_eof(talk)
        (row,), _ = to_eof(talk)
        assert int.from_bytes(row[2:6], "little") == 300_000
    (event,) = operations(shop, "pieces_marker")
    assert (event["outcome"], event["result"]["rows"]) == ("success", 1)


# -- KILL --------------------------------------------------------------------------------------------------------------


def test_ctrl_c_in_the_command_line_stops_the_query_upstream(shop: Bridge, manager: str, mariadb: MariaDB) -> None:
    """proxysql#860, #1790: KILL QUERY came with the proxy's number and hit nothing."""
    command = mariadb_cli(shop, "-e", "select sleep(30) as ctrl_c")
    process = subprocess.Popen(
        command,
        env=environment(shop, manager),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )

    def running() -> list[tuple[Any, ...]]:
        return mariadb.ask(
            "select id from information_schema.processlist where info like 'select sleep(30) as ctrl_c%%'"
        )

    shop.wait(running, 10, "running")
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    shop.wait(lambda: not running(), 3, "stopped")
    assert time.monotonic() - started < 3
    process.communicate(timeout=10)


def test_only_ones_own_sessions_can_be_killed(shop: Bridge, manager: str) -> None:
    """Both agents use the same account, so the legacy server would allow it."""
    with connect(shop, manager) as mine, connect(shop, shop.token("manager-2")) as theirs:
        upstream = ask(theirs, "select connection_id()")[0][0]
        for number in (theirs.thread_id(), upstream):
            with pytest.raises(pymysql.err.MySQLError):
                ask(mine, f"kill query {number}")
        assert ask(theirs, "select 1") == [(1,)]
        with pytest.raises(pymysql.err.MySQLError):
            ask(mine, "kill user svc_writer")
        second = connect(shop, manager)
        ask(mine, f"kill {second.thread_id()}")
        with pytest.raises(pymysql.err.MySQLError):
            ask(second, "select 1")
        second.close()


# -- what the relay refuses --------------------------------------------------------------------------------------------


def test_a_read_only_grant_on_an_account_that_can_write(shop: Bridge, mariadb: MariaDB) -> None:
    """modelcontextprotocol/servers#1889 and its kind: the corpus of D2, statement by statement."""

    def state() -> list[tuple[Any, ...]]:
        return mariadb.ask("checksum table app.t, app.invoices, app.words, other.hidden") + mariadb.ask(
            "select table_schema, table_name from information_schema.tables where table_schema in ('app', 'other')"
            " union select routine_schema, routine_name from information_schema.routines"
        )

    before = state()
    with connect(shop, shop.token("clerk-1"), "guarded") as connection:
        for text in (*WAYS_OUT, "call sneaky()", "insert into t (id) values (1)"):
            with pytest.raises(pymysql.err.MySQLError) as refused:
                ask(connection, text)
            assert refused.value.args[0] in (1142, 1235, 1227, 1047, 4166), (text, refused.value)
            assert ask(connection, "select @@tx_read_only") == [(1,)], text
    assert state() == before


def test_several_statements_are_by_option_and_by_grant(shop: Bridge, manager: str) -> None:
    flag = pymysql.constants.CLIENT.MULTI_STATEMENTS
    with connect(shop, manager, client_flag=flag) as connection, pytest.raises(pymysql.err.MySQLError):
        ask(connection, "select 1; select 2")
    with connect(shop, manager, "free", client_flag=flag) as connection, connection.cursor() as cursor:
        cursor.execute("select 1 as several_marker; select 2")
        assert cursor.fetchall() == ((1,),)
        assert cursor.nextset()
        assert cursor.fetchall() == ((2,),)
    with connect(shop, shop.token("clerk-1"), "free", client_flag=flag) as connection:
        with pytest.raises(pymysql.err.MySQLError) as refused:
            ask(connection, "select 3; select 4")
        assert refused.value.args[0] == 1142
        assert ask(connection, "select 5") == [(5,)]
    several = {"database": "app", "statements": "several"}

    def is_logged() -> bool:
        denied = shop.events(type="operation", outcome="denied", system="free")
        return any(event["action"].get("target") == several for event in denied)

    shop.wait(is_logged, 10, "the refusal in the log")


def test_local_infile_is_off_by_default_and_the_clients_own_file_when_on(
    shop: Bridge, manager: str, mariadb: MariaDB, tmp_path: Path
) -> None:
    """proxysql#833, #3500 read the file from the proxy's disk."""
    mine = tmp_path / "mine.txt"
    mine.write_text("from my own disk\n")
    load = f"load data local infile '{mine}' into table words (word)"
    with connect(shop, manager, local_infile=True) as connection, pytest.raises(pymysql.err.MySQLError):
        ask(connection, load)
    assert mariadb.ask("select count(*) from app.words where word = 'from my own disk'") == [(0,)]
    with connect(shop, manager, "free", local_infile=True) as connection:
        ask(connection, load)
    assert mariadb.ask("select count(*) from app.words where word = 'from my own disk'") == [(1,)]


def test_a_revoked_agent_hears_why(shop: Bridge) -> None:
    """The goodbye comes unasked: clients that look before they write read it, others see the end only."""
    shop.agent("clerk-9", "reader")
    with MySQLTalk(shop.ports["shop"]) as talk:
        assert talk.log_in(shop.token("clerk-9"), shop.authority.ca)[0] == 0
        shop.call("agent.revoke", id="clerk-9")
        code, sqlstate, text = error(talk.hear())
        assert (code, sqlstate) == (1927, "70100")
        assert "revoked" in text
        assert talk.closed()
