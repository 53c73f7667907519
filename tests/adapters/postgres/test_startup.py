"""The first packets, and the startup packet that goes upstream instead."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres import codec
from adapters.postgres.refusals import Spoken
from adapters.postgres.startup import (
    CANCEL_REQUEST,
    GSSENC_REQUEST,
    PROTOCOL_3_0,
    PROTOCOL_3_2,
    SSL_REQUEST,
    CancelRequest,
    GSSENCRequest,
    SSLRequest,
    StartupMessage,
    Wish,
    negotiated,
    opening_size,
    parse_opening,
    parse_options,
    read_wish,
    settings_query,
    split_options,
    stamped_name,
    upstream_startup,
)
from bridge.adapter import PeerFault


def startup(*pairs: tuple[str, str], version: int = PROTOCOL_3_0) -> StartupMessage:
    raw = [(name.encode(), value.encode()) for name, value in pairs]
    message = parse_opening(codec.startup_message(version, raw))
    assert isinstance(message, StartupMessage)
    return message


def wish(*pairs: tuple[str, str], default: str | None = "app") -> Wish:
    return read_wish(startup(("user", "agent"), *pairs), default_database=default)


def refused(*pairs: tuple[str, str]) -> Spoken:
    with pytest.raises(Spoken) as caught:
        wish(*pairs)
    return caught.value


@pytest.mark.parametrize("length", [0, 7, 10_001, 2**30, 2**32 - 1])
def test_an_absurd_length_is_refused_from_its_first_four_bytes(length: int) -> None:
    with pytest.raises(PeerFault):
        opening_size(length.to_bytes(4, "big"))


def test_the_first_packets() -> None:
    assert parse_opening(codec.request_code(SSL_REQUEST)) == SSLRequest()
    assert parse_opening(codec.request_code(GSSENC_REQUEST)) == GSSENCRequest()
    cancel = codec.request_code(CANCEL_REQUEST, b"\0\0\0\7keykey")
    assert parse_opening(cancel) == CancelRequest(7, b"keykey")
    assert opening_size(b"\0\0\0\x08\x04\xd2") is None
    for size in (0, 3, 257):
        with pytest.raises(PeerFault):
            parse_opening(codec.request_code(CANCEL_REQUEST, b"\0\0\0\7" + bytes(size)))


@given(st.binary(min_size=8, max_size=300), st.booleans())
def test_no_packet_raises_anything_but_peer_fault_or_a_refusal(data: bytes, as_startup: bool) -> None:
    packet = len(data).to_bytes(4, "big") + ((3 << 16).to_bytes(4, "big") if as_startup else data[4:8]) + data[8:]
    with contextlib.suppress(PeerFault, Spoken):
        message = parse_opening(packet)
        if isinstance(message, StartupMessage):
            negotiated(message)
            read_wish(message, default_database=None)


TEXT = st.text(alphabet=st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(st.one_of(st.sampled_from(["options", "USER", "role", "Database", "a.b"]), TEXT), TEXT)))
def test_no_parameters_raise_anything_else_and_no_identity_gets_through(pairs: list[tuple[str, str]]) -> None:
    pairs = [(name, value) for name, value in pairs if name and not name.startswith("_pq_.")]
    try:
        packet = codec.startup_message(PROTOCOL_3_0, [(n.encode(), v.encode()) for n, v in pairs])
        message = parse_opening(packet)
        assert isinstance(message, StartupMessage)
        result = read_wish(message, default_database="d")
        built = upstream_startup(result, user="static", application_name="s", pinned={})
    except (PeerFault, Spoken):
        return
    names = [name.lower() for name, _ in built.parameters]
    assert len(names) == len(set(names))
    assert dict(built.parameters)[b"user"] == b"static"
    assert not {b"role", b"session_authorization", b"options"} & set(names)


@pytest.mark.parametrize(
    ("version", "options", "result"),
    [
        (0x30000, (), (0x30000, False)),
        (0x30002, (), (0x30002, False)),
        (0x30063, (), (0x30002, True)),
        (3 << 16 | 9999, (b"_pq_.test_protocol_negotiation",), (0x30002, True)),
        (0x30000, (b"_pq_.x",), (0x30000, True)),
    ],
)
def test_version_negotiation(version: int, options: tuple[bytes, ...], result: tuple[int, bool]) -> None:
    assert negotiated(StartupMessage(version, (), options)) == result


@pytest.mark.parametrize(("version", "text"), [(0x40000, "4.0"), (0x20000, "2.0"), (SSL_REQUEST, "1234.5679")])
def test_another_major_version_is_0A000(version: int, text: str) -> None:
    with pytest.raises(Spoken, match=f"unsupported frontend protocol {text}") as caught:
        negotiated(StartupMessage(version, (), ()))
    assert caught.value.sqlstate == "0A000"


def test_pq_options_are_listed_and_never_go_on() -> None:
    message = startup(("user", "a"), ("_pq_.x", "1"), version=PROTOCOL_3_2)
    assert message.options == (b"_pq_.x",)
    assert message.parameters == ((b"user", b"a"),)


def test_the_user_agent_means_the_default_account() -> None:
    assert wish().account is None
    assert read_wish(startup(("user", "app_rw")), default_database="d").account == "app_rw"


def test_no_user_is_28000() -> None:
    for message in (startup(("database", "x")), startup(("user", ""))):
        with pytest.raises(Spoken, match="no PostgreSQL user name") as caught:
            read_wish(message, default_database="d")
        assert caught.value.sqlstate == "28000"


def test_no_database_takes_the_default_or_is_3D000() -> None:
    assert wish().database == "app"
    assert wish(("database", "agent")).database == "app"  # libpq repeats the user
    assert wish(("database", "sales")).database == "sales"
    with pytest.raises(Spoken, match="no database named") as caught:
        wish(default=None)
    assert caught.value.sqlstate == "3D000"


@pytest.mark.parametrize("name", ["user", "USER", "DataBase", "options"])
def test_a_doubled_identity_key_is_a_fault(name: str) -> None:
    with pytest.raises(PeerFault, match="twice"):
        wish(("user", "evil"), (name, "x"), (name.upper(), "y"))


@pytest.mark.parametrize(
    "pairs",
    [
        [("role", "postgres")],
        [("ROLE", "postgres")],
        [("session_authorization", "postgres")],
        [("options", "-c role=postgres")],
        [("options", "-crole=postgres")],
        [("options", "--ROLE=postgres")],
        [("options", "-c session-authorization=postgres")],
        [("options", "--session-authorization=x")],
        [("options", r"-c ro\le=postgres")],
        [("options", "-c user=x")],
        [("local_preload_libraries", "evil")],
    ],
)
def test_what_would_change_who_the_session_is_is_42501(pairs: list[tuple[str, str]]) -> None:
    assert refused(*pairs).sqlstate == "42501"


@pytest.mark.parametrize("text", ["-d 5", "-E", "-W 10", "-f s", "x", "-"])
def test_other_switches_are_0A000(text: str) -> None:
    assert refused(("options", text)).sqlstate == "0A000"


@pytest.mark.parametrize("text", ["-c", "-c search_path", "--x", "-c =5"])
def test_a_switch_without_value_is_42601(text: str) -> None:
    assert refused(("options", text)).sqlstate == "42601"


def test_options_are_split_as_postgresql_splits_them() -> None:
    assert split_options(r" -c  a=x\ y  --b=\\z ") == ["-c", "a=x y", r"--b=\z"]
    assert parse_options(r"-c a=1 -cb=2 --c-d=3 -c a=x\ y") == [("a", "1"), ("b", "2"), ("c_d", "3"), ("a", "x y")]


def test_a_key_of_its_own_beats_options_and_the_last_c_wins() -> None:
    found = wish(("options", "-c search_path=a -c search_path=b -c work_mem=1MB"), ("Work_Mem", "2MB"))
    assert found.settings == {"search_path": b"b", "work_mem": b"2MB"}


@pytest.mark.parametrize("value", ["true", "database", "1", "on", "yes", "TRUE", "YES", "t", "y"])
def test_replication_words(value: str) -> None:
    assert wish(("replication", value)).replication


@pytest.mark.parametrize("value", ["false", "0", "off", "no", ""])
def test_no_replication_words(value: str) -> None:
    assert not wish(("replication", value)).replication


def test_another_replication_word_is_22023() -> None:
    assert refused(("replication", "perhaps")).sqlstate == "22023"


def test_the_packet_is_rebuilt_with_stamp_and_pins() -> None:
    found = wish(("APPLICATION_NAME", "evil"), ("Default_Transaction_Read_Only", "off"), ("DateStyle", "ISO"))
    built = upstream_startup(
        found,
        user="legacy",
        application_name=stamped_name("ib:deploy-7:01ABCDEF", "", found.application_name),
        pinned={"default_transaction_read_only": "on", "client_encoding": "UTF8"},
    )
    assert dict(built.parameters) == {
        b"user": b"legacy",
        b"database": b"app",
        b"datestyle": b"ISO",
        b"default_transaction_read_only": b"on",
        b"client_encoding": b"UTF8",
        b"application_name": b"ib:deploy-7:01ABCDEF evil",
    }
    assert built.pinned["application_name"] == "ib:deploy-7:01ABCDEF evil"


def test_the_stamp_comes_first_and_the_name_is_63_ascii_bytes() -> None:
    name = stamped_name("stamp", "agent-1", "pä\n" + "x" * 100)
    assert name.startswith("stamp agent-1 p")
    assert len(name.encode("ascii")) == 63


def test_behind_a_pooler_other_settings_follow_the_login() -> None:
    found = wish(("search_path", "a,b"), ("client_encoding", "UTF8"))
    pinned = {"default_transaction_read_only": "on"}
    built = upstream_startup(found, user="u", application_name="s", pinned=pinned, in_packet=False)
    assert b"search_path" not in dict(built.parameters)
    assert settings_query(built.later) == (
        b"SELECT pg_catalog.set_config(E'search_path', E'a,b', false), "
        b"pg_catalog.set_config(E'default_transaction_read_only', E'on', false)"
    )


def test_quotes_and_backslashes_stay_inside_their_literal() -> None:
    assert settings_query([("a.b", rb"x'\y")]) == rb"SELECT pg_catalog.set_config(E'a.b', E'x''\\y', false)"
    with pytest.raises(Spoken):
        settings_query([("a", b"\xe4")])


def test_a_packet_without_room_for_our_own_settings_is_a_fault() -> None:
    found = wish(("a.b", "x" * 9_900))
    with pytest.raises(PeerFault, match="room"):
        upstream_startup(found, user="u" * 60, application_name="s" * 63, pinned={})
