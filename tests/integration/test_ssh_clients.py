"""Every ordinary client reaches a real host through the bridge, and the log says what each did."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import paramiko
import pytest
from rig.bridge import Bridge
from rig.ssh_clients import TIMEOUT, Client
from rig.sshd import Account, run

DATA = secrets.token_bytes(3_000_000)


@pytest.fixture
def folder(account: Account) -> Iterator[Path]:
    """On the host, the static account's own."""
    made = account.home / f"work-{secrets.token_hex(4)}"
    made.mkdir()
    shutil.chown(made, account.name)
    yield made
    shutil.rmtree(made)


# -- ssh


def test_ssh_runs_a_command(operator: Client, account: Account) -> None:
    done = operator.ssh("id -un; echo to-stderr >&2; exit 7")
    assert (done.stdout, done.returncode) == (account.name.encode() + b"\n", 7), done.stderr
    assert b"to-stderr\n" in done.stderr


def test_ssh_input_in_the_flight_of_the_command(operator: Client) -> None:
    """warpgate#2065: what is sent before the host is there arrives whole, and its end after it."""
    done = operator.ssh("sha256sum", stdin=DATA)
    assert done.stdout.split()[0].decode() == hashlib.sha256(DATA).hexdigest(), done.stderr


def test_ssh_output_and_its_last_byte(operator: Client) -> None:
    done = operator.ssh("head -c 20000000 /dev/zero; echo end")
    assert (len(done.stdout), done.stdout[-4:]) == (20_000_004, b"end\n")


def test_ssh_new_keys_under_load(operator: Client) -> None:
    """paramiko#822: both the client and the host exchange keys again and again while bytes go both ways."""
    done = operator.ssh("cat", stdin=DATA * 20, options=("-o", "RekeyLimit=1M"))
    assert done.stdout == DATA * 20


def test_ssh_with_a_terminal(operator: Client) -> None:
    done = operator.ssh("stty size; test -t 0 && echo terminal", options=("-tt",), stdin=b"")
    assert b"terminal" in done.stdout, done.stderr


def test_ssh_shell(operator: Client) -> None:
    done = operator.ssh(stdin=b"echo from-the-$((40 + 2))\nexit 3\n")
    assert (b"from-the-42\n" in done.stdout, done.returncode) == (True, 3), done.stderr


def test_ssh_dies_by_the_signal_of_its_command(operator: Client) -> None:
    done = operator.ssh("kill -TERM $$")
    assert done.returncode == 255


def test_ssh_passes_the_environment_that_is_allowed(operator: Client) -> None:
    done = operator.run("sshpass", "-e", "ssh", *operator.options, "-o", "SendEnv=LC_THING LD_PRELOAD_X", "-p",
                        operator.port, "agent@127.0.0.1", "env", LC_THING="yes", LD_PRELOAD_X="no")  # fmt: skip
    assert b"LC_THING=yes\n" in done.stdout
    assert b"LD_PRELOAD_X" not in done.stdout
    assert f"LC_BRIDGE_SID=ib:{operator.session()}".encode() in done.stdout


def test_ssh_says_nothing_of_its_own(operator: Client) -> None:
    """sshpiper#131: no complaint of the client about the host's further keys, and no byte of the bridge."""
    done = operator.ssh("true", options=("-o", "UpdateHostKeys=yes"))
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 0)


def test_control_master_with_ten_sessions(operator: Client, tmp_path: Path) -> None:
    """teleport#1811: many sessions in one connection are one session of the bridge, each with its own commands."""
    control = ("-o", f"ControlPath={tmp_path}/c", "-o", "ControlMaster=auto", "-o", "ControlPersist=20")
    assert operator.ssh("true", options=control).returncode == 0
    session = operator.session()
    many = [operator.start(f"sleep 0.2; echo {n}", options=control) for n in range(10)]
    assert [one.communicate(timeout=TIMEOUT)[0] for one in many] == [f"{n}\n".encode() for n in range(10)]
    assert b"terminal" in operator.ssh("test -t 0 && echo terminal", options=(*control, "-tt")).stdout
    operator.ssh(options=(*control, "-O", "exit"))
    assert operator.session() == session
    assert len(operator.bridge.operations(session)) == 12


def test_twenty_channels_at_once(operator: Client, gate: Bridge) -> None:
    """warpgate#1459."""

    async def all_of_them() -> list[str]:
        async with asyncssh.connect(
            "127.0.0.1", int(operator.port), username="agent", password=operator.token, client_keys=None,
            known_hosts=str(operator.known_hosts), config=None,
        ) as connection:  # fmt: skip
            done = await asyncio.gather(*(connection.run(f"echo {n}") for n in range(20)))
            return [str(one.stdout).strip() for one in done]

    assert asyncio.run(asyncio.wait_for(all_of_them(), TIMEOUT)) == [str(n) for n in range(20)]


# -- files


@pytest.mark.parametrize("old_protocol", [False, True], ids=["sftp", "scp"])
def test_scp(operator: Client, folder: Path, tmp_path: Path, old_protocol: bool) -> None:
    command = ("sshpass", "-e", "scp", *operator.options, *(["-O"] if old_protocol else []), "-P", operator.port)
    (tmp_path / "a b").write_bytes(DATA)
    done = operator.run(*command, str(tmp_path / "a b"), f"agent@127.0.0.1:{folder}/up")
    assert done.returncode == 0, done.stderr
    assert (folder / "up").read_bytes() == DATA
    done = operator.run(*command, f"agent@127.0.0.1:{folder}/up", str(tmp_path / "down"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "down").read_bytes() == DATA


def test_sftp(operator: Client, folder: Path, tmp_path: Path) -> None:
    """Each operation is in the log, with its path."""
    (tmp_path / "one").write_bytes(DATA)
    done = operator.sftp(
        f"put {tmp_path}/one {folder}/up\nrename {folder}/up {folder}/moved\nls {folder}\n"
        f"get {folder}/moved {tmp_path}/two\nmkdir {folder}/sub\nrm {folder}/moved\n"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two").read_bytes() == DATA
    assert [one.name for one in folder.iterdir()] == ["sub"]
    logged = json.dumps(operator.bridge.operations(operator.session()))
    for path in ("up", "moved", "sub"):
        assert f"{folder}/{path}" in logged


def test_rsync(operator: Client, folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "tree"
    source.mkdir()
    for number in range(30):
        (source / f"file-{number}").write_bytes(DATA[number : number + 10_000])
    done = operator.run("rsync", "-a", "-e", operator.transport, f"{source}/", f"agent@127.0.0.1:{folder}/tree/")
    assert done.returncode == 0, done.stderr
    (source / "file-0").write_bytes(b"changed")
    done = operator.run("rsync", "-a", "-e", operator.transport, f"{source}/", f"agent@127.0.0.1:{folder}/tree/")
    assert done.returncode == 0, done.stderr
    back = operator.run("rsync", "-a", "-e", operator.transport, f"agent@127.0.0.1:{folder}/tree/", f"{tmp_path}/back/")
    assert back.returncode == 0, back.stderr
    for one in source.iterdir():
        assert (tmp_path / "back" / one.name).read_bytes() == one.read_bytes()


def test_git_clones_and_pushes(operator: Client, account: Account, folder: Path, tmp_path: Path) -> None:
    run("setpriv", f"--reuid={account.name}", f"--regid={account.name}", "--clear-groups", "git", "init", "-q",
        "--bare", f"{folder}/repo.git")  # fmt: skip
    identity = {
        f"GIT_{who}_{what}": "agent@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }

    def git(*arguments: str, at: Path = tmp_path) -> subprocess.CompletedProcess[bytes]:
        done = operator.run("git", "-C", str(at), *arguments, GIT_SSH_COMMAND=operator.transport, **identity)
        assert done.returncode == 0, done.stderr
        return done

    url = f"ssh://agent@127.0.0.1:{operator.port}{folder}/repo.git"
    git("clone", "-q", url, "work")
    (tmp_path / "work" / "file").write_bytes(DATA)
    git("add", "file", at=tmp_path / "work")
    git("commit", "-q", "-m", "one", at=tmp_path / "work")
    git("push", "-q", "origin", "HEAD:main", at=tmp_path / "work")
    git("clone", "-q", "--branch", "main", url, "again")
    assert (tmp_path / "again" / "file").read_bytes() == DATA


# -- Ansible


@pytest.mark.parametrize("pipelining", ["False", "True"])
def test_ansible(operator: Client, folder: Path, tmp_path: Path, pipelining: str) -> None:
    """Facts, a file, a command; it recognises the prompt and answers it (through sshpass)."""
    (tmp_path / "inventory").write_text(
        f"host ansible_host=127.0.0.1 ansible_port={operator.port} ansible_user=agent\n"
    )
    (tmp_path / "book.yml").write_text(
        "- hosts: all\n  gather_facts: true\n  vars:\n    ansible_password: \"{{ lookup('env', 'SSHPASS') }}\"\n"
        "  tasks:\n"
        f"    - copy: {{content: 'from ansible', dest: '{folder}/file'}}\n"
        f"    - command: cat {folder}/file\n      register: said\n"
        "    - debug: {msg: 'it says {{ said.stdout }}'}\n"
    )
    done = operator.run(
        "ansible-playbook", "-i", str(tmp_path / "inventory"), str(tmp_path / "book.yml"),
        ANSIBLE_PIPELINING=pipelining, ANSIBLE_HOME=str(tmp_path), ANSIBLE_HOST_KEY_CHECKING="True",
        ANSIBLE_SSH_ARGS=f"-F none -o UserKnownHostsFile={operator.known_hosts} -o ControlMaster=no",
        ANSIBLE_NOCOWS="1", ANSIBLE_PYTHON_INTERPRETER="auto_silent",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert b"it says from ansible" in done.stdout


# -- other clients


def test_plink(operator: Client, tmp_path: Path) -> None:
    """The token is the password; PuTTY pins the bridge's key by its fingerprint."""
    password = tmp_path / "password"
    password.write_text(operator.token)
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(operator.known_hosts)], capture_output=True, check=True,
                           timeout=20)  # fmt: skip
    done = operator.run("plink", "-batch", "-ssh", "-P", operator.port, "-pwfile", str(password), "-hostkey",
                        shown.stdout.split()[1].decode(), "agent@127.0.0.1", "echo from-$((40 + 2))",
                        HOME=str(tmp_path))  # fmt: skip
    assert done.stdout == b"from-42\n", done.stderr


def test_dropbear(operator: Client, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    kind, key = operator.known_hosts.read_text().split("\n")[0].split()[1:3]
    (tmp_path / ".ssh" / "known_hosts").write_text(
        f"127.0.0.1 {kind} {key}\n[127.0.0.1]:{operator.port} {kind} {key}\n"
    )
    done = operator.run("dbclient", "-y", "-p", operator.port, "agent@127.0.0.1", "echo from-$((40 + 2))",
                        HOME=str(tmp_path), DROPBEAR_PASSWORD=operator.token)  # fmt: skip
    assert done.stdout == b"from-42\n", done.stderr


def test_paramiko(operator: Client, folder: Path) -> None:
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(operator.known_hosts))
        client.connect("127.0.0.1", int(operator.port), "agent", operator.token, look_for_keys=False, allow_agent=False)
        _, out, _ = client.exec_command("echo from-$((40 + 2)); exit 5")
        assert (out.read(), out.channel.recv_exit_status()) == (b"from-42\n", 5)
        with client.open_sftp() as files:
            with files.open(f"{folder}/file", "wb") as file:
                file.write(DATA)
            assert files.stat(f"{folder}/file").st_size == len(DATA)
            with files.open(f"{folder}/file", "rb") as file:
                assert file.read() == DATA


def test_asyncssh(operator: Client, folder: Path) -> None:
    async def talk() -> tuple[bytes, int | None, bytes]:
        async with asyncssh.connect(
            "127.0.0.1", int(operator.port), username="agent", password=operator.token, client_keys=None,
            known_hosts=str(operator.known_hosts), config=None,
        ) as connection:  # fmt: skip
            done = await connection.run("cat; exit 5", input=DATA, encoding=None)
            async with connection.start_sftp_client() as files:
                async with files.open(f"{folder}/file", "wb") as file:
                    await file.write(DATA)
                async with files.open(f"{folder}/file", "rb") as file:
                    back = await file.read()
            assert isinstance(done.stdout, bytes)
            return done.stdout, done.exit_status, back

    assert asyncio.run(asyncio.wait_for(talk(), TIMEOUT)) == (DATA, 5, DATA)


def test_signals_and_new_sizes_reach_the_program(operator: Client) -> None:
    """asyncssh asks for them by name; OpenSSH's client only sends the sizes."""

    async def story() -> tuple[str, str]:
        async with asyncssh.connect(
            "127.0.0.1", int(operator.port), username="agent", password=operator.token, client_keys=None, config=None,
            known_hosts=str(operator.known_hosts),
        ) as link:  # fmt: skip
            trap = "trap 'echo got-it; exit' USR1; echo ready; while :; do sleep 0.1; done"
            plain = await link.create_process(f"bash -c {shlex.quote(trap)}")
            await plain.stdout.readline()
            plain.send_signal("USR1")
            signalled = await asyncio.wait_for(plain.stdout.readline(), TIMEOUT)
            shown = await link.create_process("read line; stty size", term_type="xterm", term_size=(80, 24))
            shown.change_terminal_size(132, 50)
            shown.stdin.write("\n")
            return signalled, await asyncio.wait_for(shown.stdout.read(), TIMEOUT)

    signalled, size = asyncio.run(story())
    assert (signalled.strip(), "50 132" in size) == ("got-it", True), size


def test_keyboard_interactive_alone(operator: Client) -> None:
    done = operator.ssh("echo yes", options=("-o", "PreferredAuthentications=keyboard-interactive"))
    assert done.stdout == b"yes\n", done.stderr


# -- what the log says


def test_the_log_tells_who_ran_what_on_which_connection(operator: Client, gate: Bridge) -> None:
    """And the host's own log leads back to it by the bridge's port."""
    done = operator.ssh("echo marked-for-the-log; echo $SSH_CONNECTION; date -u +%FT%T.%6N+00:00")
    session = operator.session()
    events = gate.session_events(session, closed=True)
    assert events[0]["agent"]["id"] == "operator-1"
    operation = next(e for e in events if e["type"] == "operation")
    assert "echo marked-for-the-log" in json.dumps(operation)
    _, port, _, _, at = done.stdout.decode().split()[1:]
    found = gate.cli("log", "who", "--system", "hosts", "--account", "svc", "--at", at, "--client-port", port)
    assert session in found
    negotiated = json.dumps(events)
    assert "aes128-gcm@openssh.com" in negotiated
    assert "ssh-ed25519 SHA256:" in negotiated
