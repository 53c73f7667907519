"""Recordings (asciicast v2) on a terminal."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bridge.cli.calling import call
from bridge.translation.recordings import in_thread_files, in_thread_header, in_thread_read, read_key

CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|\x1b[@-Z\\^_]|[\x00-\x08\x0b-\x1f\x7f]"
)
"""Control sequences (ECMA-48: CSI, OSC, two-byte escapes) and control characters but tab and new line."""


@dataclass(frozen=True, slots=True)
class Recorded:
    header: dict[str, Any]
    path: Path
    key: bytes

    def lines(self) -> Iterator[str]:
        """Line by line; a last one that a crash cut is left out."""
        rest = ""
        for piece in in_thread_read(self.path, self.key):
            *whole, rest = (rest + piece).split("\n")
            yield from whole


def recordings(folder: Path, key_file: Path, session: str) -> list[Recorded]:
    """Of a session, oldest first; none when its id is not one. Raises RecordingError, OSError."""
    if not re.fullmatch("[a-z0-9_]{1,64}", session):
        return []
    files = in_thread_files(folder, session)
    key = read_key(key_file) if files else b""
    return [Recorded(in_thread_header(path), path, key) for path in files]


def asked_for(config: Path, session: str) -> list[Recorded]:
    """As ``recordings``; the log says first that somebody looks at them."""
    from bridge.daemon.calling import load_config
    from bridge.daemon.opening import recordings_folder

    call(config, "log.played", {"session": session})
    return recordings(*recordings_folder(load_config(config)), session)


def transcript(recorded: Recorded) -> str:
    """The text alone, without timing and control sequences. Raises RecordingError, OSError."""
    events = (json.loads(line) for number, line in enumerate(recorded.lines()) if number)
    return "".join(CONTROL.sub("", text) for _, kind, text in events if kind == "o") + "\n"


def write(recorded: Recorded, form: str, *, speed: float, idle: float) -> None:
    """``form``: cast, transcript or "" to play. Raises RecordingError, OSError."""
    if form == "transcript":
        click.echo(transcript(recorded), nl=False)
        return
    before = 0.0
    for number, line in enumerate(recorded.lines()):
        if form == "cast":
            click.echo(line)
            continue
        if number == 0:
            continue  # the header
        at, kind, text = json.loads(line)
        if kind != "o":
            continue
        time.sleep(min(max(at - before, 0.0), idle) / speed)
        before = at
        sys.stdout.write(text)
        sys.stdout.flush()
