"""Whole connections with anything said at either end: only orderly ends, and each permit has one outcome."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.ldap import answers, codec, controls
from adapters.ldap.codes import Code, Oid, Op
from adapters.ldap.options import Options
from bridge.adapter import PeerFault, Refused, StreamClosed, TimedOut
from bridge.wire import ber
from tests.adapters.ldap.played import ANNA, PEOPLE, End, Play, entry, search

ORDERLY = (PeerFault, Refused, StreamClosed, TimedOut)

REQUESTS = [
    codec.simple_bind(b"", b"token"),
    codec.simple_bind(b"", b""),
    codec.simple_bind(b"other", b"token-2"),
    codec.extended(Oid.START_TLS),
    codec.extended(Oid.WHO_AM_I),
    codec.extended(Oid.CANCEL, ber.encode(ber.SEQUENCE, ber.encode_integer(3))),
    codec.extended(Oid.PASSWORD_MODIFY, ber.encode(ber.SEQUENCE, ber.encode(0x80, ANNA))),
    codec.abandon(3),
    codec.unbind(),
    search(),
    search(b"", b"+", scope=0),
    search(PEOPLE, b"userPassword", b"cn"),
    ber.encode(Op.DELETE, ANNA),
    ber.encode(Op.COMPARE, ber.encode(4, ANNA), ber.encode(0x30, ber.encode(4, b"cn"), ber.encode(4, b"x"))),
]
ANSWERS = [
    entry(),
    entry(b"not a name"),
    entry(ANNA, [(b"userPassword", [b"x"])]),
    ber.encode(Op.REFERENCE, ber.encode(4, b"ldap://x/")),
    b"\x79\x00",
    *(ber.encode(tag, b"\x0a\x01\x00\x04\x00\x04\x00") for tag in (Op.DONE, Op.DELETE_RESPONSE, Op.EXTENDED_RESPONSE)),
    ber.encode(Op.DONE, b"\x0a\x01\x0a\x04\x00\x04\x00"),
]
PAGE = controls.encode(Oid.PAGED_RESULTS, ber.encode(ber.SEQUENCE, ber.encode_integer(2), ber.encode(4, b"c")))

numbers = st.integers(0, 5)
extra = st.sampled_from([b"", b"", PAGE, controls.encode("1.2.3", critical=True), b"\x30\x00"])
said = st.one_of(
    st.builds(codec.request, numbers, st.sampled_from(REQUESTS), extra),
    st.binary(min_size=1, max_size=12),
    st.builds(lambda data, at: data[:at], st.builds(codec.request, numbers, st.sampled_from(REQUESTS)), st.integers(1)),
)
heard = st.one_of(
    st.builds(codec.request, numbers, st.sampled_from(ANSWERS), extra),
    st.binary(min_size=1, max_size=12),
)
scene = st.one_of(st.tuples(st.just("client"), said), st.tuples(st.just("directory"), heard))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(scene, max_size=12), st.sampled_from([Options(), Options(max_entries=1, pass_references=True)]))
def test_anything_at_either_end(scenes: list[tuple[str, bytes]], options: Options) -> None:
    play = Play(options)
    play.bind()
    for who, data in scenes:
        if play.over:
            break
        if who == "client":
            play.client.sends(data)
        elif play.admission.legacy and not play.admission.legacy[-1].other.ended:
            End("directory", play.admission.legacy[-1]).sends(data)
        play.clock.advance(0)
    if not play.over:
        play.client.voice.hangs_up()
        play.clock.advance(400)
    assert play.over
    assert play.failure is None or play.failure.check(*ORDERLY), play.failure
    for admission in play.door.admissions:
        assert admission.open_permits == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(said, st.binary(max_size=40)), max_size=6), st.integers(1, 9))
def test_anything_from_a_stranger_dials_nothing(parts: list[bytes], split: int) -> None:
    play = Play(plaintext=False)
    data = b"".join(parts)
    for at in range(0, len(data), split):
        if play.over:
            break
        play.client.sends(data[at : at + split])
    if not play.over:
        play.client.voice.hangs_up()
    assert play.over
    assert play.failure is None or play.failure.check(*ORDERLY), play.failure
    assert play.door.admissions == []


def test_answers_without_a_code_are_a_fault_of_the_directory() -> None:
    play = Play()
    legacy = play.bind()
    play.client.says(2, search())
    legacy.says(2, ber.encode(Op.DONE, b""))
    *_, last = play.client.heard()
    assert (last.id, answers.read_result(last).code) == (0, Code.UNAVAILABLE)
    assert play.outcomes() == [("ldap.search", "unknown", "")]
