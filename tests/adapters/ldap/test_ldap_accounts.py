"""What doctor, discover and reconcile make of a directory's answers; asking is tested on real directories."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ldap3.operation.search import compile_filter, parse_filter
from pyasn1.codec.ber import encoder

from adapters.ldap import codec
from adapters.ldap.controls import Ppolicy
from adapters.ldap.discovering import NEVER_EXPIRES, reason, row, state
from adapters.ldap.doctor import contexts, kind, password, verdict
from adapters.ldap.observing import session, sessions_389, without_own
from adapters.ldap.questions import Entry
from adapters.ldap.stats_log import open_sessions
from bridge.adapter import LegacySession


def entry(name: str = "cn=x", **values: str | list[str]) -> Entry:
    found = {
        key.lower(): [one.encode() for one in (value if isinstance(value, list) else [value])]
        for key, value in values.items()
    }
    return Entry(name, found)


@pytest.mark.parametrize(
    ("ours", "text"),
    [
        (codec.begins(b"cn", "svc"), "(cn=svc*)"),
        (codec.has_bits(b"userAccountControl", 65536), "(userAccountControl:1.2.840.113556.1.4.803:=65536)"),
        (codec.any_of(codec.present(b"mail"), codec.equality(b"uid", "a b")), "(|(mail=*)(uid=a b))"),
    ],
)
def test_filters_are_those_of_ldap3(ours: bytes, text: str) -> None:
    theirs = compile_filter(parse_filter(text, None, True, True, None, False).elements[0])
    assert ours == encoder.encode(theirs)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (entry(objectClass=["organizationalRole", "simpleSecurityObject"], cn="web"), "simpleSecurityObject"),
        (entry(objectClass=["account", "posixAccount"], uid="anna"), ""),
        (entry(objectClass=["account"], uid="printer"), "account"),
        (entry(objectClass=["user"], servicePrincipalName="HTTP/web"), "service principal name"),
        (entry(objectClass=["user", "computer"], servicePrincipalName="HOST/pc"), ""),
        (entry(objectClass=["user", "computer", "msDS-GroupManagedServiceAccount"]), "msDS-GroupManagedServiceAccount"),
        (entry(objectClass=["user"], userAccountControl=str(0x200 | NEVER_EXPIRES)), "password never expires"),
        (entry(objectClass=["person"], uid="SVC_backup"), "name"),
        (entry(objectClass=["groupOfNames"], cn="svc-admins"), ""),
        (entry(objectClass=["inetOrgPerson"], uid="anna", userAccountControl="none"), ""),
    ],
)
def test_why_an_entry_looks_like_an_account_of_a_program(found: Entry, why: str) -> None:
    assert reason(found) == why


def test_a_row_has_the_login_name_and_days() -> None:
    found = entry(
        "CN=svc,DC=ad", objectClass="user", sAMAccountName="svc", cn="Service", pwdLastSet="133500000000000000",
        lastLogonTimestamp="0", description="backup",
    )  # fmt: skip
    assert row(found) == {
        "account": "svc", "user": "CN=svc,DC=ad", "why": "name", "state": "active", "last_login": "",
        "password_set": "2024-01-17", "description": "backup",
    }  # fmt: skip
    assert row(entry(uid="svc1", pwdChangedTime="20260102030405Z"))["password_set"] == "2026-01-02"
    assert row(entry(uid="svc1", pwdChangedTime="99999999999999999999"))["password_set"] == ""


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (entry(userAccountControl="514"), "disabled"),
        (entry(nsAccountLock="TRUE"), "disabled"),
        (entry(pwdAccountLockedTime="000001010000Z"), "locked"),
        (entry(lockoutTime="133500000000000000"), "locked"),
        (entry(lockoutTime="0", userAccountControl="512"), "active"),
    ],
)
def test_the_state_of_an_account(found: Entry, expected: str) -> None:
    assert state(found) == expected


@pytest.mark.parametrize(
    ("peer", "address", "port"),
    [
        ("IP=127.0.0.1:4711", "127.0.0.1", 4711),
        ("IP=[2001:db8::1]:636", "2001:db8::1", 636),
        ("PATH=/run/slapd/ldapi", "", 0),
        ("", "", 0),
    ],
)
def test_a_session_of_the_monitor(peer: str, address: str, port: int) -> None:
    found = entry(
        monitorConnectionPeerAddress=peer, monitorConnectionNumber="1007", monitorConnectionStartTime="19700101000100Z"
    )
    assert session(found) == LegacySession(address, port, 1007, 60.0)
    assert session(entry(monitorConnectionStartTime="soon")) == LegacySession("", 0, 0)


SVC = "cn=svc,dc=example,dc=org"


def test_the_sessions_of_389_directory_server() -> None:
    """As 389-Directory/2.3.1 shows them."""
    monitor = entry("cn=monitor", connection=[
        "64:20261126043820Z:5:4:-:cn=directory manager:0:0:0:2:ip=192.0.2.1",
        f"65:20261126043828Z:3:3:-:{SVC}:0:0:0:4:ip=192.0.2.1",
        f"66:20261126043821Z:9:3:r:{SVC}:1:2:3:3:ip=::1",
        f"67:20261126043829Z:3:3:-:{SVC}:0:0:0:5:ip=local",
        "68:20261126043829Z:1:1:-:NULLDN:0:0:0:6:ip=192.0.2.1",
        f"what nobody knows {SVC}",
    ])  # fmt: skip
    now = datetime(2026, 11, 26, 4, 38, 30, tzinfo=UTC).timestamp()
    found = sessions_389(monitor, "CN=svc, DC=example,DC=org")
    assert found == [
        LegacySession("::1", 0, 3, now - 9),
        LegacySession("192.0.2.1", 0, 4, now - 2),
        LegacySession("", 0, 5, now - 1),
    ]
    assert [one.backend for one in without_own(found, "192.0.2.1")] == [3, 5]
    assert [one.backend for one in without_own(found, "10.0.0.9")] == [3, 4], "behind a translated address"
    assert without_own([], "192.0.2.1") == []


@pytest.mark.parametrize(
    ("codes", "writes", "expected"),
    [
        ({"cn=a": 50}, False, [("ok", "no right to write was found")]),
        ({"cn=a": 16, "cn=b": 50}, False, [("problem", "read-only is not guaranteed")]),
        ({"cn=a": 16}, True, [("ok", "the account can write, and grants let agents write as it")]),
        ({"cn=a": 50}, True, [("warning", "grants let agents write, but no entry that was tried can be changed")]),
        ({"cn=a": 10}, False, [("warning", "not found out: rights on some entries")]),
        ({}, False, [("warning", "not found out: rights on some entries")]),
        (
            {"cn=a": 53, "cn=b": 50},
            False,
            [("warning", "not found out: rights on some entries"), ("ok", "no right to write was found")],
        ),
    ],
)
def test_the_verdict_on_rights(codes: dict[str, int], writes: bool, expected: list[tuple[str, str]]) -> None:
    """50 is a no; 16 means that only the value was missing; a referral or anything else tells nothing."""
    assert [(check.level, check.title) for check in verdict(codes, writes)] == expected


def test_what_the_password_policy_said() -> None:
    assert password(Ppolicy()) == []
    assert [one.level for one in password(Ppolicy(seconds_left=3600, graces_left=2))] == ["warning", "problem"]
    assert password(Ppolicy(seconds_left=365 * 86400)) == []


def test_what_software_it_is_and_where_to_look() -> None:
    openldap = entry(objectClass=["top", "OpenLDAProotDSE"], namingContexts=["dc=a", "dc=b"])
    windows = entry(defaultNamingContext="dc=a", namingContexts=["dc=a", "cn=Configuration,dc=a"])
    assert (kind(openldap), contexts(openldap)) == ("OpenLDAP", ["dc=a", "dc=b"])
    assert (kind(windows), contexts(windows)) == ("Active Directory", ["dc=a"])
    assert kind(entry(vendorName="389 Project", vendorVersion="2.3")) == "389 Project 2.3"


LOG = """\
6b075f00.00000000 0x7fbc slapd starting
6b075f07.1d515782 0x7fbc conn=1000 fd=14 ACCEPT from IP=192.0.2.7:4711 (IP=192.0.2.1:636)
6b075f07.1d515782 0x7fbc conn=1000 op=0 BIND dn="cn=svc,dc=example" method=128
6b075f07.1d63ed43 0x7fbc conn=1000 op=0 BIND dn="cn=svc,dc=example" mech=SIMPLE bind_ssf=0 ssf=256
Nov 25 22:00:00 host slapd[7]: conn=1001 fd=15 ACCEPT from IP=[2001:db8::1]:5000 (IP=[2001:db8::2]:636)
Nov 25 22:00:00 host slapd[7]: conn=1001 op=0 [IP=10.0.0.1 NAME=x USERNAME=y] BIND dn="CN=svc, dc=Example" mech=SIMPLE
conn=1002 fd=16 ACCEPT from IP=192.0.2.8:1 (IP=192.0.2.1:636)
conn=1002 op=0 BIND dn="cn=svc,dc=example" method=128
conn=1002 op=0 RESULT tag=97 err=49 text=
conn=1003 fd=17 ACCEPT from IP=192.0.2.8:2 (IP=192.0.2.1:636)
conn=1003 op=0 BIND dn="cn=other,dc=example" mech=SIMPLE
conn=1004 fd=18 ACCEPT from PATH=/run/ldapi (PATH=/run/ldapi)
conn=1004 op=0 BIND dn="cn=svc,dc=example" mech=SIMPLE
"""


def test_open_sessions_by_the_stats_log() -> None:
    def ports(*more: str) -> list[int]:
        return [one.port for one in open_sessions([*LOG.splitlines(), *more], "cn=svc,dc=example")]

    first, second, local = open_sessions(LOG.splitlines(), "cn=svc,dc=example")
    assert first == LegacySession("192.0.2.7", 4711, 1000, float(0x6B075F07))
    assert second == LegacySession("2001:db8::1", 5000, 1001)
    assert local == LegacySession("", 0, 1004)
    assert ports("conn=1000 fd=14 closed") == [5000, 0]
    assert ports('conn=1000 op=4 BIND dn="" method=128') == [5000, 0], "anonymous from now on"
    assert ports("6b075f00.00000000 0x7fbc slapd starting") == []
    assert ports("conn=9 op=1 SRCH base=x filter=(cn=slapd)", "nothing", 'conn=1003 op=1 SRCH base=" BIND dn="') == [
        4711, 5000, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        'conn=1000 op=2 SRCH base="conn=1000 fd=14 closed" scope=2',
        'conn=1000 op=2 SRCH filter="(cn=slapd starting)"',
        'conn=1000 op=2 [IP=x NAME=] BIND dn="" method=128] SRCH base="" scope=0',
        "conn=1000 op=2 [IP=x NAME=closed] closed",
    ],
)
def test_a_session_cannot_hide_from_the_stats_log_by_its_own_words(words: str) -> None:
    assert 4711 in [one.port for one in open_sessions([*LOG.splitlines(), words], "cn=svc,dc=example")]
