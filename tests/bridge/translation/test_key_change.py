"""The log's key is replaced: who trusts one key knows the others, and what each of them may sign."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from bridge.storage import KeyRefused, load_key, reading, writing
from bridge.translation import Event, in_thread_append
from bridge.translation.archive import Archive
from bridge.translation.checkpoints import Checkpoints, last_signed, load_signer
from bridge.translation.key_change import Keys, changes, in_thread_change_key, in_thread_keys, in_thread_prepare_key
from bridge.translation.note import Checkpoint, NoteRefused, Signer
from bridge.translation.proving import in_thread_prove
from bridge.translation.verifying import in_thread_verify

ORIGIN = "logs.example/prod-1"


class House:
    """A log whose key was replaced twice: ``keys`` are the three of them."""

    def __init__(self, engine: Engine, state: Path) -> None:
        self.engine, self.state = engine, state
        self.signers = [self.work()]
        for _ in range(2):
            in_thread_change_key(engine, state, "prod-1", Event("log.key"), ORIGIN)
            self.signers.append(self.work())
        self.keys = [one.key for one in self.signers]

    def work(self) -> Signer:
        signer = load_signer(self.state, self.engine, ORIGIN)
        for _ in range(2):
            in_thread_append(self.engine, "prod-1", [Event("token.issue")] * 10)
            with writing(self.engine) as connection:
                Checkpoints(signer).seal(connection)
        return signer


@pytest.fixture
def house(engine: Engine, tmp_path: Path) -> House:
    return House(engine, tmp_path)


def test_each_key_leads_to_the_others(house: House) -> None:
    assert len({str(key) for key in house.keys}) == 3
    for key in house.keys:
        report = in_thread_verify(house.engine, [key])
        assert (report.findings, report.signed, report.size) == ([], 62, 62)
        assert set(in_thread_keys(house.engine, [key]).all) == set(house.keys)


def test_only_the_present_key_is_left(house: House) -> None:
    assert Signer(ORIGIN, load_key(house.state / "log.key")).key == house.keys[2]
    assert sorted(path.name for path in house.state.glob("log.key*")) == ["log.key"]


def test_a_stranger_is_no_key(house: House) -> None:
    stranger = Signer(ORIGIN, Ed25519PrivateKey.generate()).key
    assert in_thread_keys(house.engine, [stranger]).all == [stranger]
    assert {one.code for one in in_thread_verify(house.engine, [stranger]).findings} == {"signature"}


@pytest.mark.parametrize(("number", "size"), [(0, 50), (1, 5), (1, 62), (2, 42)])
def test_a_key_signs_only_in_its_time(house: House, number: int, size: int) -> None:
    """The first was replaced at 21 events, the second at 42."""
    with reading(house.engine) as connection:
        keys = Keys(house.keys[:1], changes(connection))
    note = Checkpoint(ORIGIN, size, bytes(32)).note(house.signers[number])
    with pytest.raises(NoteRefused, match="was not the log's then"):
        keys.opened(note)


def test_an_old_key_names_no_second_successor(house: House) -> None:
    thief = Signer(ORIGIN, Ed25519PrivateKey.generate())
    old = house.signers[0]
    text = Checkpoint(ORIGIN, 70, bytes(32), f"{old.key} {thief.key}").text
    forged = f"{text}\n{old.sign(text)}{thief.sign(text)}"
    with reading(house.engine) as connection:
        keys = Keys(house.keys[:1], [*changes(connection), forged])
    assert thief.key not in keys.all


@pytest.mark.parametrize("by", ["old", "new"])
def test_a_change_that_one_of_them_did_not_sign_is_none(house: House, by: str) -> None:
    old, new = house.signers[2], Signer(ORIGIN, Ed25519PrivateKey.generate())
    text = Checkpoint(ORIGIN, 70, bytes(32), f"{old.key} {new.key}").text
    note = f"{text}\n{(old if by == 'old' else new).sign(text)}"
    assert set(Keys([old.key], [note]).all) == {old.key}
    assert set(Keys([new.key], [note]).all) == {new.key}


def test_killed_before_the_file_was_replaced(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as crash:
        crash.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            in_thread_change_key(house.engine, house.state, "prod-1", Event("log.key"), ORIGIN)
    prepared = in_thread_prepare_key(house.state, ORIGIN)
    signer = load_signer(house.state, house.engine, ORIGIN)
    assert signer.key == prepared
    assert not (house.state / "log.key.next").exists()
    house.work()
    assert in_thread_verify(house.engine, house.keys[:1]).findings == []


def test_a_key_that_is_only_prepared_changes_nothing(house: House) -> None:
    prepared = in_thread_prepare_key(house.state, ORIGIN)
    assert in_thread_prepare_key(house.state, ORIGIN) == prepared
    assert load_signer(house.state, house.engine, ORIGIN).key == house.keys[2]
    assert in_thread_change_key(house.engine, house.state, "prod-1", Event("log.key"), ORIGIN) == prepared


def test_a_damaged_log_gets_no_other_key(house: House) -> None:
    with writing(house.engine) as connection:
        connection.exec_driver_sql("DROP TRIGGER leaf_no_UPDATE")
        connection.exec_driver_sql("UPDATE leaf SET hash = zeroblob(32) WHERE seq = 61")
    with pytest.raises(KeyRefused, match="it was changed; run `idbridge log verify`"):
        in_thread_change_key(house.engine, house.state, "prod-1", Event("log.key"), ORIGIN)
    assert load_signer(house.state, house.engine, ORIGIN).key == house.keys[2]


# -- without the bridge


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_stand_alone_verifier_knows_them_too(
    house: House, path: Path, tmp_path: Path, checker: ModuleType, capsys: Any, number: int
) -> None:
    proof = tmp_path / "proof.json"
    proof.write_text(json.dumps(in_thread_prove(house.engine, [3, 60], house.keys[2])))
    Archive(house.engine, tmp_path / "archive", 1000).in_thread_write()
    (segment,) = (tmp_path / "archive").iterdir()
    files = [str(path), str(proof), str(segment)]
    assert checker.main(["--key", str(house.keys[number]), *files]) == 0, capsys.readouterr().out
    assert "62 of them signed" in capsys.readouterr().out


def test_the_stand_alone_verifier_refuses_an_old_key_after_its_time(
    house: House, path: Path, checker: ModuleType, capsys: Any
) -> None:
    with writing(house.engine) as connection:
        last = last_signed(connection)
        assert last is not None
        connection.exec_driver_sql("DROP TRIGGER checkpoint_no_UPDATE")
        note = last.checkpoint.note(house.signers[0])
        connection.exec_driver_sql("UPDATE checkpoint SET note = ? WHERE size = ?", (note, last.size))
    assert checker.main(["--key", str(house.keys[0]), str(path)]) == 1
    assert "the key that signed this checkpoint of 62 events was replaced at 21" in capsys.readouterr().out
    (finding,) = in_thread_verify(house.engine, house.keys[:1]).findings
    assert "it signed more than 0 and at most 21" in finding.text
