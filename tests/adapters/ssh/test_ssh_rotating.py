"""What is typed at the prompts of passwd, and the commands that change a key, run by real shells."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ssh import keys
from adapters.ssh.passwd import Dialog
from adapters.ssh.upstream import in_thread_key
from bridge.adapter import BridgeError, Login, NotTaken, Secret

OLD, NEW = Secret("old-pass"), Secret("new-pass")
CURRENT, AGAIN, TWICE = b"old-pass\n", b"new-pass\n", b"new-pass\n"

LINUX = ["Changing password for svc.\r\n", "Current password: ", "\r\nNew password: ", "\r\nRetype new password: "]
MAKES = {
    "shadow and PAM": [*LINUX, "\r\npasswd: password updated successfully\r\n"],
    "Red Hat 5": [
        "Changing password for user svc.\nChanging password for svc\n", "(current) UNIX password: ",
        "\nNew UNIX password: ", "\nRetype new UNIX password: ",
        "\npasswd: all authentication tokens updated successfully.\n",
    ],
    "FreeBSD": ["Changing local password for svc\n", "Old Password:", "\nNew Password:", "\nRetype New Password:"],
    "Solaris": [
        "passwd: Changing password for svc\n", "Enter existing login password: ", "\nNew Password: ",
        "\nRe-enter new Password: ", "\npasswd: password successfully changed for svc\n",
    ],
    "AIX": [
        'Changing password for "svc"\n', "svc's Old password: ", "\nsvc's New password: ",
        "\nEnter the new password again:", "\n",
    ],
    "BusyBox": [
        "Changing password for svc\n", "Old password: ", "\nNew password: ", "\nRetype password: ",
        "\npasswd: password for svc changed by svc\n",
    ],
    "SSSD": ["Current Password: ", "\nNew Password: ", "\nReenter new Password: ", "\npasswd: done\n"],
    "Kerberos": [
        "Current Kerberos password: ", "\nEnter new Kerberos password: ", "\nRetype new Kerberos password: ", "\n",
    ],
}  # fmt: skip


def told(dialog: Dialog, parts: list[str]) -> list[bytes]:
    return [typed for part in parts if (typed := dialog.hear(part.encode()))]


@pytest.mark.parametrize("make", MAKES)
def test_every_make_hears_the_old_one_once_and_the_new_one_twice(make: str) -> None:
    dialog = Dialog(OLD, NEW)
    assert told(dialog, MAKES[make]) == [CURRENT, AGAIN, TWICE]
    dialog.end(0)


@pytest.mark.parametrize("make", MAKES)
def test_byte_by_byte(make: str) -> None:
    dialog = Dialog(OLD, NEW)
    assert told(dialog, list("".join(MAKES[make]))) == [CURRENT, AGAIN, TWICE]
    dialog.end(0)


def test_root_is_not_asked_for_the_old_one() -> None:
    dialog = Dialog(OLD, NEW)
    assert told(dialog, ["New password: ", "\r\nRetype new password: ", "\r\n"]) == [AGAIN, TWICE]
    dialog.end(0)


def test_a_quality_check_that_asks_again() -> None:
    dialog = Dialog(OLD, NEW)
    parts = [*LINUX[:3], "\r\nBAD PASSWORD: it is based on a dictionary word\r\nNew password: "]
    with pytest.raises(NotTaken, match="BAD PASSWORD: it is based on a dictionary word"):
        told(dialog, parts)


def test_the_old_one_is_refused() -> None:
    dialog = Dialog(OLD, NEW)
    told(dialog, LINUX[:2])
    dialog.hear(b"\r\npasswd: Authentication token manipulation error\r\npasswd: password unchanged\r\n")
    with pytest.raises(
        NotTaken, match=r"exit status 10.*Authentication token manipulation error; passwd: password unc"
    ):
        dialog.end(10)


def test_two_modules_of_which_one_may_have_taken_it() -> None:
    dialog = Dialog(OLD, NEW)
    with pytest.raises(BridgeError) as caught:
        told(dialog, [*LINUX, "\r\nCurrent Kerberos password: "])
    assert not isinstance(caught.value, NotTaken)


@pytest.mark.parametrize(
    ("said", "status", "cause"),
    [
        ("This account is currently not available.\n", 1, "exit status 1.: This account is currently not available."),
        ("", 1, "the host runs no passwd for the account .exit status 1.$"),
        ("env: 'passwd': No such file or directory\n", 127, "No such file"),
        ("This service allows sftp connections only.\r\n", 1, "sftp connections only"),
        ("", 0, "the host runs no passwd"),
    ],
)
def test_no_passwd_at_all(said: str, status: int, cause: str) -> None:
    dialog = Dialog(OLD, NEW)
    assert dialog.hear(said.encode()) == b""
    with pytest.raises(NotTaken, match=cause):
        dialog.end(status)


def test_an_end_without_a_word() -> None:
    dialog = Dialog(OLD, NEW)
    told(dialog, LINUX[:3])
    with pytest.raises(BridgeError, match="without a word") as caught:
        dialog.end(-1)
    assert not isinstance(caught.value, NotTaken)


def test_neither_password_is_in_the_words_though_the_host_repeats_them() -> None:
    dialog = Dialog(OLD, NEW)
    told(dialog, ["Current password: ", "old-pass\r\nNew password: ", "new-pass\r\nno: new-pass, old-pass\r\n"])
    with pytest.raises(NotTaken) as caught:
        dialog.end(1)
    assert "pass," not in str(caught.value).replace("…", "")
    assert "old-pass" not in str(caught.value)
    assert "new-pass" not in str(caught.value)


def test_a_host_that_only_talks() -> None:
    dialog = Dialog(OLD, NEW)
    dialog.hear(b"password" * 1024)
    dialog.hear(b"password" * 1024)
    with pytest.raises(BridgeError, match="only talks"):
        dialog.hear(b"x")


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"New password: ", b"Password: ", b"Retype: ", b"\n"])))
def test_whatever_the_host_says(chunks: list[bytes]) -> None:
    dialog = Dialog(OLD, NEW)
    try:
        typed = [dialog.hear(chunk) for chunk in chunks]
    except BridgeError:
        return
    assert typed.count(CURRENT) <= 1
    assert typed.count(AGAIN) <= 2


# -- keys


def made(folder: Path, name: str, *arguments: str) -> str:
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", f"of {name}", "-f", str(folder / name), *arguments],
                   check=True, timeout=60)  # fmt: skip
    return (folder / name).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [("-t", "ed25519"), ("-t", "rsa", "-b", "2048"), ("-t", "ecdsa", "-b", "384")])
@pytest.mark.parametrize("passphrase", ["", "the passphrase"])
def test_a_successor_is_of_the_same_kind_and_under_the_same_passphrase(
    tmp_path: Path, kind: tuple[str, ...], passphrase: str
) -> None:
    made(tmp_path, "old", *kind, "-N", passphrase)
    login = Login("svc", Secret((tmp_path / "old").read_text()), Secret(passphrase))
    new = keys.in_thread_successor(login)
    assert keys.is_key(new)
    old_public = keys.in_thread_public(login)
    assert old_public == " ".join((tmp_path / "old.pub").read_text().split()[:2])
    new_login = Login("svc", new, Secret(passphrase))
    assert keys.in_thread_public(new_login).split()[0] == old_public.split()[0]
    assert keys.in_thread_public(new_login) != old_public
    assert in_thread_key(new_login).get_bits() >= (3072 if "rsa" in kind else 256)
    if passphrase:
        with pytest.raises(BridgeError, match="passphrase"):
            in_thread_key(Login("svc", new))


class Home:
    """An account's home, and the commands that the bridge sends, run by ``shell``."""

    def __init__(self, folder: Path, shell: str) -> None:
        self.folder, self.shell = folder, shell
        (folder / ".ssh").mkdir(mode=0o700)
        self.file = folder / ".ssh" / "authorized_keys"

    def run(self, command: str) -> tuple[int, str]:
        done = subprocess.run([self.shell, "-c", command], env={**os.environ, "HOME": str(self.folder)}, check=False,
                              capture_output=True, text=True, timeout=30)  # fmt: skip
        return done.returncode, done.stdout.strip()


OLD_KEY, NEW_KEY, OTHER = "ssh-ed25519 AAAA+old/=", "ssh-rsa AAAA+new/=", "ssh-ed25519 AAAA+other"


@pytest.fixture(params=["sh", "bash"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Home(tmp_path, request.param)


def test_a_key_is_put_beside_its_model_with_the_same_options(home: Home) -> None:
    line = f'from="10.0.0.1",command="echo \\"a b\\"" {OLD_KEY} the bridge'
    home.file.write_text(f"# {OLD_KEY} once\n{OTHER} x\n{line}")
    home.file.chmod(0o640)
    keys.judge(*home.run(keys.adding(OLD_KEY, NEW_KEY)))
    new = line.replace(OLD_KEY, NEW_KEY)
    assert home.file.read_text() == f"# {OLD_KEY} once\n{OTHER} x\n{line}\n{new}\n"
    assert home.file.stat().st_mode & 0o777 == 0o640
    keys.judge(*home.run(keys.withdrawing(OLD_KEY)))
    assert home.file.read_text() == f"# {OLD_KEY} once\n{OTHER} x\n{new}\n"
    keys.judge(*home.run(keys.withdrawing(OLD_KEY)))  # once more: nothing to do
    assert [one.name for one in home.file.parent.iterdir()] == ["authorized_keys"]


def test_where_the_key_is_not_nothing_is_changed(home: Home) -> None:
    home.file.write_text(f"# {OLD_KEY}\n{OTHER}\n")
    with pytest.raises(NotTaken, match=r"not in ~/.ssh/authorized_keys"):
        keys.judge(*home.run(keys.adding(OLD_KEY, NEW_KEY)))
    assert home.file.read_text() == f"# {OLD_KEY}\n{OTHER}\n"
    home.file.unlink()
    with pytest.raises(NotTaken, match=r"not in ~/.ssh/authorized_keys"):
        keys.judge(*home.run(keys.adding(OLD_KEY, NEW_KEY)))
    keys.judge(*home.run(keys.withdrawing(OLD_KEY)))
    assert list(home.file.parent.iterdir()) == []


def test_a_symbolic_link_is_left_alone(home: Home) -> None:
    real = home.folder / "elsewhere"
    real.write_text(f"{OLD_KEY}\n")
    home.file.symlink_to(real)
    for command in (keys.adding(OLD_KEY, NEW_KEY), keys.withdrawing(OLD_KEY)):
        with pytest.raises(NotTaken, match="symbolic link"):
            keys.judge(*home.run(command))
    assert real.read_text() == f"{OLD_KEY}\n"


@pytest.mark.parametrize(
    ("status", "text", "kind"), [(0, "", NotTaken), (1, "not available", NotTaken), (-1, "", BridgeError)]
)
def test_a_host_that_does_something_else(status: int, text: str, kind: type[BridgeError]) -> None:
    with pytest.raises(BridgeError) as caught:
        keys.judge(status, text)
    assert type(caught.value) is kind
