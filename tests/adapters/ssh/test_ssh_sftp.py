"""SFTP on its way: however it is cut, what is permitted arrives byte for byte, and what is refused is answered here."""

from __future__ import annotations

import struct
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from adapters.ssh import codec, sftp
from adapters.ssh.channels import Channel, Window
from adapters.ssh.fields import Fields, number, string
from bridge.adapter import Action, AgentFacts, PeerFault, Reason, Refused
from bridge.testing.door import FakeAdmission, FakeDoor

A, H = 7, 42
REFUSED = Refused(Reason.ACTION_DENIED, "not covered", reference="ses_1")


class PlayedLeg:
    facts: dict[str, str] = {}

    def __init__(self) -> None:
        self.out: list[bytes] = []

    def write(self, payload: bytes) -> None:
        self.out.append(payload)

    @property
    def data(self) -> bytes:
        return b"".join(payload[9:] for payload in self.out if payload[0] == codec.DATA)

    @property
    def credit(self) -> int:
        return sum(Fields(payload, 5).number() for payload in self.out if payload[0] == codec.WINDOW_ADJUST)


class Talk:
    def __init__(self) -> None:
        self.agent, self.host = PlayedLeg(), PlayedLeg()
        self.channel = Channel("session", A, H, window=Window(10**6))
        self.admission = FakeAdmission(FakeDoor(), AgentFacts("deploy-7", "Deploy 7", "payments"), tuple(Action))
        self.tap = sftp.SFTPTap(self.channel, self.agent, self.host, self.admission)  # type: ignore[arg-type]

    def say(self, data: bytes, cut: int = 10**9) -> None:
        for at in range(0, len(data), cut):
            _finish(self.tap.from_agent(codec.data(H, data[at : at + cut])))

    def hear(self, data: bytes, cut: int = 10**9) -> None:
        for at in range(0, len(data), cut):
            self.tap.from_host(codec.data(A, data[at : at + cut]))

    @property
    def ends(self) -> list[tuple[str, list[tuple[str, int]]]]:
        return [(p.operation.verb, [(o.result.value, o.bytes) for o in p.outcomes]) for p in self.admission.permits]


def _finish(waiting: Coroutine[Any, Any, None] | None) -> None:
    if waiting is not None:
        failures: list[Any] = []
        Deferred.fromCoroutine(waiting).addErrback(failures.append)
        if failures:
            failures[0].raiseException()


def packet(kind: int, *parts: bytes) -> bytes:
    body = bytes((kind,)) + b"".join(parts)
    return number(len(body)) + body


def ask(kind: int, request: int, *parts: bytes) -> bytes:
    return packet(kind, number(request), *parts)


ATTRS = number(0)
INIT = packet(sftp.INIT, number(3))
WRITING = ask(sftp.OPEN, 1, string("/srv/new"), number(0x1A), ATTRS)
READING = ask(sftp.OPEN, 1, string("/srv/old"), number(0x01), ATTRS)
HANDLE = ask(sftp.HANDLE, 1, string("h1"))
GOOD = ask(sftp.STATUS, 9, number(0), string("ok"), string(""))


def block(request: int, size: int) -> bytes:
    return ask(sftp.WRITE, request, string("h1"), struct.pack("!Q", 0), string(b"w" * size))


@pytest.mark.parametrize("cut", [1, 3, 7, 1000, 10**9])
def test_an_upload(cut: int) -> None:
    talk = Talk()
    upload = INIT + WRITING
    talk.say(upload, cut)
    talk.hear(packet(sftp.VERSION, number(3)) + HANDLE, cut)
    rest = block(2, 40_000 if cut > 7 else 90) + block(3, 5) + ask(sftp.CLOSE, 9, string("h1"))
    talk.say(rest, cut)
    talk.hear(GOOD, cut)
    assert talk.host.data == upload + rest
    assert talk.agent.data == packet(sftp.VERSION, number(3)) + HANDLE + GOOD
    assert talk.ends == [("sftp.write", [("success", 40_005 if cut > 7 else 95)])]
    assert talk.admission.permits[0].operation.objects == ("/srv/new",)
    assert (talk.agent.credit, talk.channel.window.left) == (0, 10**6)


@pytest.mark.parametrize("cut", [1, 5, 10**9])
def test_a_download(cut: int) -> None:
    talk = Talk()
    talk.say(READING + ask(sftp.READ, 2, string("h1"), struct.pack("!QI", 0, 32768)), cut)
    talk.hear(HANDLE + ask(sftp.DATA, 2, string(b"d" * 300)), cut)
    talk.say(ask(sftp.CLOSE, 9, string("h1")), cut)
    talk.hear(GOOD, cut)
    assert talk.ends == [("sftp.read", [("success", 300)])]


def test_a_whole_message_of_bulk_goes_on_as_the_same_bytes() -> None:
    talk = Talk()
    talk.say(block(1, 100_000)[:50_000])
    middle = codec.data(H, block(1, 100_000)[50_000:60_000])
    assert talk.tap.from_agent(middle) is None
    assert talk.host.out[-1] is middle
    talk.hear(ask(sftp.DATA, 1, string(b"d" * 1000))[:500])
    piece = codec.data(A, ask(sftp.DATA, 1, string(b"d" * 1000))[500:600])
    talk.tap.from_host(piece)
    assert talk.agent.out[-1] is piece


CHANGES = [
    ask(sftp.REMOVE, 5, string("/x")), ask(sftp.MKDIR, 5, string("/x"), ATTRS), ask(sftp.RMDIR, 5, string("/x")),
    ask(sftp.RENAME, 5, string("/x"), string("/y")), ask(sftp.SYMLINK, 5, string("/x"), string("/y")),
    ask(sftp.SETSTAT, 5, string("/x"), ATTRS), ask(sftp.FSETSTAT, 5, string("h9"), ATTRS),
    ask(sftp.EXTENDED, 5, string("posix-rename@openssh.com"), string("/x"), string("/y")),
    ask(sftp.EXTENDED, 5, string("hardlink@openssh.com"), string("/x"), string("/y")),
    ask(sftp.EXTENDED, 5, string("lsetstat@openssh.com"), string("/x"), ATTRS),
    ask(sftp.OPEN, 5, string("/x"), number(0x02), ATTRS), ask(sftp.OPEN, 5, string("/x"), number(0x09), ATTRS),
    ask(sftp.OPEN, 5, string("/x"), number(0x11), ATTRS), ask(sftp.OPEN, 5, string("/x"), number(0x05), ATTRS),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("cut", [1, 6, 10**9])
def test_a_reader_changes_nothing_and_goes_on_reading(change: bytes, cut: int) -> None:
    talk = Talk()
    talk.admission.refuse[Action.WRITE] = REFUSED
    before, after = ask(sftp.STAT, 4, string("/")), ask(sftp.STAT, 6, string("/"))
    talk.say(INIT + before + change + after, cut)
    assert talk.host.data == INIT + before + after
    fields = Fields(talk.agent.data, 4)
    assert (fields.byte(), fields.number(), fields.number()) == (sftp.STATUS, 5, sftp.PERMISSION_DENIED)
    assert fields.text() == "identity-bridge: not covered (reference ses_1)"
    assert talk.agent.credit == len(change), "the agent's window is credited for what the host never got"
    assert talk.channel.window.left == 10**6 - len(talk.agent.data), "and is charged for what the host never said"
    assert talk.admission.permits == []


@pytest.mark.parametrize("cut", [1, 13, 10**9])
def test_the_bridges_answer_waits_until_the_host_is_between_packets(cut: int) -> None:
    talk = Talk()
    talk.admission.refuse[Action.WRITE] = REFUSED
    answer = ask(sftp.DATA, 3, string(b"d" * 50))
    talk.hear(answer[:20])
    talk.say(CHANGES[0])
    assert talk.agent.data == answer[:20]
    talk.hear(answer[20:] + answer, cut)
    said = len(talk.agent.data) - 2 * len(answer)
    assert talk.agent.data[: len(answer)] == answer
    assert talk.agent.data[len(answer) + 4] == sftp.STATUS
    assert talk.agent.data[len(answer) + said :] == answer


def test_an_extension_that_could_do_anything_is_not_passed_on() -> None:
    talk = Talk()
    talk.say(ask(sftp.EXTENDED, 5, string("run@example"), string("rm")))
    assert talk.host.data == b""
    assert Fields(talk.agent.data, 9).number() == sftp.UNSUPPORTED


def test_a_change_has_the_hosts_answer_as_its_outcome() -> None:
    talk = Talk()
    talk.say(ask(sftp.REMOVE, 9, string("/x")) + ask(sftp.MKDIR, 8, string("/y"), ATTRS))
    talk.hear(GOOD + ask(sftp.STATUS, 8, number(4), string("no"), string("")))
    assert talk.ends == [("sftp.remove", [("success", 0)]), ("sftp.mkdir", [("failure", 0)])]


def test_what_is_open_at_the_end_has_an_outcome() -> None:
    talk = Talk()
    talk.say(WRITING + ask(sftp.REMOVE, 9, string("/x")))
    talk.hear(HANDLE)
    talk.tap.close()
    assert talk.ends == [("sftp.write", [("success", 0)]), ("sftp.remove", [("unknown", 0)])]


@pytest.mark.parametrize(
    "data",
    [number(0) + b"x", number(300_000) + b"\x07", packet(99, number(1)), packet(sftp.OPEN, number(1), number(99)),
     INIT + INIT, packet(sftp.REMOVE)],
)  # fmt: skip
def test_what_is_no_sftp_ends_the_session(data: bytes) -> None:
    with pytest.raises(PeerFault):
        Talk().say(data)


@settings(max_examples=200)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), st.booleans())
def test_no_bytes_raise_anything_but_a_fault_of_the_peer(chunks: list[bytes], from_host: bool) -> None:
    talk = Talk()
    try:
        for chunk in chunks:
            talk.hear(chunk) if from_host else talk.say(chunk)
    except PeerFault:
        return
    passed = (talk.agent if from_host else talk.host).data
    assert b"".join(chunks).startswith(passed)


def test_refusals_wait_for_the_agents_window() -> None:
    """Data beyond the window is dropped by OpenSSH's client; its transfer would hang."""
    talk = Talk()
    talk.admission.refuse[Action.WRITE] = REFUSED
    talk.channel.window = Window(10)
    talk.say(CHANGES[0])
    assert talk.agent.data == b""
    talk.channel.window.widened(1000)
    talk.tap.may_speak()
    assert talk.agent.data[4] == sftp.STATUS
    assert talk.channel.window.left == 1010 - len(talk.agent.data)


def test_refusals_without_room_have_a_limit() -> None:
    talk = Talk()
    talk.admission.refuse[Action.WRITE] = REFUSED
    talk.channel.window = Window()
    for _ in range(sftp.MOST_SAID):
        talk.say(CHANGES[0])
    with pytest.raises(PeerFault, match="too many refused"):
        talk.say(CHANGES[0])


@pytest.mark.parametrize("second", [ask(sftp.STAT, 5, string("/x")), block(5, 9), ask(sftp.REMOVE, 5, string("/y"))])
def test_a_request_number_is_used_once_at_a_time(second: bytes) -> None:
    talk = Talk()
    talk.say(ask(sftp.REMOVE, 5, string("/x")))
    with pytest.raises(PeerFault):
        talk.say(second)


def test_the_attributes_of_an_open_file_belong_to_its_path() -> None:
    """A file opened for reading is not one that may be changed."""
    talk = Talk()
    talk.say(READING)
    talk.hear(HANDLE)
    talk.say(ask(sftp.FSETSTAT, 2, string("h1"), ATTRS))
    assert talk.admission.permits[1].operation.target["path"] == "/srv/old"
    assert talk.ends[1][0] == "sftp.setstat"
    other = Talk()
    other.say(WRITING)
    other.hear(HANDLE)
    other.say(ask(sftp.FSETSTAT, 2, string("h1"), ATTRS))
    assert [verb for verb, _ in other.ends] == ["sftp.write"], "covered by the permit for writing it"


def test_a_path_that_some_hosts_would_cut_is_a_fault() -> None:
    """For them it is /etc/shadow; for the grants it is under /srv."""
    with pytest.raises(PeerFault, match="zero byte"):
        Talk().say(INIT + ask(sftp.OPEN, 1, string(b"/etc/shadow\0/../../srv/x"), number(1), number(0)))


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/srv/../etc/x", "/etc/x"),
        ("//etc/./x/", "/etc/x"),
        ("/../..", "/"),
        ("x", "~/x"),
        ("./a/../b", "~/b"),
        ("", ""),
    ],
)
def test_grants_see_a_path_without_its_detours(path: str, named: str) -> None:
    talk = Talk()
    talk.say(ask(sftp.REMOVE, 5, string(path)))
    assert talk.admission.permits[0].operation.target["path"] == named
    assert talk.admission.permits[0].operation.objects == (path,)


@pytest.mark.parametrize("path", ["../etc/x", "a/../../x", ".."])
@pytest.mark.parametrize("kind", [sftp.REMOVE, sftp.STAT])
def test_a_path_out_of_an_unknown_home_is_refused(path: str, kind: int) -> None:
    talk = Talk()
    talk.say(ask(kind, 5, string(path)))
    assert talk.host.data == b""
    assert Fields(talk.agent.data, 9).number() == sftp.PERMISSION_DENIED
    assert [ends for _, ends in talk.ends] == [[("denied", 0)]]


def test_a_handle_given_twice_loses_no_outcome() -> None:
    talk = Talk()
    talk.say(READING + ask(sftp.OPEN, 2, string("/y"), number(1), ATTRS))
    talk.hear(HANDLE + ask(sftp.HANDLE, 2, string("h1")))
    talk.tap.close()
    assert talk.ends == [("sftp.read", [("unknown", 0)]), ("sftp.read", [("success", 0)])]


def test_a_permit_that_comes_when_all_is_over_has_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk()
    waiting: Deferred[Any] = Deferred()
    permit = talk.admission.permit

    async def slow(operation: Any) -> Any:
        await waiting
        return await permit(operation)

    monkeypatch.setattr(talk.admission, "permit", slow)
    talk.say(ask(sftp.REMOVE, 5, string("/x")))
    talk.tap.close()
    waiting.callback(None)
    assert talk.ends == [("sftp.remove", [("unknown", 0)])]
