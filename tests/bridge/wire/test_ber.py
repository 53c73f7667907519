"""BER primitives: every length form, nothing read past its bounds."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire import ber


@given(st.binary(max_size=300), st.integers(0, 5), st.integers(0, 5))
def test_an_element_is_found_wherever_it_stands(value: bytes, before: int, behind: int) -> None:
    data = b"\xff" * before + ber.encode(ber.OCTET_STRING, value) + b"\xff" * behind
    tag, start, stop = ber.element(data, before, len(data) - behind)
    assert (tag, data[start:stop]) == (ber.OCTET_STRING, value)


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_keep_their_value(value: int) -> None:
    data = ber.encode_integer(value)
    start, stop = ber.expect(data, 0, len(data), ber.INTEGER)
    assert ber.integer(data, start, stop) == value


def test_lengths_that_are_longer_than_needed_are_read() -> None:
    """Active Directory always sends four octets of length."""
    assert ber.element(b"\x04\x84\x00\x00\x00\x01x", 0, 7) == (0x04, 6, 7)


@pytest.mark.parametrize(
    "data", [b"", b"\x04", b"\x04\x80\x00\x00", b"\x04\x85\0\0\0\0\0", b"\x1f\x01a", b"\x04\x02a", b"\x04\x84\0\0"]
)
def test_what_is_cut_off_indefinite_or_multi_octet_is_a_fault(data: bytes) -> None:
    with pytest.raises(ber.BerFault):
        ber.element(data, 0, len(data))


def test_an_element_does_not_reach_over_the_end_of_what_holds_it() -> None:
    with pytest.raises(ber.BerFault):
        ber.element(b"\x04\x03abc", 0, 4)


def test_integers_and_booleans_of_wrong_size_are_faults() -> None:
    with pytest.raises(ber.BerFault):
        ber.integer(b"", 0, 0)
    with pytest.raises(ber.BerFault):
        ber.integer(b"\1" * 9, 0, 9)
    with pytest.raises(ber.BerFault):
        ber.boolean(b"\1\1", 0, 2)
    assert ber.boolean(b"\x01", 0, 1)


@given(st.binary(max_size=60))
def test_garbage_is_an_element_inside_the_data_or_a_fault(data: bytes) -> None:
    with contextlib.suppress(ber.BerFault):
        _, start, stop = ber.element(data, 0, len(data))
        assert 2 <= start <= stop <= len(data)
