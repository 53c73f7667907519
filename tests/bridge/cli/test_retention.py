"""``log archive`` and ``log retention`` on a real log without a daemon, and what the configuration must say."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bridge.cli import main
from bridge.storage import open_engine
from bridge.translation import Event, in_thread_append
from bridge.translation.archive import Archive
from bridge.translation.pruning import Retention, in_thread_delete_all, in_thread_due, in_thread_prepare

DAY = 86_400_000


class Place:
    """A state directory, and its configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "bridge.yaml"
        self.configure("")

    def configure(self, log: str) -> None:
        self.config.write_text(f"bridge: {{name: prod-1, state: {self.folder / 'state'}}}\n{log}")

    def run(self, *arguments: object) -> Result:
        return CliRunner().invoke(main, [*map(str, arguments), "-c", str(self.config)])

    def json_of_failed(self, *arguments: object) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 1, result.output
        return json.loads(result.stdout)

    def json(self, *arguments: object) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Fifty events of half a year ago."""
    made = Place(tmp_path)
    assert made.run("log", "list").exit_code == 0
    engine = open_engine(tmp_path / "state/translation.db", kind="translation")
    at = int(time.time() * 1000) - 180 * DAY
    in_thread_append(engine, "prod-1", [Event("token.issue", at=at, mono=1)] * 50)
    assert made.run("log", "list").exit_code == 0  # signs
    yield made
    engine.dispose()


def test_the_archive_of_the_configuration(place: Place) -> None:
    result = place.run("log", "archive")
    assert (result.exit_code, "say where with --folder" in result.stderr) == (1, True)
    place.configure(f"log: {{archive: {{folder: {place.folder / 'kept'}}}}}\n")
    (first,) = place.json("log", "archive")["segments"]
    assert Path(first).parent == place.folder / "kept"
    (other,) = place.json("log", "archive", "--folder", place.folder / "other")["segments"]
    assert Path(other).name.startswith("0000000000000001-")


def test_what_is_to_go_is_shown_and_nothing_is_deleted(place: Place) -> None:
    assert place.json("log", "retention")["held"] == "log.retention is not configured"
    place.configure(f"log: {{archive: {{folder: {place.folder / 'kept'}}}, retention: {{keep: 100d}}}}\n")
    assert (place.json("log", "retention")["due"], place.json("log", "retention")["held"]) == (
        None, "they are not in the archive yet",
    )  # fmt: skip
    place.json("log", "archive")
    assert place.json("log", "retention")["held"] == "they are not old enough"  # the reading itself is in the segment
    assert "nothing is to go; what is after that stays" in place.run("log", "retention").stdout
    assert place.json("log", "verify")["pruned"] == []


def test_what_was_pruned_is_said_by_every_answer(place: Place, tmp_path: Path) -> None:
    place.configure(f"log: {{archive: {{folder: {place.folder / 'kept'}}}, retention: {{keep: 100d}}}}\n")
    engine = open_engine(tmp_path / "state/translation.db", kind="translation")
    archive = Archive(engine, place.folder / "kept", 10)
    archive.in_thread_write()
    due = in_thread_due(engine, archive, Retention(int(time.time() * 1000) + DAY))
    in_thread_append(engine, "prod-1", [in_thread_prepare(engine, archive, due)])
    in_thread_delete_all(engine, lambda seconds: False)
    gone = f"events up to {due.last}, "
    assert gone in place.run("log", "list").stderr
    assert place.json("log", "list")["log"]["pruned"]["last"] == due.last
    assert place.json("log", "retention")["pruned"]["last"] == due.last
    result = place.run("log", "verify")
    assert result.exit_code == 0, result.output
    assert f"events 1 to {due.last} pruned on " in result.stdout
    assert f"their segments in {place.folder / 'kept'} too" in result.stdout
    missing = place.run("log", "show", "01J00000000000000000000000")
    assert "was pruned: see the archive" in missing.stderr
    report = place.run("report", "framework", "pci")
    assert f"events up to {due.last} (" in report.stdout
    assert "were pruned: the figures lack them" in place.run("report", "unused", "--format", "csv").stderr
    sox = place.run("report", "framework", "sox").stdout
    assert f"after {due.last} that were pruned; 0 sequence numbers are missing" in sox
    pack = place.run("log", "pack", "--since", "300d", "--until", "now", "-o", tmp_path / "pack.tar.gz")
    assert pack.exit_code == 0, pack.output
    next((place.folder / "kept").iterdir()).unlink()
    assert place.json_of_failed("log", "verify")["findings"][0]["code"] == "archive"
    engine.dispose()


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("{retention: {keep: 100d}}", "has nowhere to archive to, expected log.archive.folder"),
        ("{archive: {folder: a}, retention: {keep: 30d}}", "log.retention.keep"),
        ("{archive: {every: 1h}}", "log.archive.folder: is missing"),
        ("{archive: {folder: a, events: 10}}", "log.archive.events"),
        ("{archive: {folder: a}, retention: {hold: soon}}", "log.retention.hold"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(place: Place, log: str, said: str) -> None:
    place.configure(f"log: {log}\n")
    result = place.run("check")
    assert result.exit_code == 1
    assert said in result.output


def test_a_person_is_erased(place: Place) -> None:
    """The user at the terminal, who made all these events."""
    me = place.json("log", "list", "--type", "log.read")["events"][0]["actor"]["id"]
    place.configure("log: {personal: salted}\n")
    place.json("log", "list")
    dry = place.json("log", "erase", me, "--dry-run")
    assert (dry["found"], dry["erased"], dry["clear"] > 0) == (1, 0, True)
    assert place.json("log", "list", f"person:{me}", "--limit", "1")["events"][0]["actor"]["id"] == me
    result = place.run("log", "erase", me)
    assert (result.exit_code, result.stdout) == (0, "3 erased\n")
    assert f"in clear in {dry['clear']} events: those go with log.retention only" in result.stderr
    listed = place.json("log", "list", "--type", "log.erase")["events"]
    assert [(one["phase"], one["detail"]["count"]) for one in listed] == [("outcome", 3), ("intent", 2)]
    assert listed[1]["actor"]["id"].startswith("pii:")  # what he himself said he would do
    assert place.run("log", "verify").exit_code == 0
    assert place.json("log", "erase", "nobody") == {"found": 0, "clear": 0, "erased": 0}
