"""Framing and messages: whatever arrives, in whatever pieces."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres import codec
from adapters.postgres.codec import Back, Framer, Front
from adapters.postgres.framing import LARGE_LIMIT, STREAM_ABOVE, STREAM_HEAD
from bridge.adapter import PeerFault

MESSAGES = st.lists(st.tuples(st.sampled_from(b"DdZCTS"), st.binary(max_size=40)), max_size=12)


def back_framer() -> Framer:
    return Framer(bulk=codec.BACK_BULK, limits=codec.BACK_LARGE)


@given(MESSAGES, st.lists(st.integers(0, 300), max_size=8))
def test_frames_cover_every_byte_once_whatever_the_cuts(messages: list[tuple[int, bytes]], cuts: list[int]) -> None:
    """Forwarding the frames' bytes yields the stream again; counts and message borders are right."""
    stream = b"".join(codec.message(kind, body) for kind, body in messages)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    framer, out, seen, whole = back_framer(), b"", [], []
    for start, end in itertools.pairwise(places):
        for frame in framer.feed(stream[start:end]):
            out += framer.buffer[frame.start : frame.end]
            seen += [frame.kind] * frame.count
            if frame.kind not in codec.BACK_BULK:
                whole.append((frame.kind, framer.buffer[frame.start + 5 : frame.end]))
    assert out == stream
    assert seen == [kind for kind, _ in messages]
    assert whole == [message for message in messages if message[0] not in codec.BACK_BULK]
    assert framer.rest == b""
    assert not framer.inside


@given(st.binary(max_size=200))
def test_garbage_is_frames_or_a_peer_fault(data: bytes) -> None:
    framer = back_framer()
    try:
        frames = framer.feed(data)
    except PeerFault:
        return
    assert sum(frame.end - frame.start for frame in frames) + len(framer.rest) == len(data)


def test_rows_are_one_frame_with_a_count_and_go_on_before_their_end() -> None:
    framer = back_framer()
    row = codec.message(Back.DATA_ROW, b"\0\1\0\0\0\1x")
    assert framer.feed(row * 3 + row[:7]) == [(Back.DATA_ROW, 0, len(row) * 3 + 7, 4, False)]
    assert framer.inside
    ready = codec.ready_for_query()
    rest = len(row) - 7
    assert framer.feed(row[7:] + ready) == [
        (Back.DATA_ROW, 0, rest, 0, True),
        (Back.READY_FOR_QUERY, rest, rest + len(ready), 1, True),
    ]
    assert not framer.inside


def test_a_large_message_of_a_streamed_kind_is_not_collected() -> None:
    framer = Framer(streamed=frozenset({Front.BIND}))
    bind = codec.message(Front.BIND, bytes(STREAM_ABOVE + 10))
    assert framer.feed(bind[:100]) == []
    assert framer.feed(bind[100:STREAM_HEAD]) == [(Front.BIND, 0, STREAM_HEAD, 1, False)]
    assert framer.feed(bind[STREAM_HEAD:])[0].ends


@pytest.mark.parametrize("length", [0, 3, 30_001, 2**30, 2**32 - 1])
def test_an_absurd_length_word_is_refused_at_once(length: int) -> None:
    """Four GiB announced, nothing is collected."""
    with pytest.raises(PeerFault):
        Framer().feed(b"S" + length.to_bytes(4, "big"))


def test_bulk_kinds_have_postgresqls_own_limit() -> None:
    with pytest.raises(PeerFault, match="longer"):
        back_framer().feed(b"D" + (LARGE_LIMIT + 1).to_bytes(4, "big"))


def test_bind_names_the_portal_first_and_knows_null() -> None:
    """Case 13 (kviklet#534)."""
    body = b"portal\0stmt\0" + b"\0\1\0\1" + b"\0\2" + b"\0\0\0\2ab" + b"\xff\xff\xff\xff" + b"\0\0"
    bind = codec.parse_bind(body)
    assert (bind.portal, bind.statement, bind.parameters) == (b"portal", b"stmt", (b"ab", None))
    assert (bind.format(0), bind.format(1)) == (1, 1)


def test_the_other_client_messages() -> None:
    assert codec.parse_parse(b"s\0select $1\0\0\1\0\0\0\x17") == (b"s", b"select $1", (23,))
    assert codec.parse_named(b"Sname\0") == ("S", b"name")
    assert codec.parse_execute(b"p\0\0\0\0\5") == (b"p", 5)
    assert codec.parse_function_call(b"\0\0\x08\x1e\0\0\0\1\0\0\0\1x\0\0") == (2078, (), (b"x",), 0)


def test_an_error_always_has_severity_code_and_message() -> None:
    body = codec.error_response("FATAL", "28P01", "no\0pe")[5:]
    assert codec.parse_error(body).all == {"S": "FATAL", "V": "FATAL", "C": "28P01", "M": "no pe"}
    full = codec.parse_error(codec.notice_response("WARNING", "01000", "m", detail="d", hint="h")[5:])
    assert (full.severity, full.code, full.all["D"], full.all["H"]) == ("WARNING", "01000", "d", "h")


@pytest.mark.parametrize(
    ("tag", "rows"), [(b"INSERT 0 3", 3), (b"SELECT 12", 12), (b"BEGIN", 0), (b"", 0), (b"COPY " + b"9" * 30, 0)]
)
def test_rows_of_a_command_tag(tag: bytes, rows: int) -> None:
    assert codec.tag_rows(tag) == rows


def test_server_messages_read_what_is_written() -> None:
    assert codec.parse_ready(codec.ready_for_query("T")[5:]) == "T"
    assert codec.parse_parameter_status(codec.parameter_status("a", "b")[5:]) == ("a", "b")
    assert codec.parse_backend_key(codec.backend_key_data(7, b"k" * 32)[5:]) == (7, b"k" * 32)
    assert codec.parse_authentication(codec.authentication(5, b"salt")[5:]) == (5, b"salt")
    negotiation = codec.negotiate_protocol_version(0x30002, [b"_pq_.x"])[5:]
    assert codec.parse_negotiate_version(negotiation) == (0x30002, (b"_pq_.x",))
    assert codec.parse_sasl_mechanisms(b"A\0B\0\0") == ("A", "B")


PARSERS = [getattr(codec, name) for name in dir(codec) if name.startswith("parse_") and name != "parse_message"]


@given(st.sampled_from(PARSERS), st.binary(max_size=80))
def test_a_parser_raises_nothing_but_peer_fault(parser, body: bytes) -> None:  # type: ignore[no-untyped-def]
    with contextlib.suppress(PeerFault):
        parser(body)
