"""Bad bytes, a dead server, a full disk, a killed bridge, a bad file: each has its answer, and other sessions go on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rig import wire
from rig.bridge import Bridge
from rig.place import Place
from rig.postgres import Server

MIB = 1024 * 1024
GIB = b"\x40\x00\x00\x00"
MakeBridge = Callable[..., Bridge]


@pytest.fixture
def others(bridge: Bridge, reader: str) -> Iterator[None]:
    """A session that must work before, and after, whatever the test does to the bridge."""
    with bridge.connect(reader) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        yield
        assert connection.execute("select 2").fetchone() == (2,)


def resident(bridge: Bridge) -> int:
    assert bridge.process is not None
    status = Path(f"/proc/{bridge.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: bridge\r\n\r\n",
    b"\x16\x03\x01\x00\x05hello",
    b"\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\xff" * 4096,
    GIB + b"\x00\x03\x00\x00",
    b"\x00\x00\x00\x07\x00\x03\x00",
    b"\x00\x00\x27\x11\x00\x03\x00\x00" + b"a" * 9993,
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02",
]


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("data", GARBAGE)
def test_garbage_on_the_port(bridge: Bridge, data: bytes) -> None:
    """At most an error is answered; the connection ends at once; nothing is kept for a message of a gibibyte."""
    before = resident(bridge)
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        with contextlib.suppress(ConnectionError):
            talk.send(data)
        answer = talk.until_closed()
    assert answer[:1] in (b"", b"E", b"\x15"), answer
    assert resident(bridge) - before < 16 * MIB


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("head", [b"p" + GIB, b"p\x00\x00\x00\x03", b"p\xff\xff\xff\xff", b"Q\x00\x00\x00\x08xxx\x00"])
def test_garbage_in_place_of_the_password(bridge: Bridge, head: bytes) -> None:
    before = resident(bridge)
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.start_tls(bridge.authority.ca)
        talk.startup()
        assert talk.message()[0] == "R"
        talk.send(head)
        with contextlib.suppress(wire.Closed):  # a length below 4 is answered like PostgreSQL does: not at all
            assert wire.error(talk.until("E"))["C"] in ("08P01", "28P01")
        assert talk.until_closed() == b""
    assert resident(bridge) - before < 16 * MIB


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    "head", [b"Q\x7f\xff\xff\xff", b"Q\x00\x00\x00\x03", b"S" + GIB, b"\x00\x00\x00\x00\x04", b"Z\x00\x00\x00\x04"]
)
def test_garbage_in_a_live_session(bridge: Bridge, reader: str, head: bytes) -> None:
    """08P01, and the session is over on both sides."""
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.log_in(reader, bridge.authority.ca)
        talk.send(head)
        messages = talk.until("E")
        assert wire.error(messages)["C"] == "08P01"
        assert talk.until_closed() == b""


@pytest.mark.usefixtures("others")
def test_a_gibibyte_query_that_never_comes(bridge: Bridge, reader: str) -> None:
    """Its header is legal; the bytes that follow are not kept beyond the bound."""
    before = resident(bridge)
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.log_in(reader, bridge.authority.ca)
        talk.socket.settimeout(5)
        with contextlib.suppress(OSError):
            talk.send(b"Q" + GIB)
            for _ in range(100):
                talk.send(b"select " * 20_000)
        assert resident(bridge) - before < 64 * MIB


def test_half_a_startup_packet_and_a_password_that_never_comes(make_bridge: MakeBridge) -> None:
    """The hello has its own time limit, the login another; then the connection is closed."""
    bridge = make_bridge("hasty", limits={"hello": "1s", "auth": "1s"})
    begin = time.monotonic()
    with wire.Talk(bridge.ports["warehouse"]) as half, wire.Talk(bridge.ports["warehouse"]) as silent:
        half.send(b"\x00\x00\x00\x20\x00\x03")
        half.until_closed()
        silent.until_closed()
        assert 0.8 < time.monotonic() - begin < 4
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.start_tls(bridge.authority.ca)
        talk.startup()
        assert talk.message()[0] == "R"
        begin = time.monotonic()
        assert wire.error(talk.until("E"))["C"] == "08006"
        assert 0.8 < time.monotonic() - begin < 4
    with bridge.connect(bridge.token("reader-1")) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


# -- the legacy server dies


def sleeping(postgres: Server, pid: int) -> bool:
    return bool(postgres.ask("select 1 from pg_stat_activity where pid = %s and wait_event = 'PgSleep'", pid))


def test_the_legacy_server_is_killed_in_the_middle_of_a_query(bridge: Bridge, postgres: Server, reader: str) -> None:
    """08006, or the server's own last words; the outcome is not success; a new session works when it is back."""
    errors: list[psycopg.Error] = []
    with bridge.connect(reader) as connection:
        session, pid = bridge.session_of(connection), connection.info.backend_pid

        def run() -> None:
            try:
                connection.execute("select pg_sleep(30) as killed_marker")
            except psycopg.Error as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        bridge.wait(lambda: sleeping(postgres, pid), 5, "sleeping")
        os.kill(pid, signal.SIGKILL)
        thread.join(10)
        assert not thread.is_alive()
    assert errors[0].sqlstate == "08006"
    assert session in str(errors[0])
    (operation,) = [e for e in bridge.operations(session) if "killed_marker" in e["action"]["text"]]
    assert operation["outcome"] in ("unknown", "failure")

    def back() -> bool:
        with contextlib.suppress(psycopg.Error), bridge.connect(reader) as again:
            return again.execute("select 1").fetchone() == (1,)
        return False

    bridge.wait(back, 20, "back")


# -- the log cannot be written


def readyz(bridge: Bridge) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{bridge.metrics}/readyz", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.fixture
def small_disk(place: Place) -> Iterator[Path]:
    """A file system of 12 MiB of its own; its files are kept for the last test."""
    folder = place.folder / "small-disk"
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small file system")
    try:
        yield folder
    finally:
        (folder / "filler").unlink(missing_ok=True)
        kept = place.folder / "small-disk-kept"
        shutil.copytree(folder / "state", kept, ignore=lambda _, names: [n for n in names if n.endswith(".sock")])
        place.secret_files |= {kept / "issuer.key", kept / "store.key"}
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


def write_until_it_fails(connection: psycopg.Connection[Any]) -> None:
    """Each insert leaves two events in the log."""
    for number in range(20_000):
        connection.execute("insert into t values (%s)", (900_000 + number,))


def test_c36_a_full_disk_under_the_log(bridge: Bridge, small_disk: Path, make_bridge: MakeBridge, writer: str) -> None:
    """New logins hear 57P03, live sessions end, /readyz says 503; with space it all works again."""
    full = make_bridge("full", bridge={"state": str(small_disk / "state"), "drain": "0s"})
    token, spare = full.token("writer-1"), full.token("reader-1")
    assert readyz(full) == 200
    with full.connect(token) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        fill(small_disk)
        with pytest.raises(psycopg.Error) as ended:
            write_until_it_fails(connection)
        assert ended.value.sqlstate in ("58030", "57P03")
    full.wait(lambda: readyz(full) == 503, 5, "not ready")
    with wire.Talk(full.ports["warehouse"]) as talk:
        found = wire.error(talk.log_in(spare, full.authority.ca))
    assert found["C"] == "57P03"
    assert found["M"] == "the translation log cannot be written, and nothing is done unrecorded"
    with bridge.connect(writer) as other:  # another bridge is not concerned
        other.execute("delete from t where id >= 900000")
    (small_disk / "filler").unlink()
    full.wait(lambda: readyz(full) == 200, 40, "ready again")
    with full.connect(spare) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    numbers = [e["seq"] for e in full.events()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert full.events(type="log.recovered")


# -- the bridge itself


def test_the_process_that_appends_to_the_log_may_die_at_any_time(make_bridge: MakeBridge) -> None:
    """Another takes its place: no statement fails, and each is in the log once. A stop leaves none behind."""
    bridge = make_bridge("appending")
    assert bridge.process is not None
    pid = bridge.process.pid
    with bridge.connect(bridge.token("writer-1")) as connection:
        session = bridge.session_of(connection)
        for start in range(800_000, 800_160):
            if start % 40 == 0:
                os.kill(appender(pid), signal.SIGKILL)
            connection.execute("select 'quick'")
            if start % 10 == 0:
                connection.execute("insert into t values (%s, 'appended')", (start,))
        connection.execute("delete from t where id >= 800000")
    found = Counter((one["action"]["verb"], one["outcome"]) for one in bridge.operations(session))
    assert found == {("sql.select", "success"): 160, ("sql.insert", "success"): 16, ("sql.delete", "success"): 1}
    assert bridge.cli_json("log", "verify")["findings"] == []
    child = appender(pid)
    assert bridge.stop() == 0
    assert not Path(f"/proc/{child}").exists()


def appender(bridge: int) -> int:
    """The process in which the bridge of this process id appends to its log."""
    children = Path(f"/proc/{bridge}/task").glob("*/children")
    found = [one for child in children for one in child.read_text().split()]
    (pid,) = {int(one) for one in found if b"appender_child" in Path(f"/proc/{one}/cmdline").read_bytes()}
    return pid


def test_a_killed_bridge_closes_its_sessions_at_the_next_start(make_bridge: MakeBridge, postgres: Server) -> None:
    """As unknown: bridge-stopped; what had begun and not ended too. Agents and keys are still there."""
    bridge = make_bridge("killed")
    token = bridge.token("writer-1")
    connection = bridge.connect(token)
    session, pid = bridge.session_of(connection), connection.info.backend_pid
    connection.execute("insert into t values (51, 'killed')")
    killer = threading.Timer(0.5, bridge.kill)
    killer.start()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("insert into t select 52, pg_sleep(3)::text")
    connection.close()
    killer.join()
    bridge.start()
    events = bridge.session_events(session)
    close = events[-1]
    assert (close["type"], close["outcome"], close["reason"]) == ("session.close", "unknown", "bridge-stopped")
    last = bridge.operations(session)[-1]
    assert (last["outcome"], last["reason"]) == ("unknown", "bridge-stopped")
    with bridge.connect(token) as again:
        again.execute("delete from t where id in (51, 52)")
    at = int(time.time() * 1000)
    assert bridge.call("log.who", system="warehouse", account="svc_writer", at=at, pid=pid, window=20_000)


def test_sigterm_tells_sessions_goodbye(make_bridge: MakeBridge) -> None:
    bridge = make_bridge("stopped")
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.log_in(bridge.token("reader-1"), bridge.authority.ca)
        session = talk.parameters["application_name"].split()[0].removeprefix("ib:")
        assert bridge.stop() == 0
        assert wire.fields(talk.message()[1])["C"] == "57P01"
        assert talk.until_closed() == b""
    bridge.start()
    end = bridge.session_events(session)[-1]
    assert (end["type"], end["reason"]) == ("session.close", "shutdown")


def test_reload(make_bridge: MakeBridge) -> None:
    """A bad file changes nothing and says why; a good one takes effect on the session that lives through both."""
    bridge = make_bridge("reloaded")
    digest = bridge.call("status")["digest"]
    with bridge.connect(bridge.token("reader-1")) as connection:
        good = bridge.config.read_text()
        bridge.config.write_text(good.replace('"listen"', '"listens"'))
        assert bridge.process is not None
        bridge.process.send_signal(signal.SIGHUP)
        bridge.wait(lambda: "the new configuration was not taken" in bridge.daemon_log.read_text(), 5, "refused")
        assert "listens" in bridge.daemon_log.read_text()
        assert "systems.warehouse.listen" in bridge.cli("reload", status=1)
        assert bridge.call("status")["digest"] == digest
        assert connection.execute("select 1").fetchone() == (1,)
        changed = json.loads(good)
        changed["grants"] = [one for one in changed["grants"] if one["id"] != "reads"]
        bridge.config.write_text(json.dumps(changed))
        bridge.process.send_signal(signal.SIGHUP)
        bridge.wait(lambda: bridge.call("status")["digest"] != digest, 5, "taken")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select 1")
    with pytest.raises(psycopg.OperationalError, match="no grant lets this agent in"):
        bridge.connect(bridge.token("reader-1"))
    told = bridge.cli_json("explain", "--agent", "reader-1", "--system", "warehouse", status=1)
    assert not told["decision"]["allowed"]  # commands ask the policy that the doors ask
    change = bridge.events(type="config.change")[-1]
    assert (change["outcome"], "grants.reads" in change["change"]["before"]) == ("success", True)


def test_an_agent_can_be_revoked_while_the_file_is_broken(make_bridge: MakeBridge) -> None:
    """Somebody's typing error must not stand between an operator and a revocation."""
    bridge = make_bridge("broken-file")
    bridge.config.write_text(bridge.config.read_text().replace('"listen"', '"listens"'))
    bridge.cli("agent", "revoke", "reader-1")


def test_check_says_where_a_file_is_wrong(make_bridge: MakeBridge) -> None:
    bridge = make_bridge("checked", start=False)
    assert "ok" in bridge.cli("check")
    bridge.config.write_text(bridge.config.read_text().replace('"listen"', '"listens"'))
    assert f"{bridge.config}:" in bridge.cli("check", status=1)


def test_owner_leaves(make_bridge: MakeBridge) -> None:
    """A dry run changes nothing; then all agents of the owner are revoked and their sessions ended."""
    bridge = make_bridge("left")
    with bridge.connect(bridge.token("reader-1")) as connection:
        told: dict[str, Any] = bridge.call("owner.leave", owner="payments", dry_run=True)
        assert "reader-1" in str(told)
        assert connection.execute("select 1").fetchone() == (1,)
        bridge.call("owner.leave", owner="payments", dry_run=False)
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("select 1")
    assert {one["state"] for one in bridge.call("agent.list")} == {"revoked"}


def test_a_stored_secret(make_bridge: MakeBridge, postgres: Server) -> None:
    """`idbridge secret set` from standard input; the account then uses it."""
    bridge = make_bridge("stored", start=False)
    bridge.document["systems"]["warehouse"]["accounts"]["svc_reader"]["secret"] = "store:warehouse/reader"
    bridge.write()
    bridge.cli("secret", "set", "warehouse/reader", stdin=postgres.passwords["svc_reader"] + "\n")
    bridge.start()
    bridge.agent("reader-1", "reader")
    assert "warehouse/reader" in bridge.cli("secret", "list")
    with bridge.connect(bridge.token("reader-1")) as connection:
        assert connection.execute("select current_user").fetchone() == ("svc_reader",)
