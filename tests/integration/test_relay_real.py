"""What passes through a live session, and what does not, on a real server (research C and D)."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rig import wire
from rig.bridge import Bridge
from rig.postgres import Server

from tests.adapters.postgres import read_only_corpus as CORPUS

MIB = 1024 * 1024
COPY_SIZE = 50 * MIB


@pytest.fixture
def talk(bridge: Bridge, writer: str) -> Iterator[wire.Talk]:
    """A raw session that may write."""
    with wire.Talk(bridge.ports["warehouse"]) as found:
        assert wire.kinds(found.log_in(writer, bridge.authority.ca)).endswith("Z")
        yield found


@pytest.fixture
def reading(bridge: Bridge, reader: str) -> Iterator[wire.Talk]:
    """A raw session that may only read, as an account that could write."""
    with wire.Talk(bridge.ports["guarded"]) as found:
        assert wire.kinds(found.log_in(reader, bridge.authority.ca)).endswith("Z")
        yield found


# -- read-only agents on an account that can write (C14, C38, D2)


def test_a_refused_insert_leaves_the_session_alive(bridge: Bridge, postgres: Server, reader: str) -> None:
    with bridge.connect(reader, "guarded") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            connection.execute("insert into t values (666, 'no')")
        assert refused.value.diag.severity == "ERROR"
        assert connection.execute("select count(*) from t where id = 666").fetchone() == (0,)
        session = bridge.session_of(connection)
    denied = [e for e in bridge.session_events(session, closed=True) if e["outcome"] == "denied"]
    assert [e["action"]["text"] for e in denied] == ["insert into t values (?, ?)"]
    assert "insert into t values (666" not in postgres.log.read_text()


STATE = """select (select count(*) from t), (select count(*) from pg_class), (select last_value from s),
(select count(*) from pg_largeobject_metadata), (select count(*) from pg_prepared_xacts)"""


def state(postgres: Server) -> list[tuple[object, ...]]:
    """What a write would change."""
    return postgres.ask(STATE)


@pytest.fixture
def dblink(postgres: Server) -> Iterator[None]:
    with postgres.admin() as admin:
        admin.execute("create extension dblink")
        yield
        admin.execute("drop extension dblink")


@pytest.mark.usefixtures("dblink")
def test_c38_no_way_around_read_only(bridge: Bridge, postgres: Server, reader: str) -> None:
    """Each known conversation is refused somewhere, and none writes anything."""
    before = state(postgres)
    for conversation in CORPUS.WROTE:
        codes = []
        with wire.Talk(bridge.ports["guarded"]) as talk:
            talk.log_in(reader, bridge.authority.ca)
            try:
                for text in conversation:
                    codes.append(wire.error(talk.query(text)).get("C", ""))
            except wire.Closed:
                codes.append("closed")
        bridge.place.keep("corpus", f"{conversation}: {codes}\n")
        assert {"42501", "57P01", "closed"} & set(codes), (conversation, codes)
        assert state(postgres) == before, conversation


def test_what_reads_is_let_through(reading: wire.Talk) -> None:
    for text in CORPUS.READ:
        assert wire.error(reading.query(text)) == {}, text


def test_function_call_does_not_pass_a_read_only_session(reading: wire.Talk) -> None:
    """'F' with set_config (2078) would lift the seat-belt without any SQL."""
    values = [b"default_transaction_read_only", b"off", b"f"]
    body = struct.pack("!ihh", 2078, 0, 3) + b"".join(struct.pack("!i", len(v)) + v for v in values)
    reading.say("F", body + struct.pack("!h", 0))
    assert wire.error(reading.until("Z"))["C"] == "42501"
    assert wire.kinds(reading.query("select 1")) == "TDCZ"


def test_the_corpus_by_the_extended_protocol(bridge: Bridge, postgres: Server, reader: str) -> None:
    before = state(postgres)
    for conversation in CORPUS.WROTE:
        with wire.Talk(bridge.ports["guarded"]) as talk:
            talk.log_in(reader, bridge.authority.ca)
            try:
                for text in conversation:
                    talk.send(wire.parse("", text) + wire.bind("", "") + wire.execute("") + wire.SYNC)
                    talk.until("ZG")
                    talk.socket.settimeout(5)
            except wire.Closed:
                pass
        assert state(postgres) == before, conversation


# -- attribution (C12, C13, C16)


def test_c12_c13_interleaved_named_statements(bridge: Bridge, talk: wire.Talk) -> None:
    """Two named statements, two portals, a NULL: each execution is logged with the text it belongs to and its rows."""
    talk.send(
        wire.parse("s1", "select 1 as first_marker where $1::text is null")
        + wire.parse("s2", "select g as second_marker from generate_series(1, $1::int) g")
        + wire.bind("p2", "s2", "3")
        + wire.bind("p1", "s1", None)
        + wire.execute("p2")
        + wire.execute("p1")
        + wire.bind("p3", "s1", "text")
        + wire.execute("p3")
        + wire.SYNC
    )
    assert wire.kinds(talk.until("Z")) == "1122DDDCDC2CZ"
    talk.say("X")
    assert talk.until_closed() == b""
    session = talk.parameters["application_name"].split()[0].removeprefix("ib:")
    events = bridge.operations(session)
    rows = [(e["action"]["text"].split()[3], e["result"]["rows"]) for e in events]
    assert rows == [("second_marker", 3), ("first_marker", 1), ("first_marker", 0)]


def test_c16_flush_without_sync(talk: wire.Talk) -> None:
    """Parse, Describe, Flush: 1, t, T come within a second."""
    talk.socket.settimeout(1)
    talk.send(wire.parse("q", "select 1 as x") + wire.describe("S", "q") + wire.FLUSH)
    assert [talk.message()[0] for _ in range(3)] == ["1", "t", "T"]
    talk.send(wire.SYNC)
    assert talk.message()[0] == "Z"


def test_an_error_in_a_pipeline_skips_to_its_sync(bridge: Bridge, talk: wire.Talk) -> None:
    """What was skipped is logged as not executed."""

    def one(text: str) -> bytes:
        return wire.parse("", text) + wire.bind("", "") + wire.execute("")

    talk.send(one("select 1/(random()*0)::int as broken_marker") + one("select 2 as skipped_marker") + wire.SYNC)
    talk.send(one("select 3 as later_marker") + wire.SYNC)
    assert wire.kinds(talk.until("Z")) == "12EZ"
    assert wire.kinds(talk.until("Z")) == "12DCZ"
    talk.say("X")
    session = talk.parameters["application_name"].split()[0].removeprefix("ib:")
    events = bridge.operations(session)
    outcomes = {e["action"]["text"].split()[-1]: e["outcome"] for e in events}
    assert outcomes == {"broken_marker": "failure", "skipped_marker": "aborted", "later_marker": "success"}


def test_several_statements_in_one_query(talk: wire.Talk) -> None:
    assert wire.kinds(talk.query("select 1;; select 2; select 1/0; select 3")) == "TDCTDCEZ"
    assert wire.kinds(talk.query("")) == "IZ"


def test_a_nul_inside_the_text(talk: wire.Talk) -> None:
    """The server refuses it, so nothing behind the NUL may be understood as allowed; the session lives."""
    talk.say("Q", b"select 1\0; drop table t\0")
    found = wire.error(talk.until("ZE"))
    assert found["C"] == "08P01"


def test_psycopg_pipeline(bridge: Bridge, writer: str) -> None:
    with bridge.connect(writer) as connection, connection.pipeline():
        cursors = [connection.execute("select %s::int", (i,)) for i in range(200)]
        assert [cursor.fetchone() for cursor in cursors] == [(i,) for i in range(200)]


def test_server_side_cursor_and_portal_suspension(talk: wire.Talk) -> None:
    """One statement in pieces is one operation."""
    talk.query("begin")
    talk.send(wire.parse("", "select generate_series(1, 5)") + wire.bind("c", "") + wire.execute("c", 2) + wire.SYNC)
    assert wire.kinds(talk.until("Z")) == "12DDsZ"
    talk.send(wire.execute("c", 0) + wire.SYNC)
    assert wire.kinds(talk.until("Z")) == "DDDCZ"
    talk.query("commit")


# -- COPY (C17, C18)


def test_c17_syncs_inside_copy_count_once(talk: wire.Talk) -> None:
    talk.send(
        wire.parse("", "copy bulk from stdin") + wire.bind("", "") + wire.execute("") + wire.SYNC
        + wire.packed("d", b"one\n") + wire.packed("c") + wire.SYNC
    )  # fmt: skip
    assert wire.kinds(talk.until("Z")) == "12GCZ"
    assert wire.kinds(talk.query("select 1")) == "TDCZ"


def test_a_copy_that_cannot_start_while_data_is_on_its_way(talk: wire.Talk) -> None:
    talk.say("Q", b"copy no_such_table from stdin\0")
    talk.send(wire.packed("d", b"x\n") * 1000 + wire.packed("c"))
    assert wire.kinds(talk.until("Z")) == "EZ"
    assert wire.kinds(talk.query("select 1")) == "TDCZ"


def test_copy_fails_by_the_client(talk: wire.Talk) -> None:
    talk.say("Q", b"copy bulk from stdin\0")
    assert talk.message()[0] == "G"
    talk.send(wire.packed("d", b"x\n") + wire.packed("f", b"changed my mind\0"))
    assert wire.error(talk.until("Z"))["C"] == "57014"
    assert wire.kinds(talk.query("select 1")) == "TDCZ"


def lines() -> Iterator[bytes]:
    """50 MiB in chunks that end anywhere in a line."""
    block = b"".join(b"%08d %s\n" % (i, hashlib.sha256(b"%d" % i).hexdigest().encode()) for i in range(15_000))
    whole = (block * (COPY_SIZE // len(block) + 1))[:COPY_SIZE].rpartition(b"\n")[0] + b"\n"
    for at in range(0, len(whole), 77_777):
        yield whole[at : at + 77_777]


def resident(bridge: Bridge) -> int:
    assert bridge.process is not None
    status = Path(f"/proc/{bridge.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def test_c18_copy_50_mib_in_and_out(bridge: Bridge, writer: str) -> None:
    """The same bytes come back through a reader that pauses; memory stays flat."""
    sent, got, before = hashlib.sha256(), hashlib.sha256(), resident(bridge)
    with bridge.connect(writer) as connection, connection.cursor() as cursor:
        cursor.execute("truncate bulk")
        with cursor.copy("copy bulk from stdin") as copy:
            for chunk in lines():
                sent.update(chunk)
                copy.write(chunk)
        with cursor.copy("copy bulk to stdout") as copy:
            for number, row in enumerate(copy):
                got.update(row)
                if number % 100_000 == 0:
                    time.sleep(0.2)
                    assert resident(bridge) - before < 64 * MIB
        cursor.execute("truncate bulk")
        session = bridge.session_of(connection)
    assert got.digest() == sent.digest()
    copies = [e for e in bridge.session_events(session, closed=True) if e.get("result", {}).get("bytes", 0) > MIB]
    assert len(copies) == 2


# -- the rest of the protocol


def test_listen_and_notify(bridge: Bridge, postgres: Server, writer: str) -> None:
    """A notification reaches an idle session at once."""
    with bridge.connect(writer) as connection:
        connection.execute("listen news")
        with postgres.admin() as admin:
            admin.execute("notify news, 'hello'")
        found = list(connection.notifies(timeout=3, stop_after=1))
        assert [one.payload for one in found] == ["hello"]


def call(talk: wire.Talk, oid: int, *values: bytes) -> bytes:
    """A FunctionCall with binary values."""
    body = struct.pack("!ihhh", oid, 1, 1, len(values))
    body += b"".join(struct.pack("!i", len(value)) + value for value in values)
    talk.say("F", body + struct.pack("!h", 1))
    messages = talk.until("Z")
    assert wire.kinds(messages) == "VZ", wire.error(messages)
    return messages[0][1][4:]


def test_large_objects_as_client_libraries_use_them(talk: wire.Talk) -> None:
    """lo_creat, lo_open, lowrite, lo_lseek, loread, lo_close, lo_unlink by FunctionCall."""

    def number(value: int) -> bytes:
        return struct.pack("!i", value)

    talk.query("begin")
    oid = call(talk, 957, number(0x60000))
    descriptor = call(talk, 952, oid, number(0x60000))
    data = bytes(range(256)) * 64
    assert call(talk, 955, descriptor, data) == number(len(data))
    assert call(talk, 956, descriptor, number(0), number(0)) == number(0)
    assert call(talk, 954, descriptor, number(len(data))) == data
    call(talk, 953, descriptor)
    call(talk, 964, oid)
    assert wire.kinds(talk.query("commit")) == "CZ"


def test_half_closed_client_still_gets_its_answer(bridge: Bridge, reader: str) -> None:
    with wire.Talk(bridge.ports["loopback"]) as talk:
        talk.log_in(reader)
        talk.say("Q", b"select 42\0")
        talk.socket.shutdown(1)
        assert wire.kinds(talk.until("Z")) == "TDCZ"


def test_a_client_that_vanishes_leaves_no_query_behind(bridge: Bridge, postgres: Server, reader: str) -> None:
    """Its running query is cancelled; the server alone would run it to the end."""
    talk = wire.Talk(bridge.ports["warehouse"])
    talk.log_in(reader, bridge.authority.ca)
    assert talk.key is not None
    talk.say("Q", b"select pg_sleep(30)\0")
    postgres.wait_sleeping(talk.key[0])
    talk.socket.close()
    postgres.wait_gone(talk.key[0], 3)


def test_session_identity_cannot_change(talk: wire.Talk) -> None:
    for text in ("set role postgres", "set session authorization postgres", "set local role postgres"):
        assert wire.error(talk.query(text))["C"] == "42501"
    assert talk.query("select current_user")[1][1].endswith(b"svc_writer")


def test_encodings(bridge: Bridge, writer: str) -> None:
    """A Latin-1 session gets its own bytes, and the log has the text right."""
    with bridge.connect(writer, client_encoding="latin1") as connection:
        session = bridge.session_of(connection)
        assert connection.execute('select 1 as "größe_marker"').fetchone() == (1,)
    events = [e for e in bridge.session_events(session, closed=True) if e["type"] == "operation"]
    assert "größe_marker" in events[-1]["action"]["text"]


# -- modes


def notices(connection: psycopg.Connection[Any]) -> list[tuple[str | None, str | None]]:
    found: list[tuple[str | None, str | None]] = []
    connection.add_notice_handler(lambda diag: found.append((diag.severity, diag.message_primary)))
    return found


def test_observe_lets_through_what_it_would_deny(bridge: Bridge, postgres: Server, reader: str) -> None:
    with bridge.connect(reader, "observed") as connection:
        heard = notices(connection)
        connection.execute("insert into t values (31, 'observed')")
        session = bridge.session_of(connection)
    assert heard == []
    assert postgres.ask("delete from t where id = 31 returning 1") == [(1,)]
    events = [e for e in bridge.session_events(session, closed=True) if e["type"] == "operation"]
    assert events[0]["decision"]["would"] == "deny"


def test_warn_tells_the_agent(bridge: Bridge, postgres: Server, reader: str) -> None:
    with bridge.connect(reader, "warned") as connection:
        heard = notices(connection)
        connection.execute("insert into t values (32, 'warned')")
        connection.execute("select 1")
    assert postgres.ask("delete from t where id = 32 returning 1") == [(1,)]
    assert [severity for severity, _ in heard] == ["WARNING"]
    assert "this will be refused once grants are enforced" in str(heard[0][1])


def test_strict_audit_records_reads_before_they_run(bridge: Bridge, writer: str) -> None:
    """While the query still runs its intent is in the log."""
    with bridge.connect(writer, "strict") as connection:
        connection.execute("select 1 as strict_marker")
        session = bridge.session_of(connection)
    events = [e for e in bridge.session_events(session, closed=True) if e["type"] == "operation"]
    assert [e["phase"] for e in events] == ["intent", "outcome"]
    assert events[1]["corr"]["request"] == events[0]["id"]
