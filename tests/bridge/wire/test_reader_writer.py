"""The cursor and the builder that codecs share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.reader import Reader
from bridge.wire.writer import Writer


class Fault(Exception):
    pass


def reader(data: bytes) -> Reader:
    return Reader(data, what="Thing", fault=Fault)


def test_what_was_written_is_read_back() -> None:
    data = bytes(Writer().u8(7).u16(65535).i32(-1).u32(2**32 - 1).string(b"name").raw(b"rest"))
    cursor = reader(data)
    read = (cursor.u8(), cursor.u16(), cursor.i32(), cursor.u32(), cursor.until_nul(), cursor.rest())
    assert read == (7, 65535, -1, 2**32 - 1, b"name", b"rest")
    cursor.end()


@pytest.mark.parametrize("method", ["u8", "u16", "i32", "u32", "until_nul"])
def test_running_past_the_end_is_the_callers_own_fault_class(method: str) -> None:
    with pytest.raises(Fault, match=r"^Thing: "):
        getattr(reader(b""), method)()


def test_a_negative_or_huge_size_is_a_fault() -> None:
    for size in (-2, 5, 2**31):
        with pytest.raises(Fault, match="longer than the message"):
            reader(b"abcd").take(size)


def test_bytes_left_over_are_a_fault() -> None:
    with pytest.raises(Fault, match="left over"):
        reader(b"x").end()


def test_a_nul_inside_a_string_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="NUL"):
        Writer().string(b"a\0b")


@given(st.binary(), st.lists(st.sampled_from(["u8", "u16", "i32", "u32", "until_nul", "rest"])))
def test_no_data_makes_it_raise_anything_else(data: bytes, calls: list[str]) -> None:
    cursor = reader(data)
    for name in calls:
        try:
            getattr(cursor, name)()
        except Fault:
            break
    assert 0 <= cursor.left <= len(data)
