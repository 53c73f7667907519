"""Messages of the connection protocol: read with bounds, written as they are read."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ssh import codec
from adapters.ssh.channels import Answers
from adapters.ssh.fields import number, string
from bridge.adapter import PeerFault

PARSERS: list[Any] = [codec.Opening.parse, codec.Confirmation.parse, codec.Asked.parse, codec.Terminal.parse]


@given(st.sampled_from(PARSERS), st.binary(min_size=1, max_size=80))
def test_any_bytes_are_a_message_or_a_fault(parse: Any, payload: bytes) -> None:
    try:
        found = parse(payload)
    except PeerFault:
        return
    assert found == parse(payload)


@given(st.integers(0, 2**32 - 1), st.booleans(), st.binary(max_size=50))
def test_a_request_is_composed_as_it_was_read(channel: int, want_reply: bool, rest: bytes) -> None:
    """Terminal modes, signals and sizes stay byte for byte."""
    payload = codec.request(channel, "pty-req", rest, want_reply=want_reply)
    assert codec.Asked.parse(payload) == codec.Asked(channel, "pty-req", want_reply, rest)
    assert codec.Asked.parse(payload).compose() == payload


def test_a_channel_opening_is_composed_as_it_was_read() -> None:
    payload = b"\x5a" + string("direct-tcpip") + struct.pack("!III", 1, 2, 3) + string("db") + number(5432)
    assert codec.Opening.parse(payload).compose() == payload


@pytest.mark.parametrize("make", [codec.data, codec.stderr])
def test_the_size_of_data_is_its_own(make: Any) -> None:
    payload = make(7, b"four")
    assert codec.size(payload) == 4
    for wrong in (payload[:-1], payload + b"x", payload[:6]):
        with pytest.raises(PeerFault):
            codec.size(wrong)


@given(st.lists(st.sampled_from(["host asked", "bridge asked", "bridge answers", "host answers"]), max_size=30))
def test_answers_come_in_the_order_of_the_requests(story: list[str]) -> None:
    answers, asked, given_ = Answers(), [], []
    at_host: list[bytes] = []
    for at, step in enumerate(story):
        name = str(at).encode()
        if step == "host asked":
            answers.asked_host()
            asked.append(name)
            at_host.append(name)
        elif step == "bridge asked":
            answers.bridge_asked_host()
            at_host.append(b"for nobody else")
        elif step == "bridge answers":
            asked.append(name)
            given_ += answers.ours(name)
        elif at_host:
            given_ += answers.from_host(at_host.pop(0))
    assert given_ == asked[: len(given_)]
    own = at_host.count(b"for nobody else")
    assert len(answers) == len(asked) - len(given_) + own
    assert len(answers.all(b"instead")) == len(asked) - len(given_) + own
    assert len(answers) == 0
