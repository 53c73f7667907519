"""What a terminal showed, for any player of asciicast version 2."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from adapters.ssh.codec import Terminal
from adapters.ssh.recording import Screen
from bridge.testing.door import FakeRecording


class Watch:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def screen(watch: Watch, terminal: Terminal) -> tuple[Screen, FakeRecording]:
    recording = FakeRecording()
    return Screen(recording, terminal, "deploy-7 as svc", clock=watch, now=lambda: 1_700_000_000.9), recording


def lines(recording: FakeRecording) -> list[list[object]]:
    return [json.loads(line) for line in recording.text.splitlines()[1:]]


def test_times_are_seconds_since_the_beginning_and_never_go_back() -> None:
    """sshpiper#448: times were wrong after the first second."""
    watch = Watch()
    shown, recording = screen(watch, Terminal("xterm", 132, 43))
    for watch.now in (100.25, 101.5, 3700.000001):
        shown.show(b"x")
    assert [line[0] for line in lines(recording)] == [0.25, 1.5, 3600.000001]
    assert json.loads(recording.text.splitlines()[0]) == {
        "version": 2, "width": 132, "height": 43, "timestamp": 1_700_000_000, "title": "deploy-7 as svc",
        "env": {"TERM": "xterm"},
    }  # fmt: skip


def test_a_terminal_without_a_size_has_one_for_the_player() -> None:
    _, recording = screen(Watch(), Terminal("xterm", 0, 0))
    header = json.loads(recording.text)
    assert (header["width"], header["height"]) == (80, 24)


def test_a_cut_character_at_the_end_is_shown_as_cut() -> None:
    shown, recording = screen(Watch(), Terminal("xterm", 80, 24))
    shown.show(b"a\xe2\x82")
    shown.close()
    assert [line[2] for line in lines(recording)] == ["a", "\ufffd"]
    assert recording.closed


@given(st.binary(max_size=60), st.integers(1, 7))
def test_however_output_is_cut_the_same_text_is_shown(output: bytes, cut: int) -> None:
    shown, recording = screen(Watch(), Terminal("xterm", 80, 24))
    for at in range(0, len(output), cut):
        shown.show(output[at : at + cut])
    shown.close()
    assert "".join(str(line[2]) for line in lines(recording)) == output.decode("utf-8", "replace")
