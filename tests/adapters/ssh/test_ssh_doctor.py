"""What the doctor makes of a host's answers, and that it asks like any client."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from conch_client import Meeting
from twisted.internet.defer import Deferred

from adapters.ssh import codec, doctor
from adapters.ssh.codec import Asked, Opening
from adapters.ssh.commands import ANSWER_TIME, Answer, Commands, Unanswered
from adapters.ssh.fields import Fields, string
from adapters.ssh.server import AgentLeg, accept
from bridge.adapter import TimedOut

SUDO_ALL = "User svc may run the following commands on web-1:\n    (ALL : ALL) NOPASSWD: ALL"
SUDO_SOME = "User svc may run the following commands on web-1:\n    (root) NOPASSWD: /usr/bin/systemctl restart app"


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (Answer(0, "uid=0(root) gid=0(root) groups=0(root)"), "problem"),
        (Answer(0, "uid=1001(svc) gid=1001(svc) groups=1001(svc),27(sudo)"), "warning"),
        (Answer(0, "uid=1001(svc) gid=1001(svc) groups=1001(svc),998(docker)"), "warning"),
        (Answer(0, "uid=1001(svc) gid=1001(svc) groups=1001(svc)"), "ok"),
        (Answer(127, ""), "warning"),
    ],
)
def test_who_the_account_is(answer: Answer, level: str) -> None:
    assert doctor._who(answer).level == level


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (Answer(0, SUDO_ALL), "problem"),
        (Answer(0, SUDO_SOME), "warning"),
        (Answer(1, "sudo: a password is required"), "ok"),
        (Answer(127, "sh: sudo: not found"), "ok"),
    ],
)
def test_what_it_can_become(answer: Answer, level: str) -> None:
    assert doctor._sudo(answer).level == level


@pytest.mark.parametrize(("told", "level"), [("40007", "ok"), ("50000", "warning"), ("", "warning")])
def test_whether_the_hosts_log_leads_back(tmp_path: Path, told: str, level: str) -> None:
    leg: Any = Host(tmp_path).leg
    leg.stream.local = leg.stream.peer
    text = f"192.0.2.7 {told} 192.0.2.1 22" if told else ""
    assert doctor._correlation(leg, Answer(0, text)).level == level


@pytest.mark.parametrize(
    ("text", "level"), [("A=1\nLC_BRIDGE_SID=ib:ses_1\n", "ok"), ("LC_BRIDGE_SID=other", "warning"), ("", "warning")]
)
def test_whether_the_stamp_arrives(text: str, level: str) -> None:
    assert doctor._stamp("ib:ses_1", Answer(0, text)).level == level


class Host(Meeting):
    """Plays sshd with Conch's client: which side opened the connection does not matter to channels."""

    leg: AgentLeg

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.run(self._serve)
        self.client.start()
        self.client.ask_service()
        self.client.take(6)

    async def _serve(self) -> None:
        self.leg = await accept(self.near, self.host_keys, timeout=10, seconds=self.clock.seconds)

    def ask(self, commands: Commands, command: str, stamp: str = "") -> list[Any]:
        found: list[Any] = []
        asking = Deferred.fromCoroutine(commands.ask(command, stamp))
        asking.addCallbacks(found.append, lambda failure: found.append(failure.value))
        return found

    def opened(self) -> Opening:
        opening = Opening.parse(b"\x5a" + self.client.take(90))
        self.client.send(b"\x5b" + struct.pack("!IIII", opening.sender, 5, 2**20, 32768))
        return opening


def test_a_command_and_its_answer(tmp_path: Path) -> None:
    host = Host(tmp_path)
    commands: Any = Commands(host.leg)
    found = host.ask(commands, "id", "ib:ses_1")
    own = host.opened().sender
    variables = [Asked.parse(b"\x62" + host.client.take(98)) for _ in range(2)]
    assert {Fields(one.rest).text() for one in variables} == {"IDBRIDGE_SESSION", "LC_BRIDGE_SID"}
    asked = Asked.parse(b"\x62" + host.client.take(98))
    assert (asked.kind, asked.rest, asked.want_reply) == ("exec", string("id"), True)
    host.client.send(b"\x50" + string("hostkeys-00@openssh.com") + b"\1")
    host.client.take(96)
    host.client.take(82)  # what the host asks meanwhile is refused
    host.client.send(codec.answer(own, success=True))
    host.client.send(codec.data(own, b"uid=1\n"))
    host.client.send(codec.stderr(own, b"aside"))
    host.client.send(codec.exit_status(own, 3))
    host.client.send(codec.close(own))
    assert found == [Answer(3, "uid=1")]
    host.client.take(97)


def test_a_host_that_runs_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    commands: Any = Commands(host.leg)
    found = host.ask(commands, "id")
    host.client.send(codec.answer(host.opened().sender, success=False))
    assert isinstance(found[0], Unanswered)
    found = host.ask(commands, "id")
    host.client.pump()
    while host.client.said[0][0] != 90:
        host.client.said.pop(0)
    own = Opening.parse(b"\x5a" + host.client.take(90)).sender
    host.client.send(codec.open_failure(own, codec.PROHIBITED, "no"))
    assert isinstance(found[0], Unanswered)


def test_a_host_that_does_not_answer(tmp_path: Path) -> None:
    host = Host(tmp_path)
    commands: Any = Commands(host.leg)
    found = host.ask(commands, "id")
    host.clock.advance(ANSWER_TIME + 1)
    assert isinstance(found[0], TimedOut)
