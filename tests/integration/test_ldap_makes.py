"""What one make of directory does and another does not: policy holds on each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ldap3
import pytest
from ldap3.core.exceptions import LDAPException, LDAPUnavailableResult
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.directory import PEOPLE, Directory, client, document, environment, grant, system
from rig.ds389 import DS389
from rig.ldap_door import Talk
from rig.place import Place
from rig.samba import Samba
from rig.slapd import Slapd

from adapters.ldap import codec, filters
from bridge.wire import ber

REFUSED = 50
EVERYONE = "(|(uid=user*)(cn=user0*)(cn=user1*)(cn=user2*))"


class Front:
    """A bridge before one directory: ``open`` reads all, ``narrow`` only a few attributes of people."""

    def __init__(self, directory: Directory, place: Place, authority: Authority, **more: dict[str, Any]) -> None:
        self.directory = directory
        self.people = f"ou=people,{directory.suffix}"
        systems = {"open": system(directory, "svc_writer"), "narrow": system(directory, "svc_writer"), **more}
        grants = [
            grant("reader", name, account, "read") for name, one in systems.items() for account in one["accounts"]
        ]
        narrow = {"bases": [self.people], "attributes": ["objectClass", "cn", "uid", "mail"]}
        grants = [{**one, **narrow} if one["system"] == "narrow" else one for one in grants]
        self.bridge = Bridge(
            place, authority, f"makes-{directory.folder.name}", document(systems, grants), environment(directory)
        )
        self.token = ""

    def start(self) -> None:
        self.bridge.start()
        self.bridge.agent("reader-1", "reader")
        self.token = self.bridge.token("reader-1")

    def login(self, name: str = "open", **more: Any) -> Any:
        settings = {"raise_exceptions": False, "check_names": False, "get_info": ldap3.NONE, **more}
        return client(self.bridge.ports[name], self.bridge.authority.ca, "agent", self.token, **settings)

    def code(self, connection: ldap3.Connection, base: str, wanted: str = "(objectClass=*)", *names: str) -> int:
        """The result of a search, its entries are in ``connection``."""
        connection.search(base, wanted, attributes=list(names) or ["1.1"], dereference_aliases="NEVER")
        code: int = connection.result["result"]
        return code


def running(front: Front) -> Iterator[Front]:
    try:
        front.start()
        yield front
    finally:
        assert front.bridge.stop() == 0


@pytest.fixture(scope="module")
def openldap(slapd: Slapd, place: Place, authority: Authority) -> Iterator[Front]:
    yield from running(Front(slapd, place, authority))


@pytest.fixture(scope="module")
def port389(ds389: DS389, place: Place, authority: Authority) -> Iterator[Front]:
    yield from running(Front(ds389, place, authority))


@pytest.fixture(scope="module")
def active(samba: Samba, place: Place, authority: Authority) -> Iterator[Front]:
    more = {name: system(samba, "svc_reader") for name in ("upn", "nt", "special")}
    more["disabled"] = system(samba, "svc_disabled")
    more["upn"]["accounts"]["svc_reader"]["user"] = "svc_reader@ad.example.org"
    more["nt"]["accounts"]["svc_reader"]["user"] = "AD\\svc_reader"
    more["special"]["options"] = {"special_names": True}
    yield from running(Front(samba, place, authority, **more))


@pytest.fixture(params=["openldap", "port389", "active"])
def front(request: pytest.FixtureRequest) -> Front:
    found: Front = request.getfixturevalue(request.param)
    return found


# -- all of them -------------------------------------------------------------------------------------------------------


def test_a_password_is_shown_under_no_name(front: Front) -> None:
    """389 Directory Server answers under the name that was asked for."""
    names = ["2.5.4.35", "USERpassword", "userPassword;x-a", "oid.2.5.4.35", "unicodePwd", "*", "+"]
    with front.login() as connection:
        for name in names:
            front.code(connection, front.people, "(objectClass=*)", name)
            for entry in connection.response or ():
                shown = {key.lower() for key, values in entry.get("raw_attributes", {}).items() if values}
                assert not [one for one in shown if one.startswith(("userpassword", "2.5.4.35", "unicodepwd"))], (
                    name,
                    entry,
                )
                assert b"{SSHA}" not in str(entry).encode()


@pytest.mark.parametrize("name", ["sn", "2.5.4.4", "SURNAME", "surName;lang-en"])
def test_an_attribute_is_denied_under_all_its_names(front: Front, name: str) -> None:
    with front.login("narrow") as connection:
        assert front.code(connection, front.people, EVERYONE, "mail") == 0
        assert len(connection.entries) == PEOPLE
        assert front.code(connection, front.people, EVERYONE, name) == REFUSED
        assert front.code(connection, front.people, f"({name.split(';')[0]}=Number*)") == REFUSED
        assert front.code(connection, front.people, EVERYONE, "*") == 0
        assert all("sn" not in {key.lower() for key in one["attributes"]} for one in connection.response)


@pytest.mark.parametrize(
    "base",
    ["{suffix}", "ou=svc,{suffix}", 'ou="svc",{suffix}', "2.5.4.11=svc,{suffix}", "OU = SVC, {suffix}",
     "ou=\\73vc,{suffix}", "ou=people,ou=svc,{suffix}"],
)  # fmt: skip
def test_a_base_outside_the_grant_is_closed_in_every_spelling(front: Front, base: str) -> None:
    with front.login("narrow", check_names=False) as connection:
        try:
            code = front.code(connection, base.format(suffix=front.directory.suffix), "(objectClass=*)", "cn")
        except LDAPException:
            return  # ldap3 itself does not send it
        assert code == REFUSED
        assert not connection.entries


def test_a_bind_that_fails_leaves_nobody(front: Front) -> None:
    """Samba goes on as who was bound before; the bridge's own state counts."""
    with front.login() as connection:
        assert front.code(connection, front.people) == 0
        connection.rebind("agent", "no token")
        assert connection.result["result"] == 49
        assert front.code(connection, front.people) == 8


def test_a_critical_control_that_nobody_knows(front: Front) -> None:
    """Samba would answer it with a response of another type."""
    with front.login() as connection:
        connection.search(front.people, EVERYONE, controls=[("1.2.3.4.5", True, None)])
        assert connection.result["result"] == 12
        assert connection.result["type"] == "searchResDone"


def test_the_agent_is_who_it_is(front: Front) -> None:
    """Samba has no WhoAmI."""
    with front.login(get_info=ldap3.DSA) as connection:
        connection.server.get_info_from_server(connection)
        names = [one[0] for one in connection.server.info.supported_extensions]
        assert "1.3.6.1.4.1.4203.1.11.3" in names
        assert connection.extend.standard.who_am_i() == "u:reader-1"


def test_a_filter_that_is_too_deep(front: Front) -> None:
    deep = codec.present(b"cn")
    for _ in range(150):
        deep = ber.encode(filters.NOT, deep)
    with Talk(front.bridge.ports["open"]).tls(front.bridge.authority.ca) as talk:
        assert talk.bind(front.token).code == 0
        assert talk.ask(codec.search(front.people.encode(), 2, deep, ())).code == 53
        assert talk.search(front.people, "1.1")[1] == 0, "the connection goes on"


# -- Active Directory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["upn", "nt"])
def test_active_directory_takes_other_names_of_an_account(active: Front, name: str) -> None:
    with active.login(name) as connection:
        assert active.code(connection, active.people, EVERYONE) == 0
        assert len(connection.entries) == PEOPLE


def test_active_directorys_reason_is_for_ops(active: Front) -> None:
    with pytest.raises(LDAPUnavailableResult) as raised, active.login("disabled", raise_exceptions=True):
        pass
    assert "533" not in str(raised.value)
    assert "disabled" not in str(raised.value)

    def ends() -> list[dict[str, Any]]:
        return [one for one in active.bridge.events(system="disabled") if one["type"] == "session.close"]

    active.bridge.wait(ends, 10, "closed")
    assert "account disabled" in str(ends())


def test_referrals_of_the_root_are_left_out(active: Front) -> None:
    with active.login() as connection:
        assert active.code(connection, active.directory.suffix, "(cn=user01)") == 0
        assert {one["type"] for one in connection.response} == {"searchResEntry"}


def test_ranges_of_values(active: Front) -> None:
    with active.login() as connection:
        base = f"CN=Users,CN=Builtin,{active.directory.suffix}"
        assert active.code(connection, base, "(objectClass=group)", "member;range=0-0") == 0
        (entry,) = connection.response
        assert [name for name in entry["raw_attributes"] if name.startswith("member;range=0-")]


def test_names_by_guid(active: Front) -> None:
    with active.login() as connection:
        active.code(connection, active.people, "(cn=user01)", "objectGUID")
        guid = f"<GUID={connection.response[0]['raw_attributes']['objectGUID'][0].hex()}>"
        assert active.code(connection, guid) == REFUSED or connection.result["result"] == 34
    with active.login("special") as connection:
        assert active.code(connection, guid, "(objectClass=*)", "cn") == 0
        assert connection.response[0]["attributes"]["cn"] == ["user01"]
