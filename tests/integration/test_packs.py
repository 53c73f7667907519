"""An evidence pack of a real bridge that is at work, verified in an interpreter that has nothing of the bridge."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from rig.bridge import Bridge

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_log.py"


def test_a_pack_says_who_did_what_under_which_policy(make_bridge: Callable[..., Bridge], tmp_path: Path) -> None:
    bridge = make_bridge("packed")
    with bridge.connect(bridge.token("reader-1")) as connection:
        connection.execute("select 'in the pack' as marker")
        session = bridge.session_of(connection)
    bridge.session_events(session, closed=True)
    path = tmp_path / "pack.tar.gz"
    said = bridge.cli("log", "pack", f"session:{session}", "--since", "1h", "--until", "now", "-o", str(path))
    assert "under the checkpoint of" in said
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member).read().decode() for member in archive}  # type: ignore[union-attr]
    events = [json.loads(line) for line in files["events.jsonl"].splitlines()]
    assert [event["seq"] for event in events] == [event["seq"] for event in bridge.events(session=session)]
    agents = {agent["id"]: agent["state"] for agent in json.loads(files["registry.json"])["agents"]}
    assert agents == {"reader-1": "active", "writer-1": "active"}
    policy = json.loads(files["policy.json"])["policy"]
    assert policy["digest"] == next(e["decision"]["policy"] for e in events if e["type"] == "session.open")
    assert "| reader-1 | payments | warehouse | svc_reader | read | " in files["summary.md"].replace("\\", "")
    key = bridge.cli("log", "key").strip()
    command = [sys.executable, "-I", str(SCRIPT), "--key", key, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"verified: {len(events)} events of idbridge/packed" in done.stdout
