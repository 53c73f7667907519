"""Which connections of the account the host shows, from what its own processes and sockets say."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ssh.commands import Unanswered
from adapters.ssh.observing import _SCRIPT, listed
from bridge.adapter import LegacySession

SELF = "self 192.0.2.1 40001 192.0.2.9 22\n"
SOCKETS = "socket 010200C0:9C41\nsocket 010200C0:9C42\nsocket 0000000000000000FFFF0000070200C0:9C43\nend"


def test_each_connection_once_and_not_the_one_that_asks() -> None:
    text = SELF + (
        "process 10 192.0.2.1 40001 192.0.2.9 22\n"
        "process 31 192.0.2.1 40002 192.0.2.9 22\n"
        "process 30 192.0.2.1 40002 192.0.2.9 22\n"
        "process 40 192.0.2.7 40003 192.0.2.9 22\n"
    )
    assert listed(text + SOCKETS) == [
        LegacySession("192.0.2.1", 40002, 30), LegacySession("192.0.2.7", 40003, 40),
    ]  # fmt: skip


def test_a_process_that_outlived_its_connection_is_none() -> None:
    assert listed(SELF + "process 50 192.0.2.7 50000 192.0.2.9 22\n" + SOCKETS) == []


@pytest.mark.parametrize("text", ["", "command not found", SELF + "process 1 192.0.2.1 2 192.0.2.9 22", SELF + "end"])
def test_a_host_that_does_not_tell_is_not_clean(text: str) -> None:
    with pytest.raises(Unanswered):
        listed(text)


@given(
    st.lists(
        st.sampled_from(
            ["self", "process", "socket", "end", "1", "x", "192.0.2.1", "::1", ":", "9C41", "-5", "\n", " "]
        )
    )
)
def test_nothing_else_comes_of_any_answer(words: list[str]) -> None:
    try:
        listed(" ".join(words))
    except Unanswered:
        return


def test_the_script_runs_in_a_plain_shell() -> None:
    """On this host, with a process of our own that says it came from afar."""
    told = {**os.environ, "SSH_CONNECTION": "192.0.2.7 40003 192.0.2.9 22"}
    with subprocess.Popen(["sleep", "30"], env=told) as sleeping:
        done = subprocess.run(
            ["sh", "-c", _SCRIPT.replace("PORT", "0016")], capture_output=True, check=True, timeout=60
        )
        sleeping.kill()
    lines = done.stdout.decode().splitlines()
    assert f"process {sleeping.pid} 192.0.2.7 40003 192.0.2.9 22" in lines
    assert lines[-1] == "end"
