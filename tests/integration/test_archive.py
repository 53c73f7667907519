"""A real bridge that archives its log, killed and started again; and a name that is erased from a log that verifies."""

from __future__ import annotations

import getpass
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rig.bridge import Bridge

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_log.py"


def test_a_killed_bridge_mends_its_archive_and_names_can_be_erased(
    make_bridge: Callable[..., Bridge], tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    bridge = make_bridge("archived", log={"personal": "salted", "archive": {"folder": str(folder)}})
    with bridge.connect(bridge.token("reader-1")) as connection:
        connection.execute("select 1")
    assert bridge.events(type="token.issue")[0]["actor"]["id"] == getpass.getuser()
    key = bridge.cli("log", "key").strip()
    bridge.kill()
    bridge.start()
    bridge.wait(lambda: bridge.cli_json("log", "archive")["segments"], 60, "under a checkpoint")
    newest = max(folder.glob("*.jsonl"))
    whole = newest.read_bytes()
    bridge.kill()
    newest.write_bytes(whole[: len(whole) // 2])
    bridge.start()
    bridge.wait(lambda: newest.read_bytes() == whole, 30, "written again")
    said = bridge.cli_json("log", "erase", getpass.getuser())
    assert said["erased"] > 0
    assert bridge.events(type="token.issue")[0]["actor"]["id"].startswith("pii:")
    assert bridge.cli("log", "verify", "--columns").startswith("verified: ")
    bridge.stop()
    files = [bridge.state / "translation.db", *sorted(folder.glob("*.jsonl"))]
    command = [sys.executable, "-I", str(SCRIPT), "--key", key, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("verified: ") == len(files)
