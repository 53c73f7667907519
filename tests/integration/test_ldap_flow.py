"""LDAP through a real bridge at a real slapd: logins, operations, narrowing, and every kind of no."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import ldap3
import pytest
from ldap3.core.exceptions import LDAPException
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.directory import SUFFIX, client, dn
from rig.ldap_door import PEOPLE, Talk, door_document, door_environment
from rig.place import Place
from rig.slapd import Slapd

REFERENCE = re.compile(r"\(reference (\w+)\)")


@pytest.fixture(scope="module")
def door(place: Place, authority: Authority, slapd: Slapd) -> Iterator[Bridge]:
    running = Bridge(place, authority, "directory", door_document(slapd), door_environment(slapd))
    try:
        running.start()
        for id, role in (("auditor-1", "reader"), ("auditor-2", "reader"), ("editor-1", "writer")):
            running.agent(id, role)
        yield running
    finally:
        assert running.stop() == 0


@pytest.fixture(scope="module")
def reader(door: Bridge) -> str:
    return door.token("auditor-1")


@pytest.fixture(scope="module")
def writer(door: Bridge) -> str:
    return door.token("editor-1")


def login(
    door: Bridge, token: str, system: str = "directory", name: str = "agent", **more: Any
) -> AbstractContextManager[ldap3.Connection]:
    return client(door.ports[system], door.authority.ca, name, token, **more)


def session_of(door: Bridge) -> str:
    """The one opened last."""
    opened = [one for one in door.events() if one["type"] == "session.open"]
    return str(opened[-1]["corr"]["session"])


def operations(door: Bridge) -> list[dict[str, Any]]:
    """Of the session opened last, without those by which ldap3 gets to know the server."""
    return [one for one in door.operations(session_of(door)) if one["action"].get("details", {}).get("scope") != "base"]


def refused(door: Bridge, token: str, system: str = "directory", name: str = "") -> tuple[int, str, dict[str, Any]]:
    """Code and text that the client hears, and the event that its reference leads to."""
    with Talk(door.ports[system]) as talk:
        result = talk.tls(door.authority.ca).bind(token, name)
    text = result.text.decode()
    found = REFERENCE.search(text)
    assert found is not None, text
    return result.code, text, door.refusal(found[1])


# -- logins ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["directory", "starttls"])
def test_an_agent_binds_as_itself_and_the_directory_sees_the_account(
    door: Bridge, reader: str, slapd: Slapd, system: str
) -> None:
    with login(door, reader, system, "auditor-1") as connection:
        assert connection.extend.standard.who_am_i() == "u:auditor-1"
        connection.search(PEOPLE, "(uid=user03)", attributes=["cn", "mail"])
        (entry,) = connection.entries
        assert entry.mail.value == "user03@example.org"
    session = session_of(door)
    opened, established, *_ = door.session_events(session, closed=True)
    assert (opened["agent"]["id"], opened["legacy"]["account"]) == ("auditor-1", "svc_reader")
    assert established["type"] == "session.established"
    (search,) = operations(door)
    assert search["action"]["verb"] == "ldap.search"
    assert search["action"]["objects"] == [PEOPLE]
    assert search["action"]["text"] == f"ldap:///{PEOPLE}?cn,mail?sub?(uid=?)"
    assert (search["outcome"], search["result"]["rows"]) == ("success", 1)
    lines = slapd.lines(f"NAME=ib:{session} USERNAME=auditor-1")
    assert any("SRCH" in line for line in lines), "the stamp stands in the directory's own log"
    assert any("BIND" in line for line in lines)


def test_ldapsearch_with_ldaps_and_with_starttls(door: Bridge, reader: str, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(reader + "\n")  # -y sends the newline too
    secret.chmod(0o600)
    port = door.ports["directory"]
    for url, *how in ((f"ldaps://127.0.0.1:{port}",), (f"ldap://127.0.0.1:{port}", "-ZZ")):
        command = ["ldapsearch", "-LLL", "-x", "-H", url, *how, "-D", dn("svc_reader"), "-y", str(secret),
                   "-b", PEOPLE, "(|(uid=user01)(uid=user02))", "mail"]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, timeout=20, check=False, env={"LDAPTLS_CACERT": str(door.authority.ca)}
        )
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.count(b"mail: user0") == 2


def test_sasl_plain(door: Bridge, reader: str) -> None:
    ca = door.authority.ca
    settings = {"authentication": ldap3.SASL, "sasl_mechanism": ldap3.PLAIN}
    tls = ldap3.Tls(validate=2, ca_certs_file=str(ca))
    server = ldap3.Server("127.0.0.1", door.ports["directory"], use_ssl=True, tls=tls)
    for authorization, good in ((None, True), ("auditor-1", True), ("editor-1", False)):
        credentials = (authorization, "auditor-1", reader)
        connection = ldap3.Connection(server, sasl_credentials=credentials, receive_timeout=10, **settings)
        assert connection.bind() is good
        assert connection.result["result"] == (0 if good else 49)
        connection.unbind()


def test_a_token_in_plaintext_is_refused_and_recorded(door: Bridge, reader: str) -> None:
    with Talk(door.ports["directory"]) as talk:
        result = talk.bind(reader)
        assert result.code == 13
        event = door.refusal(REFERENCE.search(result.text.decode())[1])  # type: ignore[index]
        assert event["reason"] == "plaintext"
        assert talk.start_tls(door.authority.ca).bind(reader).code == 0


@pytest.mark.parametrize("token", ["x", "x.y.z", "x" * 9000])
def test_what_is_no_token_is_refused(door: Bridge, token: str) -> None:
    code, _, event = refused(door, token)
    assert (code, event["type"]) == (49, "session.refused")


def test_names_in_the_bind(door: Bridge, reader: str) -> None:
    """The agent's own, the static account's DN in any spelling; another's is 49, an account that is not granted 50."""
    with Talk(door.ports["directory"]) as talk:
        talk.tls(door.authority.ca)
        for name in (
            "",
            "auditor-1",
            dn("svc_reader"),
            "CN=svc_reader , ou=SVC,dc=example,dc=org",
            "account=svc_reader",
        ):
            assert talk.bind(reader, name).code == 0, name
        for name in ("auditor-2", dn("svc_writer"), "x" * 2000, "\0"):
            assert talk.bind(reader, name).code == 49, name
        assert talk.bind(reader, "account=svc_writer").code == 50
        assert talk.bind(reader, "account=nobody").code == 50


@pytest.mark.parametrize(
    ("system", "cause"),
    [
        ("wrong", "upstream-login-refused"),
        ("locked", "upstream-login-refused"),
        ("dead", "upstream-unreachable"),
        ("untrusted", "upstream-unavailable"),
    ],
)
def test_the_directorys_no_is_for_ops(door: Bridge, reader: str, slapd: Slapd, system: str, cause: str) -> None:
    """52 and a reference for the agent; the directory's words, and what they mean, for ops."""
    before = len(slapd.lines("BIND dn="))
    code, text, _ = refused(door, reader, system)
    assert code == 52
    assert "svc" not in text
    (close,) = (one for one in door.session_events(session_of(door), closed=True) if one["type"] == "session.close")
    assert close["reason"] == "upstream-unavailable"
    assert cause in str(close)
    if system == "locked":
        assert "account locked" in str(close)
    if system == "untrusted":
        assert len(slapd.lines("BIND dn=")) == before, "no Bind goes to a directory that is not verified"
    if system in ("wrong", "locked"):
        tries = len(slapd.lines("BIND dn="))
        assert refused(door, reader, system)[0] == 52
        assert len(slapd.lines("BIND dn=")) == tries, "after one refused password the circuit is open"


# -- operations --------------------------------------------------------------------------------------------------------


def test_every_operation_is_relayed_and_recorded(door: Bridge, writer: str) -> None:
    name = f"uid=new1,{PEOPLE}"
    with login(door, writer) as connection:
        connection.add(name, "inetOrgPerson", {"cn": "New", "sn": "One", "userPassword": "pw-canary-91x"})
        connection.modify(name, {"mail": [(ldap3.MODIFY_REPLACE, ["new@example.org"])]})
        assert connection.compare(name, "mail", "new@example.org")
        assert not connection.compare(name, "mail", "old@example.org")
        connection.modify_dn(name, "uid=new2")
        connection.delete(f"uid=new2,{PEOPLE}")
        with pytest.raises(LDAPException, match="noSuchObject"):
            connection.delete(f"uid=new2,{PEOPLE}")
    found = operations(door)
    done = [(one["action"]["verb"], one["action"]["kind"], one["result"]["code"]) for one in found]
    assert sorted(done) == [
        ("ldap.add", "write", "0"),
        ("ldap.compare", "read", "5"),
        ("ldap.compare", "read", "6"),
        ("ldap.delete", "write", "0"),
        ("ldap.delete", "write", "32"),
        ("ldap.modify", "write", "0"),
        ("ldap.modify_dn", "write", "0"),
    ]
    assert "pw-canary" not in str(found)
    assert "new@example.org" not in str(found)


def test_a_reader_does_not_write(door: Bridge, reader: str) -> None:
    with login(door, reader) as connection:
        with pytest.raises(LDAPException, match="insufficientAccessRights"):
            connection.delete(f"uid=user01,{PEOPLE}")
        connection.search(PEOPLE, "(uid=user01)")
        assert connection.entries, "the session lives on"
    assert [one["outcome"] for one in operations(door)] == ["denied", "success"]


def test_the_static_accounts_own_entry_is_protected(door: Bridge, writer: str) -> None:
    own = dn("svc_writer")
    with login(door, writer) as connection:
        for attempt in (
            lambda: connection.modify(own, {"userPassword": [(ldap3.MODIFY_REPLACE, ["stolen"])]}),
            lambda: connection.delete(own),
            lambda: connection.modify_dn(own, "cn=elsewhere"),
            lambda: connection.modify_dn(f"ou=svc,{SUFFIX}", "ou=other"),
            lambda: connection.compare(own, "userPassword", "x"),
        ):
            with pytest.raises(LDAPException, match="insufficientAccessRights"):
                attempt()
        with pytest.raises(LDAPException, match="unwillingToPerform"):
            connection.extend.standard.modify_password(new_password="stolen")
        with pytest.raises(LDAPException, match="unwillingToPerform"):
            connection.extend.standard.modify_password(user=own, new_password="stolen")
    assert {one["outcome"] for one in operations(door)} == {"denied"}


def test_secrets_of_entries_are_not_shown(door: Bridge, writer: str, slapd: Slapd) -> None:
    """svc_writer may read them in the directory; an agent does not, under whatever name it asks."""
    with slapd.login(dn("svc_writer"), slapd.passwords["svc_writer"]) as direct:
        direct.search(PEOPLE, "(uid=user01)", attributes=["userPassword"])
        assert direct.entries[0].userPassword.value
    with login(door, writer) as connection:
        for attributes in (["*", "+"], ["userPassword"], ["2.5.4.35", "cn"], ["USERpassword;x"]):
            connection.search(PEOPLE, "(uid=user01)", attributes=attributes)
            assert len(connection.response) == 1
            assert b"SSHA" not in str(connection.response).encode()
        with pytest.raises(LDAPException, match="insufficientAccessRights"):
            connection.search(PEOPLE, "(userPassword=x)")
        assert "userPassword" not in str(connection.response)


# -- narrowing ---------------------------------------------------------------------------------------------------------


def test_a_grant_is_narrowed_by_base_and_attribute(door: Bridge, reader: str) -> None:
    with login(door, reader, "narrow") as connection:
        connection.search("OU=People,DC=example,dc=ORG", "(objectClass=*)", attributes=["*"])
        names = [entry.entry_dn for entry in connection.entries]
        assert f"uid=user01,{PEOPLE}" in names
        assert f"uid=user07,{PEOPLE}" not in names, "denied by another grant"
        assert not [name for name in names if "ou=svc" in name], "the alias leads out of the base"
        shown = {attribute for entry in connection.entries for attribute in entry.entry_attributes_as_dict}
        assert shown <= {"objectClass", "cn", "uid", "mail", "ou"}
        assert "sn" not in shown
        for base in (SUFFIX, f"ou=hidden,{SUFFIX}", ""):
            with pytest.raises(LDAPException, match="insufficientAccessRights"):
                connection.search(base, "(objectClass=*)")
        for filter_ in ("(sn=Number*)", "(&(cn=*)(!(telephoneNumber=1)))", "(2.5.4.4=x)", "(name=x)"):
            with pytest.raises(LDAPException, match="insufficientAccessRights"):
                connection.search(PEOPLE, filter_)
        with pytest.raises(LDAPException, match="insufficientAccessRights"):
            connection.compare(f"uid=user01,{PEOPLE}", "sn", "x")
        with pytest.raises(LDAPException, match="insufficientAccessRights"):
            connection.modify(f"uid=user01,{PEOPLE}", {"sn": [(ldap3.MODIFY_REPLACE, ["x"])]})
        connection.modify(f"uid=user01,{PEOPLE}", {"mail": [(ldap3.MODIFY_REPLACE, ["user01@example.org"])]})
        assert connection.result["result"] == 0
    with Talk(door.ports["narrow"]) as talk:
        talk.tls(door.authority.ca).bind(reader)
        assert talk.search("people")[1] == 34


def test_what_grants_would_refuse_is_recorded_where_they_only_observe(door: Bridge, reader: str) -> None:
    """Also an attribute in a filter, which is only one of the targets of a search."""
    with login(door, reader, "observed") as connection:
        for filter_ in ("(cn=User*)", "(sn=Number*)"):
            connection.search(PEOPLE, filter_, attributes=["cn"])
            assert len(connection.entries) == 20
        connection.search(SUFFIX, "(cn=User*)", attributes=["cn"])
        assert len(connection.entries) == 20
    covered, attribute, base = operations(door)
    assert [one["reason"] for one in (covered, attribute, base)] == ["ok", "would-deny", "would-deny"]
    assert attribute["action"]["target"]["attribute"] == "sn"
    assert attribute["decision"]["would"] == "deny"


@pytest.mark.parametrize(
    ("base", "attribute", "allowed"),
    [
        (f"UID=user01, OU=people,{SUFFIX}", "commonName", True),
        (f"uid=user07,{PEOPLE}", "cn", False),
        (f"uid=user01,{PEOPLE}", "sn", False),
        (SUFFIX, "cn", False),
    ],
)
def test_explain_knows_names_in_any_spelling(door: Bridge, base: str, attribute: str, allowed: bool) -> None:
    target = {"base": base, "attribute": attribute}
    answer = door.call("policy.explain", agent="auditor-1", system="narrow", action="read", target=target)
    assert answer["decision"]["allowed"] is allowed


def test_the_size_of_a_search_is_capped_over_all_pages(door: Bridge, reader: str) -> None:
    with login(door, reader, "capped", raise_exceptions=False) as connection:
        connection.search(PEOPLE, "(objectClass=inetOrgPerson)")
        assert (connection.result["result"], len(connection.response)) == (4, 5)
        seen, cookie = 0, None
        for _ in range(5):
            connection.search(PEOPLE, "(objectClass=inetOrgPerson)", paged_size=2, paged_cookie=cookie)
            seen += len(connection.response)
            cookie = (
                connection.result.get("controls", {}).get("1.2.840.113556.1.4.319", {}).get("value", {}).get("cookie")
            )
            if connection.result["result"]:
                break
        assert seen == 5
        assert connection.result["result"] == 4


def test_paged_results_and_sort_reach_the_directory(door: Bridge, reader: str) -> None:
    with login(door, reader) as connection:
        found = connection.extend.standard.paged_search(PEOPLE, "(objectClass=inetOrgPerson)", paged_size=3)
        assert len(list(found)) == 20


def test_the_root_entry_is_the_bridges(door: Bridge, reader: str) -> None:
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(door.authority.ca))
    server = ldap3.Server("127.0.0.1", door.ports["directory"], use_ssl=True, tls=tls, get_info=ldap3.ALL)
    connection = ldap3.Connection(server, "agent", reader, auto_bind=True)
    connection.unbind()
    info = server.info
    assert info.supported_sasl_mechanisms == ["PLAIN", "OAUTHBEARER"]
    assert "1.3.6.1.4.1.4203.1.11.3" in {one[0] for one in info.supported_extensions}
    assert "2.16.840.1.113730.3.4.18" not in {one[0] for one in info.supported_controls}
    assert info.naming_contexts == [SUFFIX]
    assert server.schema.attribute_types["mail"], "the subschema is open"
