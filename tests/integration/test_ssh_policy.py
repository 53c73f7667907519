"""What agents may do on hosts, and how a session ends that may go on no longer."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig.bridge import Bridge
from rig.ssh_clients import TIMEOUT, Client
from rig.sshd import Account, Sshd

REFUSED = 126


@pytest.fixture
def folder(account: Account) -> Iterator[Path]:
    """On the host, the static account's own."""
    made = account.home / f"policy-{secrets.token_hex(4)}"
    made.mkdir()
    shutil.chown(made, account.name)
    yield made
    shutil.rmtree(made)


def test_reading_permits_no_writing_over_sftp(auditor: Client, folder: Path, tmp_path: Path) -> None:
    """The protocol's own error answers each write, and the session lives on."""
    (folder / "there").write_bytes(b"content")
    (tmp_path / "mine").write_bytes(b"mine")
    mine, there, got = tmp_path / "mine", folder / "there", tmp_path / "got"
    done = auditor.sftp(
        f"-put {mine} {folder}/new\n-rm {there}\n-mkdir {folder}/sub\n-rename {there} {folder}/z\n"
        f"-chmod 777 {there}\n-put {mine} {there}\nls -l {folder}\nget {there} {got}\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.lower().count(b"permission denied") >= 6, done.stderr
    assert got.read_bytes() == b"content"
    assert [(one.name, one.read_bytes()) for one in folder.iterdir()] == [("there", b"content")]


def test_reading_permits_the_commands_that_only_read(auditor: Client, folder: Path) -> None:
    (folder / "there").write_bytes(b"content")
    assert auditor.ssh(f"cat {folder}/there").stdout == b"content"
    for command in (
        f"rm {folder}/there",
        f"cat {folder}/there > {folder}/new",
        f"cat x; rm {folder}/there",
        "bash",
        "",
    ):
        done = auditor.ssh(*filter(None, [command]))
        assert (done.returncode, done.stdout) == (REFUSED, b""), command
        assert b"reference" in done.stderr
    assert [one.name for one in folder.iterdir()] == ["there"]


def test_reading_permits_scp_from_the_host_only(auditor: Client, folder: Path, tmp_path: Path) -> None:
    (folder / "there").write_bytes(b"content")
    command = ("sshpass", "-e", "scp", "-O", *auditor.options, "-P", auditor.port)
    assert auditor.run(*command, f"agent@127.0.0.1:{folder}/there", str(tmp_path / "got")).returncode == 0
    assert auditor.run(*command, str(tmp_path / "got"), f"agent@127.0.0.1:{folder}/new").returncode != 0
    assert not (folder / "new").exists()


def test_denied_commands(operator: Client) -> None:
    """Also as one of several."""
    for command in ("shutdown now", "echo x; shutdown now", "echo x && shutdown"):
        done = operator.ssh(command)
        assert (done.returncode, done.stdout) == (REFUSED, b""), command
    assert operator.ssh("echo shutdown").stdout == b"shutdown\n"


def test_commands_of_a_grant(gate: Bridge) -> None:
    """A line is covered when each command of it is; substitutions and redirections never are."""
    client = Client(gate, "operator-1", "commands")
    assert client.ssh("echo one; git --version").stdout.startswith(b"one\ngit version")
    for command in ("id", "echo one; id", "echo $(id)", "echo `id`", "echo x > /dev/null", "echo 'x", "echo x\nid"):
        assert client.ssh(command).returncode == REFUSED, command
    assert client.ssh().returncode == REFUSED


def test_exec_only(gate: Bridge) -> None:
    client = Client(gate, "operator-1", "exec")
    assert client.ssh("echo yes").stdout == b"yes\n"
    assert client.ssh(stdin=b"echo no\n").returncode == REFUSED
    assert client.ssh(options=("-tt",), stdin=b"echo no\n").returncode == REFUSED


def test_forwarded_agents_and_displays_are_refused_and_the_command_runs(operator: Client) -> None:
    done = operator.ssh("echo ${SSH_AUTH_SOCK:-none} ${DISPLAY:-none}", options=("-A", "-X"))
    assert done.stdout == b"none none\n", done.stderr


# -- forwarding


@pytest.fixture
def greeter() -> Iterator[int]:
    """A server that speaks first."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"220 hello\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_forwarding_is_off_by_default(operator: Client, greeter: int) -> None:
    done = operator.ssh(options=("-W", f"127.0.0.1:{greeter}"))
    assert done.returncode == 255
    assert done.stdout == b""


def test_forwarding_where_it_is_allowed(gate: Bridge, greeter: int) -> None:
    """warpgate#2328: the first bytes of a server that speaks first arrive, each time; and the log names the target."""
    client = Client(gate, "operator-1", "forwarding")
    for _ in range(10):
        assert client.ssh(options=("-W", f"127.0.0.1:{greeter}")).stdout == b"220 hello\r\n"
    assert f"127.0.0.1:{greeter}" in json.dumps(gate.operations(client.session()))


# -- the end


def ended(client: Client, running: subprocess.Popen[bytes]) -> bytes:
    """What a client that was cut off said."""
    out, said = running.communicate(timeout=TIMEOUT)
    client.bridge.place.keep("cut", out + said)
    assert running.returncode == 255
    return said


def started(client: Client) -> subprocess.Popen[bytes]:
    running = client.start("echo started; sleep 60")
    assert running.stdout is not None
    assert running.stdout.readline() == b"started\n"
    return running


def test_suspending_an_agent_cuts_its_running_command(gate: Bridge) -> None:
    gate.agent("doomed-1", "operator")
    client = Client(gate, "doomed-1")
    running, begun = started(client), time.monotonic()
    gate.cli("agent", "suspend", "doomed-1", "--reason", "ticket 4711")
    said = ended(client, running)
    assert time.monotonic() - begun < 5
    assert b"doomed-1" in said or b"suspended" in said or b"revoked" in said, said
    assert client.ssh("true").returncode != 0
    gate.cli("agent", "resume", "doomed-1")
    assert client.ssh("true").returncode == 0


def test_an_operator_ends_a_session(operator: Client) -> None:
    running = started(operator)
    operator.bridge.cli("session", "end", operator.session())
    assert b"operator" in ended(operator, running)


def test_sessions_last_no_longer_than_allowed(gate: Bridge) -> None:
    client, begun = Client(gate, "operator-1", "brief"), time.monotonic()
    ended(client, started(client))
    assert 2 < time.monotonic() - begun < 8


# -- hosts


def refused(client: Client) -> tuple[bytes, dict[str, Any]]:
    """What the client of a login that must fail said, and the event that ops see."""
    done = client.ssh("true")
    assert done.returncode == 255
    assert done.stdout == b""
    events = client.bridge.session_events(client.session(), closed=True)
    return done.stderr, events[-1]


def test_a_changed_host_key_is_refused_before_anything_is_said(gate: Bridge, modern: Sshd) -> None:
    """The alarm names the key; the host saw no attempt to log in."""
    client, attempts = Client(gate, "operator-1", "moved"), modern.attempts()
    said, event = refused(client)
    assert b"the legacy host is unavailable" in said
    assert modern.attempts() == attempts
    assert "key" in json.dumps(event)
    alarms = gate.events(type="alarm", system="moved")
    assert alarms
    assert "key" in json.dumps(alarms[-1])


def test_a_host_without_pinned_key_is_not_connected_to(gate: Bridge, modern: Sshd) -> None:
    attempts = modern.attempts()
    said, _event = refused(Client(gate, "operator-1", "unpinned"))
    assert b"the legacy host is unavailable" in said
    assert modern.attempts() == attempts


def test_a_wrong_static_password_is_tried_once(gate: Bridge, modern: Sshd) -> None:
    """All agents share the bridge's address: PerSourcePenalties would lock all of them out."""
    client, attempts = Client(gate, "operator-1", "wrong"), modern.attempts()
    for _ in range(3):
        assert b"unavailable" in refused(client)[0]
    assert modern.attempts() == attempts + 1
    assert gate.events(type="alarm", system="wrong")


def test_a_static_password(gate: Bridge, account: Account) -> None:
    assert Client(gate, "operator-1", "password").ssh("id -un").stdout.decode().strip() == account.name


def test_a_host_of_before_2010(gate: Bridge) -> None:
    """SHA-1, 1024 bits and 3DES, by the system's own choice; and it stands in the log."""
    client = Client(gate, "operator-1", "legacy")
    data = secrets.token_bytes(1_000_000)
    assert client.ssh("cat", stdin=data).stdout == data
    logged = json.dumps(gate.session_events(client.session(), closed=True))
    for name in ("diffie-hellman-group1-sha1", "3des-cbc", "hmac-sha1", "ssh-rsa SHA256:"):
        assert name in logged


def test_a_host_of_before_2010_is_refused_by_the_other_levels(gate: Bridge) -> None:
    assert b"unavailable" in refused(Client(gate, "operator-1", "compat"))[0]
