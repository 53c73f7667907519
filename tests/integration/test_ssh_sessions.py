"""Recordings, enrolment, several keys, and hosts that go away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from rig.bridge import Bridge
from rig.certificates import Authority
from rig.place import Place
from rig.ssh_clients import TIMEOUT, Client, hosts_document, hosts_environment, resident
from rig.sshd import Account, Sshd, run


def test_a_wrong_key_does_not_hinder_the_token(gate: Bridge, tmp_path: Path) -> None:
    """sshpiper#393: the client offers a key that nobody knows, then its token."""
    key = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    assert Client(gate, "operator-1", identity=key).ssh("echo in").stdout == b"in\n"


def test_a_terminal_is_recorded_as_shown(gate: Bridge) -> None:
    client = Client(gate, "operator-1", "recorded")
    done = client.ssh("echo seen-in-the-terminal", options=("-tt",))
    assert b"seen-in-the-terminal" in done.stdout
    session = client.session()
    gate.session_events(session, closed=True)
    assert "seen-in-the-terminal" in gate.cli("log", "play", session, "--transcript")
    header, *lines = gate.cli("log", "play", session, "--cast").splitlines()
    assert json.loads(header)["version"] == 2
    assert any("seen-in-the-terminal" in json.loads(line)[2] for line in lines)


def test_a_recording_is_readable_after_a_crash(
    place: Place, authority: Authority, account: Account, modern: Sshd, old: Sshd
) -> None:
    """All but the last second, whatever became of the bridge."""
    document = hosts_document(account, modern, old)
    document["systems"] = {"recorded": document["systems"]["recorded"]}
    document["grants"] = [one for one in document["grants"] if one["system"] == "recorded"]
    bridge = Bridge(place, authority, "crashing", document, hosts_environment(account))
    try:
        bridge.start()
        bridge.agent("operator-1", "operator")
        client = Client(bridge, "operator-1", "recorded")
        running = client.start("echo before-the-crash; sleep 60", options=("-tt",))
        assert running.stdout is not None
        assert b"before-the-crash" in running.stdout.readline()
        session = client.session()
        bridge.wait(lambda: "before-the-crash" in bridge.cli("log", "show", session, "--transcript"), 20, "written")
        bridge.kill()
        running.communicate(timeout=TIMEOUT)
        bridge.start()
        assert "before-the-crash" in bridge.cli("log", "show", session, "--transcript")
    finally:
        bridge.stop()


def test_a_host_is_enrolled_by_an_operator(gate: Bridge, modern: Sshd) -> None:
    """Not connected to before; `idbridge ssh trust --pin` shows its keys and pins them."""
    client = Client(gate, "operator-1", "enrolled")
    assert client.ssh("echo in").returncode == 255
    shown = gate.cli("ssh", "trust", "enrolled", "--pin")
    for line in subprocess.run(["ssh-keygen", "-l", "-f", str(modern.known_hosts)], capture_output=True, check=True,
                               timeout=20).stdout.splitlines():  # fmt: skip
        assert line.split()[1].decode() in shown
    assert client.ssh("echo in").stdout == b"in\n"


def test_a_host_that_goes_away_ends_the_session(operator: Client, modern: Sshd) -> None:
    """The client hears it at once; the next finds the host again."""
    running = operator.start("echo started; sleep 0.5; kill -9 $PPID; sleep 30")
    out, said = running.communicate(timeout=TIMEOUT)
    assert (out, running.returncode) == (b"started\n", 255), said
    modern.stop()
    try:
        assert b"unavailable" in operator.ssh("true").stderr
    finally:
        modern.start()
    assert operator.ssh("echo back").stdout == b"back\n"


def test_a_host_that_is_frozen_ends_the_session_and_a_silent_one_does_not(gate: Bridge) -> None:
    """TCP holds the connection of both; sshd answers a keepalive while its command says nothing."""
    client = Client(gate, "operator-1", "watched")
    running = client.start("sleep 5; echo still-there; read x; kill -STOP $PPID; sleep 30; kill -CONT $PPID")
    assert running.stdout is not None
    assert running.stdout.readline() == b"still-there\n"
    _, said = running.communicate(b"freeze\n", timeout=TIMEOUT)
    assert (running.returncode, b"the connection to the legacy system was lost" in said) == (255, True)
    session = client.session()
    closed = gate.session_events(session, closed=True)[-1]
    assert (closed["reason"], closed["outcome"]) == ("upstream-lost", "failure")
    assert "none of 4 keepalives was answered in 10 s" in closed["detail"]["text"]
    (command,) = gate.operations(session)
    assert command["outcome"] == "unknown"


def test_an_agent_that_is_frozen_ends_its_session(gate: Bridge, tmp_path: Path) -> None:
    client = Client(gate, "operator-1", "watched")
    mark = f"mark-{tmp_path.name}"
    running = client.start(f"echo started; exec -a {mark} sleep 60")
    assert running.stdout is not None
    assert running.stdout.readline() == b"started\n"
    ssh = int(subprocess.run(["pgrep", "-P", str(running.pid)], capture_output=True, check=True).stdout)
    os.kill(ssh, signal.SIGSTOP)
    try:
        session = client.session()
        gate.wait(lambda: gate.events(session=session, type="session.close"), 40, "given up")
        closed = gate.session_events(session)[-1]
        assert closed["reason"] == "connection-lost"
        assert "none of 4 keepalives was answered in 10 s" in closed["detail"]["text"]
        gate.wait(lambda: not _runs(mark), 10, "ended on the host")
    finally:
        os.kill(ssh, signal.SIGCONT)
        running.communicate(timeout=TIMEOUT)


# -- clients that do not read


def test_a_client_that_does_not_read_costs_no_memory(operator: Client, gate: Bridge) -> None:
    """warpgate#2292: the host waits, and the rest arrives once the client reads again."""
    operator.ssh("true")
    before = resident(gate)
    running = operator.start("head -c 300000000 /dev/zero")
    gate.wait_calm()
    assert resident(gate) - before < 16_000_000
    assert running.stdout is not None
    got = 0
    while chunk := running.stdout.read(1 << 20):
        got += len(chunk)
    running.communicate(timeout=TIMEOUT)
    assert (got, running.returncode) == (300_000_000, 0)
    assert resident(gate) - before < 16_000_000


def test_interrupting_a_command_whose_output_nobody_reads(operator: Client, tmp_path: Path) -> None:
    """warpgate#1311: Ctrl-C reaches the host while the output is held up."""
    mark = f"mark-{tmp_path.name}"
    running = operator.start(f"bash -c 'exec -a {mark} cat /dev/zero'", options=("-tt",))
    operator.bridge.wait(lambda: _runs(mark), 10, "started")
    operator.bridge.wait_calm()
    assert running.stdin is not None
    begun = time.monotonic()
    running.stdin.write(b"\x03")
    running.stdin.flush()
    operator.bridge.wait(lambda: not _runs(mark), 3, "interrupted")
    assert time.monotonic() - begun < 1
    running.kill()
    running.communicate(timeout=TIMEOUT)


def _runs(mark: str) -> bool:
    found = subprocess.run(["pgrep", "-f", f"^{mark} /dev/zero"], capture_output=True, timeout=10, check=False)
    return bool(found.stdout)
