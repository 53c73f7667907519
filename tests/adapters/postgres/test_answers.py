"""An answer is attributed the same however the network cuts it: what is looked at as a whole, and what is not."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.postgres.answers import (
    BIND,
    CLOSE,
    DESCRIBE,
    EXECUTE,
    PARSE,
    QUERY,
    SYNC,
    Answers,
    Expected,
    Unit,
)
from adapters.postgres.names import Names
from bridge.adapter import Outcome, PeerFault, Permit


def m(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack(">I", len(body) + 4) + body


ROW = m("D", struct.pack(">hi", 1, 2) + b"42")
TABLE = m("T", struct.pack(">h", 1) + b"a\0" + bytes(18))
DONE = m("C", b"SELECT 1\0")
ERROR = m("E", b"SERROR\0VERROR\0C42601\0Mno\0\0")
READY = m("Z", b"I")
MESSAGES = [
    ROW, TABLE, DONE, READY, ERROR, m("1"), m("2"), m("3"), m("n"), m("I"), m("s"), m("Z", b"T"),
    m("C", b"INSERT 0 7\0"),
    m("S", b"TimeZone\0UTC\0"), m("N", b"SNOTICE\0C00000\0Mhm\0\0"), m("t", b"\0\0"), m("G", b"\0\0\0"),
]  # fmt: skip
USUAL = [
    ("Q", TABLE + ROW + DONE + READY),
    ("Q", TABLE + ROW * 3 + DONE + READY),
    ("Q", DONE + READY),
    ("PBDES", m("1") + m("2") + TABLE + ROW + DONE + READY),
    ("BDES", m("2") + m("n") + m("C", b"UPDATE 3\0") + READY),
    ("BES", m("2") + ROW + DONE + READY),
    ("CBES", m("3") + m("2") + DONE + READY),
]
KINDS = {"Q": QUERY, "P": PARSE, "B": BIND, "D": DESCRIBE, "E": EXECUTE, "S": SYNC, "C": CLOSE}


@dataclass(frozen=True)
class Numbered(Permit):
    number: int


class Session:
    def __init__(self, asked: str) -> None:
        self.heard: list[tuple[int, Outcome]] = []
        self.names: Names[str] = Names()
        self.answers = Answers(self.record)
        for number, kind in enumerate(asked):
            units = (Unit(Numbered(number)),) if kind in "QE" else ()
            change = self.names.change(b"%d" % number, "x", 1) if kind in "PB" else None
            if kind == "S":
                self.answers.sync()
            else:
                self.answers.expect(Expected(KINDS[kind], units, change))  # type: ignore[arg-type]

    def record(self, permit: Permit, outcome: Outcome) -> None:
        assert isinstance(permit, Numbered)
        self.heard.append((permit.number, outcome))

    def hear(self, data: bytes, size: int) -> object:
        out = b""
        try:
            for start in range(0, len(data), size):
                out += b"".join(self.answers.receive(data[start : start + size]))
        except PeerFault:
            return "the server's fault"
        answers = self.answers
        return (
            out,
            self.heard,
            sorted(self.names.known),
            answers.status,
            answers.idle,
            answers.rested,
            answers.parameters,
        )


def test_the_usual_answers_are_known_as_such() -> None:
    for asked, data in USUAL:
        session = Session(asked)
        assert session.answers._usual(data), asked
        assert [number for number, _ in session.heard] == [asked.index("Q" if "Q" in asked else "E")]
        assert session.answers.idle


@given(st.sampled_from(["Q", "PBDES", "BDES", "BES", "CBES", "BESBES", "QQ", "PS", "S", ""]), st.data())
@settings(deadline=None, max_examples=400)
def test_an_answer_in_one_piece_or_in_many_is_the_same(asked: str, data: st.DataObject) -> None:
    usual = [one for kind, one in USUAL if kind == asked] or [b""]
    drawn = data.draw(st.lists(st.sampled_from(MESSAGES), max_size=6))
    answer = data.draw(st.sampled_from([b"".join(drawn), b"".join(drawn) + READY, *usual, usual[0] + b"".join(drawn)]))
    assert Session(asked).hear(answer, 1 << 20) == Session(asked).hear(answer, data.draw(st.sampled_from([1, 3, 11])))
