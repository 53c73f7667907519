"""``log pack`` on a real log without a daemon, verified by the verifier that needs no bridge; and forgeries of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.policy import Policy, document
from bridge.translation import Event, IndexKeys, facts, in_thread_append
from bridge.translation.note import Signer
from bridge.translation.pack import FORMAT

SCRIPT = Path(__file__).parents[3] / "scripts" / "verify_log.py"
Files = dict[str, bytes]


def alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The verifier in an interpreter that cannot import the bridge."""
    command = [sys.executable, "-I", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", check=False)


def unpacked(path: Path) -> Files:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def packed(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def log(run: Any, events: Any) -> Any:
    """Twelve alarms, an agent, a policy and a refusal with a name that would break a table."""
    policy = facts.change_section("policy", None, document(Policy([], [], version="sha256:1")))
    agent = facts.agent_section(id="deploy|7", owner="pay\nments")
    refused = Event("session.refused", outcome="denied", reason="not-granted",
                    sections={"agent": agent, "legacy": facts.legacy_section(system="warehouse")},
                    index=IndexKeys(system="warehouse", agent="deploy|7"))  # fmt: skip
    more = [Event("policy.version", sections={"change": policy}), refused]
    in_thread_append(events, "prod-1", more)
    created = run("list")  # signs
    assert created.exit_code == 0
    return events


@pytest.fixture
def since() -> int:
    return int(time.time() * 1000) - 3_600_000


@pytest.fixture
def made(run: Any, log: Any, since: int, tmp_path: Path) -> Callable[..., Path]:
    until = int(time.time() * 1000) + 1

    def make(*query: str, name: str = "pack.tar.gz") -> Path:
        done = run("pack", *query, "--since", since, "--until", until, "-o", tmp_path / name)
        assert done.exit_code == 0, done.output
        return tmp_path / name

    return make


def test_a_pack_is_verified_without_the_bridge(made: Any, key: str) -> None:
    path = made()
    files = unpacked(path)
    manifest = json.loads(files["manifest.json"])
    events = [json.loads(line) for line in files["events.jsonl"].splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert manifest["events"] == {"count": len(events), "first": 1, "last": len(events), "gapless": True}
    assert json.loads(files["policy.json"])["policy"]["version"] == "sha256:1"
    assert json.loads(files["registry.json"])["agents"] == []
    done = alone("--key", key, path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"verified: {len(events)} events of idbridge/prod-1, and 1 of its policy and agents" in done.stdout
    assert f"events 1 to {len(events)}: all that the log has between them" in done.stdout


def test_a_query_chooses(made: Any, key: str) -> None:
    path = made("outcome:denied", "system:warehouse")
    files = unpacked(path)
    (event,) = [json.loads(line) for line in files["events.jsonl"].splitlines()]
    assert event["type"] == "session.refused"
    summary = files["summary.md"].decode()
    assert "deploy\\|7" in summary
    assert "not-granted" in summary
    assert "outcome:denied system:warehouse" in alone("--key", key, path).stdout


def test_a_pack_without_events_is_one_too(made: Any, key: str) -> None:
    path = made("system:nowhere")
    done = alone("--key", key, path)
    assert (done.returncode, "verified: 0 events" in done.stdout) == (0, True), done.stdout


@pytest.mark.slow
def test_the_same_question_gives_the_same_bytes(made: Any, log: Any, run: Any) -> None:
    first = made("outcome:failure").read_bytes()
    time.sleep(1.1)
    in_thread_append(log, "prod-1", [Event("alarm", outcome="failure", reason="later")] * 3)
    run("list")
    assert made("outcome:failure", name="again.tar.gz").read_bytes() == first
    assert first[4:8] == b"\0\0\0\0"  # no time in the gzip header


def test_making_a_pack_is_logged(made: Any, run: Any) -> None:
    made("outcome:denied")
    events = json.loads(run("list", "type:log.read", "--json").stdout)["events"]
    assert any(event["detail"]["query"] == "log.export pack" for event in events)


def test_a_checkpoint_kept_elsewhere_is_compared(made: Any, key: str, tmp_path: Path) -> None:
    path = made()
    kept = tmp_path / "kept.txt"
    kept.write_bytes(unpacked(path)["checkpoint.txt"])
    assert alone("--key", key, "--checkpoint", kept, path).returncode == 0
    other = Signer(key.split("+")[0], Ed25519PrivateKey.generate())
    assert alone("--key", other.key, path).returncode == 1


# -- forgeries


def edited(files: Files, name: str, old: bytes, new: bytes) -> Files:
    assert old in files[name]
    return {**files, name: files[name].replace(old, new)}


def resigned(files: Files, signer: Signer) -> Files:
    """As somebody would who has the log's key: the manifest fits the files again."""
    manifest = json.loads(files["manifest.json"])
    for name, content in files.items():
        if not name.startswith("manifest."):
            manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    manifest["files"] = {name: one for name, one in manifest["files"].items() if name in files}
    text = json.dumps(manifest).encode()
    statement = f"{FORMAT}\n{signer.key.name}\nsha256:{hashlib.sha256(text).hexdigest()}\n"
    return {**files, "manifest.json": text, "manifest.note": f"{statement}\n{signer.sign(statement)}".encode()}


FORGERIES: dict[str, tuple[Callable[[Files], Files], str]] = {
    "an event": (lambda f: edited(f, "events.jsonl", b"warehouse", b"warehouze"), "was altered"),
    "the manifest": (lambda f: edited(f, "manifest.json", b'"count"', b'"count" '), "is not the one that was signed"),
    "the summary": (lambda f: edited(f, "summary.md", b"not-granted", b"granted"), "not as the manifest has it"),
    "a file too many": (lambda f: {**f, "more.txt": b"x"}, "is not in the manifest"),
    "a way out": (lambda f: {**f, "../out": b"x"}, "is not in the manifest"),
    "a file too few": (lambda f: {n: c for n, c in f.items() if n != "policy.json"}, "policy.json: is missing"),
    "no manifest": (lambda f: {n: c for n, c in f.items() if n != "manifest.json"}, "not an evidence pack"),
    "a note of another key": (
        lambda f: resigned(f, Signer("idbridge/prod-1", Ed25519PrivateKey.generate())), "no key given here signed"),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_pack_is_found(made: Any, key: str, tmp_path: Path, what: str) -> None:
    forge, says = FORGERIES[what]
    done = alone("--key", key, packed(tmp_path / "forged.tar.gz", forge(unpacked(made()))))
    assert (done.returncode, says in done.stdout) == (1, True), done.stdout + done.stderr


def _line_less(files: Files, name: str) -> Files:
    return {**files, name: b"".join(files[name].splitlines(keepends=True)[1:])}


WITH_THE_KEY: dict[str, tuple[Callable[[Files], Files], str]] = {
    "an event": (lambda f: edited(f, "events.jsonl", b"warehouse", b"warehouze"), "is not in the tree that was signed"),
    "an event less": (
        lambda f: _line_less(_line_less(f, "events.jsonl"), "events.proofs.jsonl"), "has not the events"),
    "a proof less": (lambda f: _line_less(f, "events.proofs.jsonl"), "has no proof"),
    "the policy": (lambda f: edited(f, "policy.json", b"sha256:1", b"sha256:2"), "not the policy that the log has"),
    "a policy event": (lambda f: edited(f, "context.jsonl", b"sha256:1", b"sha256:2"), "not in the tree"),
    "two swapped": (
        lambda f: {**f, **{n: b"".join(reversed(f[n].splitlines(keepends=True)))
                           for n in ("events.jsonl", "events.proofs.jsonl")}}, "not in its place"),
}  # fmt: skip


@pytest.mark.parametrize("what", WITH_THE_KEY)
def test_nor_does_the_key_help_without_the_tree(made: Any, key: str, tmp_path: Path, state: Path, what: str) -> None:
    """A manifest can be signed anew by whoever has the log's key; what the tree has, it has."""
    from bridge.storage import load_key

    forge, says = WITH_THE_KEY[what]
    files = resigned(forge(unpacked(made())), Signer("idbridge/prod-1", load_key(state / "log.key")))
    done = alone("--key", key, packed(tmp_path / "forged.tar.gz", files))
    assert (done.returncode, says in done.stdout) == (1, True), done.stdout + done.stderr


@pytest.mark.parametrize("cut", [10, 100, 2000])
def test_half_a_pack_is_not_verified(made: Any, key: str, tmp_path: Path, cut: int) -> None:
    (tmp_path / "half.tar.gz").write_bytes(made().read_bytes()[:cut])
    done = alone("--key", key, tmp_path / "half.tar.gz")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_something_else_in_gzip_is_not_a_pack(key: str, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"hello" * 1000))
    done = alone("--key", key, tmp_path / "x.gz")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def test_a_period_that_ends_before_it_begins(run: Any, tmp_path: Path) -> None:
    done = run("pack", "--since", "2026-11-02", "--until", "2026-11-01", "-o", tmp_path / "x")
    assert (done.exit_code, "ends before it begins" in done.output) == (1, True)
    assert run("pack", "agnet:x", "--since", "1h", "--until", "now", "-o", tmp_path / "x").exit_code == 1
    assert list(tmp_path.glob(".pack-*")) == []
