"""Files of the old scp protocol are named in the log, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ssh.scp import LONGEST_LINE, MOST_NAMES, Files

TREE = (
    b"T1 0 1 0\nD0755 0 top\nC0644 5 a b\nC0x\nD\0D0755 0 sub\nC0600 0 empty\n\0E\nE\n"
    b"\1scp: no such file\nC0644 1 z\n!\0"
)


def told(data: bytes, cut: int = 10**6) -> str:
    files = Files()
    for at in range(0, len(data), cut):
        files.seen(b"head" + data[at : at + cut], 4)
    return files.told


@pytest.mark.parametrize("cut", [1, 2, 7, 10**6])
def test_files_and_folders(cut: int) -> None:
    """The content of the first file looks like lines of the protocol."""
    assert told(TREE, cut) == "top/a b (5 bytes), top/sub/empty (0 bytes), z (1 bytes)"


def test_many_files_are_counted() -> None:
    assert told(b"C0644 0 x\n\0" * (MOST_NAMES + 5)).endswith("x (0 bytes), 5 more")


@pytest.mark.parametrize("data", [b"hello\n", b"E\n", b"C0644 x y\n", b"C" * (LONGEST_LINE + 1), b"D0755 0 d\n" * 5000])
def test_what_is_no_scp_is_not_named(data: bytes) -> None:
    assert told(data) == "the rest was not understood"


@given(st.binary(max_size=80), st.integers(1, 9))
def test_any_bytes_are_taken(data: bytes, cut: int) -> None:
    assert told(data, cut) == told(data)
