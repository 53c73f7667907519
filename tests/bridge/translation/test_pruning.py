"""Events that were kept long enough: archived, named, then deleted; and whatever else is missing is found."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from bridge.storage import open_engine, reading, upgrade, writing
from bridge.translation import Event, Filters, IndexKeys, LogReader, facts, in_thread_append, in_thread_close_open
from bridge.translation import archive as archive_module
from bridge.translation.archive import Archive, SegmentDamaged, segments
from bridge.translation.checkpoints import Checkpoints
from bridge.translation.findings import Report
from bridge.translation.measures import in_thread_completeness
from bridge.translation.note import Signer
from bridge.translation.overview import Overview
from bridge.translation.proving import in_thread_prove, root_of
from bridge.translation.pruned import KEPT, NotPruned, Pruned, last_pruned, pruned_upto
from bridge.translation.pruning import Due, Retention, in_thread_delete, in_thread_due, in_thread_prepare
from bridge.translation.query import parse
from bridge.translation.schema import TRIGGERS
from bridge.translation.verifying import in_thread_verify

ORIGIN = "logs.example/prod-1"
DAY = 86_400_000
NOW = int(time.time() * 1000)
KEEP_90 = Retention(NOW - 90 * DAY)


@pytest.fixture
def signer() -> Signer:
    return Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.fixture
def archive(engine: Engine, tmp_path: Path) -> Archive:
    return Archive(engine, tmp_path / "archive", 100)


@pytest.fixture
def written(engine: Engine, signer: Signer) -> Engine:
    """Ten days' events a hundred days ago, then a hundred of today; a checkpoint every hundred."""
    for number in range(7):
        at = NOW - (100 - number) * DAY if number < 6 else NOW
        _session(engine, f"ses_{number}", at, 97)
        with writing(engine) as connection:
            Checkpoints(signer).seal(connection)
    return engine


def _session(engine: Engine, name: str, at: int, operations: int, *, closed: bool = True) -> None:
    index = IndexKeys(name, f"agent-{name}", "payments", "warehouse", "svc")
    sections = {
        "agent": facts.agent_section(id=index.agent, owner=index.owner),
        "corr": facts.section(session=name),
        "legacy": facts.legacy_section(system=index.system, account=index.account),
    }
    kinds = ["session.open", *["operation"] * operations, *(["session.close"] if closed else [])]
    events = [Event(kind, sections=sections, index=index, at=at, mono=1) for kind in kinds]
    policy = Event("policy.version", sections={"change": facts.change_section("policy", None, {})}, at=at, mono=1)
    in_thread_append(engine, "prod-1", [policy, *events])


def prune(engine: Engine, archive: Archive, retention: Retention = KEEP_90) -> Due:
    due = in_thread_due(engine, archive, retention)
    in_thread_append(engine, "prod-1", [in_thread_prepare(engine, archive, due)])
    while in_thread_delete(engine, 64):
        pass
    return due


def seqs(engine: Engine) -> list[int]:
    with reading(engine) as connection:
        return list(connection.exec_driver_sql("SELECT seq FROM event ORDER BY seq").scalars())


def codes(report: Report) -> list[tuple[str, int, int]]:
    return [(one.code, one.first, one.last) for one in report.findings]


@pytest.fixture
def pruned(written: Engine, archive: Archive) -> Engine:
    archive.in_thread_write()
    prune(written, archive)
    return written


@pytest.fixture
def attacker(path: Path, pruned: Engine) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        yield connection


# -- what goes, and what stays


def test_what_is_old_and_archived_goes_but_for_what_policy_and_registry_follow_from(
    pruned: Engine, signer: Signer, archive: Archive
) -> None:
    assert seqs(pruned) == [1, 101, 201, 301, 401, 501, *range(601, 702)]
    report = in_thread_verify(pruned, [signer.key], archive=archive)
    assert (report.findings, report.size, report.read) == ([], 701, 107)
    assert [str(one) for one in report.pruned] == [
        f"events 1 to 600 pruned on {_ts(pruned, 701)} (event 701), 6 of them kept, hashes verified"
    ]
    assert report.row()["pruned"][0]["last"] == 600


def _ts(engine: Engine, seq: int) -> str:
    with reading(engine) as connection:
        body = connection.exec_driver_sql("SELECT body FROM event WHERE seq = ?", (seq,)).scalar_one()
    return str(json.loads(body)["ts"])


def test_the_texts_are_not_left_in_free_pages(path: Path, pruned: Engine) -> None:
    pruned.dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"agent-ses_3" not in path.read_bytes()


def test_sessions_that_went_are_not_named_any_more(pruned: Engine) -> None:
    reader = LogReader(pruned)
    assert reader.in_thread_session("ses_3") == []
    assert len(reader.in_thread_session("ses_6")) == 99
    at = NOW - 97 * DAY
    assert reader.in_thread_who("warehouse", "svc", at) == []
    assert [one.session for one in reader.in_thread_who("warehouse", "svc", NOW)] == ["ses_6"]


def test_answers_say_what_was_pruned_and_the_log_is_complete_without_it(pruned: Engine) -> None:
    extent = LogReader(pruned).in_thread_extent().plain()
    assert (extent["first"], extent["last"]) == (601, 701)
    assert extent["pruned"] == {"last": 600, "until": NOW - 95 * DAY, "at": extent["pruned"]["at"], "event": 701}
    assert time.time() * 1000 - extent["pruned"]["at"] < 60_000
    complete = in_thread_completeness(LogReader(pruned))
    assert (complete.events, complete.missing, complete.pruned, complete.first_at) == (101, 0, 600, NOW)


def test_what_is_left_can_still_be_proven(pruned: Engine, signer: Signer, checker: ModuleType) -> None:
    with writing(pruned) as connection:
        Checkpoints(signer).seal(connection)
    checker.verify_proofs(in_thread_prove(pruned, [101, 650], signer.key), [checker.Key(str(signer.key))], [], print)


def test_the_next_pruning_continues(pruned: Engine, signer: Signer, archive: Archive) -> None:
    with writing(pruned) as connection:
        Checkpoints(signer).seal(connection)
    later = Retention(NOW + DAY)
    archive.in_thread_write()
    assert prune(pruned, archive, later).first == 601
    report = in_thread_verify(pruned, [signer.key], archive=archive)
    assert report.findings == []
    assert [(one.first, one.last) for one in report.pruned] == [(1, 600), (601, 701)]


@pytest.mark.parametrize("type", KEPT)
def test_every_kept_type_is_in_the_trigger(type: str) -> None:
    assert f"'{type}'" in next(one for one in TRIGGERS if "event_no_delete" in one)


# -- what keeps events


def test_what_is_not_archived_stays(written: Engine, archive: Archive) -> None:
    assert in_thread_due(written, archive, KEEP_90) == Due(1, 0, "they are not in the archive yet")
    archive.in_thread_write()
    segments(archive.folder)[2].path.unlink()
    due = in_thread_due(written, archive, KEEP_90)
    assert (due.last, due.held) == (200, "they are not in the archive yet")


@pytest.mark.parametrize(
    ("retention", "last", "held"),
    [
        (Retention(NOW - 97 * DAY), 300, "they are not old enough"),
        (Retention(NOW - 90 * DAY, 250), 200, "a sink does not have them yet"),
        (Retention(0), 0, "they are not old enough"),
    ],
)
def test_what_is_young_or_not_delivered_stays(
    written: Engine, archive: Archive, retention: Retention, last: int, held: str
) -> None:
    archive.in_thread_write()
    due = in_thread_due(written, archive, retention)
    assert (due.last, due.held) == (last, held)


def test_what_is_open_stays(engine: Engine, signer: Signer, archive: Archive) -> None:
    _session(engine, "ses_a", NOW - 200 * DAY, 98)
    _session(engine, "ses_b", NOW - 199 * DAY, 10, closed=False)
    _session(engine, "ses_c", NOW - 198 * DAY, 300)
    for size in (101, 200, 415):
        with writing(engine) as connection:
            tree = Checkpoints(signer)
            tree._seal(connection, size)  # as a bridge that wrote so far
    archive.in_thread_write()
    due = in_thread_due(engine, archive, KEEP_90)
    assert (due.last, due.held) == (101, "a session is still open")
    prune(engine, archive)
    assert in_thread_close_open(engine, "prod-1") == (1, 0)


def test_a_damaged_segment_keeps_its_events(written: Engine, archive: Archive) -> None:
    archive.in_thread_write()
    third = segments(archive.folder)[2].path
    third.write_bytes(third.read_bytes().replace(b'"session":"ses_2"', b'"session":"ses_9"', 1))
    due = in_thread_due(written, archive, KEEP_90)
    with pytest.raises(SegmentDamaged, match="has not the events that were logged"):
        in_thread_prepare(written, archive, due)


def test_the_database_refuses_any_other_deletion(written: Engine, archive: Archive) -> None:
    for when in ("before", "after"):
        for where in ("seq = 601", "seq BETWEEN 1 AND 700", "type = 'policy.version'"):
            with pytest.raises(IntegrityError, match="append-only"), writing(written) as connection:
                connection.exec_driver_sql(f"DELETE FROM event WHERE {where}")
        if when == "before":
            archive.in_thread_write()
            due = in_thread_due(written, archive, KEEP_90)
            in_thread_append(written, "prod-1", [in_thread_prepare(written, archive, due)])


# -- killed on the way


def test_killed_between_the_event_and_the_deletion(written: Engine, archive: Archive, signer: Signer) -> None:
    archive.in_thread_write()
    due = in_thread_due(written, archive, KEEP_90)
    in_thread_append(written, "prod-1", [in_thread_prepare(written, archive, due)])
    report = in_thread_verify(written, [signer.key])
    assert report.findings == []
    assert report.pruned[0].unfinished == 594
    assert in_thread_delete(written, 50) > 0
    report = in_thread_verify(written, [signer.key])
    assert (report.findings, 0 < report.pruned[0].unfinished < 594) == ([], True)
    while in_thread_delete(written):  # the next start
        pass
    assert in_thread_verify(written, [signer.key]).pruned[0].unfinished == 0
    assert in_thread_due(written, archive, KEEP_90).last == 600


def test_killed_between_the_segment_and_the_event(written: Engine, archive: Archive, signer: Signer) -> None:
    archive.in_thread_write()
    assert archive.in_thread_write() == []
    assert Archive(written, archive.folder, 100).in_thread_write() == []
    assert prune(written, archive).last == 600
    assert in_thread_verify(written, [signer.key], archive=archive).findings == []


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_half_written_segment_is_written_again(written: Engine, archive: Archive, cut: int) -> None:
    archive.in_thread_write()
    newest = segments(archive.folder)[-1].path
    whole = newest.read_bytes()
    newest.write_bytes(whole[:cut])
    (archive.folder / f".{newest.name}.0123456789abcdef").write_bytes(whole[:100])
    again = Archive(written, archive.folder, 100)
    assert [one.path for one in again.in_thread_write()] == [newest]
    assert newest.read_bytes() == whole
    assert len(list(archive.folder.iterdir())) == 7


def test_a_segment_that_is_gone_is_written_again_as_it_was(written: Engine, archive: Archive) -> None:
    archive.in_thread_write()
    third = segments(archive.folder)[2].path
    whole = third.read_bytes()
    third.unlink()
    assert [one.path for one in archive.in_thread_write()] == [third]
    assert third.read_bytes() == whole


def test_a_damaged_segment_whose_events_are_gone_is_told(pruned: Engine, archive: Archive) -> None:
    for one in segments(archive.folder)[5:]:
        one.path.unlink()
    archive.in_thread_write()
    for one in segments(archive.folder)[5:]:
        one.path.unlink()
    last = segments(archive.folder)[-1].path
    last.write_bytes(last.read_bytes()[:-5])
    with pytest.raises(SegmentDamaged, match="restore a copy"):
        archive.in_thread_write()


def test_an_archive_that_begins_after_a_pruning(pruned: Engine, tmp_path: Path) -> None:
    other = Archive(pruned, tmp_path / "other", 100)
    assert [(one.first, one.last) for one in other.in_thread_write()] == [(601, 700)]


def test_a_segment_of_huge_statements_ends_sooner(
    written: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "SIZE", 100_000)
    archive = Archive(written, tmp_path / "small", 1000)
    ends = [one.last for one in archive.in_thread_write()]
    assert len(ends) > 2
    assert ends[-1] == 700
    monkeypatch.setattr(archive_module, "SIZE", 1)
    assert Archive(written, tmp_path / "least", 1000).in_thread_write()[0].last == 100  # the next checkpoint, if none


def test_a_segment_waits_until_there_is_enough(written: Engine, tmp_path: Path) -> None:
    archive = Archive(written, tmp_path / "large", 1000)
    assert archive.in_thread_write(1000) == []
    assert [(one.first, one.last) for one in archive.in_thread_write(1)] == [(1, 700)]


# -- what an attacker takes away is still found


def test_a_row_after_the_pruning(attacker: sqlite3.Connection, pruned: Engine, signer: Signer) -> None:
    attacker.execute("DELETE FROM event WHERE seq IN (601, 650)")
    assert codes(in_thread_verify(pruned, [signer.key])) == [("missing", 601, 601), ("missing", 650, 650)]


def test_a_row_that_was_kept(attacker: sqlite3.Connection, pruned: Engine, signer: Signer) -> None:
    attacker.execute("DELETE FROM event WHERE seq = 301")
    assert codes(in_thread_verify(pruned, [signer.key])) == [("pruned", 1, 600)]


def test_a_kept_row_that_was_edited(attacker: sqlite3.Connection, pruned: Engine, signer: Signer) -> None:
    attacker.execute("UPDATE event SET body = replace(body, 'policy', 'Policy') WHERE seq = 301")
    assert ("changed", 301, 301) in codes(in_thread_verify(pruned, [signer.key]))


def test_a_hash_of_what_was_pruned(attacker: sqlite3.Connection, pruned: Engine, signer: Signer) -> None:
    attacker.execute("UPDATE leaf SET hash = zeroblob(32) WHERE seq = 50")
    found = codes(in_thread_verify(pruned, [signer.key]))
    assert ("rewritten", 1, 100) in found
    assert ("pruned", 1, 600) in found


def test_the_event_that_says_so(attacker: sqlite3.Connection, pruned: Engine, signer: Signer) -> None:
    attacker.execute("UPDATE event SET body = replace(body, '\"last\":600', '\"last\":690') WHERE seq = 701")
    attacker.execute("DELETE FROM event WHERE seq BETWEEN 601 AND 690")
    found = codes(in_thread_verify(pruned, [signer.key]))
    assert ("changed", 701, 701) in found
    attacker.execute("DELETE FROM event WHERE seq = 701")
    assert ("missing", 2, 100) in codes(in_thread_verify(pruned, [signer.key]))


def test_a_pruning_that_the_archive_does_not_know(
    attacker: sqlite3.Connection, pruned: Engine, signer: Signer, archive: Archive
) -> None:
    """Who can append events can say that something was pruned; the files are what shows that it was not so."""
    for one in segments(archive.folder)[:1]:
        one.path.write_bytes(one.path.read_bytes()[:-10])
    segments(archive.folder)[1].path.unlink()
    report = in_thread_verify(pruned, [signer.key], archive=archive)
    assert {one.code for one in report.findings} == {"archive"}
    assert "was cut, or written by halves" in report.findings[0].text
    assert "is not there" in report.findings[1].text
    assert in_thread_verify(pruned, [signer.key]).findings == []


@pytest.mark.parametrize(
    "body",
    ["", "{}", '{"type":"log.prune","seq":9,"detail":{"first":1,"last":8}}',
     '{"type":"alarm","seq":9,"detail":{"first":1,"last":2,"until":1,"root":"","types":[],"kept":0,"kept_digest":"",'
     '"segments":{}}}',
     '{"type":"log.prune","seq":9,"detail":{"first":1,"last":9,"until":1,"root":"","types":[],"kept":0,'
     '"kept_digest":"","segments":{}}}'],
)  # fmt: skip
def test_an_event_that_says_nothing_prunes_nothing(body: str) -> None:
    with pytest.raises(NotPruned):
        Pruned.parse(9, body)


# -- the stand-alone verifier


def test_the_stand_alone_verifier_says_what_was_pruned(
    pruned: Engine, path: Path, signer: Signer, checker: ModuleType, archive: Archive, capsys: Any
) -> None:
    files = [str(one.path) for one in segments(archive.folder)]
    assert checker.main(["--key", str(signer.key), str(path), *files]) == 0
    said = capsys.readouterr().out
    assert f"events 1 to 600 pruned on {_ts(pruned, 701)} (event 701), 6 of them kept, hashes verified" in said
    assert "verified: 701 events" in said
    assert "verified: events 501 to 600" in said


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ("DELETE FROM event WHERE seq = 650", "event 650: is missing"),
        ("DELETE FROM event WHERE seq = 301", "6 of them were kept, as event 701 says, and other ones are left"),
        ("UPDATE leaf SET hash = zeroblob(32) WHERE seq = 50", "events 1 to 100: are not those of the checkpoint"),
        ("DELETE FROM event WHERE seq = 701", "event 2: is missing; the next one there is 101"),
        ("UPDATE event SET body = replace(body, '\"last\":600', '\"last\":0') WHERE seq = 701", "event 701: does not"),
    ],
)
def test_the_stand_alone_verifier_finds_what_else_is_missing(
    attacker: sqlite3.Connection, path: Path, signer: Signer, checker: ModuleType, capsys: Any, attack: str, said: str
) -> None:
    attacker.execute(attack)
    assert checker.main(["--key", str(signer.key), str(path)]) == 1
    assert said in capsys.readouterr().out


# -- what else reads the log


def test_the_overview_is_made_again(written: Engine, archive: Archive, tmp_path: Path) -> None:
    own = open_engine(tmp_path / "overview.db", kind="translation")
    overview = Overview(own, written, block=64)
    overview.in_thread_catch_up()
    reader = LogReader(written, overview)
    before, _ = reader.in_thread_tallies(parse("type:operation"))
    assert sum(one.count for one in before) == 679
    archive.in_thread_write()
    prune(written, archive)
    for _ in range(2):  # without the overview, which is not believed, and with the new one
        counted, _ = reader.in_thread_tallies(parse("type:operation"))
        assert sum(one.count for one in counted) == 97
        assert len(reader.in_thread_find(parse("type:policy.version"), 100)) == 7
        assert overview.in_thread_catch_up() in (10, 0)
    with reading(written) as log, overview.in_thread_reading(log) as usable:
        assert usable is not None
    own.dispose()


def test_exports_and_searches_go_on(pruned: Engine) -> None:
    reader = LogReader(pruned)
    count, first, last = reader.in_thread_span(Filters())
    assert (count, first, last) == (107, 1, 701)
    assert [event.seq for page in reader.in_thread_pages(Filters(), last) for event in page] == seqs(pruned)


def test_an_older_log_is_upgraded(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "old.db", kind="translation")
    upgrade(engine, "translation")
    with writing(engine) as connection:
        assert last_pruned(connection) is None
        assert pruned_upto(connection) == 0
    assert root_of(engine).size == 0
    engine.dispose()
