"""What somebody with the database file does to the log, and what is found. FORMAT.md lists the same attacks."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from bridge.storage import open_engine, upgrade, writing
from bridge.translation import Event, in_thread_append, tree
from bridge.translation.checkpoints import Checkpoints, last_signed
from bridge.translation.findings import Finding, Report
from bridge.translation.note import Checkpoint, Signer, opened
from bridge.translation.proving import root_of
from bridge.translation.stored_tree import extend
from bridge.translation.verifying import in_thread_verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "logs.example/prod-1"
SIZE = 700


@pytest.fixture
def signer() -> Signer:
    return Signer(ORIGIN, KEY)


@pytest.fixture
def written(path: Path, engine: Engine, signer: Signer) -> Engine:
    """700 events with a checkpoint every 100."""
    checkpoints = Checkpoints(signer)
    for _ in range(SIZE // 100):
        in_thread_append(engine, "prod-1", [Event("alarm", outcome="failure", reason="x")] * 100)
        _seal(engine, checkpoints)
    return engine


def _seal(engine: Engine, checkpoints: Checkpoints) -> None:
    with writing(engine) as connection:
        checkpoints.seal(connection)
    assert not checkpoints.refused


@pytest.fixture
def attacker(path: Path, written: Engine) -> Iterator[sqlite3.Connection]:
    """Who may write the file may take the triggers away."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        yield connection


def held(engine: Engine, signer: Signer, size: int) -> Checkpoint:
    """A checkpoint that an auditor took away."""
    with writing(engine) as connection:
        note = connection.exec_driver_sql("SELECT note FROM checkpoint WHERE size = ?", (size,)).scalar_one()
    return opened(note, [signer.key])


def found(report: Report) -> list[tuple[str, int, int]]:
    return [(one.code, one.first, one.last) for one in report.findings]


def rewritten(attacker: sqlite3.Connection, engine: Engine, first: int, old: str, new: str, signer: Signer) -> None:
    """Everything that depends on the events is computed anew, from ``first`` on, and signed with the stolen key."""
    attacker.execute("UPDATE event SET body = replace(body, ?, ?) WHERE seq = ?", (old, new, first))
    bodies = [row[0] for row in attacker.execute("SELECT body FROM event ORDER BY seq")]
    attacker.execute("DELETE FROM leaf")
    attacker.execute("DELETE FROM node")
    sizes = [row[0] for row in attacker.execute("SELECT size FROM checkpoint ORDER BY size")]
    with writing(engine) as connection:
        extend(connection, 1, bodies)
    leaves = [tree.leaf_hash(body.encode()) for body in bodies]
    for size in sizes:
        note = Checkpoint(ORIGIN, size, tree.root(leaves[:size])).note(signer)
        attacker.execute("UPDATE checkpoint SET note = ? WHERE size = ?", (note, size))


def test_an_untouched_log_is_verified(written: Engine, signer: Signer) -> None:
    told: list[tuple[int, int]] = []
    report = in_thread_verify(written, [signer.key], progress=lambda done, total: told.append((done, total)))
    assert (report.findings, report.size, report.read) == ([], SIZE, SIZE)
    assert (report.checkpoints, report.signed) == (7, SIZE)
    assert report.root == root_of(written).root == held(written, signer, SIZE).root
    assert told[-1] == (SIZE, SIZE)


@pytest.mark.parametrize("size", [0, 1, 100, 256, 300, 700])
def test_only_what_came_after_a_checkpoint_is_read_again(written: Engine, signer: Signer, size: int) -> None:
    since = Checkpoint(ORIGIN, size, _root(written, size))
    report = in_thread_verify(written, [signer.key], since=since)
    assert (report.findings, report.since, report.read) == ([], size, SIZE - size)
    assert report.root == root_of(written).root


def _root(engine: Engine, size: int) -> bytes:
    with writing(engine) as connection:
        rows = connection.exec_driver_sql("SELECT body FROM event WHERE seq <= ? ORDER BY seq", (size,)).all()
    return tree.root([tree.leaf_hash(body.encode()) for (body,) in rows])


def test_an_edited_body(written: Engine, attacker: sqlite3.Connection, signer: Signer) -> None:
    attacker.execute("UPDATE event SET body = replace(body, '\"x\"', '\"ok\"') WHERE seq = 57")
    report = in_thread_verify(written, [signer.key])
    assert report.findings == [Finding("changed", 57, 57, "its text is not the one that was logged")]


def test_an_edited_body_with_its_hash(written: Engine, attacker: sqlite3.Connection, signer: Signer) -> None:
    """The checkpoints say between which two of them; before them the hash over 256 events does."""
    attacker.execute("UPDATE event SET body = replace(body, '\"x\"', '\"ok\"') WHERE seq = 257")
    (body,) = attacker.execute("SELECT body FROM event WHERE seq = 257").fetchone()
    attacker.execute("UPDATE leaf SET hash = ? WHERE seq = 257", (tree.leaf_hash(body.encode()),))
    assert found(in_thread_verify(written, [signer.key])) == [("rewritten", 201, 300), ("tree", 257, 512)]


def test_a_body_that_is_no_text(written: Engine, attacker: sqlite3.Connection, signer: Signer) -> None:
    attacker.execute("UPDATE event SET body = x'ff00' WHERE seq = 57")
    (finding,) = in_thread_verify(written, [signer.key]).findings
    assert str(finding) == "event 57: its text is not the one that was logged, and no event"


def test_a_deleted_row(written: Engine, attacker: sqlite3.Connection, signer: Signer) -> None:
    attacker.execute("DELETE FROM event WHERE seq = 57")
    assert found(in_thread_verify(written, [signer.key])) == [("missing", 57, 57)]


def test_a_deleted_row_with_its_hash(written: Engine, attacker: sqlite3.Connection, signer: Signer) -> None:
    for table in ("event", "leaf"):
        attacker.execute(f"DELETE FROM {table} WHERE seq IN (57, 58)")
    codes = found(in_thread_verify(written, [signer.key]))
    assert ("missing", 57, 58) in codes
    assert ("tree", 57, 58) in codes


def test_a_hash_that_was_taken_out_leaves_the_events_verified(
    written: Engine, attacker: sqlite3.Connection, signer: Signer
) -> None:
    attacker.execute("DELETE FROM leaf WHERE seq = 57")
    attacker.execute("UPDATE node SET hash = x'00'")
    report = in_thread_verify(written, [signer.key])
    assert found(report) == [("tree", 57, 57), ("tree", 1, 512)]
    assert report.root == _root(written, SIZE)


def test_a_tail_that_was_cut(written: Engine, attacker: sqlite3.Connection, signer: Signer) -> None:
    for table in ("event", "leaf"):
        attacker.execute(f"DELETE FROM {table} WHERE seq > 650")
    assert found(in_thread_verify(written, [signer.key])) == [("cut", 651, 700)]


def test_a_tail_that_was_cut_with_its_checkpoints(
    written: Engine, attacker: sqlite3.Connection, signer: Signer
) -> None:
    """Nothing inside the database says so; whoever kept a checkpoint does."""
    kept = held(written, signer, SIZE)
    for table in ("event", "leaf"):
        attacker.execute(f"DELETE FROM {table} WHERE seq > 600")
    attacker.execute("DELETE FROM checkpoint WHERE size > 600")
    assert found(in_thread_verify(written, [signer.key])) == []
    (finding,) = in_thread_verify(written, [signer.key], held=[kept]).findings
    assert str(finding) == (
        "events 601 to 700: not there any more: the log ends at 600, the checkpoint kept elsewhere has 700"
    )


def test_two_rows_that_were_swapped(written: Engine, attacker: sqlite3.Connection, signer: Signer) -> None:
    attacker.execute("UPDATE event SET seq = -1 WHERE seq = 5")
    attacker.execute("UPDATE event SET seq = 5 WHERE seq = 6")
    attacker.execute("UPDATE event SET seq = 6 WHERE seq = -1")
    assert [str(one) for one in in_thread_verify(written, [signer.key]).findings] == [
        "event 5: in its place stands an event that calls itself 6",
        "event 6: in its place stands an event that calls itself 5",
    ]


def test_rows_that_were_added(written: Engine, attacker: sqlite3.Connection, signer: Signer) -> None:
    columns = "body, ts, type, phase, outcome, session, agent, owner, system, account, action, labels"
    for seq in (SIZE + 1, SIZE + 2, -4):
        attacker.execute(f"INSERT INTO event (seq, {columns}) SELECT ?, {columns} FROM event WHERE seq = 1", (seq,))
    assert found(in_thread_verify(written, [signer.key])) == [("added", -4, -4), ("added", SIZE + 1, SIZE + 2)]


def test_a_checkpoint_of_another_key(written: Engine, attacker: sqlite3.Connection, signer: Signer) -> None:
    other = Signer(ORIGIN, Ed25519PrivateKey.generate())
    note = held(written, signer, 300).note(other)
    attacker.execute("UPDATE checkpoint SET note = ? WHERE size = 300", (note,))
    assert found(in_thread_verify(written, [signer.key])) == [("signature", 0, 0)]


def test_everything_rewritten_without_the_key(written: Engine, attacker: sqlite3.Connection, signer: Signer) -> None:
    rewritten(attacker, written, 57, '"x"', '"ok"', Signer(ORIGIN, Ed25519PrivateKey.generate()))
    codes = found(in_thread_verify(written, [signer.key]))
    assert codes == [("signature", 0, 0)] * 7


def test_everything_rewritten_with_the_stolen_key(
    written: Engine, attacker: sqlite3.Connection, signer: Signer
) -> None:
    """The log alone looks right; a checkpoint that was kept elsewhere shows it."""
    kept = [held(written, signer, size) for size in (100, 300)]
    rewritten(attacker, written, 157, '"x"', '"ok"', signer)
    assert found(in_thread_verify(written, [signer.key])) == []
    assert found(in_thread_verify(written, [signer.key], held=kept)) == [("forked", 101, 300)]
    report = in_thread_verify(written, [signer.key], since=kept[1])
    assert (found(report), report.since) == ([("forked", 1, 300)], 0)


def test_a_rewrite_after_the_last_kept_checkpoint_is_not_found(
    written: Engine, attacker: sqlite3.Connection, signer: Signer
) -> None:
    """FORMAT.md says so: the stolen key and the interval since the last witness."""
    kept = held(written, signer, 600)
    rewritten(attacker, written, 657, '"x"', '"ok"', signer)
    assert found(in_thread_verify(written, [signer.key], held=[kept])) == []


def test_a_fork(tmp_path: Path, path: Path, written: Engine, signer: Signer) -> None:
    """Two logs from one: each is right by itself, and wrong against the other's checkpoint."""
    written.dispose()
    shutil.copy(path, tmp_path / "other.db")
    other = open_engine(tmp_path / "other.db", kind="translation")
    for engine, reason in ((written, "one"), (other, "two")):
        in_thread_append(engine, "prod-1", [Event("alarm", outcome="failure", reason=reason)] * 50)
        _seal(engine, Checkpoints(signer))
        assert found(in_thread_verify(engine, [signer.key])) == []
    theirs = held(other, signer, SIZE + 50)
    assert found(in_thread_verify(written, [signer.key], held=[theirs])) == [("forked", 1, SIZE + 50)]
    other.dispose()


def test_nothing_is_signed_that_contradicts_the_last_checkpoint(
    written: Engine, attacker: sqlite3.Connection, signer: Signer
) -> None:
    checkpoints = Checkpoints(signer)
    attacker.execute("UPDATE leaf SET hash = zeroblob(32) WHERE seq = 699")
    in_thread_append(written, "prod-1", [Event("alarm", outcome="failure", reason="x")])
    with writing(written) as connection:
        checkpoints.seal(connection)
        last = last_signed(connection)
    assert checkpoints.refused == "the tree does not agree with the checkpoint of 700 events: it was changed"
    assert last is not None
    assert last.size == SIZE


def test_a_damaged_page_is_named_and_the_rest_is_still_verified(path: Path, written: Engine, signer: Signer) -> None:
    with writing(written) as connection:
        connection.exec_driver_sql("SELECT 1")
    written.dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = path.read_bytes()
    place = content.index(b'"seq":57,') // size * size
    path.write_bytes(content[:place] + b"\xff" * size + content[place + size :])
    engine = open_engine(path, kind="translation")
    report = in_thread_verify(engine, [signer.key])
    engine.dispose()
    assert {one.code for one in report.findings} == {"unreadable"}
    (first, last) = report.findings[0].first, report.findings[-1].last
    assert first <= 57 <= last < first + 100
    assert report.read == SIZE - sum(one.last - one.first + 1 for one in report.findings)
    assert "damaged" in str(report.findings[0])


@pytest.mark.slow
def test_an_older_log_gets_its_tree_at_the_upgrade(tmp_path: Path, path: Path, written: Engine, signer: Signer) -> None:
    bodies = [f'{{"seq":{seq}}}' for seq in range(1, 66_000)]
    old = open_engine(tmp_path / "old.db", kind="translation")
    upgrade(old, "translation")
    with writing(old) as connection:
        for table in ("leaf", "node", "checkpoint", "attestation", "personal"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql("DROP INDEX event_pruned")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0002'")
        insert = "INSERT INTO event VALUES (?, ?, 0, '', '', '', '', '', '', '', '', '', '')"
        connection.exec_driver_sql(insert, list(enumerate(bodies, 1)))
    upgrade(old, "translation")
    _seal(old, Checkpoints(signer))
    report = in_thread_verify(old, [signer.key])
    assert (report.findings, report.signed) == ([], len(bodies))
    assert report.root == tree.root([tree.leaf_hash(body.encode()) for body in bodies])
    old.dispose()
