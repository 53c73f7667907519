"""An answer is attributed the same however the network cuts it: what is looked at as a whole, and what is not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.mysql.codec import Cap, error, ok
from adapters.mysql.results import RESULTS, Answers, Expected, Unit
from bridge.adapter import Outcome, PeerFault, Permit
from tests.adapters.mysql.conversation import FLAGS

COLUMN = b"\x03def\x03app\x01t\x01t\x01a\x01a\x0c\x21\0\xb4\0\0\0\xfd\0\0\0\0\0"
EOF = b"\xfe\0\0\2\0"
OK_AT_END = b"\xfe\0\0\2\0\0\0"
ROW = b"\x0242"
PAYLOADS = [
    b"\1", b"\2", COLUMN, EOF, OK_AT_END, ROW, b"\xfb", b"\x0b" + b"point 12345", b"\xfe\0\0\x0a\0",
    b"\xfe\0\0\x42\0", ok(status=2), ok(status=2 | 8),
    error(1064, "42000", "no"), b"\xfe\0\0\0\0\0\0\0\0\0", b"",
]  # fmt: skip


@dataclass(frozen=True)
class Numbered(Permit):
    number: int


class Session:
    def __init__(self, flags: int, asked: int = 1, several: bool = False) -> None:
        self.heard: list[tuple[Permit, Outcome]] = []
        self.ended: list[tuple[bool, str]] = []
        self.answers = Answers(lambda permit, outcome: self.heard.append((permit, outcome)), flags)
        for number in range(asked):
            units = (Unit(Numbered(number), several),)
            self.answers.expect(
                Expected(RESULTS, units, done=lambda succeeded, code: self.ended.append((succeeded, code)))
            )

    def hear(self, data: bytes, size: int) -> object:
        out = b""
        try:
            for start in range(0, len(data), size):
                out += b"".join(self.answers.receive(data[start : start + size]))
        except PeerFault:
            return "the server's fault"
        answers = self.answers
        return out, self.heard, self.ended, answers.idle, answers.inside, answers.sequence, answers.fatal


def numbered(payloads: list[bytes]) -> bytes:
    return b"".join(
        len(payload).to_bytes(3, "little") + bytes((number & 0xFF,)) + payload
        for number, payload in enumerate(payloads, 1)
    )


def usual(flags: int, rows: int) -> list[bytes]:
    if flags & Cap.DEPRECATE_EOF:
        return [b"\1", COLUMN, *[ROW] * rows, OK_AT_END]
    return [b"\1", COLUMN, EOF, *[ROW] * rows, EOF]


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_the_usual_answers_are_known_as_such(flags: int) -> None:
    for rows in (0, 1, 300):
        session = Session(flags)
        assert session.answers._usual(session.answers._queue[0], numbered(usual(flags, rows)))
        assert [(outcome.result, outcome.rows) for _, outcome in session.heard] == [("success", rows)]
        assert session.answers.idle


@given(st.sampled_from(list(FLAGS.values())), st.integers(0, 2), st.booleans(), st.data())
@settings(deadline=None, max_examples=500)
def test_an_answer_in_one_piece_or_in_many_is_the_same(
    flags: int, asked: int, several: bool, data: st.DataObject
) -> None:
    known = usual(flags, data.draw(st.integers(0, 3)))
    drawn = data.draw(st.lists(st.sampled_from(PAYLOADS), max_size=5))
    cut = data.draw(st.integers(0, len(known)))
    answer = numbered(
        data.draw(st.sampled_from([known, drawn, known[:cut] + drawn, known[:cut] + drawn + known[cut:]]))
    )
    pieces = Session(flags, asked, several).hear(answer, data.draw(st.sampled_from([1, 3, 11])))
    assert Session(flags, asked, several).hear(answer, 1 << 20) == pieces
