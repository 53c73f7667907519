"""Names and attribute types: every spelling a directory takes is one; what cannot be judged is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.utils.dn import escape_rdn

from adapters.ldap.names import Name, Names, parent
from adapters.ldap.refusals import Spoken
from adapters.ldap.schema import Schema, parse_type, sensitive

SCHEMA = Schema()
NAMES = Names(SCHEMA)


def normal(dn: str) -> str:
    return NAMES.read(dn.encode()).text


@pytest.mark.parametrize(
    "dn",
    [
        "cn=svc,ou=people,dc=example",
        "CN=SVC,OU=People,DC=Example",
        "cn = svc , ou=people ,\tdc=example",
        "cn=\\73vc,ou=people,dc=example",
        "cn=s\\76\\63,ou=peopl\\65,dc=example",
        "2.5.4.3=svc,2.5.4.11=people,dc=example",
        "OID.2.5.4.3=svc,ou=people,dc=example",
        "commonName=svc,organizationalUnitName=people,domainComponent=example",
        'cn="svc",ou="people",dc=example',
        "cn=svc;ou=people;dc=example",
        "cn=#0403737663,ou=people,dc=example",
        "cn=\\ svc\\ ,ou=people,dc=example",
        "cn=s\u00advc,ou=people,dc=example",
        "cn=\uff53vc,ou=people,dc=example",
    ],
)
def test_all_spellings_are_one_name(dn: str) -> None:
    """389-ds takes the quoted and the ``;`` form, slapd the OIDs and hex pairs (all V)."""
    assert normal(dn) == "cn=svc,ou=people,dc=example"


def test_the_chain_is_the_name_and_all_above_it() -> None:
    name = NAMES.read(b"uid=a,OU=People,dc=x")
    assert name.chain == ("uid=a,ou=people,dc=x", "ou=people,dc=x", "dc=x")
    assert name.target == name.chain
    assert parent(name).text == "ou=people,dc=x"
    assert NAMES.read(b"").target == ""
    assert name.within(NAMES.read(b"dc=x"))
    assert name.within(Name(()))
    assert not parent(name).within(name)


def test_an_escaped_comma_does_not_make_a_parent() -> None:
    name = NAMES.read(rb"cn=a\,ou=secret,dc=x")
    assert name.chain == ("cn=a\\,ou\\=secret,dc=x", "dc=x")
    assert NAMES.read(b'cn="a,ou=secret",dc=x') == name
    assert NAMES.read(rb"cn=a\2cou\3dsecret,dc=x") == name


def test_the_parts_of_a_multivalued_rdn_have_no_order() -> None:
    assert normal("uid=1+cn=b,dc=x") == normal("cn=B + uid=1,dc=x") == "cn=b+uid=1,dc=x"


def test_inner_space_counts_once() -> None:
    assert normal("cn=a  b,dc=x") == normal("cn=a b,dc=x") == "cn=a b,dc=x"


@pytest.mark.parametrize(
    "dn",
    [
        "x",
        "=a",
        "cn=a,",
        "cn=a,,dc=x",
        "cn=a\\",
        "cn=a\\zz",
        'cn="a',
        'cn="a"b,dc=x',
        'cn=a"b,dc=x',
        "cn=#04,dc=x",
        "cn=#zz,dc=x",
        "cn=#0201ff,dc=x",
        "9.9.9.9=a,dc=x",
        "c n=a",
        "cn=\\ff,dc=x",
        "DOMAIN\\user",
        "user@example.org",
        "<GUID=0123>",
    ],
)
def test_what_cannot_be_read_is_refused_34(dn: str) -> None:
    with pytest.raises(Spoken) as refused:
        NAMES.read(dn.encode())
    assert refused.value.result == 34


def test_names_that_are_not_utf8_too_long_or_too_deep_are_refused() -> None:
    for dn in (b"cn=\xff,dc=x", b"cn=" + b"a" * 9000, b",".join([b"dc=a"] * 65), b"a=b," * 2000 + b"dc=x"):
        with pytest.raises(Spoken):
            NAMES.read(dn)


def test_an_entry_under_the_extended_dn_control_has_its_name() -> None:
    assert NAMES.of_entry(b"<GUID=a9d1>;<SID=0105>;CN=A,DC=x").text == "cn=a,dc=x"


def test_a_renamed_entry_gets_its_new_place() -> None:
    assert NAMES.below(b"CN=b", NAMES.read(b"ou=p,dc=x")).chain == ("cn=b,ou=p,dc=x", "ou=p,dc=x", "dc=x")
    for rdn in (b"cn=b,ou=q", b"", b"cn"):
        with pytest.raises(Spoken):
            NAMES.below(rdn, NAMES.read(b"dc=x"))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=20))
def test_ldap3s_escaping_of_any_value_reads_back_as_one_part(value: str) -> None:
    with contextlib.suppress(Spoken):
        name = NAMES.read(f"cn={escape_rdn(value)},dc=x".encode())
        assert len(name.chain) == 2
        assert NAMES.read(name.text.encode()) == name


@given(st.binary(max_size=60))
def test_garbage_is_a_name_or_refused(dn: bytes) -> None:
    with contextlib.suppress(Spoken):
        name = NAMES.read(dn)
        assert NAMES.read(name.text.encode()) == name


@given(st.lists(st.sampled_from('cn=aA\\,+;"# <>20\u00df'), max_size=30).map("".join))
def test_the_normal_form_is_its_own_normal_form(dn: str) -> None:
    with contextlib.suppress(Spoken):
        name = NAMES.read(dn.encode())
        assert NAMES.read(name.text.encode()) == name


# -- attribute types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelt", [b"userPassword", b"USERpassword", b"2.5.4.35", b"userPassword;binary", b"OID.2.5.4.35"]
)
def test_every_way_to_ask_for_an_attribute_is_one(spelt: bytes) -> None:
    """Finding 6: 389-ds answers ``2.5.4.35`` and ``USERpassword`` with userPassword's value."""
    assert SCHEMA.names(spelt) == ("userpassword", "2.5.4.35")
    assert sensitive(SCHEMA.names(spelt))


def test_options_do_not_count() -> None:
    assert SCHEMA.canonical(b"member;range=0-9") == "member"
    assert SCHEMA.canonical(b"member;range=0-*") == "member"
    assert SCHEMA.names(b"commonName;lang-en") == ("cn", "commonname", "2.5.4.3")


@pytest.mark.parametrize("spelt", [b"9.9.9", b"", b"a b", b"\xff", b"cn)", b"1.1", b"a" * 300])
def test_unknown_oids_and_what_is_no_name_are_refused_17(spelt: bytes) -> None:
    with pytest.raises(Spoken) as refused:
        SCHEMA.names(spelt)
    assert refused.value.result == 17


def test_an_unknown_name_stands_for_itself() -> None:
    assert SCHEMA.names(b"x-Local") == ("x-local",)


def test_an_assertion_on_a_supertype_reaches_its_subtypes() -> None:
    reached = {names[0] for names in SCHEMA.reach(b"name")}
    assert {"name", "cn", "sn", "givenname", "ou"} <= reached
    assert SCHEMA.reach(b"mail") == ((*SCHEMA.names(b"mail"),),)


def test_the_subschemas_types_win_and_those_that_do_not_parse_are_left_out() -> None:
    schema = Schema.of_definitions(
        [
            "( 1.2.3.4 NAME ( 'secretCode' 'code' ) DESC 'NAME ''x'' SUP cn' SUP name SYNTAX 1.3.6 )",
            "( 2.5.4.3 NAME 'cn' SUP name )",
            "( myAttr-oid NAME 'myAttr' SYNTAX 1.3.6 )",
            "( 1.2.3.5 SYNTAX 1.3.6 )",
            "nonsense",
        ]
    )
    assert schema.names(b"CODE") == ("secretcode", "code", "1.2.3.4")
    assert schema.names(b"2.5.4.3") == ("cn", "2.5.4.3")
    assert schema.names(b"1.2.3.5") == ("1.2.3.5", "1.2.3.5")
    assert ("secretcode", "code", "1.2.3.4") in schema.reach(b"name")


@given(st.text(max_size=80))
def test_any_definition_parses_or_is_left_out(text: str) -> None:
    assert Schema.of_definitions([text, f"( 1.2 NAME '{text}' )"]) is not None
    assert parse_type("") is None
