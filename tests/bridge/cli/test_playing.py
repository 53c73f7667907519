"""Recordings on a terminal: listed, played, and as plain text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - tests own the process

from bridge.cli import playing
from bridge.storage import ThreadPool
from bridge.translation.recordings import Recordings

CAST = [
    {"version": 2, "width": 80, "height": 24, "timestamp": 1},
    [0.5, "o", "\x1b[1mhello\x1b[0m\r\n"],
    [0.6, "r", "100x30"],
    [90.0, "o", "\x1b]0;title\x07w\u00f6rld\x08"],
]


@pytest.fixture
def recorded(tmp_path: Path) -> playing.Recorded:
    pool = ThreadPool("recordings", 1, reactor)  # type: ignore[arg-type]
    folder, key_file = tmp_path / "recordings", tmp_path / "recordings.key"
    recordings = Recordings(folder, key_file, pool, reactor, limit=10**6)
    recording = recordings.open("ses_1", "pty-0", 1.0, failed=print, finished=lambda summary: None)
    for line in CAST:
        recording.write(json.dumps(line) + "\n")
    recording.write('[91.0, "o", "cut')
    recording.close()
    pytest_twisted.blockon(pool.stop(grace=2.0))
    (found,) = playing.recordings(folder, key_file, "ses_1")
    return found


@pytest.mark.parametrize("session", ["ses_2", "", "../x", "ses_*"])
def test_other_sessions_have_none(recorded: playing.Recorded, session: str) -> None:
    assert recorded.header["name"] == "pty-0"
    assert playing.recordings(recorded.path.parent, recorded.path.parent.parent / "recordings.key", session) == []


def test_a_transcript_has_no_control_sequences(recorded: playing.Recorded, capsys: Any) -> None:
    playing.write(recorded, "transcript", speed=1, idle=0)
    assert capsys.readouterr().out == "hello\nw\u00f6rld\n"


def test_the_asciicast_is_what_was_recorded(recorded: playing.Recorded, capsys: Any) -> None:
    playing.write(recorded, "cast", speed=1, idle=0)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == CAST


def test_playing_keeps_the_pace_but_not_long_pauses(
    recorded: playing.Recorded, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("bridge.cli.playing.time.sleep", slept.append)
    playing.write(recorded, "", speed=2, idle=3)
    assert slept == [0.25, 1.5]
    assert capsys.readouterr().out == CAST[1][2] + CAST[3][2]  # type: ignore[index]
