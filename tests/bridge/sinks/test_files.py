"""The file sink: whole lines only, whatever happened before."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from bridge.sinks import DeliveryFailed, FileDestination

LINES = (b'{"seq":1}\n', b'{"seq":2}\n')


def write(path: Path, lines: tuple[bytes, ...] = LINES) -> None:
    FileDestination(path, None).in_thread_write(lines)  # type: ignore[arg-type]


def test_lines_are_added_and_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, LINES[:1])
    write(path, LINES[1:])
    assert path.read_bytes() == b"".join(LINES)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_renamed_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, LINES[:1])
    path.rename(tmp_path / "events.jsonl.1")
    write(path, LINES[1:])
    assert path.read_bytes() == LINES[1]


@pytest.mark.parametrize("cut", range(1, 11))
def test_half_a_line_of_ours_is_replaced(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"before\n" + b"".join(LINES)[: 10 + cut - 1])
    write(path)
    assert [line for line in path.read_bytes().splitlines() if line not in (b'{"seq":1}', b'{"seq":2}')] == [b"before"]
    assert path.read_bytes().endswith(b"".join(LINES))


def test_half_a_line_of_somebody_else_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"not ours")
    write(path)
    assert path.read_bytes() == b"not ours\n" + b"".join(LINES)


def test_a_full_disk_leaves_nothing_of_the_batch(tmp_path: Path) -> None:
    """RLIMIT_FSIZE does what a full disk does: a part is written, then no more."""
    path = tmp_path / "events.jsonl"
    write(path, LINES[:1])
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15, hard))
    try:
        with pytest.raises(OSError, match="large"):
            write(path, LINES[1:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == LINES[0]
    write(path, LINES[1:])
    assert path.read_bytes() == b"".join(LINES)


def test_a_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DeliveryFailed, match="not a regular file"):
        write(tmp_path / "pipe")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "no" / "events.jsonl")
