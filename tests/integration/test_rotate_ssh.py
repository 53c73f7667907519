"""``idbridge account rotate`` on a real host: passwd, keys in authorized_keys, and what cannot be changed."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.place import Place, free_port
from rig.ssh_clients import Client
from rig.sshd import Account, Sshd, available
from rig.sshd import run as run_command
from rig.store import keep, names, stored

NAME = "hosts/svc"
OWN_KEYS = "AuthorizedKeysFile .ssh/authorized_keys\n"


class Turning:
    """A system user, an sshd for it, and a bridge that has its secret in the store.

    ``passphrase``: it is kept too, and the secret is the account's encrypted key; else its password.
    """

    def __init__(self, place: Place, authority: Authority, settings: str, *, key: bool, port: int) -> None:
        self.account = Account(place)
        self.account.create()
        self.host = Sshd(place, self.account, f"turning-{self.account.name}", settings)
        self.host.start()
        static = {"user": self.account.name, "secret": f"store:{NAME}"}
        if key:
            static["passphrase"] = "env:PASSPHRASE"
        self.secret = self.account.key if key else self.account.password
        system = {
            "protocol": "ssh",
            "upstream": {"host": "127.0.0.1", "port": port or self.host.port, "tls": "disable"},
            "options": {"known_hosts": str(self.host.known_hosts)},
            "accounts": {"svc": static},
        }
        document: dict[str, Any] = {
            "bridge": {"drain": "0s"},
            "owners": {
                "payments": {"kind": "team", "contact": "o@example.org", "on_call": "https://oncall.example.org"}
            },
            "roles": {"operator": {"description": "operates"}},
            "systems": {"hosts": system},
            "grants": [{"id": "g", "roles": ["operator"], "system": "hosts", "account": "svc",
                        "actions": ["read", "write", "admin"], "default": True}],
        }  # fmt: skip
        environment = {"PASSPHRASE": self.account.passphrase}
        self.bridge = Bridge(place, authority, "turning-ssh", document, environment)

    def start(self) -> None:
        self.bridge.start()
        self.bridge.cli("secret", "set", NAME, stdin=self.secret)
        self.bridge.agent("operator-1", "operator")

    def close(self) -> None:
        try:
            assert self.bridge.stop() == 0
        finally:
            self.host.stop()
            self.account.remove()

    @property
    def own_keys(self) -> Path:
        return self.account.home / ".ssh" / "authorized_keys"

    def place_keys(self, *lines: str) -> None:
        self.own_keys.parent.mkdir(mode=0o700)
        self.own_keys.write_text("".join(f"{line}\n" for line in lines))
        run_command("chown", "-R", self.account.name, str(self.own_keys.parent))

    def works(self, password: str) -> bool:
        client = paramiko.SSHClient()
        client.load_host_keys(str(self.host.known_hosts))
        try:
            client.connect("127.0.0.1", self.host.port, self.account.name, password, look_for_keys=False,
                           allow_agent=False, timeout=15)  # fmt: skip
        except paramiko.AuthenticationException:
            return False
        finally:
            client.close()
        return True

    def agent_works(self) -> bool:
        done = Client(self.bridge, "operator-1").ssh("id", "-un")
        return done.stdout.decode().strip() == self.account.name

    def rotate(self, status: int = 0) -> str:
        return self.bridge.cli("account", "rotate", "hosts", "svc", status=status)

    def unchanged(self) -> None:
        assert (names(self.bridge), stored(self.bridge, NAME).strip()) == ({NAME}, self.secret.strip())
        assert self.bridge.events(type="secret.change")[-1]["outcome"] == "failure"


@pytest.fixture
def turning(place: Place, authority: Authority, request: pytest.FixtureRequest) -> Iterator[Any]:
    if not available():
        pytest.skip("a real sshd with a system user of its own needs root")
    made: list[Turning] = []

    def make(settings: str = "", *, key: bool = False, port: int = 0) -> Turning:
        made.append(Turning(place, authority, settings, key=key, port=port))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("settings", ["", "PermitTTY no\n", "SetEnv LC_ALL=de_DE.UTF-8 LANGUAGE=de\n"])
def test_a_new_password_that_nobody_else_knows(turning: Any, settings: str) -> None:
    """At a terminal or without one, in whatever language the host speaks."""
    turn: Turning = turning(settings)
    assert "has a new secret, revision 2" in turn.rotate()
    new = stored(turn.bridge, NAME)
    assert (turn.works(new), turn.works(turn.secret), names(turn.bridge)) == (True, False, {NAME})
    assert turn.agent_works()
    assert new not in turn.host.log.read_text() + turn.bridge.daemon_log.read_text() + str(turn.bridge.events())


def test_a_host_that_refuses_is_told_in_its_words(turning: Any) -> None:
    turn: Turning = turning()
    run_command("chage", "-m", "30", turn.account.name)
    said = turn.rotate(status=1)
    assert "You must wait longer to change your password" in said
    assert "the old one counts" in said
    turn.unchanged()
    assert (turn.works(turn.secret), turn.agent_works()) == (True, True)


@pytest.mark.parametrize(
    ("settings", "shell", "said"),
    [
        ("", "/usr/sbin/nologin", "the host runs no passwd for the account (exit status 1): This account is currently"),
        ("", "/bin/false", "the host runs no passwd for the account (exit status 1)"),
        ("ForceCommand internal-sftp\n", "/bin/bash", "This service allows sftp connections only."),
        ("SetEnv PATH=/nowhere\n", "/bin/bash", "the host runs no passwd for the account (exit status 127)"),
    ],
)
def test_an_account_that_cannot_run_passwd(turning: Any, settings: str, shell: str, said: str) -> None:
    turn: Turning = turning(settings)
    run_command("usermod", "--shell", shell, turn.account.name)
    answer = turn.rotate(status=1)
    assert said in answer
    assert "the old one counts" in answer
    turn.unchanged()
    assert turn.works(turn.secret)


@pytest.mark.parametrize("was_set", [True, False])
def test_a_password_change_that_a_crash_cut_off_is_settled(turning: Any, place: Place, was_set: bool) -> None:
    turn: Turning = turning()
    other = place.new_secret(f"half way on the host {was_set}")
    turn.bridge.kill()
    keep(turn.bridge, f"{NAME}.next", other)
    if was_set:
        run_command("chpasswd", stdin=f"{turn.account.name}:{other}\n")
    failed = turn.host.attempts() - turn.host.logins()
    turn.bridge.start()
    Bridge.wait(lambda: names(turn.bridge) == {NAME}, 20, "settled")
    assert stored(turn.bridge, NAME) == (other if was_set else turn.secret)
    assert turn.host.attempts() - turn.host.logins() - failed == (0 if was_set else 1)
    assert turn.agent_works()


def test_the_bridge_is_killed_in_the_middle_of_passwd(turning: Any) -> None:
    turn: Turning = turning()
    for _ in range(3):
        _kill_while_rotating(turn)
        assert turn.works(stored(turn.bridge, NAME))


def _kill_while_rotating(turn: Turning) -> None:
    thread = threading.Thread(target=_try, args=(turn,))
    thread.start()
    time.sleep(secrets.randbelow(800) / 1000)
    turn.bridge.kill()
    thread.join(30)
    turn.bridge.start()
    Bridge.wait(lambda: names(turn.bridge) == {NAME}, 20, "settled")


def _try(turn: Turning) -> None:
    with contextlib.suppress(Exception):  # killed meanwhile
        turn.bridge.call("account.rotate", system="hosts", account="svc")


def test_the_host_is_gone(turning: Any) -> None:
    turn: Turning = turning(port=free_port())
    assert "refused" in turn.rotate(status=1)
    turn.unchanged()


# -- keys


def public(account: Account) -> str:
    """The line of the account's own key."""
    return account.authorized_keys.read_text().splitlines()[0]


def test_a_new_key_takes_the_place_of_the_old_one(turning: Any) -> None:
    turn: Turning = turning(OWN_KEYS, key=True)
    old = public(turn.account)
    other = turn.account.authorized_keys.read_text().splitlines()[1]
    turn.place_keys(f'from="127.0.0.1",restrict {old} the bridge', other)
    assert "has a new secret, revision 2" in turn.rotate()
    lines = turn.own_keys.read_text().splitlines()
    assert lines[1:] == [other]
    assert lines[0].startswith('from="127.0.0.1",restrict ssh-ed25519 ')
    assert lines[0].endswith(" the bridge")
    assert old.split()[1] not in lines[0]
    assert (turn.own_keys.owner(), turn.own_keys.stat().st_mode & 0o777) == (turn.account.name, 0o644)
    new = stored(turn.bridge, NAME)
    assert new.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    done = subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", "/dev/stdin"], input=new.encode(), check=False,
                          capture_output=True, timeout=30)  # fmt: skip
    assert done.returncode != 0  # under the passphrase, as the old one
    assert turn.agent_works()
    assert names(turn.bridge) == {NAME}


def test_a_key_that_sshd_has_from_elsewhere_is_not_changed(turning: Any) -> None:
    turn: Turning = turning(key=True)
    assert "the account's key is not in ~/.ssh/authorized_keys" in turn.rotate(status=1)
    turn.unchanged()
    assert (turn.agent_works(), turn.own_keys.exists()) == (True, False)


def test_a_key_of_an_account_without_a_shell_is_not_changed(turning: Any) -> None:
    turn: Turning = turning(OWN_KEYS, key=True)
    turn.place_keys(public(turn.account))
    run_command("usermod", "--shell", "/usr/sbin/nologin", turn.account.name)
    assert "does not run the command that changes the key (exit status 1)" in turn.rotate(status=1)
    turn.unchanged()
    assert turn.own_keys.read_text().splitlines() == [public(turn.account)]


def test_a_host_that_does_not_look_into_the_file_keeps_the_old_key(turning: Any) -> None:
    """The line is there, and another file is what sshd reads: the new key does not let in, and its line goes again."""
    turn: Turning = turning(key=True)
    turn.place_keys(public(turn.account))
    said = turn.rotate(status=1)
    assert "still lets in the old one alone" in said
    Bridge.wait(lambda: turn.agent_works(), 60, "in")
    assert set(names(turn.bridge)) == {NAME, f"{NAME}.next"}
    turn.bridge.kill()
    turn.bridge.start()
    Bridge.wait(lambda: names(turn.bridge) == {NAME}, 20, "settled")
    assert turn.own_keys.read_text().splitlines() == [public(turn.account)]


def test_the_bridge_is_killed_in_the_middle_of_a_change_of_keys(turning: Any) -> None:
    """In the end there is one key, here and there."""
    turn: Turning = turning(OWN_KEYS, key=True)
    turn.place_keys(public(turn.account))
    for _ in range(3):
        _kill_while_rotating(turn)
        assert turn.agent_works()
        assert len(turn.own_keys.read_text().splitlines()) == 1
