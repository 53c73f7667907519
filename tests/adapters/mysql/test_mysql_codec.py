"""Packets and payloads: whatever arrives, in whatever pieces; and the bytes that the manual shows."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mysql import codec
from adapters.mysql.codec import Cap, Framer, Greeting, HandshakeResponse, Packets, SSLRequest, packets
from adapters.mysql.framing import MAX_PAYLOAD, STREAM_ABOVE, STREAM_HEAD
from bridge.adapter import PeerFault
from bridge.wire.reader import Reader

# "Protocol::Handshake V10" and "HandshakeResponse41" of the MySQL internals manual
GREETING_5_5_2 = bytes.fromhex(
    "0a352e352e322d6d32000b00000064764840492d434a00fff7080200000000000000000000000000002a34647c635a776b345e5d3a00"
)
GREETING_5_6_4 = bytes.fromhex(
    "0a352e362e342d6d372d6c6f6700560a00005242337" "67a26477200ffff0802000fc01500000000000000000000"
    "2b7944262f5a5a333035" "5a47006d7973716c5f6e61746976655f70617373776f726400"
)  # fmt: skip
RESPONSE_5_5_8 = bytes.fromhex(
    "8da60f000000000108" + "00" * 23 + "70616d0014ab09eef6bcb1323e6114386" "5c0991d957d75d447"
    "7465737400" "6d7973716c5f6e61746976655f70617373776f726400"
)  # fmt: skip

ALL = 0xFFFFFFFF


@given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(0, 300), max_size=8))
def test_frames_cover_every_byte_once_whatever_the_cuts(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(packets(payload, number) for number, payload in enumerate(payloads))
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    framer, out, seen = Framer(), b"", []
    for start, end in itertools.pairwise(places):
        for frame in framer.feed(stream[start:end]):
            assert frame.first
            assert frame.last
            out += framer.buffer[frame.start : frame.end]
            seen.append((frame.sequence, framer.buffer[frame.body : frame.end]))
    assert out == stream
    assert seen == list(enumerate(payloads))
    assert framer.rest == b""
    assert not framer.inside


@given(st.binary(max_size=200))
def test_garbage_is_frames_or_waits(data: bytes) -> None:
    framer = Framer()
    frames = framer.feed(data)
    assert sum(frame.end - frame.start for frame in frames) + len(framer.rest) == len(data)


def test_a_long_packet_is_handed_on_in_pieces() -> None:
    stream = packets(b"x" * (STREAM_ABOVE + 1), 0) + packets(b"y", 0)
    framer, pieces = Framer(streams=True), []
    for start in range(0, len(stream), STREAM_HEAD):
        for frame in framer.feed(stream[start : start + STREAM_HEAD]):
            pieces.append((framer.buffer[frame.body : frame.end], frame.first, frame.last))
            assert framer.inside is not frame.last
    assert b"".join(piece for piece, _, _ in pieces) == b"x" * (STREAM_ABOVE + 1) + b"y"
    assert [first for _, first, _ in pieces].count(True) == 2
    assert [last for _, _, last in pieces].count(True) == 2


@pytest.mark.parametrize(("size", "count"), [(MAX_PAYLOAD - 1, 1), (MAX_PAYLOAD, 2), (MAX_PAYLOAD + 1, 2)])
def test_a_payload_of_16_mib_is_spread_over_packets_and_collected_again(size: int, count: int) -> None:
    """An exact multiple ends with an empty packet (B5); the sequence number goes on, modulo 256."""
    stream = packets(b"z" * size, 255)
    assert len(stream) == size + 4 * count
    framer = Framer()
    frames = framer.feed(stream)
    assert [(frame.sequence, frame.first, frame.last) for frame in frames] == [
        ((255 + number) % 256, number == 0, number == count - 1) for number in range(count)
    ]
    ((sequence, body),) = Packets(limit=size).feed(stream)
    assert (sequence, len(body)) == ((255 + count - 1) % 256, size)


def test_too_long_a_payload_is_a_fault_before_it_is_collected() -> None:
    with pytest.raises(PeerFault):
        Packets(limit=100).feed(b"\x65\x00\x00\x00")
    collecting = Packets(limit=MAX_PAYLOAD + 10)
    with pytest.raises(PeerFault):
        collecting.feed(packets(b"z" * (MAX_PAYLOAD + 11), 0))


def test_the_greetings_of_the_manual() -> None:
    old = codec.parse_greeting(GREETING_5_5_2)
    assert (old.version, old.thread_id, old.nonce) == (b"5.5.2-m2", 11, b"dvH@I-CJ*4d|cZwk4^]:")
    assert old.plugin == b"mysql_native_password"
    assert not old.capabilities & Cap.PLUGIN_AUTH
    new = codec.parse_greeting(GREETING_5_6_4)
    assert (new.version, new.thread_id, new.nonce) == (b"5.6.4-m7-log", 2646, b"RB3vz&Gr+yD&/ZZ305ZG")
    assert (new.capabilities, new.collation, new.status) == (0xC00FFFFF, 8, 2)
    assert not new.mariadb


def test_the_answer_of_the_manual() -> None:
    answer = codec.parse_handshake_response(RESPONSE_5_5_8, ALL)
    assert (answer.user, answer.database, answer.plugin) == (b"pam", b"test", b"mysql_native_password")
    assert (len(answer.auth), answer.collation) == (20, 8)
    assert codec.handshake_response(answer) == RESPONSE_5_5_8
    assert "pam" not in repr(answer)


NAMES = st.binary(max_size=30).map(lambda name: name.replace(b"\0", b"."))


@given(NAMES, st.integers(0, 2**32 - 1), st.binary(min_size=20, max_size=20), st.integers(0, 255), NAMES)
def test_a_greeting_comes_back(version: bytes, thread: int, nonce: bytes, collation: int, plugin: bytes) -> None:
    flags = Cap.LONG_PASSWORD | Cap.PROTOCOL_41 | Cap.SECURE_CONNECTION | Cap.PLUGIN_AUTH
    facts = Greeting(version, thread, nonce, flags, collation, 2, plugin or b"x")
    assert codec.parse_greeting(codec.greeting(facts)) == facts


@given(
    st.sampled_from((Cap.PLUGIN_AUTH_LENENC | Cap.SECURE_CONNECTION, Cap.SECURE_CONNECTION, 0)),
    st.integers(0, 0x1F).map(lambda bits: (bits & 1) * Cap.CONNECT_WITH_DB | (bits & 2) * Cap.PLUGIN_AUTH // 2),
    NAMES,
    NAMES,
    st.lists(st.tuples(NAMES, NAMES), max_size=4).map(tuple),
)
def test_an_answer_comes_back(
    auth: int, more: int, user: bytes, secret: bytes, pairs: tuple[tuple[bytes, bytes], ...]
) -> None:
    flags = Cap.PROTOCOL_41 | Cap.CONNECT_ATTRS | auth | more
    answer = HandshakeResponse(flags, user, secret, attributes=pairs)
    if more & Cap.CONNECT_WITH_DB:
        answer = answer._replace(database=b"app")
    assert codec.parse_handshake_response(codec.handshake_response(answer), ALL) == answer


def test_a_flag_that_was_not_offered_shapes_nothing() -> None:
    """libmysqlclient and mysql2 set flags the server lacks, and then behave as the intersection says (B4)."""
    offered = Cap.PROTOCOL_41 | Cap.SECURE_CONNECTION
    answer = HandshakeResponse(offered, b"agent", b"12345678901234567890")
    sent = bytearray(codec.handshake_response(answer))
    sent[:4] = ALL.to_bytes(4, "little")
    assert codec.parse_handshake_response(bytes(sent), offered) == answer


def test_an_ssl_request_has_32_bytes() -> None:
    request = SSLRequest(0x81BEA205, 1 << 24, 45)
    assert len(codec.ssl_request(request)) == codec.SSL_REQUEST_SIZE
    assert codec.parse_ssl_request(codec.ssl_request(request)) == request
    with pytest.raises(PeerFault):
        codec.parse_ssl_request(codec.ssl_request(request) + b"x")


def test_errors_with_and_without_their_sqlstate() -> None:
    text = codec.parse_error(codec.error(1045, "28000", "no"))
    assert text == (1045, "28000", "no")
    assert codec.parse_error(b"\xff\x10\x04Too many connections") == (1040, "HY000", "Too many connections")


def test_ok_and_eof() -> None:
    facts = codec.parse_ok(codec.ok(affected=300, last_insert_id=70000, status=3, warnings=2) + b"info")
    assert facts == (300, 70000, 3, 2, b"info")
    assert codec.parse_eof(codec.eof(status=0x22, warnings=1)) == (1, 0x22)


@pytest.mark.parametrize("data", [b"", b"01234567890123456789", b"\0" * 3])
def test_a_switch_comes_back(data: bytes) -> None:
    assert codec.parse_auth_switch(codec.auth_switch(b"client_ed25519", data)) == (b"client_ed25519", data)
    assert codec.parse_auth_switch(b"\xfe").plugin == b"mysql_old_password"


@given(st.integers(0, 2**64 - 1))
def test_length_encoded_integers_come_back(value: int) -> None:
    assert codec.lenenc(Reader(codec.int_lenenc(value), what="test", fault=PeerFault)) == value


PARSERS = (
    codec.parse_greeting,
    codec.parse_ssl_request,
    lambda data: codec.parse_handshake_response(data, ALL),
    lambda data: codec.parse_handshake_response(b"\xff" * 4 + data, ALL),
    codec.parse_auth_switch,
    codec.parse_error,
    codec.parse_ok,
    codec.parse_eof,
)


@given(st.sampled_from(PARSERS), st.one_of(st.binary(max_size=120), st.binary(max_size=60).map(lambda x: b"\n" + x)))
def test_nothing_but_a_peer_fault_comes_out_of_a_parser(parse: object, data: bytes) -> None:
    with contextlib.suppress(PeerFault):
        assert parse(data) is not None  # type: ignore[operator]
