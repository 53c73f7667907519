"""What a request does, on which names and attributes, what the log keeps, and what no grant can allow."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ldap import codec, controls
from adapters.ldap.codes import ANSWER, Code, Oid, Op
from adapters.ldap.extended import PasswordModify, read_cancel, read_password_modify
from adapters.ldap.names import Names
from adapters.ldap.operations import Asking, Describing
from adapters.ldap.protected import Protected, serves
from adapters.ldap.refusals import RULES, Spoken, answer, goodbye, refusal
from adapters.ldap.schema import Schema
from bridge.adapter import Action, PeerFault, Reason, Refused, StatementLogging
from bridge.wire import ber
from tests.adapters.ldap import ldap3_messages as oracle
from tests.adapters.ldap.ldap3_messages import whole

SCHEMA = Schema()
NAMES = Names(SCHEMA)
PEOPLE = ("ou=people,dc=example", "dc=example")
REDACTED, FULL, DIGEST = StatementLogging.REDACTED, StatementLogging.FULL, StatementLogging.DIGEST


def asked(data: bytes, logging: StatementLogging = REDACTED, secrets: frozenset[str] = frozenset()) -> Asking:
    message = whole(data)
    describing = Describing(logging, SCHEMA, NAMES, secrets=secrets, open_names=frozenset({"cn=subschema"}))
    return describing.describe(codec.decode(message), controls.read(message))


def found(
    filter_: str, attributes: tuple[str, ...] = ("mail",), base: str = "OU=People,dc=example", **more: object
) -> Asking:
    return asked(oracle.search(filter_, base=base, attributes=attributes, **more))


def first_names(asking: Asking) -> list[str]:
    return [target["attribute"][0] for target in asking.also if "attribute" in target]


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_search_is_read_with_its_base_and_attributes() -> None:
    asking = found("(&(uid=alice)(objectClass=*))", ("cn", "mail"))
    operation = asking.operation
    assert (operation.verb, operation.action) == ("ldap.search", Action.READ)
    assert operation.objects == ("ou=people,dc=example",)
    assert operation.target == {"base": PEOPLE}
    assert operation.text == "ldap:///OU=People,dc=example?cn,mail?sub?(&(uid=?)(objectClass=*))"
    assert operation.details == {"scope": "sub", "attributes": "cn,mail"}
    assert asking.also == ({"base": PEOPLE, "attribute": ("uid", "userid", "0.9.2342.19200300.100.1.1")},)
    assert asking.reads == (SCHEMA.names(b"cn"), SCHEMA.names(b"mail"))


def test_full_logging_keeps_values_but_never_secrets() -> None:
    data = oracle.search("(&(uid=alice)(userPassword=hunter2)(2.5.4.35=hunter2))")
    text = asked(data, FULL).operation.text
    assert "(uid=alice)" in text
    assert "hunter2" not in text
    assert asked(data, DIGEST).operation.text == ""


def test_equal_searches_on_different_entries_have_one_digest() -> None:
    one, two = found("(uid=a)", base="uid=a,dc=x"), found("(uid=b)", base="uid=b,dc=x")
    assert one.operation.digest == two.operation.digest
    assert one.operation.digest != found("(cn=a)", base="uid=a,dc=x").operation.digest


@pytest.mark.parametrize(
    "filter_",
    ["(userPassword=x)", "(2.5.4.35=x)", "(!(USERpassword=*))", "(unicodePwd:2.4:=x)", "(:1.2.3:=x)", "(cn:dn:=x)"],
)
def test_a_filter_on_a_secret_is_refused(filter_: str) -> None:
    """Finding 8: it tells the value bit by bit, and slapd logs it in clear."""
    refused = found(filter_).refusal
    assert refused is not None
    assert refused.result == Code.INSUFFICIENT_ACCESS


def test_a_secret_that_the_options_let_through_is_asked_of_policy() -> None:
    asking = asked(oracle.search("(userPassword=x)"), secrets=frozenset({"userpassword"}))
    assert asking.refusal is None
    assert first_names(asking) == ["userpassword"]


def test_a_filter_on_a_supertype_asks_for_its_subtypes() -> None:
    assert {"name", "cn", "sn"} <= set(first_names(found("(name=x)")))


def test_a_filter_that_may_touch_any_attribute_asks_for_all() -> None:
    assert len(first_names(found("(:1.2.3:=x)"))) > 100


def test_an_unknown_matching_rule_is_relayed() -> None:
    """goauthentik/authentik#17960: the bridge never evaluates filters."""
    assert found("(cn:9.9.9:=x)").refusal is None


def test_lists_of_attributes_and_unknown_oids() -> None:
    assert found("(cn=a)", ("*",)).reads is None
    assert found("(cn=a)", ("+", "cn")).reads is None
    assert found("(cn=a)", ("1.1",)).reads == ()
    for attributes in (("9.9.9",), ("*", "9.9.9")):
        with pytest.raises(Spoken) as refused:
            found("(cn=a)", attributes)
        assert refused.value.result == Code.UNDEFINED_TYPE


def test_the_root_dse_and_the_subschema_are_everyones_with_scope_base_only() -> None:
    for base in ("", "cn=Subschema"):
        asking = found("(userPassword=*)" if base else "(objectClass=*)", base=base, scope=0)
        assert "base" not in asking.operation.target
        assert asking.also == ()
    assert found("(objectClass=*)", base="").operation.target == {"base": ""}


def test_sort_keys_and_assertions_are_asked_too() -> None:
    key = ber.encode(0x30, ber.encode(0x30, ber.encode(4, b"sn")))
    sort = controls.encode(Oid.SORT_REQUEST, key)
    asserted = controls.encode(Oid.ASSERTION, ber.encode(0xA3, ber.encode(4, b"mail"), ber.encode(4, b"x")))
    operation = codec.search(b"dc=x", 2, codec.present(b"cn"), (b"cn",))
    assert set(first_names(asked(codec.request(1, operation, sort + asserted)))) == {"cn", "sn", "mail"}


def test_a_name_that_cannot_be_read_is_refused_34() -> None:
    with pytest.raises(Spoken) as refused:
        found("(cn=a)", base="<GUID=00>")
    assert refused.value.result == Code.INVALID_DN


def test_a_compare_of_a_secret_is_refused() -> None:
    assert asked(oracle.compare("uid=a,dc=x", "userPassword", b"x")).refusal is not None
    asking = asked(oracle.compare("uid=a,dc=x", "mail", b"secret"))
    assert asking.refusal is None
    assert (asking.operation.verb, asking.operation.text) == ("ldap.compare", "compare uid=a,dc=x mail: ?")


# -- writing ----------------------------------------------------------------------------------------------------------


def test_a_modify_is_a_write_in_ldif_without_values() -> None:
    asking = asked(oracle.modify("uid=a,dc=x", {"mail": [(2, [b"secret@x"])], "cn": [(0, [b"a", b"b"])]}))
    assert (asking.operation.verb, asking.operation.action) == ("ldap.modify", Action.WRITE)
    assert asking.operation.text.split("\n") == [
        "dn: uid=a,dc=x",
        "changetype: modify",
        "replace: mail",
        "mail: ?",
        "-",
        "add: cn",
        "cn: ? (2 values)",
        "-",
    ]
    assert first_names(asking) == ["mail", "cn"]


def test_full_logging_of_a_modify_keeps_no_password_and_no_binary() -> None:
    data = oracle.modify("uid=a,dc=x", {"userPassword": [(2, [b"hunter2"])], "cn": [(0, [b"\xff\x00", b"x\ny"])]})
    text = asked(data, FULL).operation.text
    assert "hunter2" not in text
    assert "cn: <2 bytes>" in text
    assert "cn: x\\u000ay" in text


@pytest.mark.parametrize("attribute", ["userPassword", "unicodePwd", "aci", "nTSecurityDescriptor", "2.5.4.35"])
def test_changing_secrets_and_rights_is_admin(attribute: str) -> None:
    assert asked(oracle.modify("uid=a,dc=x", {attribute: [(2, [b"x"])]})).operation.action is Action.ADMIN


@pytest.mark.parametrize("name", ["cn=config", "cn=a,cn=schema", "CN=x,CN=Schema,CN=Configuration,DC=x"])
def test_writing_into_the_servers_own_branches_is_admin(name: str) -> None:
    assert asked(oracle.add(name, {"cn": [b"a"]})).operation.action is Action.ADMIN


def test_an_add_asks_for_each_attribute() -> None:
    asking = asked(oracle.add("uid=a,dc=x", {"objectClass": [b"person"], "userPassword": [b"hunter2"]}), FULL)
    assert asking.operation.action is Action.WRITE
    assert first_names(asking) == ["objectclass", "userpassword"]
    assert "hunter2" not in asking.operation.text


def test_a_modify_dn_asks_for_old_name_new_place_and_new_name() -> None:
    asking = asked(oracle.modify_dn("uid=a,ou=p,dc=x", "uid=b", superior="ou=Q,dc=x"))
    assert asking.operation.target == {"base": ("uid=a,ou=p,dc=x", "ou=p,dc=x", "dc=x")}
    bases = [target["base"] for target in asking.also if "attribute" not in target]
    assert bases == [("uid=b,ou=q,dc=x", "ou=q,dc=x", "dc=x"), ("ou=q,dc=x", "dc=x")]
    assert first_names(asking) == ["uid"]


def test_a_delete_is_a_write_and_of_a_tree_admin() -> None:
    operation = ber.encode(Op.DELETE, b"ou=a,dc=x")
    plain = asked(codec.request(1, operation)).operation
    assert plain.action is Action.WRITE
    assert plain.target == {"base": ("ou=a,dc=x", "dc=x"), "attribute": ""}
    tree = codec.request(1, operation, controls.encode(Oid.TREE_DELETE))
    assert asked(tree).operation.action is Action.ADMIN


def password_modify(identity: bytes | None) -> bytes:
    parts = [] if identity is None else [ber.encode(0x80, identity)]
    value = ber.encode(0x30, *parts, ber.encode(0x82, b"hunter2"))
    return codec.request(1, codec.extended(Oid.PASSWORD_MODIFY, value))


def test_a_password_modify_is_admin_and_shows_no_password() -> None:
    asking = asked(password_modify(b"dn:uid=a,dc=x"), FULL)
    assert (asking.operation.verb, asking.operation.action) == ("ldap.extended.password_modify", Action.ADMIN)
    assert asking.operation.objects == ("uid=a,dc=x",)
    assert "hunter2" not in repr(asking)
    assert first_names(asking) == ["userpassword"]


# -- protected --------------------------------------------------------------------------------------------------------

PROTECTED = Protected(NAMES.read(b"cn=svc,ou=svc,dc=x"), SCHEMA, ("spiffe://td/agent/7",))


def protection(data: bytes) -> Spoken | None:
    return PROTECTED.refusal(codec.decode(whole(data)), asked(data))


@pytest.mark.parametrize(
    "data",
    [
        oracle.modify("CN=svc,ou=svc,dc=x", {"description": [(2, [b"x"])]}),
        oracle.modify("2.5.4.3=s\\76c,ou=svc,dc=x", {"description": [(2, [b"x"])]}),
        oracle.add("cn=below,cn=svc,ou=svc,dc=x", {"cn": [b"x"]}),
        oracle.compare("cn=svc,ou=svc,dc=x", "userPassword", b"x"),
        oracle.modify_dn("cn=svc,ou=svc,dc=x", "cn=b"),
        oracle.modify_dn("ou=svc,dc=x", "ou=b"),
        codec.request(1, ber.encode(Op.DELETE, b"cn=svc,ou=svc,dc=x")),
        codec.request(1, ber.encode(Op.DELETE, b"dc=x")),
    ],
)
def test_the_static_accounts_own_entry_is_protected(data: bytes) -> None:
    refused = protection(data)
    assert refused is not None
    assert refused.result == Code.INSUFFICIENT_ACCESS


@pytest.mark.parametrize(
    "data",
    [
        oracle.modify("cn=other,ou=svc,dc=x", {"description": [(2, [b"x"])]}),
        oracle.modify("ou=svc,dc=x", {"description": [(2, [b"x"])]}),
        oracle.add("cn=other,ou=svc,dc=x", {"cn": [b"x"]}),
        oracle.compare("cn=svc,ou=svc,dc=x", "cn", b"x"),
        oracle.search("(cn=svc)"),
    ],
)
def test_other_entries_are_not(data: bytes) -> None:
    assert protection(data) is None


def test_while_the_static_accounts_entry_is_not_known_no_password_is_changed() -> None:
    unknown = Protected(None, SCHEMA)
    for data in (
        oracle.modify("cn=a,dc=x", {"userPassword": [(2, [b"x"])]}),
        oracle.modify("cn=a,dc=x", {"cn": [(2, [b"x"])], "unicodePwd": [(0, [b"x"])]}),
        password_modify(b"cn=a,dc=x"),
    ):
        refused = unknown.refusal(codec.decode(whole(data)), asked(data))
        assert refused is not None
        assert refused.result == Code.UNWILLING
    harmless = oracle.modify("cn=a,dc=x", {"description": [(2, [b"x"])]})
    assert unknown.refusal(codec.decode(whole(harmless)), asked(harmless)) is None


@pytest.mark.parametrize("identity", [None, b"", b"cn=svc,ou=svc,dc=x", b"dn:CN=svc,ou=svc,dc=x"])
def test_the_static_accounts_password_is_not_changed(identity: bytes | None) -> None:
    """Finding 9: relayed without an identity, slapd changes the static account's password."""
    refused = protection(password_modify(identity))
    assert refused is not None
    assert refused.result == Code.UNWILLING
    assert protection(password_modify(b"uid=other,dc=x")) is None


def test_an_extended_operation_of_unknown_effect_is_admin_and_covered_by_no_narrowed_grant() -> None:
    operation = asked(codec.request(1, codec.extended("1.2.3", b"hunter2")), FULL).operation
    assert (operation.action, operation.target) == (Action.ADMIN, {"base": "", "attribute": ""})
    assert operation.text == "extended 1.2.3"


def test_a_renamed_entrys_every_type_is_asked() -> None:
    asking = asked(oracle.modify_dn("uid=a,dc=x", "cn=c\\5c+mail=b", delete_old=False))
    assert first_names(asking) == ["cn", "mail"]


def test_a_rename_of_the_root_asks_for_the_new_name() -> None:
    """No directory does it, but the request is well formed."""
    asking = asked(oracle.modify_dn("", "cn=c", delete_old=True, superior="dc=x"))
    assert asking.renamed is not None
    assert asking.renamed.text == "cn=c,dc=x"
    assert asking.operation.action is Action.ADMIN


def test_extended_operations_are_served_by_a_list() -> None:
    assert serves(Oid.CANCEL)
    assert not serves("1.3.6.1.4.1.1466.101.119.1")
    assert serves("1.2.3", frozenset({"1.2.3"}))
    assert not serves("1.3.6.1.1.21.1", frozenset({"1.3.6.1.1.21.1"}))


def test_extended_values() -> None:
    assert read_password_modify(None) == PasswordModify()
    assert read_cancel(ber.encode(0x30, ber.encode_integer(300))) == 300


@given(st.binary(max_size=40))
def test_garbage_in_extended_values_is_a_fault(value: bytes) -> None:
    for read in (read_password_modify, read_cancel):
        with contextlib.suppress(PeerFault):
            read(value)


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_every_reason_has_its_words() -> None:
    assert set(RULES) == set(Reason)
    for reason in Reason:
        for live in (True, False):
            assert answer(Refused(reason, "no", reference="r1"), live=live).text.startswith("no (reference r1)")


def test_an_unknown_agent_hears_49_and_an_operation_50() -> None:
    assert answer(Refused(Reason.CREDENTIAL_INVALID, "no"), live=False).code == Code.INVALID_CREDENTIALS
    assert answer(Refused(Reason.ACTION_DENIED, "no")).code == Code.INSUFFICIENT_ACCESS
    assert answer(Refused(Reason.SESSION_EXPIRED, "over")).code == Code.STRONGER_AUTH


@pytest.mark.parametrize("request_tag", sorted(ANSWER))
def test_a_refusal_is_an_answer_of_the_fitting_type(request_tag: int) -> None:
    seen = whole(refusal(Refused(Reason.ACTION_DENIED, "no\x00\n"), request_tag, 8))
    assert (seen.id, seen.tag) == (8, ANSWER[request_tag])
    assert b"no  . Ask" in seen.raw


def test_goodbye_is_a_notice_of_disconnection() -> None:
    seen = whole(goodbye(Refused(Reason.SESSION_EXPIRED, "Your token has expired")))
    assert (seen.id, seen.tag) == (0, Op.EXTENDED_RESPONSE)
    assert b"token expired" in seen.raw


LINES = st.sampled_from(["(cn=a)", "(&(userPassword=hunter2)(cn=b))", "(name=x)"])


@given(st.binary(max_size=30), st.binary(max_size=12), LINES, st.sampled_from(list(StatementLogging)))
def test_any_base_and_attribute_is_described_or_refused(
    base: bytes, attribute: bytes, filter_: str, logging: StatementLogging
) -> None:
    message = whole(oracle.search(filter_))
    inner = codec.decode(message)
    assert isinstance(inner, codec.Search)
    request = codec.Search(base, 2, 0, 0, 0, False, inner.filter, (attribute,))
    with contextlib.suppress(Spoken):
        operation = Describing(logging, SCHEMA, NAMES).describe(request).operation
        assert "hunter2" not in operation.text
        assert operation.text.isprintable()
