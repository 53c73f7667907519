"""``idbridge account rotate`` on real directories: what they take, what they refuse, what is left when it is cut."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import ldap3
import pytest
from ldap3.core.exceptions import LDAPException
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.directory import SUFFIX, Directory, client, document, grant, hashed, system
from rig.ds389 import DS389
from rig.place import Place, free_port
from rig.samba import Samba
from rig.slapd import Slapd
from rig.store import keep, names, stored

_NUMBERS = itertools.count()
NAME = "directory/turn"
ADMIN = {"check_names": False, "get_info": ldap3.NONE}


class Turning:
    """A static account of its own in a directory, and a bridge that has its password in the store.

    ``form``: how it logs in, the account's name put into it; "": by its DN. ``upstream``: changes to the system's.
    """

    def __init__(
        self, directory: Directory, place: Place, authority: Authority, *, form: str = "", **upstream: Any
    ) -> None:
        self.directory = directory
        self.account = f"svc_turn{next(_NUMBERS)}"
        self.user = directory.dn(self.account)
        self.password = place.new_secret(f"{directory.folder.name} {self.account}")
        self._create()
        one = system(directory, self.account)
        one["accounts"] = {self.account: {"user": form.format(self.account) or self.user, "secret": f"store:{NAME}"}}
        one["upstream"].update(upstream)
        grants = [grant("reader", "directory", self.account, "read")]
        self.bridge = Bridge(place, authority, "turning-ldap", document({"directory": one}, grants), {})

    def _create(self) -> None:
        with self.administrator() as admin:
            if isinstance(self.directory, Samba):
                values: dict[str, Any] = {
                    "sAMAccountName": self.account, "userAccountControl": "512",
                    "userPrincipalName": f"{self.account}@ad.example.org",
                    "unicodePwd": f'"{self.password}"'.encode("utf-16-le"),
                }  # fmt: skip
                admin.add(self.user, "user", values)
            else:
                admin.add(self.user, ["organizationalRole", "simpleSecurityObject"], {
                    "cn": self.account, "userPassword": hashed(self.password)
                })  # fmt: skip

    def administrator(self) -> Any:
        return self.directory.login(self.directory.administrator, self.directory.admin_password, **ADMIN)

    def set(self, entry: str, **values: Any) -> None:
        with self.administrator() as admin:
            admin.modify(entry, {name: [(ldap3.MODIFY_REPLACE, [value])] for name, value in values.items()})

    def start(self) -> None:
        self.bridge.start()
        self.bridge.cli("secret", "set", NAME, stdin=self.password)
        self.bridge.agent("reader-1", "reader")

    def works(self, password: str) -> bool:
        try:
            with self.directory.login(self.user, password, get_info=ldap3.NONE):
                return True
        except LDAPException:
            return False

    @contextlib.contextmanager
    def agent(self) -> Iterator[ldap3.Connection]:
        bridge = self.bridge
        token = bridge.token("reader-1")
        with client(bridge.ports["directory"], bridge.authority.ca, "agent", token, get_info=ldap3.NONE) as agent:
            yield agent

    def read(self, agent: ldap3.Connection) -> int:
        agent.search(self.directory.suffix, "(objectClass=*)", ldap3.BASE, attributes=["1.1"])
        return len(agent.entries)

    def rotate(self, status: int = 0) -> str:
        return self.bridge.cli("account", "rotate", "directory", self.account, status=status)

    def unchanged(self, said: str) -> None:
        """What was before is what counts, here and there."""
        assert "the old one counts" in said
        assert (names(self.bridge), stored(self.bridge, NAME)) == ({NAME}, self.password)
        with self.agent() as agent:
            assert self.read(agent) == 1
        assert self.bridge.events(type="secret.change")[-1]["outcome"] == "failure"


@contextlib.contextmanager
def turning(directory: Directory, place: Place, authority: Authority, **more: Any) -> Iterator[Turning]:
    made = Turning(directory, place, authority, **more)
    try:
        made.start()
        yield made
    finally:
        assert made.bridge.stop() == 0


@pytest.fixture(scope="module")
def young(samba: Samba) -> Samba:
    """A domain without a minimum age of passwords, which is a day by default."""
    with samba.login(samba.administrator, samba.admin_password, **ADMIN) as admin:
        admin.modify(samba.suffix, {"minPwdAge": [(ldap3.MODIFY_REPLACE, ["0"])]})
    return samba


@pytest.fixture(scope="module")
def own_passwords(ds389: DS389) -> DS389:
    rule = '(targetattr = "userPassword")(version 3.0; acl "own"; allow (write) userdn = "ldap:///self";)'
    with ds389.login(ds389.administrator, ds389.admin_password, **ADMIN) as admin:
        admin.modify(f"ou=svc,{SUFFIX}", {"aci": [(ldap3.MODIFY_ADD, [rule])]})
    return ds389


@pytest.fixture(params=["slapd", "own_passwords", "young"])
def directory(request: pytest.FixtureRequest) -> Directory:
    found: Directory = request.getfixturevalue(request.param)
    return found


def test_a_new_password_that_nobody_else_knows(directory: Directory, place: Place, authority: Authority) -> None:
    with turning(directory, place, authority) as turn:
        with turn.agent() as agent:
            said = turn.rotate()
            assert turn.read(agent) == 1  # a session that lives goes on
        assert "has a new secret, revision 2" in said
        new = stored(turn.bridge, NAME)
        assert (turn.works(new), names(turn.bridge)) == (True, {NAME})
        assert turn.works(turn.password) is isinstance(directory, Samba)  # Active Directory takes it for another hour
        with turn.agent() as agent:
            assert turn.read(agent) == 1
        everything = directory.log.read_text(errors="replace") + turn.bridge.daemon_log.read_text()
        assert new not in everything + str(turn.bridge.events())


@pytest.mark.parametrize("form", ["{}@ad.example.org", "AD\\{}"])
def test_active_directory_by_other_names(young: Samba, place: Place, authority: Authority, form: str) -> None:
    with turning(young, place, authority, form=form) as turn:
        turn.rotate()
        assert turn.works(stored(turn.bridge, NAME))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pwdMinAge": "3600"}, "19: password too young; Password is too young to change"),
        ({"pwdMinLength": "40", "pwdCheckQuality": "2"}, "19: password too short; Password fails quality checking"),
        ({"pwdAllowUserChange": "FALSE"}, "password may not be modified"),
    ],
)
def test_openldap_refuses(
    slapd: Slapd, place: Place, authority: Authority, settings: dict[str, str], said: str
) -> None:
    """Three failures lock the account: none of these is one, so that it could be tried for ever."""
    with turning(slapd, place, authority) as turn:
        with turn.administrator() as admin:
            policy = f"cn=of {turn.account},ou=policies,{SUFFIX}"
            values = {"cn": f"of {turn.account}", "pwdAttribute": "userPassword", "pwdLockout": "TRUE",
                      "pwdMaxFailure": "3", **settings}  # fmt: skip
            admin.add(policy, ["pwdPolicy", "organizationalRole"], values)
        turn.set(turn.user, pwdPolicySubentry=policy)
        if "pwdMinAge" in settings:
            turn.rotate()
            turn.password = stored(turn.bridge, NAME)
        for _ in range(4):
            answer = turn.rotate(status=1)
        assert said in answer
        turn.unchanged(answer)


def test_openldap_with_a_policy_that_demands_the_old_one(slapd: Slapd, place: Place, authority: Authority) -> None:
    with turning(slapd, place, authority) as turn:
        with turn.administrator() as admin:
            policy = f"cn=safe,ou=policies,{SUFFIX}"
            values = {"cn": "safe", "pwdAttribute": "userPassword", "pwdSafeModify": "TRUE"}
            admin.add(policy, ["pwdPolicy", "organizationalRole"], values)
        turn.set(turn.user, pwdPolicySubentry=policy)
        turn.rotate()
        assert turn.works(stored(turn.bridge, NAME))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"passwordMinAge": "3600"}, "19: password too young"),
        ({"passwordCheckSyntax": "on", "passwordMinLength": "40"}, "19: password quality insufficient"),
        ({"passwordChange": "off"}, "password may not be modified"),
    ],
)
def test_389_refuses(
    own_passwords: DS389, place: Place, authority: Authority, settings: dict[str, str], said: str
) -> None:
    before = {"passwordMinAge": "0", "passwordCheckSyntax": "off", "passwordMinLength": "8", "passwordChange": "on"}
    with turning(own_passwords, place, authority) as turn:
        turn.set("cn=config", **settings)
        try:
            if "passwordMinAge" in settings:
                turn.rotate()
                turn.password = stored(turn.bridge, NAME)
            answer = turn.rotate(status=1)
        finally:
            turn.set("cn=config", **before)
        assert said in answer
        turn.unchanged(answer)


@pytest.mark.parametrize(
    ("before", "settings", "said"),
    [
        ({"minPwdAge": "0"}, {"minPwdAge": "-864000000000"}, "too young to change"),
        ({"minPwdLength": "7"}, {"minPwdLength": "40"}, "too short"),
    ],
)
def test_active_directory_refuses(
    young: Samba, place: Place, authority: Authority, before: dict[str, str], settings: dict[str, str], said: str
) -> None:
    with turning(young, place, authority) as turn:
        turn.set(young.suffix, **settings)
        try:
            answer = turn.rotate(status=1)
        finally:
            turn.set(young.suffix, **before)
        assert said in answer
        assert "0000052D" in answer
        assert "younger than the domain's minimum age" in answer
        turn.unchanged(answer)


def test_an_account_of_active_directory_that_may_not_change_its_password(
    young: Samba, place: Place, authority: Authority
) -> None:
    with turning(young, place, authority) as turn:
        subprocess.run(
            ["samba-tool", "dsacl", "set", f"--objectdn={turn.user}",
             "--sddl=(OD;;CR;ab721a53-1e2f-11d0-9819-00aa0040529b;;PS)",  # User-Change-Password, denied to itself
             "-H", str(young.folder / "private" / "sam.ldb"), "-s", str(young.folder / "etc" / "smb.conf")],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        answer = turn.rotate(status=1)
        assert "19: error in module acl" in answer
        turn.unchanged(answer)


@pytest.mark.parametrize("was_set", [True, False])
def test_a_change_that_a_crash_cut_off_is_settled(
    directory: Directory, place: Place, authority: Authority, was_set: bool
) -> None:
    """Of the two the one that was set last counts, although Active Directory lets both in."""
    with turning(directory, place, authority) as turn:
        other = place.new_secret(f"{directory.folder.name} half way {was_set}")
        turn.bridge.kill()
        keep(turn.bridge, f"{NAME}.next", other)
        if was_set:
            with directory.login(turn.user, turn.password, **ADMIN) as own:
                if isinstance(directory, Samba):
                    old, new = (f'"{one}"'.encode("utf-16-le") for one in (turn.password, other))
                    own.modify(turn.user, {"unicodePwd": [(ldap3.MODIFY_DELETE, [old]), (ldap3.MODIFY_ADD, [new])]})
                else:
                    own.extend.standard.modify_password(None, turn.password, other)
            assert turn.works(turn.password) is isinstance(directory, Samba)
        turn.bridge.start()
        Bridge.wait(lambda: names(turn.bridge) == {NAME}, 20, "settled")
        assert stored(turn.bridge, NAME) == (other if was_set else turn.password)
        with turn.agent() as agent:
            assert turn.read(agent) == 1


def test_the_bridge_is_killed_in_the_middle(directory: Directory, place: Place, authority: Authority) -> None:
    """At any time: it is settled when the bridge is there again, and never lost."""
    with turning(directory, place, authority) as turn:
        for _ in range(2):
            thread = threading.Thread(target=_try, args=(turn,))
            thread.start()
            time.sleep(secrets.randbelow(400) / 1000)
            turn.bridge.kill()
            thread.join(30)
            turn.bridge.start()
            Bridge.wait(lambda: names(turn.bridge) == {NAME}, 20, "settled")
            assert turn.works(stored(turn.bridge, NAME))


def _try(turn: Turning) -> None:
    with contextlib.suppress(Exception):  # killed meanwhile
        turn.bridge.call("account.rotate", system="directory", account=turn.account)


class Cut:
    """Between bridge and directory: lets a Password Modify through and keeps its answer."""

    OID = b"1.3.6.1.4.1.4203.1.11.1"

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.cut = 0
        self._done = threading.Event()
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            back = threading.Thread(target=self._back, args=(client, server), daemon=True)
            while data := client.recv(65536):
                if self.OID in data and not self.cut:
                    self.cut += 1
                    server.sendall(data)
                    self._done.wait(10)
                    return
                server.sendall(data)
                if not back.is_alive():
                    back.start()

    def _back(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self.cut == 1 and not self._done.is_set():
                    self._done.set()
                    return
                client.sendall(data)

    def close(self) -> None:
        self._listening.close()


def test_the_answer_is_lost_on_the_way(slapd: Slapd, place: Place, authority: Authority) -> None:
    """It was set, and nobody was told: the bridge finds it out by a login with the new one."""
    between = Cut(slapd.port)
    try:
        with turning(slapd, place, authority, port=between.port, tls="disable") as turn:
            assert "has a new secret" in turn.rotate()
            assert (between.cut, names(turn.bridge)) == (1, {NAME})
            assert turn.works(stored(turn.bridge, NAME))
            assert not turn.works(turn.password)
    finally:
        between.close()


def test_the_directory_is_gone(slapd: Slapd, place: Place, authority: Authority) -> None:
    with turning(slapd, place, authority, port=free_port()) as turn:
        assert "refused" in turn.rotate(status=1)
        assert (names(turn.bridge), stored(turn.bridge, NAME)) == ({NAME}, turn.password)
