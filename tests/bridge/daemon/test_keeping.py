"""A whole bridge that archives its log and deletes what was kept long enough; stopped and killed on the way."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from sqlalchemy import Engine

from bridge.config import load
from bridge.daemon import bridge as bridge_module
from bridge.daemon import keeping
from bridge.daemon.opening import open_storage
from bridge.storage import open_engine, reading, writing
from bridge.translation import Event, LogReader, in_thread_append
from bridge.translation.archive import segments
from bridge.translation.pruned import last_pruned
from bridge.translation.verifying import in_thread_verify

from .conftest import ADAPTERS, House

DAY = 86_400_000
SCRIPT = Path(__file__).parents[3] / "scripts" / "verify_log.py"
OLD = 2500


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "INTERVAL", 0.05)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A log with 2,500 events of half a year ago, and a bridge that did not run since."""
    monkeypatch.setattr(bridge_module, "find_adapters", lambda: ADAPTERS)
    monkeypatch.setenv("HOUSE_SECRET", "static-pa55word-canary")
    house = House(tmp_path)
    configure(house)
    config = load(house.path, ADAPTERS)
    storage = open_storage(config)
    at = int(time.time() * 1000) - 180 * DAY
    for _ in range(OLD // 100):
        events = [Event("token.issue", at=at, mono=1)] * 99
        in_thread_append(storage.log_engine, "house", [*events, Event("policy.version", at=at, mono=1)])
        with writing(storage.log_engine) as connection:
            storage.checkpoints.seal(connection)
    storage.dispose()
    return house


def configure(house: House, retention: str = "retention: {keep: 100d}", *, folder: str = "archive") -> None:
    more = f"log:\n  archive: {{folder: {house.folder / folder}, every: 1m, events: 1000}}\n"
    house.write(more=f"{more}  {retention}\n" if retention else more)


def log_of(house: House) -> Engine:
    return house.bridge.storage.reading_engine


def left(house: House) -> int:
    with reading(log_of(house)) as connection:
        sql = "SELECT count(*) FROM event WHERE type = 'token.issue' AND ts < ?"
        return int(connection.exec_driver_sql(sql, (int((time.time() - 86_400) * 1000),)).scalar_one())


def verified(house: House) -> Any:
    engine = log_of(house)
    archive = keeping.archive(house.bridge.config, engine)
    return in_thread_verify(engine, [house.bridge.storage.checkpoints.signer.key], archive=archive)


@pytest_twisted.ensureDeferred
async def test_what_is_old_is_archived_named_and_deleted(house: House) -> None:
    await house.start()
    await house.until(lambda: house.events("log.prune") and left(house) == 0)
    await house.stop()
    (event,) = house.events("log.prune")
    assert (event["detail"]["first"], event["detail"]["last"], event["detail"]["kept"]) == (1, OLD, 25)
    assert list(event["detail"]["segments"]) == [one.path.name for one in segments(house.folder / "archive")[:3]]
    assert event["actor"] == {"id": "retention", "kind": "bridge"}
    report = verified(house)
    assert (report.findings, [(one.first, one.last) for one in report.pruned]) == ([], [(1, OLD)])
    files = [str(one.path) for one in segments(house.folder / "archive")]
    key = str(house.bridge.storage.checkpoints.signer.key)
    command = [sys.executable, "-I", str(SCRIPT), "--key", key, str(house.folder / "state/translation.db"), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"events 1 to {OLD} pruned on" in done.stdout


@pytest_twisted.ensureDeferred
async def test_without_retention_nothing_is_deleted(house: House) -> None:
    configure(house, "")
    await house.start()
    await house.until(lambda: house.bridge.keeping.archived >= OLD)
    await house.stop()
    assert (left(house), house.events("log.prune")) == (OLD - 25, [])


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("retention", ["retention: {keep: 200d}", "retention: {keep: 100d, hold: 2020-01-01}"])
async def test_what_is_young_or_held_stays(house: House, retention: str) -> None:
    configure(house, retention)
    await house.start()
    await house.until(lambda: house.bridge.keeping.archived >= OLD)
    configure(house)
    assert not house.events("log.prune")
    await house.bridge.reload()  # the hold is lifted
    await house.until(lambda: house.events("log.prune"))
    await house.stop()


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_a_sink_that_does_not_have_them_keeps_them(house: House, tmp_path: Path) -> None:
    configure(house)
    sink = f"sinks:\n  copy: {{format: jsonl, file: {{path: {tmp_path / 'no-folder' / 'copy.jsonl'}}}}}\n"
    house.path.write_text(house.path.read_text() + sink)
    await house.start()
    await house.until(lambda: house.bridge.keeping.archived >= OLD)
    assert (left(house), house.events("log.prune")) == (OLD - 25, [])
    (tmp_path / "no-folder").mkdir()
    house.bridge.keeping.take(house.bridge.config)
    await house.until(lambda: (tmp_path / "no-folder" / "copy.jsonl").exists())
    await house.until(lambda: house.bridge.copies.sinks.rows()["copy"]["behind"] == 0)
    house.bridge.keeping.take(house.bridge.config)  # a day later
    await house.until(lambda: house.events("log.prune"))
    await house.stop()


@pytest_twisted.ensureDeferred
async def test_a_bridge_that_was_killed_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(keeping, "in_thread_delete_all", lambda engine, pause: None)
        await house.start()
        await house.until(lambda: house.events("log.prune"))
        await house.stop()  # nothing was deleted: as a kill between the event and the deletion leaves it
    assert left(house) == OLD - 25
    report = verified(house)
    assert (report.findings, report.pruned[0].unfinished) == ([], OLD - 25)
    await house.start()
    await house.until(lambda: left(house) == 0)
    await house.stop()
    assert len(house.events("log.prune")) == 1
    assert verified(house).findings == []


@pytest_twisted.ensureDeferred
async def test_an_archive_that_cannot_be_written_is_an_alarm_and_keeps_everything(house: House) -> None:
    (house.folder / "archive").write_text("a file where the folder should be")
    await house.start()
    await house.until(lambda: house.bridge.keeping.failure)
    assert house.bridge.keeping.failure == f"{house.folder}/archive: File exists"
    assert left(house) == OLD - 25
    (house.folder / "archive").unlink()
    await house.until(lambda: not house.bridge.keeping.failure and left(house) == 0)
    await house.stop()
    (alarm,) = house.events("alarm")
    assert (alarm["reason"], alarm["detail"]["text"]) == ("archive-failing", f"{house.folder}/archive: File exists")


@pytest_twisted.ensureDeferred
async def test_who_was_what_then_is_still_known(house: House) -> None:
    """The policy from before is not deleted, and nothing is logged anew at the next start."""
    await house.start()
    await house.until(lambda: left(house) == 0)
    before = len(house.events("registry.change"))
    await house.stop()
    await house.start()
    await house.stop()
    assert len(house.events("registry.change")) == before
    assert len(house.events("policy.version")) == 25 + 2
    engine = open_engine(house.folder / "state/translation.db", kind="translation")
    with reading(engine) as connection:
        found = last_pruned(connection)
    assert found is not None
    assert LogReader(engine).in_thread_extent().plain()["first"] == OLD + 1
    engine.dispose()
