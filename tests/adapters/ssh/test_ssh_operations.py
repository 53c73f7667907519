"""What a command line counts as: nothing that could run something unseen counts as reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ssh.environment import allowed
from adapters.ssh.operations import (
    MOST_COMMANDS,
    command,
    forward,
    is_sftp_server,
    reads,
    redacted,
    shell,
    simple_commands,
)
from bridge.adapter import Action, StatementLogging

LISTED = ("uptime", "df *", "systemctl status *")


@pytest.mark.parametrize(
    "text",
    [
        "uptime", "df -h /", "systemctl status 'a b'", "uptime; uptime", "uptime && df -h", "scp -f /etc/hosts",
        "scp -v -f -- x", "scp -r -f 'a b'", "rsync --server --sender -logDtpre.iLsfxC . /srv/",
        "git-upload-pack '/srv/x.git'", "git upload-pack /srv/x", "/usr/bin/git-upload-pack x",
        "rsync --server --sender -vlogDtprze.iLsfxCIvu --numeric-ids --timeout=9 . '/srv/a b'",
        "git-upload-pack --strict x",
    ],
)  # fmt: skip
def test_reading(text: str) -> None:
    assert reads(text, LISTED)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "rm -rf /", "uptime; rm x", "uptime & rm x", "uptime | tee x", "df $(rm x)", "df `rm x`",
        'df "$(rm x)"',
        "df > x", "df <(rm x)", "df -h\nrm x", "df 'unclosed", "df \\;rm", "{ uptime; }", "uptime #", "scp -t /etc/x",
        "scp -t x -f y", "scp -f -t y", "scp x y", "rsync --server -logDtpre . /srv", "rsync --sender --server . x",
        "rsync -a x y", "git-receive-pack '/srv/x.git'", "git push", "git -c core.pager=x upload-pack", "xuptime",
        "uptimes", "uptime now", "/srv/git-upload-pack x", "/srv/scp -f x", "scp -f -vt x", "scp -f -S /srv/x y",
        "rsync --server --sender -l . x --remove-source-files", "rsync --server --sender '--log-file=/x' . x",
        "rsync --server --sender --daemon --config=/srv/x", "rsync --server --sender -l . *", "scp -f ?x",
        "git-upload-pack --exec=x y", "rsync --server --sender -ls . x", "df -h # '\nrm x # '",
    ],
)  # fmt: skip
def test_everything_else_counts_as_writing(text: str) -> None:
    assert not reads(text, LISTED)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a b", ["a b"]),
        ("a; b && c || d | e & f", ["a", "b", "c", "d", "e", "f"]),
        ("a 'x; y' \"p & q\"", ["a 'x; y' \"p & q\""]),
        ("a;;b", ["a", "b"]),
        ("a 'x", None),
        ('a "$HOME"', None),
        ("a $HOME", None),
        ("git x # '\nrm -rf / # '", None),
        ("(a)", None),
        ("", None),
        ("x" * 20_000, None),
    ],
)
def test_the_commands_of_a_line(text: str, parts: list[str] | None) -> None:
    assert simple_commands(text) == parts


@given(st.text(max_size=60))
def test_any_line_is_read(text: str) -> None:
    parts = simple_commands(text)
    assert parts is None or all(part and part in text for part in parts)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql --password=hunter2 x", "mysql --password=? x"),
        ("x --token 'a b' y", "x --token ? y"),
        ("curl -H 'Authorization: Bearer abc.def' u", "curl -H 'Authorization: ?' u"),
        ("psql postgres://u:pa55@h/db", "psql postgres://u:?@h/db"),
        ("ls /passwords", "ls /passwords"),
    ],
)
def test_secrets_in_a_line_are_left_out(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_a_command_as_an_operation() -> None:
    full = command(b"id --token=abc", StatementLogging.FULL, ())
    assert (full.verb, full.action, full.text) == ("ssh.exec", Action.WRITE, "id --token=abc")
    assert full.target == {"command": "id --token=abc", "forward": "", "path": ""}
    hidden = command(b"id --token=abc", StatementLogging.REDACTED, ("id *",))
    assert (hidden.action, hidden.text, hidden.digest) == (Action.READ, "id --token=?", full.digest)
    assert command(b"id", StatementLogging.DIGEST, ()).text == ""
    assert command(b"git-upload-pack x", StatementLogging.FULL, ()).verb == "ssh.git"
    assert shell().action is Action.WRITE
    assert forward("DB.", 5432).target["forward"] == "db:5432"


def test_a_line_that_is_no_utf8_is_shown_and_covered_by_no_pattern() -> None:
    operation = command(b"id \xff\x00", StatementLogging.FULL, ("id *",))
    assert (operation.action, operation.text) == (Action.WRITE, "id \\xff\0")
    assert simple_commands(str(operation.target["command"])) is None


@pytest.mark.parametrize(
    "text", ["/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server -e", " /usr/lib/sftp-server"]
)
def test_the_hosts_own_sftp_server(text: str) -> None:
    assert is_sftp_server(text)


@pytest.mark.parametrize(
    "text",
    ["/srv/sftp-server", "sftp-server", "./sftp-server", "/usr/lib/../../srv/sftp-server", "/usr/lib/sftp-server; rm x",
     "/usr/lib/sftp-server -f /x", "/usr/lib/sftp-server\nrm x", "/usr/lib/sftp-server-x"],
)  # fmt: skip
def test_what_only_calls_itself_an_sftp_server(text: str) -> None:
    assert not is_sftp_server(text)


@pytest.mark.parametrize("name", ["LANG", "LC_ALL", "LC_X", "TERM", "TZ", "EDITOR", "MY_1"])
def test_variables_that_pass(name: str) -> None:
    assert allowed(name, ("EDITOR", "MY_*"))


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "PATH", "BASH_ENV", "GIT_SSH_COMMAND", "LC_BRIDGE_SID", "lc_bridge_sid", "IDBRIDGE_SESSION", "HOME",
     "", "A=B", "LC_\n", "LC_\u00e4", "Ld_Preload"],
)  # fmt: skip
def test_variables_that_never_pass(name: str) -> None:
    assert not allowed(name, ("LD_*", "PATH", "IDBRIDGE_*", "LC_*", "A*") if name else ())


def test_a_line_of_very_many_commands_is_not_looked_into() -> None:
    assert simple_commands(";".join(["id"] * MOST_COMMANDS)) is not None
    assert simple_commands(";".join(["id"] * (MOST_COMMANDS + 1))) is None
