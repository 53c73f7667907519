"""Filters: read without recursion, written as RFC 4515 has them, with or without values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ldap import codec, controls, filters
from adapters.ldap.codes import Oid
from adapters.ldap.filters import AND, NOT, Filter
from adapters.ldap.refusals import Spoken
from bridge.adapter import PeerFault
from bridge.wire import ber
from tests.adapters.ldap import ldap3_messages as oracle

CORPUS = (
    "(cn=Babs Jensen)",
    "(!(cn=Tim Howes))",
    "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))",
    "(o=univ*of*mich*)",
    "(o=*a)",
    "(seeAlso=*)",
    "(cn:caseExactMatch:=Fred)",
    "(cn:=Betty)",
    "(sn:dn:2.4.6.8.10:=Barney)",
    "(o:dn:=Ace)",
    "(:1.2.3:=Wilma)",
    "(:dn:2.4.6.8.10:=Dino)",
    "(age>=5)",
    "(age<=5)",
    "(cn~=x)",
    "(&(a=1)(&(b=2)(c=3))(!(|(d=4))))",
)


def read(text: str) -> Filter:
    request = codec.decode(oracle.whole(oracle.search(text)))
    assert isinstance(request, codec.Search)
    return request.filter


@pytest.mark.parametrize("text", CORPUS)
def test_ldap3s_encoding_reads_back_as_its_text(text: str) -> None:
    """twisted/ldaptor#70 and the ldap3 decoder get some of these wrong."""
    assert read(text).text(full=True) == text


@pytest.mark.parametrize("text", CORPUS)
def test_a_filter_goes_upstream_byte_for_byte_with_lower_limits_and_other_controls(text: str) -> None:
    """twisted/ldaptor#70: an extensible match is encoded anew as invalid BER."""
    sent = oracle.whole(oracle.search(text))
    search = codec.decode(sent)
    assert isinstance(search, codec.Search)
    operation = codec.limited(sent, search, size=10, time=10, deref=0)
    passed = codec.rebuilt(sent, operation, controls.session_tracking("10.0.0.1", "b", "a"))
    assert sent.data[search.fixed[1] : sent.stop] in passed
    assert [control.oid for control in controls.read(oracle.whole(passed))] == [Oid.SESSION_TRACKING]


@pytest.mark.parametrize("text", CORPUS)
def test_the_redacted_form_has_names_and_shape_but_no_value(text: str) -> None:
    redacted = read(text).text()
    for value in ("Babs", "Tim", "Person", "Jensen", "univ", "Fred", "Betty", "Barney", "Ace", "Wilma", "Dino", "5"):
        assert value not in redacted.replace("2.4.6.8.10", "").replace("objectClass", "").replace("1.2.3", "")
    assert redacted.count("(") == text.count("(")


@given(st.binary(max_size=20))
def test_values_of_any_octets_are_escaped(value: bytes) -> None:
    text = filters.escaped(value)
    assert not set("*()") & set(text)
    read_again = read(f"(cn={''.join(f'{chr(92)}{octet:02x}' for octet in value)})")
    assert read_again.nodes[0].values == (value,)


FILTERS = st.recursive(
    st.sampled_from([text for text in CORPUS if text[1] not in "&|!"]),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from("&|"), st.lists(inner, min_size=1, max_size=4)).map(
            lambda pair: f"({pair[0]}{''.join(pair[1])})"
        ),
        inner.map(lambda text: f"(!{text})"),
    ),
    max_leaves=12,
)


@given(FILTERS)
def test_nested_filters_read_back(text: str) -> None:
    assert read(text).text(full=True) == text


def test_attributes_are_each_named_once() -> None:
    assert read("(&(a=1)(b>=2)(|(a=3)(c:dn:1.2:=4)(:1.2:=5)(d=*)))").attributes == (b"a", b"b", b"c", b"d")


def test_an_extensible_match_may_touch_any_attribute() -> None:
    assert read("(:1.2.3:=x)").any_attribute
    assert read("(cn:dn:=x)").any_attribute
    assert not read("(cn:1.2.3:=x)").any_attribute


def nested(depth: int, tag: int = NOT) -> bytes:
    filter_ = ber.encode(filters.PRESENT, b"cn")
    for _ in range(depth):
        filter_ = ber.encode(tag, filter_)
    return codec.request(1, codec.search(b"", 0, filter_, ()))


def test_depth_101_is_answered_53() -> None:
    """OpenLDAP ITS#9202 / CVE-2020-12243 (AOSC-Dev/aosc-os-abbs#2144): nested filters crash; ldaptor dies at 500."""
    assert isinstance(codec.decode(oracle.whole(nested(100))), codec.Search)
    for depth in (101, 1000):
        with pytest.raises(Spoken) as refused:
            codec.decode(oracle.whole(nested(depth)))
        assert refused.value.result == 53


def test_more_than_2000_parts_are_answered_53() -> None:
    def wide(count: int) -> bytes:
        parts = ber.encode(filters.PRESENT, b"cn") * (count - 1)
        return codec.request(1, codec.search(b"", 0, ber.encode(AND, parts), ()))

    assert isinstance(codec.decode(oracle.whole(wide(2000))), codec.Search)
    with pytest.raises(Spoken) as refused:
        codec.decode(oracle.whole(wide(2001)))
    assert refused.value.result == 53


def test_empty_sets_are_true_and_false() -> None:
    """RFC 4526: (&) and (|)."""
    request = codec.decode(oracle.whole(codec.request(1, codec.search(b"", 0, ber.encode(AND, b""), ()))))
    assert isinstance(request, codec.Search)
    assert request.filter.text() == "(&)"


@pytest.mark.parametrize(
    "broken",
    [
        ber.encode(NOT, b""),
        ber.encode(NOT, ber.encode(filters.PRESENT, b"a") * 2),
        ber.encode(0xAA, b""),
        ber.encode(filters.EQUALITY, ber.encode(4, b"a")),
        ber.encode(filters.EQUALITY, ber.encode(4, b"a") * 3),
        ber.encode(filters.SUBSTRINGS, ber.encode(4, b"a"), ber.encode(0x30, b"")),
        ber.encode(filters.SUBSTRINGS, ber.encode(4, b"a"), ber.encode(0x30, ber.encode(0x82, b"x") * 2)),
        ber.encode(filters.EXTENSIBLE, ber.encode(0x83, b"x")),
        ber.encode(filters.EXTENSIBLE, ber.encode(0x81, b"1.2")),
        ber.encode(filters.EXTENSIBLE, ber.encode(0x82, b"cn") * 2, ber.encode(0x83, b"x")),
    ],
)
def test_malformed_filters_are_faults(broken: bytes) -> None:
    with pytest.raises(PeerFault):
        codec.decode(oracle.whole(codec.request(1, codec.search(b"", 0, broken, ()))))


@given(st.binary(max_size=12))
def test_an_attributes_name_in_the_log_is_plain_or_escaped(name: bytes) -> None:
    text = filters.readable(name)
    assert text.isprintable()
    assert not set("*()=") & set(text)
    assert filters.readable(b"cn;lang-en") == "cn;lang-en"
