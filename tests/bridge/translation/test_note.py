"""Signed notes: the examples of the specifications, and what is refused."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.translation.note import (
    COSIGNATURE,
    Checkpoint,
    Note,
    NoteRefused,
    Signer,
    VerifierKey,
    hash_of_line,
    opened,
)

# c2sp.org/signed-note, section "Example".
KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
# c2sp.org/tlog-checkpoint.
CHECKPOINT = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""  # noqa: E501
ROOT = bytes(range(32))


def signer(name: str = "logs.example/a", kind: int = 1) -> Signer:
    return Signer(name, Ed25519PrivateKey.generate(), kind)


def test_the_example_of_the_specification_verifies() -> None:
    key = VerifierKey.parse(KEY)
    assert str(key) == KEY
    note = Note.parse(NOTE)
    assert note.text == "This is an example message.\n"
    assert [found[0] for found in note.signed_by([key])] == [key]


def test_the_example_checkpoint_is_read() -> None:
    note = Note.parse(CHECKPOINT)
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text == note.text


def test_a_checkpoint_that_was_signed_is_opened_with_the_key() -> None:
    one = signer()
    note = Checkpoint("logs.example/a", 7, ROOT).note(one)
    assert opened(note, [signer().key, one.key]) == Checkpoint("logs.example/a", 7, ROOT)


def test_a_cosignature_says_when_and_is_no_signature_of_the_log() -> None:
    one, witness = signer(), signer("witness.example/w", COSIGNATURE)
    checkpoint = Checkpoint("logs.example/a", 7, ROOT)
    note = checkpoint.note(one) + witness.cosign(checkpoint.text, 1_795_600_000)
    ((key, signature),) = Note.parse(note).signed_by([witness.key])
    assert (key, signature.at) == (witness.key, 1_795_600_000)
    with pytest.raises(NoteRefused, match="no known key"):
        opened(note, [witness.key])


def test_a_changed_size_is_refused() -> None:
    one = signer()
    note = Checkpoint("logs.example/a", 7, ROOT).note(one).replace("\n7\n", "\n8\n")
    with pytest.raises(NoteRefused, match="not valid"):
        opened(note, [one.key])


def test_a_key_of_another_name_does_not_sign_for_this_log() -> None:
    key = Ed25519PrivateKey.generate()
    other = Signer("logs.example/b", key)
    text = Checkpoint("logs.example/a", 7, ROOT).text
    with pytest.raises(NoteRefused, match="no known key"):
        opened(f"{text}\n{other.sign(text)}", [other.key, Signer("logs.example/a", key).key])


@pytest.mark.parametrize(
    "note",
    ["", "text\n", "text\n\n", "text\n\nno signature\n", "text\n\n— name !!!\n", "text\n\n— name AAAA\n",
     "te\x07xt\n\n— name AAAAAAAAAAA=\n", "text\n\n— name AAAAAAAAAAA=", "text\n\n" + "— name AAAAAAAAAAA=\n" * 33,
     "text\n\n— na+me AAAAAAAAAAA=\n"],
)  # fmt: skip
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(NoteRefused):
        Note.parse(note)


@pytest.mark.parametrize(
    "text", ["a\n1\n", "a\n01\nAAAA\n", "a\n1\nAAAA\n", "a\n-1\nAAAA\n", "\n1\nAAAA\n", "a\n1\nx\n\n"]
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        Checkpoint.parse(text)


@pytest.mark.parametrize("text", ["", "name", "name+00+AA==", KEY.replace("530d", "530e"), KEY[:-4], "+530d903a+AA=="])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        VerifierKey.parse(text)


def test_a_name_with_a_plus_cannot_sign() -> None:
    with pytest.raises(NoteRefused, match="cannot name a key"):
        signer("a+b")


def test_a_hash_of_another_length_is_refused() -> None:
    with pytest.raises(NoteRefused):
        hash_of_line("AAAA")


def test_a_signer_does_not_show_its_key() -> None:
    assert repr(signer()) == "<Signer logs.example/a>"
