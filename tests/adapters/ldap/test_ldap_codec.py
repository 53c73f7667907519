"""LDAP messages: framing, every request against ldap3's encoder, nothing but PeerFault or Spoken from garbage."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ldap import answers, codec, framing
from adapters.ldap.codes import ANSWER, Op
from adapters.ldap.framing import Framer
from adapters.ldap.refusals import Spoken
from bridge.adapter import PeerFault
from bridge.wire import ber
from tests.adapters.ldap import ldap3_messages as oracle
from tests.adapters.ldap.ldap3_messages import whole

DN = "uid=a,dc=example"
UNBIND = codec.request(3, codec.unbind())


# -- framing ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(0, 2000), max_size=6))
def test_messages_are_the_stream_again_whatever_the_cuts(passwords: list[bytes], cuts: list[int]) -> None:
    messages = [codec.request(n + 1, codec.simple_bind(b"x", one)) for n, one in enumerate(passwords)]
    stream = b"".join(messages)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    framer, out = Framer(), []
    for start, end in itertools.pairwise(places):
        out += framer.feed(stream[start:end])
    assert [message.raw for message in out] == messages
    assert [message.id for message in out] == list(range(1, len(messages) + 1))
    assert framer.rest == b""


def test_http_is_refused_at_its_first_byte() -> None:
    """slapd and 389-ds wait for the rest of ``GET / HTTP``."""
    with pytest.raises(PeerFault, match="SEQUENCE"):
        Framer().feed(b"G")


def test_indefinite_length_is_refused_at_once() -> None:
    with pytest.raises(PeerFault, match="indefinite"):
        Framer().feed(b"\x30\x80")


def test_an_announced_length_over_the_limit_is_refused_before_its_bytes_come() -> None:
    with pytest.raises(PeerFault, match="longer"):
        Framer().feed(b"\x30\x83\x01\x00\x00")
    assert Framer(framing.LIMIT_AFTER_BIND).feed(b"\x30\x83\x01\x00\x00") == []


def test_the_limit_may_be_raised_between_two_messages() -> None:
    big = codec.request(2, codec.simple_bind(b"", b"x" * 70_000))
    framer = Framer()
    framer.add(codec.request(1, codec.simple_bind(b"", b"x")) + big)
    assert framer.next() is not None
    framer.limit = framing.LIMIT_AFTER_BIND
    second = framer.next()
    assert second is not None
    assert second.raw == big


def test_four_octet_lengths_of_active_directory_are_read() -> None:
    data = bytes.fromhex("3084000000100201016584000000070a010004000400")
    message = whole(data)
    assert (message.id, message.tag) == (1, Op.DONE)
    assert answers.read_result(message).code == 0


def test_what_stands_behind_a_start_tls_is_seen() -> None:
    framer = Framer()
    framer.add(UNBIND + UNBIND[:4])
    assert framer.next() is not None
    assert framer.rest == UNBIND[:4]
    framer.clear()
    assert framer.rest == b""


@pytest.mark.parametrize("number", [0, 1, 127, 128, 2**31 - 1])
def test_message_ids_of_every_size(number: int) -> None:
    assert whole(codec.request(number, codec.unbind())).id == number


@pytest.mark.parametrize("number", [-1, -128, 2**31])
def test_message_ids_out_of_range_are_faults(number: int) -> None:
    with pytest.raises(PeerFault, match="range"):
        whole(codec.request(number, codec.unbind()))


def test_a_message_arrives_in_many_pieces_without_being_joined_each_time() -> None:
    data = codec.request(1, codec.simple_bind(b"", b"x" * 3_000_000))
    framer, out = Framer(framing.LIMIT_AFTER_BIND), []
    for at in range(0, len(data), 1000):
        out += framer.feed(data[at : at + 1000])
    assert [message.raw for message in out] == [data]


# -- requests ---------------------------------------------------------------------------------------------------------


def test_a_search_reads_as_ldap3_wrote_it() -> None:
    data = oracle.search("(&(uid=a)(!(cn=b)))", attributes=("cn", "mail"), scope=1, size=5, time=9, types_only=True)
    search = codec.decode(whole(data))
    assert isinstance(search, codec.Search)
    assert (search.base, search.scope, search.deref) == (b"dc=example", 1, 3)
    assert (search.size_limit, search.time_limit, search.types_only) == (5, 9, True)
    assert search.attributes == (b"cn", b"mail")
    assert search.filter.text(full=True) == "(&(uid=a)(!(cn=b)))"


def test_a_modify_reads_as_ldap3_wrote_it() -> None:
    data = oracle.modify(DN, {"mail": [(2, [b"a@x", b"b@x"])], "cn": [(0, [b"\xff"])]})
    assert codec.decode(whole(data)) == codec.Modify(
        DN.encode(), (codec.Change(2, b"mail", (b"a@x", b"b@x")), codec.Change(0, b"cn", (b"\xff",)))
    )


def test_an_add_reads_as_ldap3_wrote_it() -> None:
    data = oracle.add(DN, {"objectClass": [b"person"], "cn": [b"a", b"b"]})
    assert codec.decode(whole(data)) == codec.Add(DN.encode(), ((b"objectClass", (b"person",)), (b"cn", (b"a", b"b"))))


def test_a_compare_reads_as_ldap3_wrote_it() -> None:
    data = oracle.compare(DN, "cn", b"x")
    assert codec.decode(whole(data)) == codec.Compare(DN.encode(), b"cn", b"x")


@pytest.mark.parametrize("superior", [None, "ou=b,dc=example"])
def test_a_modify_dn_reads_as_ldap3_wrote_it(superior: str | None) -> None:
    data = oracle.modify_dn(DN, "uid=b", delete_old=False, superior=superior)
    expected = superior.encode() if superior else None
    assert codec.decode(whole(data)) == codec.ModifyDN(DN.encode(), b"uid=b", False, expected)


def test_small_requests() -> None:
    delete = codec.request(1, ber.encode(Op.DELETE, DN.encode()))
    assert codec.decode(whole(delete)) == codec.Delete(DN.encode())
    assert codec.decode(whole(UNBIND)) == codec.Unbind()
    assert codec.decode(whole(codec.request(4, codec.abandon(300)))) == codec.Abandon(300)
    assert codec.decode(whole(codec.request(4, codec.extended("1.2.3", b"v")))) == codec.Extended("1.2.3", b"v")
    assert codec.decode(whole(codec.request(4, codec.extended("1.2.3")))) == codec.Extended("1.2.3", None)


def test_binds_of_every_method() -> None:
    def bind(choice: bytes) -> codec.Request:
        head = ber.encode_integer(3) + ber.encode(ber.OCTET_STRING, b"spiffe://td/a")
        return codec.decode(whole(codec.request(1, ber.encode(Op.BIND, head, choice))))

    plain = ber.encode(ber.OCTET_STRING, b"PLAIN")
    assert bind(ber.encode(0x80, b"pw")) == codec.Bind(3, b"spiffe://td/a", "simple", "", b"pw")
    assert bind(ber.encode(0xA3, plain)) == codec.Bind(3, b"spiffe://td/a", "sasl", "PLAIN", None)
    with_credentials = bind(ber.encode(0xA3, plain, ber.encode(ber.OCTET_STRING, b"c")))
    assert with_credentials == codec.Bind(3, b"spiffe://td/a", "sasl", "PLAIN", b"c")
    assert bind(ber.encode(0x89, b"")) == codec.Bind(3, b"spiffe://td/a", "sicily")
    with pytest.raises(PeerFault, match="authentication choice"):
        bind(ber.encode(0x85, b""))


def test_the_token_is_not_in_any_repr() -> None:
    message = whole(codec.request(1, codec.simple_bind(b"", b"token-1234")))
    assert "token-1234" not in f"{message!r} {codec.decode(message)!r}"


def test_an_answer_or_an_unknown_tag_is_no_request() -> None:
    """slapd answers these with a Notice of Disconnection, Samba closes silently."""
    for tag in (Op.ENTRY, Op.BIND_RESPONSE, 0x7F - 1, 0x04):
        with pytest.raises(PeerFault, match="no request"):
            codec.decode(whole(codec.request(1, ber.encode(tag, b""))))


def test_a_request_names_at_most_a_thousand_attributes() -> None:
    inside = codec.decode(whole(oracle.search("(cn=a)", attributes=tuple(f"a{n}" for n in range(1000)))))
    assert isinstance(inside, codec.Search)
    operation = codec.search(b"", 0, codec.present(b"cn"), tuple(b"a" for _ in range(1001)))
    with pytest.raises(Spoken) as refused:
        codec.decode(whole(codec.request(1, operation)))
    assert refused.value.result == 53


def test_limits_are_lowered_and_the_rest_stays_byte_for_byte() -> None:
    message = whole(oracle.search("(&(uid=a)(cn:dn:2.4:=b))", size=0, time=10))
    search = codec.decode(message)
    assert isinstance(search, codec.Search)
    operation = codec.limited(message, search, size=100, time=60, deref=0)
    assert operation is not None
    changed = codec.decode(whole(codec.rebuilt(message, operation)))
    assert isinstance(changed, codec.Search)
    assert (changed.size_limit, changed.time_limit, changed.deref) == (100, 10, 0)
    assert message.data[search.fixed[1] : message.stop] in operation
    assert codec.limited(message, search) is None


def test_a_rebuilt_message_without_changes_is_the_same_bytes() -> None:
    message = whole(bytes.fromhex("308400000005020101") + b"\x42\x00")
    assert codec.rebuilt(message) == message.raw


# -- answers ----------------------------------------------------------------------------------------------------------


def test_results_read_back() -> None:
    data = answers.result(
        9, Op.EXTENDED_RESPONSE, 10, "go", matched=b"dc=x", referrals=(b"ldap://a", b"ldap://b"), name="1.2", value=b"v"
    )
    expected = answers.LdapResult(10, b"dc=x", b"go", (b"ldap://a", b"ldap://b"), None, b"1.2", b"v")
    assert answers.read_result(whole(data)) == expected


def test_a_bind_response_carries_server_credentials() -> None:
    data = answers.result(1, Op.BIND_RESPONSE, 14, sasl=b'{"status":"invalid_token"}')
    assert answers.read_result(whole(data)).sasl == b'{"status":"invalid_token"}'


def test_the_notice_of_disconnection_is_as_slapd_sends_it() -> None:
    data = answers.notice_of_disconnection(2, "")
    assert data.hex() == "3024020100781f0a01020400" + "0400" + "8a16" + b"1.3.6.1.4.1.1466.20036".hex()


def test_samba_answers_a_search_with_an_extended_response_and_the_agent_sees_a_done() -> None:
    """An unknown critical control on a Search: ExtendedResponse code 12 (V, Samba 4.17)."""
    wrong = whole(answers.result(5, Op.EXTENDED_RESPONSE, 12, "Unsupported critical extension"))
    made = answers.fitting(Op.SEARCH, wrong)
    assert isinstance(made, bytes)
    seen = whole(made)
    assert (seen.id, seen.tag, answers.read_result(seen).code) == (5, Op.DONE, 12)


def test_a_fitting_answer_passes_byte_for_byte() -> None:
    done = whole(bytes.fromhex("3084000000100201016584000000070a010004000400"))
    assert answers.fitting(Op.SEARCH, done) is done


@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([0, 1, 10, 49, 53, 118]),
    st.text(max_size=300),
    st.sampled_from(sorted(ANSWER)),
)
def test_pyasn1_reads_our_answers(number: int, code: int, text: str, request_tag: int) -> None:
    data = answers.answer_to(request_tag, number, code, text)
    read_number, kind, operation = oracle.decoded(data)
    assert read_number == number
    assert (int(operation["resultCode"]), bytes(operation["diagnosticMessage"])) == (code, text.encode())
    assert kind[0].islower()


def test_pyasn1_reads_our_requests() -> None:
    number, kind, operation = oracle.decoded(codec.request(300, codec.simple_bind(b"cn=svc", b"pw")))
    assert (number, kind, bytes(operation["name"])) == (300, "bindRequest", b"cn=svc")
    assert bytes(operation["authentication"].getComponent()) == b"pw"
    asked = codec.search(b"dc=x", 1, codec.present(b"cn"), (b"a", b"b"), size_limit=5, time_limit=70_000)
    _, kind, operation = oracle.decoded(codec.request(1, asked))
    assert (kind, int(operation["scope"]), int(operation["timeLimit"])) == ("searchRequest", 1, 70_000)
    assert [bytes(name) for name in operation["attributes"]] == [b"a", b"b"]
    _, kind, operation = oracle.decoded(codec.request(1, codec.extended("1.2.3", b"v")))
    assert (kind, bytes(operation["requestValue"])) == ("extendedReq", b"v")
    assert int(oracle.decoded(codec.request(1, codec.abandon(300)))[2]) == 300
    assert oracle.decoded(codec.request(1, codec.unbind()))[1] == "unbindRequest"


# -- fuzz -------------------------------------------------------------------------------------------------------------

SEEDS = (
    oracle.search("(&(|(cn=a*b)(sn>=c))(!(x:dn:1.2:=d)))"),
    oracle.modify(DN, {"mail": [(2, [b"a@x"])]}),
    oracle.add(DN, {"cn": [b"a"]}),
    oracle.compare(DN, "cn", b"x"),
    oracle.modify_dn(DN, "uid=b", superior="dc=x"),
    codec.request(1, codec.simple_bind(b"cn", b"pw")),
    codec.request(1, codec.extended("1.2.3", b"value")),
)


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_requests_are_requests_or_faults(seed: bytes, damage: list[tuple[int, int]]) -> None:
    data = bytearray(seed)
    for place, octet in damage:
        data[place % len(data)] = octet
    with contextlib.suppress(PeerFault, Spoken):
        for message in Framer().feed(bytes(data)):
            assert repr(codec.decode(message))


@given(st.sampled_from(sorted([*range(0x60, 0x6F), 0x42, 0x4A, 0x50, 0x77])), st.binary(max_size=120))
def test_garbage_in_every_request_is_a_fault(tag: int, body: bytes) -> None:
    with contextlib.suppress(PeerFault, Spoken):
        codec.decode(whole(codec.request(1, ber.encode(tag, body))))


@given(st.binary(max_size=100))
def test_garbage_in_an_answer_is_a_fault(body: bytes) -> None:
    message = whole(codec.request(1, ber.encode(Op.DONE, body)))
    with contextlib.suppress(PeerFault):
        answers.read_result(message)
    with contextlib.suppress(PeerFault):
        answers.read_reference(message)
