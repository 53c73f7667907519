"""The directories themselves, without a bridge: what the tests of it take for granted."""

from __future__ import annotations

import pytest
from ldap3.core.exceptions import LDAPInvalidCredentialsResult
from rig.directory import PEOPLE, Directory


@pytest.fixture(params=["slapd", "ds389", "samba"])
def directory(request: pytest.FixtureRequest) -> Directory:
    found: Directory = request.getfixturevalue(request.param)
    return found


def test_an_account_logs_in_by_its_password_alone_and_the_log_tells(directory: Directory) -> None:
    name = directory.dn("svc_reader")
    with directory.login(name, directory.passwords["svc_reader"]) as connection:
        connection.search(f"ou=people,{directory.suffix}", "(|(uid=user*)(cn=user0*)(cn=user1*)(cn=user2*))")
        assert len(connection.entries) == PEOPLE
    with pytest.raises(LDAPInvalidCredentialsResult), directory.login(name, "not the password"):
        pass
    assert directory.lines("svc_reader")


def test_accounts_that_are_locked_expired_or_disabled_cannot_log_in(directory: Directory) -> None:
    for account in set(directory.passwords) & {"svc_locked", "svc_expired", "svc_disabled"}:
        password = directory.passwords[account]
        with pytest.raises(LDAPInvalidCredentialsResult), directory.login(directory.dn(account), password):
            pass
