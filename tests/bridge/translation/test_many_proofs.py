"""Proofs of many events cost little each, and are the same proofs."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from bridge.storage import reading
from bridge.translation import Event, in_thread_append
from bridge.translation.stored_tree import ManyProofs, StoredTree, TreeDamaged
from bridge.translation.tree import included


@pytest.fixture
def filled(engine: Engine) -> Engine:
    in_thread_append(engine, "b", [Event("alarm", outcome="failure", reason="x")] * 700)
    return engine


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, 700])
def test_they_are_the_same_and_prove_what_they_should(filled: Engine, size: int) -> None:
    with reading(filled) as connection:
        one, many = StoredTree(connection), ManyProofs(connection, size)
        root = one.root(size)
        hashes = one.stored(0, 0, size)
        for seq in range(1, size + 1, 1 if size < 300 else 3):
            path = many.inclusion(seq, size)
            assert path == one.inclusion(seq, size)
            assert included(seq - 1, size, hashes[seq - 1], path, root)
        assert [many.consistency(old, size) for old in (1, size)] == [one.consistency(old, size) for old in (1, size)]


def test_what_is_remembered_is_bounded(filled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ManyProofs, "REMEMBERED", 10)
    with reading(filled) as connection:
        one, many = StoredTree(connection), ManyProofs(connection, 700)
        for seq in (1, 300, 299, 700, 1):
            assert many.inclusion(seq, 700) == one.inclusion(seq, 700)
            assert len(many._known) <= 10


def test_lost_hashes_are_told(filled: Engine) -> None:
    with filled.begin() as connection:
        for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        connection.exec_driver_sql("DELETE FROM leaf WHERE seq = 600")
    with reading(filled) as connection, pytest.raises(TreeDamaged, match="lost hashes"):
        ManyProofs(connection, 700).inclusion(601, 700)
