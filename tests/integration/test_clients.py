"""Real clients log in by token, work, and the log says which agent did what (issue: the main job)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rig.bridge import Bridge

HERE = Path(__file__).parent
JDBC = Path("/usr/share/java/postgresql.jar")


def run_client(bridge: Bridge, name: str, command: list[str], token: str, **more: str) -> str:
    environment = {
        **os.environ, "TOKEN": token, "PGPASSWORD": token, "CA": str(bridge.authority.ca),
        "PORT": str(bridge.ports["warehouse"]), **more,
    }  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, timeout=90, text=True, check=False)
    bridge.place.keep(name, done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr
    return done.stdout


def psql(bridge: Bridge, token: str, *commands: str, settings: str = "") -> str:
    port, ca = bridge.ports["warehouse"], bridge.authority.ca
    where = f"host=localhost port={port} user=agent dbname=app sslmode=verify-full sslrootcert={ca} {settings}"
    return run_client(bridge, "psql", ["psql", where, "-XAt", *(f"-c{one}" for one in commands)], token)


def operations(bridge: Bridge, text: str) -> list[dict[str, Any]]:
    """The finished operations with this text, oldest first; waits until the reads are flushed."""

    def found() -> list[dict[str, Any]]:
        return [e for e in bridge.events(type="operation", text=text) if e["phase"] != "intent"]

    bridge.wait(found, 3, f"logged: {text}")
    return found()


def statements(bridge: Bridge, operation: dict[str, Any]) -> list[dict[str, Any]]:
    """All operations of the same session: intents and complete ones carry the text."""
    session = bridge.session_events(operation["corr"]["session"], closed=True)
    return [e for e in session if e["type"] == "operation" and e["phase"] != "outcome"]


def test_psql(bridge: Bridge, writer: str) -> None:
    """psql with verify-full; the log names agent, owner, account, statement without its literals, outcome and rows."""
    out = psql(bridge, writer, "select who from invoices where id = 3", "select 'psql-secret-literal' as psql_marker")
    assert out.splitlines() == ["customer 3", "psql-secret-literal"]
    (event,) = operations(bridge, "psql_marker")
    assert event["agent"]["id"] == "writer-1"
    assert event["agent"]["owner"] == "payments"
    assert event["legacy"]["account"] == "svc_writer"
    assert event["legacy"]["system"] == "warehouse"
    assert "psql-secret-literal" not in str(event)
    assert (event["outcome"], event["result"]["rows"]) == ("success", 1)


def test_psycopg(bridge: Bridge, writer: str) -> None:
    """psycopg 3: parameters, prepared, an error, a transaction."""
    with bridge.connect(writer, autocommit=False) as connection:
        one = connection.execute("select who as psycopg_marker from invoices where id = %s", (3,)).fetchone()
        assert one == ("customer 3",)
        for id in (4, 5):
            row = connection.execute("select who from invoices where id = %s", (id,), prepare=True).fetchone()
            assert row == (f"customer {id}",)
        connection.execute("insert into t values (%s, 'psycopg')", (7000,))
        connection.rollback()
        with pytest.raises(Exception, match="missing_psycopg") as failed:
            connection.execute("select * from missing_psycopg")
        assert failed.value.sqlstate == "42P01"  # type: ignore[attr-defined]
        connection.rollback()
        assert connection.execute("select count(*) from t where id = 7000").fetchone() == (0,)
    (event,) = operations(bridge, "psycopg_marker")
    assert event["result"]["rows"] == 1
    (failure,) = operations(bridge, "missing_psycopg")
    assert (failure["outcome"], failure["result"]["code"]) == ("failure", "42P01")
    texts = [e["action"]["text"] for e in statements(bridge, event)]
    assert any(text.startswith("insert into t") for text in texts)
    assert not any("7000" in text for text in texts)


CUSTOMERS = ["customer 3", "customer 4", "customer 5"]


def test_asyncpg(bridge: Bridge, writer: str) -> None:
    """asyncpg with an async password and a binary COPY."""
    out = run_client(bridge, "asyncpg", [sys.executable, str(HERE / "clients/select_asyncpg.py")], writer)
    assert out.splitlines() == [*CUSTOMERS, "error 42P01", "rolled back 0", "COPY 1000"]
    (copy,) = operations(bridge, "format binary")
    assert (copy["agent"]["id"], copy["outcome"], copy["action"]["kind"]) == ("writer-1", "success", "write")
    texts = [e["action"]["text"] for e in statements(bridge, copy)]
    assert texts.count("select who from invoices where id = $1") == 3


def test_a_statement_that_the_server_refuses_to_parse_is_logged(bridge: Bridge, writer: str) -> None:
    """asyncpg prepares first: the agent learns from 42P01 that a table does not exist, which is a question too."""
    assert operations(bridge, "missing_asyncpg")


def test_node_pg(bridge: Bridge, writer: str) -> None:
    """node-pg with a password function."""
    modules = HERE / "node" / "node_modules"
    if not (modules / "pg").is_dir():
        assert "IDBRIDGE_ALL_CLIENTS" not in os.environ, "node-pg is not installed"
        pytest.skip("node-pg is not installed; scripts/setup does it")
    node = run_client(bridge, "node", ["node", str(HERE / "clients/select.js")], writer, NODE_PATH=str(modules))
    assert node.splitlines() == [*CUSTOMERS, "error 42P01", "rolled back 0"]
    (failure,) = operations(bridge, "missing_node")
    assert (failure["agent"]["id"], failure["outcome"]) == ("writer-1", "failure")


def test_pgjdbc(bridge: Bridge, writer: str) -> None:
    """pgjdbc with verify-full; its named server-side statements are attributed."""
    if not JDBC.exists() or shutil.which("java") is None:
        assert "IDBRIDGE_ALL_CLIENTS" not in os.environ, "pgjdbc is not installed"
        pytest.skip("no Java or no pgjdbc here; scripts/setup installs them")
    command = ["java", "-XX:TieredStopAtLevel=1", "-cp", str(JDBC), str(HERE / "clients/Select.java")]
    out = run_client(bridge, "jdbc", command, writer)
    assert out.splitlines() == [*(f"customer {i}" for i in range(1, 8)), "error 42P01", "rolled back 0"]
    (failure,) = operations(bridge, "missing_jdbc")
    assert failure["agent"]["id"] == "writer-1"
    texts = [e["action"]["text"] for e in statements(bridge, failure)]
    assert sum(text.startswith("select who from invoices where id = $1") for text in texts) == 7


WAYS = [("md5", "svc_md5"), ("clear", "svc_clear"), ("warehouse", "svc_reader"), ("loopback", "svc_reader")]


@pytest.mark.parametrize(("system", "account"), WAYS)
def test_each_way_to_log_in_upstream(bridge: Bridge, reader: str, system: str, account: str) -> None:
    """md5, cleartext inside TLS, SCRAM (-PLUS inside TLS): the agent lands as the static account."""
    with bridge.connect(reader, system) as connection:
        assert connection.execute("select current_user").fetchone() == (account,)


def test_the_wished_account_is_the_user_name(bridge: Bridge, writer: str) -> None:
    """An account's name, `agent` and the agent's own id lead to the same place here."""
    for user in ("svc_writer", "agent", "writer-1"):
        with bridge.connect(writer, user=user) as connection:
            assert connection.execute("select session_user").fetchone() == ("svc_writer",)
