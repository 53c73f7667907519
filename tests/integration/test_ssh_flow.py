"""What a slow, stuck or refused session costs the bridge and its neighbours in the same connection."""

from __future__ import annotations

import json
from pathlib import Path

from rig.bridge import Bridge
from rig.ssh_clients import TIMEOUT, Client
from rig.sshd import Account

REFUSED = 126
MOST_MEMORY = 24  # MB that a stuck session may add: windows of 2 MiB, buffers of the sockets, an allocator's slack


def memory(bridge: Bridge) -> float:
    """MB of the process."""
    assert bridge.process is not None
    pages = int(Path(f"/proc/{bridge.process.pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def test_a_reader_that_stands_still_costs_a_bounded_memory(operator: Client) -> None:
    """warpgate#2292: pulling a large file ended the bridge."""
    before = memory(operator.bridge)
    with operator.start("head -c 400M /dev/zero") as running:
        assert running.stdout is not None
        assert running.stdout.read(1) == b"\0"
        operator.bridge.wait_calm()
        assert memory(operator.bridge) - before < MOST_MEMORY
        assert sum(map(len, iter(lambda: running.stdout.read(1 << 20), b""))) == 400 * 1024 * 1024 - 1
        assert running.wait(TIMEOUT) == 0
    assert memory(operator.bridge) - before < MOST_MEMORY


def test_a_program_that_reads_nothing_costs_a_bounded_memory(operator: Client) -> None:
    before = memory(operator.bridge)
    running = operator.start("sleep 3; wc -c")
    out, _ = running.communicate(b"\0" * 100_000_000, timeout=TIMEOUT)
    assert out.split() == [b"100000000"]
    assert memory(operator.bridge) - before < MOST_MEMORY


def test_an_interrupt_gets_through_while_output_is_stuck(operator: Client, account: Account) -> None:
    """warpgate#1311."""
    caught = account.home / "caught"
    running = operator.start(f"trap 'touch {caught}; exit 3' INT; yes; true", options=("-tt",))
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdout.read(1000)
    operator.bridge.wait_calm()
    running.stdin.write(b"\x03")
    running.stdin.flush()
    operator.bridge.wait(caught.exists, 3, "caught")
    caught.unlink()
    running.communicate(timeout=TIMEOUT)
    assert running.returncode == 3


def test_refused_commands_leave_their_connection_and_its_channel_numbers_whole(auditor: Client, tmp_path: Path) -> None:
    """The client takes the number of a refused command for the next one at once."""
    control = ("-o", f"ControlPath={tmp_path}/c", "-o", "ControlMaster=auto", "-o", "ControlPersist=20")
    assert auditor.ssh("id", options=control).returncode == 0
    session = auditor.session()
    for _ in range(10):
        refused = auditor.ssh("touch x", options=control)
        assert (refused.returncode, b"reference" in refused.stderr) == (REFUSED, True)
    many = [auditor.start(command, options=control) for command in ("touch x", "id") * 5]
    assert [one.communicate(timeout=TIMEOUT)[0][:4] for one in many] == [b"", b"uid="] * 5
    assert [one.returncode for one in many] == [REFUSED, 0] * 5
    auditor.ssh(options=(*control, "-O", "exit"))
    assert auditor.session() == session


def test_files_of_the_old_scp_are_named_in_the_log(operator: Client, account: Account, tmp_path: Path) -> None:
    (tmp_path / "a note").write_bytes(b"12345")
    done = operator.run("sshpass", "-e", "scp", *operator.options, "-O", "-P", operator.port, str(tmp_path / "a note"),
                        f"agent@127.0.0.1:{account.home}/scp-target")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (account.home / "scp-target").read_bytes() == b"12345"
    (operation,) = operator.bridge.operations(operator.session())
    assert "a note (5 bytes)" in json.dumps(operation)
    assert operation["action"]["kind"] == "write"
