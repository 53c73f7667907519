"""The witness's rules (c2sp.org/tlog-witness), and what a log does with its answers."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from bridge.storage import writing
from bridge.translation import Event, in_thread_append, tree
from bridge.translation.attestations import (
    COSIGNATURE,
    HistoryLost,
    cosignature,
    in_thread_copy,
    in_thread_due,
    in_thread_keep,
)
from bridge.translation.checkpoints import Checkpoints, Signed
from bridge.translation.note import COSIGNATURE as COSIGNING
from bridge.translation.note import Checkpoint, Note, NoteRefused, Signer, VerifierKey
from bridge.translation.proving import in_thread_prove, root_of
from bridge.translation.verifying import in_thread_verify
from bridge.translation.witness import Answer, Witness

ORIGIN = "logs.example/a"
NOW = 1_795_600_000


class Forest:
    """A log in memory that can have more than one history."""

    def __init__(self, signer: Signer, fork: str = "") -> None:
        self.signer = signer
        self.leaves = [tree.leaf_hash(f"{number}{fork if number >= 50 else ''}".encode()) for number in range(300)]

    def note(self, size: int) -> str:
        return Checkpoint(self.signer.key.name, size, tree.root(self.leaves[:size])).note(self.signer)

    def request(self, old: int, new: int, *, proof: list[bytes] | None = None) -> bytes:
        if proof is None:
            proof = tree.consistency(old, new, lambda start, end: tree.root(self.leaves[start:end]))
        lines = [f"old {old}", *(base64.b64encode(hash).decode() for hash in proof), "", self.note(new)]
        return "\n".join(lines).encode()


@pytest.fixture
def log() -> Forest:
    return Forest(Signer(ORIGIN, Ed25519PrivateKey.generate()))


@pytest.fixture
def conflicts() -> list[str]:
    return []


@pytest.fixture
def own() -> Signer:
    return Signer("witness.example/w", Ed25519PrivateKey.generate(), COSIGNING)


@pytest.fixture
def witness(tmp_path: Path, log: Forest, own: Signer, conflicts: list[str]) -> Witness:
    return Witness(own, tmp_path, [log.signer.key], lambda: NOW, conflicts.append)


def signed_by(own: Signer, note: str, answer: Answer) -> bool:
    ((key, signature),) = Note.parse(note + answer.body).signed_by([own.key])
    return key == own.key and signature.at == NOW


def test_each_checkpoint_that_continues_the_last_is_cosigned(witness: Witness, log: Forest, own: Signer) -> None:
    old = 0
    for size in (1, 2, 64, 200, 200, 300):
        answer = witness.in_thread_add(log.request(old, size))
        assert answer.status == 200
        assert signed_by(own, log.note(size), answer)
        old = size


def test_another_start_of_the_witness_remembers(witness: Witness, log: Forest, own: Signer, tmp_path: Path) -> None:
    assert witness.in_thread_add(log.request(0, 100)).status == 200
    again = Witness(own, tmp_path, [log.signer.key], lambda: NOW)
    assert again.in_thread_add(log.request(0, 200)) == Answer(409, "100\n", "text/x.tlog.size")
    assert again.in_thread_add(log.request(100, 200)).status == 200


def test_a_fork_a_rewrite_and_a_cut_are_refused(
    witness: Witness, log: Forest, conflicts: list[str], tmp_path: Path
) -> None:
    """The key is the log's own: it was stolen, or the log lies."""
    other = Forest(log.signer, fork="x")
    assert witness.in_thread_add(log.request(0, 100)).status == 200
    for request in (other.request(100, 200), other.request(100, 100)):
        assert witness.in_thread_add(request).status == 422
    assert witness.in_thread_add(other.request(60, 80)).status == 409
    assert witness.in_thread_add(log.request(100, 200)).status == 200
    assert conflicts[0] == f"{ORIGIN}: the checkpoint of 200 events does not continue that of 100"
    (kept,) = tmp_path.glob("*.conflict")
    assert kept.read_text() == other.note(100)


def test_a_key_that_it_was_not_given_is_refused_until_it_is(
    witness: Witness, log: Forest, own: Signer, tmp_path: Path
) -> None:
    """The log's key was replaced, maybe by who stole the old one: the witness's own people have to take the new one."""
    assert witness.in_thread_add(log.request(0, 100)).status == 200
    old, log.signer = log.signer, Signer(ORIGIN, Ed25519PrivateKey.generate())
    assert witness.in_thread_add(log.request(100, 200)) == Answer(403, f"no known key of {ORIGIN} signed this\n")
    again = Witness(own, tmp_path, [old.key, log.signer.key], lambda: NOW)
    assert again.in_thread_add(log.request(100, 200)).status == 200


def test_the_checkpoint_that_names_the_next_key_is_cosigned(witness: Witness, log: Forest, own: Signer) -> None:
    new = Signer(ORIGIN, Ed25519PrivateKey.generate())
    text = Checkpoint(ORIGIN, 5, tree.root(log.leaves[:5]), f"{log.signer.key} {new.key}").text
    note = f"{text}\n{log.signer.sign(text)}{new.sign(text)}"
    answer = witness.in_thread_add(f"old 0\n\n{note}".encode())
    assert answer.status == 200
    assert signed_by(own, note, answer)


def test_a_proof_of_something_else_is_refused(witness: Witness, log: Forest) -> None:
    assert witness.in_thread_add(log.request(0, 5, proof=[tree.EMPTY])).status == 422
    assert witness.in_thread_add(log.request(0, 100)).status == 200
    assert witness.in_thread_add(log.request(100, 200, proof=[])).status == 422
    assert witness.in_thread_add(log.request(100, 200, proof=[tree.EMPTY] * 7)).status == 422


def test_an_empty_log_has_the_empty_root(witness: Witness, log: Forest) -> None:
    assert witness.in_thread_add(log.request(0, 0)).status == 200
    wrong = Checkpoint(ORIGIN, 0, bytes(32)).note(log.signer)
    assert witness.in_thread_add(f"old 0\n\n{wrong}".encode()).status == 422


def test_logs_and_keys_that_are_not_known(witness: Witness, log: Forest) -> None:
    stranger = Forest(Signer("logs.example/b", Ed25519PrivateKey.generate()))
    assert witness.in_thread_add(stranger.request(0, 5)).status == 404
    impostor = Forest(Signer(ORIGIN, Ed25519PrivateKey.generate()))
    assert witness.in_thread_add(impostor.request(0, 5)).status == 403
    forged = log.request(0, 5).replace(b"\n5\n", b"\n6\n")
    assert witness.in_thread_add(forged).status == 403


@pytest.mark.parametrize(
    "change",
    [
        lambda body: b"",
        lambda body: b"\xff",
        lambda body: body.replace(b"old 0", b"old 00"),
        lambda body: body.replace(b"old 0", b"old -1"),
        lambda body: body.replace(b"old 0\n", b"old 0\nnonsense\n"),
        lambda body: body.replace(b"old 0\n", b"old 0\n" + base64.b64encode(bytes(32)) * 1 + b"\n" * 1 + b"x\n"),
        lambda body: body.replace(b"old 0\n", b"old 0\n" + (base64.b64encode(bytes(32)) + b"\n") * 64),
        lambda body: body + b"x" * 70_000,
    ],
)
def test_what_is_no_request_is_refused(witness: Witness, log: Forest, change: object) -> None:
    assert witness.in_thread_add(change(log.request(0, 5))).status == 400  # type: ignore[operator]


def test_an_old_size_beyond_the_checkpoint_is_refused(witness: Witness, log: Forest) -> None:
    assert witness.in_thread_add(b"old 9" + log.request(0, 5)[5:]).status == 400


def test_monitors_get_the_last_checkpoint_with_both_signatures(witness: Witness, log: Forest, own: Signer) -> None:
    from hashlib import sha256

    name = sha256(ORIGIN.encode()).hexdigest()
    assert witness.in_thread_latest(name).status == 404
    witness.in_thread_add(log.request(0, 5))
    note = Note.parse(witness.in_thread_latest(name).body)
    assert len(note.signed_by([log.signer.key, own.key])) == 2
    assert witness.in_thread_latest("../witness").status == 404


def test_a_memory_that_was_changed_cosigns_nothing(witness: Witness, log: Forest, tmp_path: Path) -> None:
    witness.in_thread_add(log.request(0, 100))
    (kept,) = tmp_path.glob("*.checkpoint")
    kept.write_text(log.note(50))
    with pytest.raises(NoteRefused, match="not cosigned here"):
        witness.in_thread_add(log.request(50, 200))


# -- the log's side


@pytest.fixture
def grow(engine: Engine, log: Forest) -> object:
    def grow(count: int) -> Signed:
        in_thread_append(engine, "a", [Event("alarm", outcome="failure", reason="x")] * count)
        with writing(engine) as connection:
            Checkpoints(log.signer).seal(connection)
        due = in_thread_due(engine, "somebody")
        assert due is not None
        return due.signed

    return grow


def attest(engine: Engine, witness: Witness, key: VerifierKey) -> None:
    due = in_thread_due(engine, key.name)
    assert due is not None
    answer = witness.in_thread_add(due.request)
    assert answer.status == 200
    in_thread_keep(engine, key.name, due.signed, COSIGNATURE, cosignature(due.signed, answer.body.encode(), key))


def test_a_cosigned_log_says_what_the_witness_saw(
    engine: Engine, grow: object, witness: Witness, own: Signer, log: Forest
) -> None:
    for count in (3, 400, 1):
        grow(count)  # type: ignore[operator]
        attest(engine, witness, own.key)
    assert in_thread_due(engine, own.key.name) is None
    grow(5)  # type: ignore[operator]
    report = in_thread_verify(engine, [log.signer.key, own.key])
    assert (report.findings, report.signed) == ([], 409)
    assert (report.witnessed, report.witnessed_at) == (404, NOW)
    proof = in_thread_prove(engine, [2], log.signer.key)["events"][0]["proof"]
    assert Note.parse(proof.partition("\n\n")[2]).signed_by([own.key])
    assert len(Note.parse(root_of(engine).checkpoint).signatures) == 1


def test_a_witness_that_knows_more_than_there_is(
    engine: Engine, grow: object, own: Signer, witness: Witness, log: Forest
) -> None:
    grow(3)  # type: ignore[operator]
    assert in_thread_due(engine, own.key.name, 2).known == 2  # type: ignore[union-attr]
    with pytest.raises(HistoryLost, match="has seen 9 events, this log's last checkpoint has 3: it was cut"):
        in_thread_due(engine, own.key.name, 9)


def test_an_answer_of_another_is_not_taken(grow: object, own: Signer, log: Forest) -> None:
    signed = grow(3)  # type: ignore[operator]
    other = Signer("witness.example/w", Ed25519PrivateKey.generate(), COSIGNING)
    text = signed.checkpoint.text
    for answer in (b"", b"\xff", other.cosign(text, NOW).encode(), own.cosign(text + "x", NOW).encode()):
        with pytest.raises(NoteRefused):
            cosignature(signed, answer, own.key)


def test_a_forged_cosignature_in_the_database_is_found(engine: Engine, grow: object, own: Signer, log: Forest) -> None:
    signed = grow(3)  # type: ignore[operator]
    in_thread_keep(engine, own.key.name, signed, COSIGNATURE, own.cosign("x\n", NOW).encode())
    (finding,) = in_thread_verify(engine, [log.signer.key, own.key]).findings
    assert finding.code == "signature"


def test_a_copy_is_written_once(tmp_path: Path, grow: object) -> None:
    signed = grow(3)  # type: ignore[operator]
    assert in_thread_copy(tmp_path, signed) == in_thread_copy(tmp_path, signed) == b"0000000000000003.checkpoint"
    file = tmp_path / "0000000000000003.checkpoint"
    assert (file.read_text(), file.stat().st_mode & 0o222) == (signed.note, 0)
    file.chmod(0o644)
    file.write_text(signed.note[:20])
    with pytest.raises(OSError, match="another checkpoint of that size"):
        in_thread_copy(tmp_path, signed)
