"""Entries, the rootDSE and referrals: what an agent sees of what came back."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import search_result_entry_response_to_dict_fast
from ldap3.utils.asn1 import decode_message_fast

from adapters.ldap import answers, codec, entries, rootdse
from adapters.ldap.attributes import Visible
from adapters.ldap.codes import Code, Oid, Op
from adapters.ldap.framing import Message
from adapters.ldap.referrals import UNMANAGED, Referrals
from adapters.ldap.rootdse import Served, entry_of
from adapters.ldap.schema import SECRET_STEMS, SENSITIVE, Schema
from bridge.adapter import PeerFault
from bridge.wire import ber
from tests.adapters.ldap.ldap3_messages import search, whole

ATTRIBUTES = st.lists(
    st.tuples(
        st.sampled_from([b"cn", b"mail", b"userPassword", b"2.5.4.35", b"x;lang-en"]),
        st.lists(st.binary(max_size=20), max_size=3),
    ),
    max_size=6,
)


def entry(*attributes: tuple[bytes, list[bytes]], name: bytes = b"uid=a,dc=x") -> Message:
    return whole(codec.request(9, entry_of(name, attributes)))


def everything(names: tuple[str, ...]) -> bool:
    return True


def ldap3_reads(data: bytes) -> dict[str, list[bytes]]:
    """ldap3's own fast decoder, as an oracle."""
    entry_read = search_result_entry_response_to_dict_fast(decode_message_fast(data)["payload"], None, None, False)
    return {name: list(values) for name, values in entry_read["raw_attributes"].items()}


@given(ATTRIBUTES)
def test_what_may_stay_stays_byte_for_byte_and_the_rest_is_gone(attributes: list[tuple[bytes, list[bytes]]]) -> None:
    message = entry(*attributes)
    kept = [(name, values) for name, values in attributes if name != b"userPassword"]
    assert entries.filtered(message, lambda name: name != b"userPassword") == entry(*kept).raw
    assert entries.filtered(message, lambda name: True) == message.raw
    assert entries.entry_name(message) == b"uid=a,dc=x"


def test_ldap3_reads_what_is_left() -> None:
    message = entry((b"cn", [b"a", b"b"]), (b"userPassword", [b"secret"]), (b"mail", [b"m"]))
    left = entries.filtered(message, Visible(Schema(), everything))
    assert ldap3_reads(left) == {"cn": [b"a", b"b"], "mail": [b"m"]}


@pytest.mark.parametrize(
    "name", [b"userPassword", b"2.5.4.35", b"USERpassword", b"userPassword;binary", b"unicodePwd", b"9.9.9"]
)
def test_secrets_are_hidden_under_every_name(name: bytes) -> None:
    """389-ds answers under the name the client asked for (finding 6). An OID nobody knows cannot be judged."""
    assert entries.filtered(entry((name, [b"x"])), Visible(Schema(), everything)) == entry().raw


def test_options_may_let_a_secret_through_and_policy_still_decides() -> None:
    visible = Visible(Schema(), lambda names: "userpassword" in names, frozenset({"userpassword"}))
    message = entry((b"userPassword", [b"x"]), (b"cn", [b"a"]))
    assert entries.filtered(message, visible) == entry((b"userPassword", [b"x"])).raw


def test_policy_is_asked_once_for_each_name() -> None:
    asked: list[tuple[str, ...]] = []

    def may(names: tuple[str, ...]) -> bool:
        asked.append(names)
        return True

    visible = Visible(Schema(), may)
    for _ in range(3):
        entries.filtered(entry((b"cn", [b"a"])), visible)
    assert asked == [("cn", "commonname", "2.5.4.3")]


def test_mentions_are_found_in_a_run_of_entries() -> None:
    mentions = entries.Mentions(SECRET_STEMS)
    assert mentions.in_bytes(entry((b"USERPassword", [b"x"])).raw)
    assert not mentions.in_bytes(entry((b"cn", [b"x"])).raw)
    assert all(mentions.in_bytes(name.upper().encode()) for name in SENSITIVE)


def test_what_is_looked_for_covers_every_name_of_the_schemas_secrets() -> None:
    definitions = [
        "( 2.5.4.35 NAME ( 'userPassword' 'secretWord' ) )",
        "( 1.2.3 NAME 'pwdHistory' )",
        "( 1.2.4 NAME 'ipaNTHash' )",
        "( 1.2.5 NAME 'mail' )",
    ]
    schema = Schema.of_definitions(definitions)
    mentions = entries.Mentions(schema.secret_words())
    for name in (b"userPassword;x", b"SECRETWORD", b"pwdHistory", b"ipanthash"):
        assert mentions.in_bytes(entry((name, [b"x"])).raw), name
    assert not mentions.in_bytes(entry((b"mail", [b"keyboard"])).raw)
    assert Schema().secret_words() == SECRET_STEMS


@given(st.binary(max_size=80))
def test_garbage_in_an_entry_is_a_fault(body: bytes) -> None:
    message = whole(codec.request(1, ber.encode(Op.ENTRY, body)))
    for look in (entries.entry_name, lambda one: entries.filtered(one, lambda name: False)):
        with contextlib.suppress(PeerFault):
            look(message)


# -- rootDSE ----------------------------------------------------------------------------------------------------------

SERVED = Served(
    mechanisms=("PLAIN", "OAUTHBEARER"),
    extensions=frozenset({Oid.PASSWORD_MODIFY}),
    controls=frozenset({Oid.PAGED_RESULTS}),
    start_tls=True,
    shown=lambda context: context == b"dc=x",
)


def asking(*attributes: str) -> codec.Search:
    request = codec.decode(whole(search("(objectClass=*)", base="", scope=0, attributes=attributes)))
    assert isinstance(request, codec.Search)
    return request


def test_the_root_dse_says_what_the_bridge_serves() -> None:
    upstream = entry(
        (b"supportedSASLMechanisms", [b"GSSAPI", b"SCRAM-SHA-256"]),
        (b"supportedExtension", [Oid.PASSWORD_MODIFY.encode(), b"1.3.6.1.1.21.1"]),
        (b"supportedControl", [Oid.PAGED_RESULTS.encode(), Oid.PROXIED_AUTHORIZATION.encode()]),
        (b"supportedLDAPVersion", [b"2", b"3"]),
        (b"namingContexts", [b"dc=x", b"cn=config"]),
        (b"altServer", [b"ldap://other"]),
        (b"dnsHostName", [b"dc1.example"]),
        (b"vendorName", [b"V"]),
        name=b"",
    )
    assert ldap3_reads(rootdse.rewritten(upstream, asking("*", "+"), SERVED)) == {
        "supportedSASLMechanisms": [b"PLAIN", b"OAUTHBEARER"],
        "supportedExtension": [Oid.START_TLS.encode(), Oid.PASSWORD_MODIFY.encode(), Oid.WHO_AM_I.encode()],
        "supportedControl": [Oid.PAGED_RESULTS.encode()],
        "supportedLDAPVersion": [b"3"],
        "namingContexts": [b"dc=x"],
        "vendorName": [b"V"],
    }


def test_who_am_i_is_added_where_the_directory_has_no_extensions() -> None:
    """Samba has no WhoAmI; the bridge answers it."""
    read = ldap3_reads(rootdse.rewritten(entry(name=b""), asking("supportedExtension"), SERVED))
    assert Oid.WHO_AM_I.encode() in read["supportedExtension"]


def test_strangers_hear_how_to_log_in_and_nothing_of_the_directory() -> None:
    operation = rootdse.own_entry(asking("+", "namingContexts"), SERVED)
    read = ldap3_reads(codec.request(1, operation))
    assert read["supportedSASLMechanisms"] == [b"PLAIN", b"OAUTHBEARER"]
    assert "namingContexts" not in read


@given(st.binary(max_size=80))
def test_garbage_as_root_dse_is_a_fault(body: bytes) -> None:
    with contextlib.suppress(PeerFault):
        rootdse.rewritten(whole(codec.request(1, ber.encode(Op.ENTRY, body))), asking("+"), SERVED)


# -- referrals --------------------------------------------------------------------------------------------------------

REFERRALS = Referrals("ldaps://bridge:636", ("ldap1.example.org",))


def reference(*uris: bytes) -> Message:
    return whole(codec.request(3, ber.encode(Op.REFERENCE, *(ber.encode(4, uri) for uri in uris))))


def test_a_reference_to_a_managed_host_points_at_the_bridge() -> None:
    seen = REFERRALS.reference(reference(b"ldap://LDAP1.example.org:389/dc=x??sub", b"ldap://evil/dc=x"))
    assert seen is not None
    assert answers.read_reference(whole(seen)) == (b"ldaps://bridge:636/dc=x??sub",)


@pytest.mark.parametrize(
    "uri",
    [b"ldaps://example.org/CN=Configuration", b"http://ldap1.example.org/", b"x", b"ldap://ldap1.example.org@evil/"],
)
def test_a_reference_to_any_other_host_is_dropped(uri: bytes) -> None:
    """Active Directory gives ldaps://<domain>/CN=Configuration on every search of the root (V, Samba)."""
    assert REFERRALS.reference(reference(uri)) is None


def test_a_referral_to_an_unmanaged_server_is_answered_53() -> None:
    """vt-middleware/ldaptive#25: a client follows it with its credentials and without TLS."""
    referral = whole(answers.result(3, Op.DONE, Code.REFERRAL, "go", referrals=(b"ldap://other/dc=x",)))
    seen = answers.read_result(whole(REFERRALS.result(Op.SEARCH, referral)))
    assert (seen.code, seen.text, seen.referrals) == (53, UNMANAGED.encode(), ())


def test_a_referral_to_a_managed_server_keeps_its_code() -> None:
    referral = whole(answers.result(3, Op.DONE, 10, referrals=(b"ldap://ldap1.example.org/dc=x",)))
    seen = answers.read_result(whole(REFERRALS.result(Op.SEARCH, referral)))
    assert (seen.code, seen.referrals) == (10, (b"ldaps://bridge:636/dc=x",))
