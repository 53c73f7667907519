"""``log verify``, ``prove`` and ``key`` on a real log without a daemon, and the verifier that needs no bridge."""

from __future__ import annotations

import fcntl
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from bridge.translation.proving import root_of

SCRIPT = Path(__file__).parents[3] / "scripts" / "verify_log.py"

Run = Callable[..., Result]


def alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The verifier in an interpreter that cannot import the bridge."""
    command = [sys.executable, "-I", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", check=False)


def attack(state: Path, *statements: str) -> None:
    with closing(sqlite3.connect(state / "translation.db", isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)


def test_a_log_is_verified_by_both(run: Run, events: Any, state: Path, key: str) -> None:
    result = run("verify")
    assert result.exit_code == 0, result.output
    root = root_of(events)
    assert result.stdout.startswith(f"verified: {root.size - 1} events")  # the verification is an event itself
    assert "witness: none" in result.stdout
    other = alone("--key", key, state / "translation.db")
    assert (other.returncode, other.stderr) == (0, "")
    assert f"verified: {root.size} events, root {root.root.hex()}; {root.size} of them signed" in other.stdout


def test_json_says_the_same(run: Run, events: Any) -> None:
    answer = json.loads(run("verify", "--json").stdout)
    assert (answer["verified"], answer["findings"], answer["witnessed"]) == (True, [], 0)
    assert answer["signed"] == answer["size"] == answer["read"]


@pytest.mark.parametrize(
    ("statement", "by_bridge", "alone_says"),
    [
        (
            "UPDATE event SET body = replace(body, '\"x\"', '\"y\"') WHERE seq = 5",
            "event 5: its text",
            "events 2 to 14",
        ),
        ("DELETE FROM event WHERE seq = 5", "event 5: not there any more", "event 5: is missing"),
        ("DELETE FROM event WHERE seq > 12", "events 13 to", "not there any more"),
        ("UPDATE checkpoint SET note = replace(note, 'idbridge/prod-1', 'other')", "no known key", "no key given here"),
    ],
)
def test_an_attack_is_found_by_both(
    run: Run, events: Any, state: Path, key: str, statement: str, by_bridge: str, alone_says: str
) -> None:
    attack(state, statement, *(["DELETE FROM leaf WHERE seq > 12"] if "> 12" in statement else []))
    other = alone("--key", key, state / "translation.db")
    assert other.returncode == 1
    assert alone_says in other.stdout
    if "checkpoint" in statement:
        return  # the bridge does not even open a log whose last checkpoint is not its own
    result = run("verify")
    assert result.exit_code == 1
    assert by_bridge in result.stdout
    told = json.loads(run("list", "--json", "--type", "alarm", "--limit", "1").stdout)["events"]
    assert by_bridge in told[0]["detail"]["text"]


def test_a_checkpoint_that_was_kept_shows_a_log_that_was_cut(
    run: Run, events: Any, state: Path, key: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.write_text(root_of(events).checkpoint)
    assert run("verify", "--since", kept).exit_code == 0
    assert alone("--key", key, "--checkpoint", kept, state / "translation.db").returncode == 0
    attack(state, *(f"DELETE FROM {table} WHERE seq > 12" for table in ("event", "leaf")), "DELETE FROM checkpoint")
    assert alone("--key", key, state / "translation.db").returncode == 0
    other = alone("--key", key, "--checkpoint", kept, state / "translation.db")
    assert (other.returncode, "not there any more" in other.stdout) == (1, True)
    result = run("verify", "--checkpoint", kept)
    assert (result.exit_code, "checkpoint kept elsewhere" in result.stdout) == (1, True)


@pytest.mark.parametrize("what", ["session", "event"])
def test_a_proof_is_verified_without_the_bridge_and_a_changed_one_is_not(
    run: Run, events: Any, key: str, tmp_path: Path, what: str
) -> None:
    file = tmp_path / "evidence.json"
    listed = json.loads(run("list", "--json", "--session", "ses_1").stdout)["events"]
    result = run("prove", "ses_1" if what == "session" else listed[0]["id"], "--output", file)
    assert result.exit_code == 0, result.output
    proof = json.loads(file.read_text())
    assert len(proof["events"]) == (12 if what == "session" else 1)
    assert alone("--key", key, file).stdout.endswith(f"verified: {len(proof['events'])} events of idbridge/prod-1\n")
    for before, after in (('\\"x\\"', '\\"y\\"'), ("index ", "index 1"), ('"seq": ', '"seq": 1')):
        changed = file.read_text()
        assert before in changed
        file.with_name("changed.json").write_text(changed.replace(before, after, 1))
        other = alone("--key", key, file.with_name("changed.json"))
        assert (other.returncode, "NOT VERIFIED" in other.stdout) == (1, True), after


def test_what_cannot_be_proved_or_read_is_said(run: Run, events: Any, key: str, tmp_path: Path) -> None:
    assert run("prove", "ses_none").exit_code == 1
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("{}")
    assert alone("--key", key, nonsense).returncode == 1
    assert alone("--key", "x", nonsense).returncode == 2
    assert alone("--key", key, tmp_path / "missing").returncode == 2
    result = run("verify", "--since", nonsense)
    assert (result.exit_code, "not a signed note" in result.output) == (1, True)
    assert run("verify", "--witness", "x").exit_code == 1


def test_an_archive_verifies_file_by_file_and_a_damaged_one_does_not(
    run: Run, events: Any, key: str, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    written = json.loads(run("archive", "--folder", folder, "--json").stdout)["segments"]
    assert run("list").exit_code == 0
    written += json.loads(run("archive", "--folder", folder, "--json").stdout)["segments"]
    files = [Path(name) for name in written]
    assert len(files) >= 2
    result = alone("--key", key, *files)
    assert (result.returncode, result.stdout.count("verified: events")) == (0, len(files))
    bodies = [line for file in files for line in file.read_text().splitlines()[1:]]
    assert [json.loads(body)["seq"] for body in bodies] == list(range(1, len(bodies) + 1))
    whole = files[0].read_text()
    lines = whole.splitlines(keepends=True)
    damaged = {
        "written by halves": "".join(lines[:-1]),
        "half a line": whole[:-20],
        "changed": whole.replace('"x"', '"y"', 1),
        "swapped": "".join([lines[0], lines[2], lines[1], *lines[3:]]),
    }
    for what, text in damaged.items():
        (tmp_path / "damaged.jsonl").write_text(text)
        result = alone("--key", key, tmp_path / "damaged.jsonl")
        assert (result.returncode, "NOT VERIFIED" in result.stdout) == (1, True), what


def test_the_key_is_replaced_and_the_old_one_still_verifies_everything(
    run: Run, events: Any, state: Path, key: str, tmp_path: Path
) -> None:
    prepared = run("key", "prepare").stdout.strip()
    assert (run("key").stdout.strip(), prepared != key) == (key, True)
    assert run("key", "rotate").stdout.strip() == prepared
    told = json.loads(run("key", "--json").stdout)
    assert told == {"origin": "idbridge/prod-1", "key": prepared, "former": [key]}
    changed = json.loads(run("list", "--json", "--type", "log.key").stdout)["events"][0]["change"]
    assert (changed["before"], changed["after"]) == ({"public": key}, {"public": prepared})
    assert run("verify").exit_code == run("verify", "--key", key).exit_code == 0
    proof, pack = tmp_path / "proof.json", tmp_path / "pack.tar.gz"
    assert run("prove", "ses_1", "--output", proof).exit_code == 0
    assert run("pack", "--since", "1d", "--until", "now", "-o", pack).exit_code == 0
    for known in (key, prepared):
        other = alone("--key", known, proof, pack, state / "translation.db")
        assert (other.returncode, other.stderr) == (0, ""), other.stdout


def test_a_running_bridge_keeps_its_key(run: Run, events: Any, state: Path, key: str) -> None:
    with (state / "bridge.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run("key", "rotate")
    assert (result.exit_code, "another bridge runs" in result.stderr) == (1, True)
    assert run("key").stdout.strip() == key
