"""Live sessions: how they end, how they are found from the legacy server's side, and how a query is cancelled."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from rig import wire
from rig.bridge import Bridge
from rig.postgres import Server


class Sleeping:
    """A query that runs in a thread; ``wait`` gives the error and the seconds since ``since``."""

    def __init__(self, connection: psycopg.Connection[Any], postgres: Server) -> None:
        self.error: psycopg.Error | None = None
        self.ended = 0.0
        self._connection = connection
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        postgres.wait_sleeping(connection.info.backend_pid)

    def _run(self) -> None:
        try:
            self._connection.execute("select pg_sleep(30)")
        except psycopg.Error as error:
            self.error = error
        self.ended = time.monotonic()

    def wait(self, since: float) -> tuple[str | None, float]:
        self._thread.join(10)
        assert not self._thread.is_alive()
        assert self.error is not None
        return self.error.sqlstate, self.ended - since


@pytest.mark.parametrize("verb", ["suspend", "revoke"])
def test_an_agent_that_loses_its_rights_is_cut_in_the_middle_of_a_query(
    bridge: Bridge, postgres: Server, verb: str
) -> None:
    """Within a second it hears 57P01 and its query is gone from the legacy server; others go on."""
    agent = bridge.agent(f"cut-by-{verb}", "reader")
    with bridge.connect(bridge.token(agent)) as cut, bridge.connect(bridge.token("reader-1")) as other:
        session, pid = bridge.session_of(cut), cut.info.backend_pid
        sleeping = Sleeping(cut, postgres)
        begin = time.monotonic()
        bridge.call(f"agent.{verb}", id=agent, reason="test")
        sqlstate, seconds = sleeping.wait(begin)
        assert (sqlstate, seconds < 1.0) == ("57P01", True)
        assert "the agent's access was revoked" in str(sleeping.error)
        postgres.wait_gone(pid, 2)
        assert other.execute("select 1").fetchone() == (1,)
    end = bridge.session_events(session, closed=True)[-1]
    assert (end["type"], end["reason"]) == ("session.close", "session-revoked")


def test_an_idle_session_is_cut_too(bridge: Bridge) -> None:
    """The client finds the FATAL when it next looks; the connection is closed within a second."""
    agent = bridge.agent("cut-idle", "reader")
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.log_in(bridge.token(agent), bridge.authority.ca)
        begin = time.monotonic()
        bridge.call("agent.revoke", id=agent)
        assert wire.fields(talk.message()[1])["C"] == "57P01"
        assert talk.until_closed() == b""
        assert time.monotonic() - begin < 1.0


def test_an_idle_limit(bridge: Bridge, reader: str) -> None:
    with bridge.connect(reader, "idle") as connection:
        session = bridge.session_of(connection)
        bridge.session_events(session, closed=True)
        with pytest.raises(psycopg.OperationalError) as ended:
            connection.execute("select 1")
    assert ended.value.sqlstate == "57P05"


def test_session_list_show_and_end(bridge: Bridge, reader: str) -> None:
    """By the command line; the agent hears that an operator ended it."""
    with bridge.connect(reader, application_name="nightly report") as connection:
        session = bridge.session_of(connection)
        (row,) = [one for one in bridge.cli_json("session", "list") if one["session"] == session]
        assert (row["agent"], row["owner"], row["account"]) == ("reader-1", "payments", "svc_reader")
        shown = bridge.cli_json("session", "show", session)
        assert shown["upstream"]["backend"] == connection.info.backend_pid
        assert "ended" in bridge.cli("session", "end", session, "--reason", "runs wild")
        with pytest.raises(psycopg.errors.AdminShutdown, match="an operator ended the session"):
            connection.execute("select 1")
    events = bridge.session_events(session, closed=True)
    assert events[-1]["reason"] == "session-stopped"
    assert "runs wild" in str([e for e in events if e["type"] in ("session.stop", "session.close")])


# -- from the legacy server back to the agent


def test_the_stamp_stays_whatever_the_client_sets(bridge: Bridge, postgres: Server, writer: str) -> None:
    """application_name leads to the session; SET keeps the stamp in front, every other way is refused or ends it."""

    def name(pid: int) -> str:
        ((found,),) = postgres.ask("select application_name from pg_stat_activity where pid = %s", pid)
        return str(found)

    with bridge.connect(writer, application_name="tool") as connection:
        pid, stamp = connection.info.backend_pid, f"ib:{bridge.session_of(connection)}"
        assert name(pid) == f"{stamp} tool"
        connection.execute("set application_name = 'evil'")
        assert name(pid) == f"{stamp} evil"
        connection.execute("reset application_name")
        assert name(pid).startswith(stamp)
        connection.execute("discard all")
        assert name(pid).startswith(stamp)
        for way in (
            "select set_config('application_name', 'evil', false)",
            "update pg_settings set setting = 'evil' where name = 'application_name'",
            "do $$ begin perform set_config('application_name', 'evil', false); end $$",
            "do $$ begin execute 'set application' || '_name = evil'; end $$",
        ):
            with bridge.connect(writer) as tried, pytest.raises(psycopg.Error) as failed:
                tried.execute(way.encode() + b"; select 1")
            assert failed.value.sqlstate in ("42501", "57P01"), way

    def alarmed() -> bool:
        events = bridge.events(type="alarm", agent="writer-1")
        return any(e["detail"]["code"] == "session-tampered" for e in events)

    bridge.wait(alarmed, 5, "alarmed")  # it is on the disk within 20 ms and a commit


def test_the_stamp_in_the_startup_packet(bridge: Bridge, postgres: Server, writer: str) -> None:
    """Twins of application_name in other spellings and in `options` do not win."""
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        twins = {"application_name": "good", "APPLICATION_NAME": "evil", "options": "-c application_name=worse"}
        messages = talk.log_in(writer, bridge.authority.ca, **twins)
        if wire.kinds(messages) != "E":
            assert talk.parameters["application_name"].startswith("ib:ses_")
        else:
            assert wire.error(messages)["C"] in ("08P01", "42501")


def test_log_who_leads_from_a_connection_to_its_agent(bridge: Bridge, postgres: Server) -> None:
    """By the backend's pid, and by the client's port, both as the legacy server's own log has them."""
    one, two = bridge.agent("who-one", "writer"), bridge.agent("who-two", "writer")
    with bridge.connect(bridge.token(one)) as first, bridge.connect(bridge.token(two)) as second:
        first.execute("insert into t values (4711, 'who')")
        pid = first.info.backend_pid
        ((port,),) = postgres.ask("select client_port from pg_stat_activity where pid = %s", second.info.backend_pid)
        assert f"[{pid}]" in postgres.log.read_text()
        now = ("--system", "warehouse", "--account", "svc_writer", "--at", "now")
        (found,) = bridge.cli_json("log", "who", *now, "--pid", str(pid))["sessions"]
        assert (found["agent"], found["owner"], found["certain"]) == (one, "payments", True)
        (found,) = bridge.cli_json("log", "who", *now, "--client-port", str(port))["sessions"]
        assert (found["agent"], found["session"]) == (two, bridge.session_of(second))
        first.execute("delete from t where id = 4711")


def test_the_log_on_the_command_line(bridge: Bridge, reader: str) -> None:
    """list, show and export agree; each read is itself an event."""
    with bridge.connect(reader) as connection:
        session = bridge.session_of(connection)
        connection.execute("select 1 as cli_marker")
    bridge.session_events(session, closed=True)
    answer = bridge.cli_json("log", "list", "--text", "cli_marker", "--label", "pii", "--agent", "reader-1")
    events = answer["events"]
    assert (answer["count"], answer["more"]) == (len(events), False)
    assert answer["first"] <= answer["last"] <= answer["log"]["last"]
    asked = bridge.cli_json("log", "list", 'text:"CLI_marker"', "label:pii", "agent:reader-*", "-outcome:denied")
    assert asked["events"] == events
    assert "did you mean agent?" in bridge.cli("log", "list", "agnet:reader-1", status=1)
    assert {event["corr"]["session"] for event in events} == {session}
    phases = sorted(event["phase"] for event in events)
    assert phases in (["complete"], ["intent", "outcome"]), "one statement: one event, or two if its answer took 20 ms"
    types = [e["type"] for e in bridge.cli_json("log", "show", session)["events"]]
    assert types == ["session.open", "session.established", *["operation"] * len(events), "session.close"]
    exported = bridge.cli("log", "export", "--session", session, "--format", "jsonl")
    assert exported.count('"type":"operation"') == len(events)
    assert "reader-1" in bridge.cli("log", "list", "--text", "cli_marker")
    assert any(e["type"] == "log.read" for e in bridge.events(type="log.read"))


def test_the_command_line_leaves_the_live_log_whole(bridge: Bridge, reader: str) -> None:
    """An export opens the database in another process; the write-ahead log that the bridge holds must survive it."""
    bridge.cli("log", "export", "--agent", "nobody")
    with bridge.connect(reader) as connection:
        connection.execute("select 1 as after_export_marker")
        session = bridge.session_of(connection)
    bridge.session_events(session, closed=True)
    assert (bridge.state / "translation.db-wal").exists()
    assert session in bridge.cli("log", "export", "--session", session)


def test_numbers_of_the_log_have_no_gap(bridge: Bridge, reader: str) -> None:
    numbers = [e["seq"] for e in bridge.events()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


# -- cancel (C9, C10)


def test_psycopg_cancels(bridge: Bridge, postgres: Server, reader: str) -> None:
    """By PQcancel (plaintext) and by cancel_safe (TLS where libpq can): 57014, and the session lives."""
    with bridge.connect(reader) as connection:
        cancels: list[Callable[[], None]] = [connection.cancel, connection.cancel_safe]
        for cancel in cancels:
            sleeping = Sleeping(connection, postgres)
            begin = time.monotonic()
            cancel()
            sqlstate, seconds = sleeping.wait(begin)
            assert (sqlstate, seconds < 2) == ("57014", True)
            assert connection.execute("select 1").fetchone() == (1,)
        session = bridge.session_of(connection)
    cancelled = [e for e in bridge.session_events(session, closed=True) if e.get("result", {}).get("code") == "57014"]
    assert len(cancelled) == 2


def test_psql_ctrl_c(bridge: Bridge, postgres: Server, reader: str) -> None:
    where = f"host=localhost port={bridge.ports['warehouse']} user=agent dbname=app sslmode=verify-full"
    command = ["psql", f"{where} sslrootcert={bridge.authority.ca}", "-XAt", "-c", "select pg_sleep(31)"]
    environment = {**os.environ, "PGPASSWORD": reader}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    sql = "select 1 from pg_stat_activity where query = 'select pg_sleep(31)' and state = 'active'"
    bridge.wait(lambda: postgres.ask(sql), 10, "sleeping")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    bridge.place.keep("psql-cancel", out + err)
    assert "canceling statement due to user request" in err
    assert process.returncode == 1


def cancel(bridge: Bridge, pid: int, key: bytes) -> bytes:
    """Sends a CancelRequest in the clear; gives what is answered, which must be nothing."""
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.send(struct.pack("!iii", 12 + len(key), 80877102, pid) + key)
        return talk.until_closed()


def test_c9_a_late_cancel_does_not_hit_the_next_query(bridge: Bridge, reader: str) -> None:
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.log_in(reader, bridge.authority.ca)
        assert talk.key is not None
        for _ in range(5):
            assert wire.kinds(talk.query("select 1")) == "TDCZ"
            assert cancel(bridge, *talk.key) == b""
            assert wire.kinds(talk.query("select pg_sleep(0.05)")) == "TDCZ"


def test_c10_a_cancelled_query_has_one_ready_for_query(bridge: Bridge, postgres: Server, reader: str) -> None:
    """And a wrong key cancels nothing, and is answered no byte either."""
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.log_in(reader, bridge.authority.ca)
        assert talk.key is not None
        pid, key = talk.key
        assert len(key) == 4
        talk.say("Q", b"select pg_sleep(30)\0")
        postgres.wait_sleeping(pid)
        assert cancel(bridge, pid, bytes(4)) == b""
        assert cancel(bridge, pid, key) == b""
        messages = talk.until("Z")
        assert wire.kinds(messages) == "TEZ"
        assert wire.error(messages)["C"] == "57014"
        assert wire.kinds(talk.query("select 1")) == "TDCZ"


# -- operators ask the legacy server


def test_doctor(bridge: Bridge) -> None:
    """svc_reader cannot write; svc_writer can, which is a problem where grants promise read only."""
    rows = bridge.cli_json("doctor", "warehouse", "--account", "svc_reader")
    assert ("ok", "read-only guaranteed") in {(row["level"], row["title"]) for row in rows}
    rows = bridge.cli_json("doctor", "warehouse", "--account", "svc_writer")
    assert any("can write" in row["title"] for row in rows)
    rows = bridge.cli_json("doctor", "guarded", status=1)
    problems = [row for row in rows if row["level"] == "problem"]
    assert problems
    assert {row["account"] for row in problems} == {"svc_writer"}


def test_explain_and_who_can_agree_with_the_door(bridge: Bridge) -> None:
    told = bridge.cli_json("explain", "--agent", "reader-1", "--system", "warehouse", "--action", "write", status=1)
    assert not told["decision"]["allowed"]
    told = bridge.cli_json("explain", "--agent", "reader-1", "--system", "warehouse", "--action", "read")
    assert told["decision"]["rules"] == ["reads"]
    agents = {row["agent"] for row in bridge.cli_json("who-can", "--label", "pii", "--action", "write")["access"]}
    assert "writer-1" in agents
    assert agents.isdisjoint({"reader-1", "stranger-1"})


def test_what_was_allowed_is_asked_of_the_log(bridge: Bridge) -> None:
    """The same question now and of the past: the policy and the registry that the log has are the live ones."""
    live = bridge.cli_json("who-can", "--label", "pii", "--action", "write")
    moment = str(int(time.time() * 1000) - 1000)
    then = bridge.cli_json("who-can", "--label", "pii", "--action", "write", "--at", moment)
    assert (live["basis"]["source"], then["basis"]["source"]) == ("live", "log")
    assert (then["access"], then["basis"]["policy"]) == (live["access"], live["basis"]["policy"])
    told = bridge.cli("explain", "--agent", "reader-1", "--system", "warehouse", "--action", "read", "--at", moment)
    assert f"by the policy {live['basis']['policy'][:19]}" in told
    early = bridge.cli("who-can", "--label", "pii", "--at", "2020-01-01", status=1)
    assert "the log has no policy from before" in early
    assert any(one["detail"]["query"] == "policy.who_can" for one in bridge.events(type="log.read"))


def test_reports_count_what_happened(bridge: Bridge, reader: str) -> None:
    """Through the real command line: every framework, and the access review that names the session just made."""
    with bridge.connect(reader) as connection:
        session = bridge.session_of(connection)
        connection.execute("select 1")
    bridge.session_events(session, closed=True)
    reports = [bridge.cli_json("report", "framework", name) for name in ("soc2", "pci", "sox", "finra")]
    rows = {row["figure"]: row for report in reports for row in report["rows"] if row["figure"]}
    for figure in ("attributed_sessions", "attributed_operations", "sequence", "append_only", "policy_on_decisions"):
        assert (figure, rows[figure]["exceptions"]) == (figure, 0)
        assert rows[figure]["count"] > 0
    opened = [event for event in bridge.events(type="session.open") if event["seq"] <= reports[0]["log"]["last"]]
    assert rows["attributed_sessions"]["count"] == len(opened)
    assert reports[0]["log"]["root"]
    review = bridge.cli_json("report", "access")["rows"]
    used = [row for row in review if row["agent"] == "reader-1" and row["last_read"]]
    assert used
    assert all(row["sessions"] for row in used)
    assert "| reader-1 |" in bridge.cli("report", "access")
    assert bridge.cli("report", "unused", "--format", "csv").startswith("grant,")
    actors = bridge.cli_json("log", "actors", "agent:reader-1")["actors"]
    assert [(row["kind"], row["owner"]) for row in actors if row["id"] == "reader-1"] == [("agent", "payments")]
