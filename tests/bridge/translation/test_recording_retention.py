"""Which recordings have to go: the oldest first, by age and by the size of all, never one that is being written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bridge.translation.recording_retention import Retention, in_thread_overdue, in_thread_remove

NOW = 1_800_000_000.0
DAY = 86400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four recordings of 100 bytes, 1 to 4 days old, and a file that is none."""
    for days in (1, 2, 3, 4):
        path = tmp_path / f"ses_{days}-00.idrec"
        path.write_bytes(bytes(100))
        os.utime(path, (NOW - days * DAY,) * 2)
    (tmp_path / "notes.txt").write_text("kept")
    os.utime(tmp_path / "notes.txt", (0, 0))
    return tmp_path


def overdue(folder: Path, age: float | None, size: int | None, *open_files: str) -> list[tuple[str, str]]:
    found = in_thread_overdue(folder, Retention(age, size), now=NOW, open_files=open_files)
    assert all(one.bytes == 100 for one in found)
    return [(one.path.name[:5], one.because) for one in found]


@pytest.mark.parametrize(
    ("age", "size", "gone"),
    [
        (None, None, []),
        (2.5 * DAY, None, [("ses_4", "age"), ("ses_3", "age")]),
        (None, 250, [("ses_4", "size"), ("ses_3", "size")]),
        (None, 400, []),
        (3.5 * DAY, 250, [("ses_4", "age"), ("ses_3", "size")]),
        (0, None, [("ses_4", "age"), ("ses_3", "age"), ("ses_2", "age"), ("ses_1", "age")]),
    ],
)
def test_the_oldest_go_first(folder: Path, age: float | None, size: int | None, gone: list[tuple[str, str]]) -> None:
    assert overdue(folder, age, size) == gone


def test_what_is_being_written_stays_and_counts(folder: Path) -> None:
    assert overdue(folder, None, 150, "ses_4-00.idrec") == [("ses_3", "size"), ("ses_2", "size"), ("ses_1", "size")]


def test_no_folder_is_no_recordings(tmp_path: Path) -> None:
    assert overdue(tmp_path / "none", 1, 1) == []


def test_only_they_are_removed(folder: Path) -> None:
    found = in_thread_overdue(folder, Retention(2.5 * DAY), now=NOW, open_files=())
    in_thread_remove(found)
    in_thread_remove(found)  # gone already
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "ses_1-00.idrec", "ses_2-00.idrec"]
