"""Recordings: what was written can be read, also after a crash; what was altered cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - tests own the process
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from bridge.storage import ThreadPool
from bridge.translation.recordings import (
    MAGIC,
    WAITING_BYTES,
    OpenRecording,
    RecordingError,
    Recordings,
    Summary,
    in_thread_files,
    in_thread_header,
    in_thread_read,
    read_key,
)

SESSION = "ses_1"
NOW = 1_800_000_000.0


class Studio:
    def __init__(self, folder: Path, limit: int = 10**9) -> None:
        self.clock = Clock()
        self.pool = ThreadPool("recordings", 1, reactor)  # type: ignore[arg-type]
        self.key_file = folder / "recordings.key"
        self.folder = folder / "recordings"
        self.recordings = Recordings(self.folder, self.key_file, self.pool, self.clock, limit=limit)
        self.failures: list[str] = []
        self.summaries: list[Summary] = []

    def open(self, name: str = "pty-0") -> OpenRecording:
        return self.recordings.open(SESSION, name, NOW, failed=self.failures.append, finished=self.summaries.append)

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(1000):
            if condition():
                return
            await deferLater(reactor, 0.005, lambda: None)
        raise AssertionError("waited in vain")

    @property
    def path(self) -> Path:
        (path,) = in_thread_files(self.folder, SESSION)
        return path

    def text(self) -> str:
        return "".join(in_thread_read(self.path, read_key(self.key_file)))


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    made = Studio(tmp_path)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(_stop(made.pool)))


async def _stop(pool: ThreadPool) -> None:
    await pool.stop()


@pytest_twisted.ensureDeferred
async def test_what_was_written_is_read_and_nothing_of_it_lies_open(studio: Studio) -> None:
    recording = studio.open()
    recording.write("first sécret\n")
    recording.write("second\n")
    recording.close()
    recording.close()
    recording.write("too late")
    await studio.until(lambda: studio.summaries)
    assert studio.text() == "first sécret\nsecond\n"
    header = in_thread_header(studio.path)
    assert (header["session"], header["name"], header["created"]) == (SESSION, "pty-0", NOW * 1000)
    assert b"second" not in studio.path.read_bytes()
    assert (studio.path.stat().st_mode & 0o777, studio.folder.stat().st_mode & 0o777) == (0o600, 0o700)
    (summary,) = studio.summaries
    assert (summary.file, summary.bytes, summary.complete) == (studio.path.name, studio.path.stat().st_size, True)
    assert studio.failures == []


@pytest_twisted.ensureDeferred
async def test_after_a_crash_all_but_the_last_half_second_is_there(studio: Studio) -> None:
    recording = studio.open()
    recording.write("kept")
    studio.clock.advance(0.5)
    await studio.until(lambda: studio.folder.exists() and list(studio.folder.iterdir()))
    await studio.until(lambda: studio.text() == "kept")
    recording.write("lost")
    assert studio.text() == "kept"
    recording.close()
    await studio.until(lambda: studio.summaries)


@pytest_twisted.ensureDeferred
async def test_much_is_written_at_once(studio: Studio) -> None:
    recording = studio.open()
    recording.write("x" * 40_000)
    await studio.until(lambda: studio.folder.exists() and list(studio.folder.iterdir()))
    await studio.until(lambda: len(studio.text()) == 40_000)
    recording.close()
    await studio.until(lambda: studio.summaries)


async def finished(studio: Studio) -> bytes:
    recording = studio.open()
    for number in range(3):
        recording.write(f"frame {number}\n")
        studio.clock.advance(0.5)
    recording.close()
    await studio.until(lambda: studio.summaries)
    return studio.path.read_bytes()


def frames(data: bytes) -> tuple[bytes, list[bytes]]:
    at = len(MAGIC) + 4 + int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "big")
    head, found = data[:at], []
    while at < len(data):
        size = 5 + int.from_bytes(data[at : at + 4], "big")
        found.append(data[at : at + size])
        at += size
    return head, found


@pytest_twisted.ensureDeferred
async def test_a_cut_file_gives_what_is_left_and_an_altered_one_an_error(studio: Studio) -> None:
    data = await finished(studio)
    head, parts = frames(data)
    assert len(parts) == 4
    studio.path.write_bytes(data[:-1])
    assert studio.text() == "frame 0\nframe 1\nframe 2\n"
    alterations: dict[str, bytes] = {
        "a byte": data[:-30] + bytes([data[-30] ^ 1]) + data[-29:],
        "swapped": head + parts[1] + parts[0] + b"".join(parts[2:]),
        "dropped": head + b"".join(parts[1:]),
        "ended early": head + parts[0][:4] + b"\1" + parts[0][5:],
        "more": data + b"x",
        "long": head + b"\xff\xff\xff\xff\0",
        "header": data.replace(b"pty-0", b"pty-1"),
        "no header": data[: len(MAGIC) + 2],
        "magic": b"x" + data,
    }
    for name, altered in alterations.items():
        studio.path.write_bytes(altered)
        with pytest.raises(RecordingError):
            studio.text()
        assert name


@pytest_twisted.ensureDeferred
async def test_another_key_does_not_open_it(studio: Studio) -> None:
    await finished(studio)
    with pytest.raises(RecordingError, match="another key"):
        list(in_thread_read(studio.path, b"k" * 32))


@pytest_twisted.ensureDeferred
async def test_the_limit_of_size_ends_it_and_says_so(tmp_path: Path, studio: Studio) -> None:
    small = Studio(tmp_path, limit=10)
    recording = small.open()
    recording.write("12345678")
    recording.write("90a")
    await small.until(lambda: small.summaries)
    assert small.failures == ["it has reached its limit of size"]
    assert small.text() == "12345678"
    assert not small.summaries[0].complete
    await small.pool.stop()


@pytest_twisted.ensureDeferred
async def test_a_slow_disk_costs_the_recording_and_not_memory(studio: Studio) -> None:
    recording = studio.open()
    for _ in range(200):
        recording.write("y" * (WAITING_BYTES // 100))
    assert studio.failures == ["the disk is too slow for it"]
    await studio.until(lambda: studio.summaries)


@pytest_twisted.ensureDeferred
async def test_a_file_that_cannot_be_written_is_told_once(studio: Studio) -> None:
    recording = studio.open()
    studio.folder.rmdir()
    recording.write("text")
    studio.clock.advance(0.5)
    await studio.until(lambda: studio.summaries)
    (cause,) = studio.failures
    assert cause.startswith("it cannot be written")
    assert not studio.summaries[0].complete


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_damaged_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path: Any = tmp_path / "recordings.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(RecordingError, match="not a key"):
        read_key(path)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path: Any = tmp_path / "recordings.key"
    read_key(path)
    path.chmod(0o640)
    with pytest.raises(RecordingError, match="bridge's user alone"):
        read_key(path)
