"""Between two legs: what passes as it came, what is refused and how that looks, and that every permit has its end."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from adapters.ssh import codec
from adapters.ssh.channels import MOST_UNANSWERED
from adapters.ssh.fields import Fields, flag, number, string
from adapters.ssh.options import Options
from adapters.ssh.public_keys import NO_LIMITS, Limits
from adapters.ssh.relaying import RESERVE, Relay
from adapters.ssh.requests import MOST_VARIABLES
from bridge.adapter import Action, AgentFacts, PeerFault, Reason, Refused, SystemFacts
from bridge.testing.door import FakeAdmission, FakeDoor

WINDOW = 2 * 1024 * 1024
A, H = 7, 42
REFUSED = Refused(Reason.ACTION_DENIED, "not covered", reference="ses_1", hint="ask for a grant")


class PlayedLeg:
    facts: dict[str, str] = {}

    def __init__(self) -> None:
        self.out: list[bytes] = []

    def write(self, payload: bytes) -> None:
        self.out.append(payload)

    def take(self) -> list[bytes]:
        out, self.out = self.out, []
        return out


class Talk:
    """An agent and a host with the relay between them; what is said to either is returned."""

    def __init__(
        self, limits: Limits = NO_LIMITS, ssh_port: int = 22, *, record_all: bool = False, **options: Any
    ) -> None:
        self.agent, self.host = PlayedLeg(), PlayedLeg()
        door = FakeDoor()
        self.admission = FakeAdmission(door, AgentFacts("deploy-7", "Deploy 7", "payments"), tuple(Action))
        system = SystemFacts("fleet", None, record_all=record_all)
        legs: Any = self.agent, self.host
        self.relay = Relay(*legs, self.admission, system, Options(**options), limits, ssh_port=ssh_port)

    def say(self, payload: bytes) -> tuple[list[bytes], list[bytes]]:
        _finish(self.relay.from_agent(payload))
        return self.agent.take(), self.host.take()

    def hear(self, payload: bytes) -> tuple[list[bytes], list[bytes]]:
        _finish(self.relay.from_host(payload))
        return self.agent.take(), self.host.take()

    def open(self) -> Talk:
        opening = codec.Opening("session", A, WINDOW, 32768, b"")
        self.say(opening.compose())
        self.hear(struct.pack("!BIIII", codec.OPEN_CONFIRMATION, A, H, WINDOW, 32768))
        return self

    def ask(self, kind: str, rest: bytes = b"", *, want_reply: bool = True) -> tuple[list[bytes], list[bytes]]:
        return self.say(codec.request(H, kind, rest, want_reply=want_reply))

    @property
    def permits(self) -> list[tuple[str, str]]:
        return [(one.operation.verb, one.operation.action.value) for one in self.admission.permits]


def _finish(waiting: Coroutine[Any, Any, None] | None) -> None:
    if waiting is not None:
        failures: list[Any] = []
        Deferred.fromCoroutine(waiting).addErrback(failures.append)
        if failures:
            failures[0].raiseException()


def told(payloads: list[bytes]) -> list[int]:
    return [payload[0] for payload in payloads]


def test_a_channel_opens_as_the_agent_asked_but_for_a_reserve_of_its_window() -> None:
    talk = Talk()
    _, sent = talk.say(codec.Opening("session", A, WINDOW, 32768, b"").compose())
    assert codec.Opening.parse(sent[0]) == codec.Opening("session", A, WINDOW - RESERVE, 32768, b"")
    confirmation = struct.pack("!BIIII", codec.OPEN_CONFIRMATION, A, H, WINDOW, 32768)
    assert talk.hear(confirmation) == ([confirmation], [])


def test_a_command_carries_the_stamp_and_its_status_becomes_the_outcome() -> None:
    talk = Talk().open()
    asked = codec.request(H, "exec", string("id"), want_reply=True)
    heard, sent = talk.say(asked)
    assert heard == []
    assert [codec.Asked.parse(one).rest for one in sent[:2]] == [
        string("IDBRIDGE_SESSION") + string("ib:ses_0000000000000000"),
        string("LC_BRIDGE_SID") + string("ib:ses_0000000000000000"),
    ]
    assert sent[2] == asked
    success = codec.answer(A, success=True)
    assert talk.hear(success) == ([success], [])
    data = codec.data(H, b"in")
    assert talk.say(data) == ([], [data])
    answer = codec.data(A, b"uid=0")
    assert talk.hear(answer) == ([answer], [])
    for message in (codec.exit_status(A, 0), codec.eof(A), codec.close(A)):
        assert talk.hear(message) == ([message], [])
    assert talk.say(codec.close(H)) == ([], [codec.close(H)])
    (permit,) = talk.admission.permits
    assert (permit.operation.verb, permit.operation.action) == ("ssh.exec", Action.READ)
    assert [(o.result.value, o.code, o.bytes) for o in permit.outcomes] == [("success", "0", 7)]


@pytest.mark.parametrize(
    ("said", "result", "code"),
    [
        ([codec.exit_status(A, 3)], "failure", "3"),
        (
            [codec.request(A, "exit-signal", string("TERM") + flag(False) + string("") + string(""))],
            "failure",
            "SIGTERM",
        ),
        ([], "unknown", ""),
    ],
)
def test_other_ends_of_a_command(said: list[bytes], result: str, code: str) -> None:
    talk = Talk().open()
    talk.ask("exec", string("false"))
    for message in said:
        assert talk.hear(message) == ([message], [])
    talk.relay.end()
    assert [(o.result.value, o.code) for o in talk.admission.permits[0].outcomes] == [(result, code)]


def test_a_refused_command_says_why_and_the_connection_lives() -> None:
    talk = Talk().open()
    talk.admission.refuse[Action.WRITE] = REFUSED
    heard, sent = talk.ask("exec", string("rm -rf /"))
    assert told(heard) == [codec.CHANNEL_SUCCESS, codec.EXTENDED_DATA, codec.CHANNEL_REQUEST, codec.EOF]
    assert b"not covered (reference ses_1)" in heard[1]
    assert b"ask for a grant" in heard[1]
    assert heard[2] == codec.exit_status(A, 126)
    assert sent == [codec.close(H)]
    assert talk.say(codec.data(H, b"late")) == ([], [])
    assert talk.hear(codec.data(A, b"late")) == ([], [])
    assert talk.hear(codec.close(A)) == ([codec.close(A)], []), "the agent may use the number again only now"
    assert talk.say(codec.close(H)) == ([], [])
    talk.open()
    assert told(talk.ask("exec", string("uptime"))[1])[-1] == codec.CHANNEL_REQUEST
    assert talk.permits == [("ssh.exec", "read")]


def test_a_refusal_that_ends_the_session_is_raised() -> None:
    talk = Talk().open()
    talk.admission.refuse[Action.WRITE] = Refused(Reason.LOG_UNAVAILABLE, "the log")
    with pytest.raises(Refused):
        talk.ask("exec", string("rm x"))


def test_each_command_of_a_line_must_be_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk().open()
    asked: list[str] = []

    def may(action: Action, target: Any) -> bool:
        asked.append(target["command"])
        return str(target["command"]).startswith("git ")

    monkeypatch.setattr(talk.admission, "may", may)
    talk.ask("exec", string("git status; rm -rf /"))
    assert asked == ["git status", "rm -rf /"]
    assert talk.admission.permits[0].operation.target["command"] == "rm -rf /", "the policy decides on the part"
    other = Talk().open()
    monkeypatch.setattr(other.admission, "may", lambda action, target: bool(target["command"]))
    other.ask("exec", string("git log $(rm x)"))
    assert other.admission.permits[0].operation.target["command"] == ""


def test_only_commands_where_the_system_says_so() -> None:
    talk = Talk(exec_only=True).open()
    heard, sent = talk.ask("shell")
    assert b"no interactive shell" in heard[1]
    assert sent == [codec.close(H)]
    assert [o.result.value for o in talk.admission.permits[0].outcomes] == ["denied"]


def test_a_certificate_can_force_the_command_and_forbid_the_terminal() -> None:
    talk = Talk(Limits("backup", pty=False, forwarding=False), forwarding=True).open()
    terminal = string("xterm") + struct.pack("!IIII", 80, 24, 0, 0) + string(b"\0")
    assert talk.ask("pty-req", terminal) == ([codec.answer(A, success=False)], [])
    _, sent = talk.ask("shell")
    assert codec.Asked.parse(sent[-1]) == codec.Asked(H, "exec", True, string("backup"))
    heard, _ = talk.say(codec.Opening("direct-tcpip", 9, WINDOW, 1, string("db") + number(5432)).compose())
    assert told(heard) == [codec.OPEN_FAILURE]


def test_variables_are_filtered_and_the_stamp_is_not_the_agents() -> None:
    talk = Talk().open()
    for name, passes in (
        ("LC_ALL", True),
        ("LD_PRELOAD", False),
        ("IDBRIDGE_SESSION", False),
        ("LC_BRIDGE_SID", False),
    ):
        heard, sent = talk.ask("env", string(name) + string("x"), want_reply=False)
        assert (heard, bool(sent)) == ([], passes), name
    heard, sent = talk.ask("env", string("PATH") + string("x"))
    assert (heard, sent) == ([codec.answer(A, success=False)], [])


def test_variables_have_a_limit() -> None:
    talk = Talk().open()
    for number_ in range(MOST_VARIABLES):
        assert talk.ask("env", string(f"LC_{number_}") + string("x"), want_reply=False)[1]
    heard, sent = talk.ask("env", string("LC_ALL") + string("x"))
    assert (heard, sent) == ([codec.answer(A, success=False)], [])


@pytest.mark.parametrize("order", list(itertools.permutations(("pty-req", "env", "window-change"))))
def test_what_comes_before_a_shell_may_come_in_any_order(order: tuple[str, ...]) -> None:
    """warpgate#18: a terminal that was asked for first was forgotten."""
    rests = {
        "pty-req": string("xterm") + struct.pack("!IIII", 80, 24, 0, 0) + string(b"\0"),
        "env": string("LANG") + string("C"),
        "window-change": struct.pack("!IIII", 120, 40, 0, 0),
    }
    talk = Talk().open()
    asked = [codec.request(H, kind, rests[kind], want_reply=kind != "window-change") for kind in order]
    asked.append(codec.request(H, "shell", want_reply=True))
    sent = [one for payload in asked for one in talk.say(payload)[1]]
    stamped = codec.environment(H, "IDBRIDGE_SESSION", "ib:ses_0000000000000000")
    assert [one for one in sent if one in asked] == asked
    assert stamped in sent
    success = codec.answer(A, success=True)
    assert [talk.hear(success)[0] for _ in range(3)] == [[success]] * 3


def test_answers_keep_the_order_of_the_requests() -> None:
    """Conch answered FAILURE before an earlier SUCCESS (measured)."""
    talk = Talk().open()
    assert talk.ask("env", string("LANG") + string("C"))[0] == []
    assert talk.ask("x11-req")[0] == [], "its failure waits for the answer before it"
    success = codec.answer(A, success=True)
    assert talk.hear(success)[0] == [success, codec.answer(A, success=False)]
    assert talk.hear(success)[0] == [], "an answer that nobody waits for"


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        ("signal", string("INT")),
        ("break", number(500)),
        ("xon-xoff", flag(True)),
        ("window-change", number(120) + number(40) + number(0) + number(0)),
    ],
)
def test_what_a_terminal_asks_goes_to_the_host_as_it_came(kind: str, rest: bytes) -> None:
    talk = Talk().open()
    talk.ask("shell")
    assert talk.ask(kind, rest, want_reply=False) == ([], [codec.request(H, kind, rest)])


def test_a_host_that_has_sessions_enough_declines_one_and_the_others_go_on() -> None:
    """sshd's MaxSessions; the agent may use the number again."""
    talk = Talk().open()
    other = codec.Opening("session", 9, WINDOW, 32768, b"").compose()
    for _ in range(2):
        talk.say(other)
        declined = codec.open_failure(9, codec.SHORTAGE, "open failed")
        assert talk.hear(declined) == ([declined], [])
    assert talk.ask("exec", string("true"))[1]


def test_no_side_sends_more_than_the_window() -> None:
    """What waits between them would have no bound."""
    talk = Talk().open()
    talk.ask("exec", string("cat"))
    talk.hear(codec.answer(A, success=True))
    talk.say(codec.data(H, bytes(WINDOW)))
    talk.hear(codec.adjust(A, 10))
    assert talk.say(codec.data(H, bytes(10)))[1]
    with pytest.raises(PeerFault, match="more came than the window"):
        talk.say(codec.data(H, b"x"))
    talk.hear(codec.data(A, bytes(WINDOW)))
    talk.say(codec.adjust(H, 10))
    assert talk.hear(codec.stderr(A, bytes(10)))[0]
    with pytest.raises(PeerFault, match="more came than the window"):
        talk.hear(codec.data(A, b"x"))


def test_a_window_is_widened_in_large_steps_and_at_once_when_it_is_nearly_used_up() -> None:
    """Each telling costs as much as a packet of data."""
    talk = Talk().open()
    talk.ask("exec", string("cat"))
    talk.hear(codec.answer(A, success=True))
    told: list[int] = []
    for _ in range(16):
        talk.hear(codec.data(A, bytes(96 * 1024)))
        told += [Fields(one, 5).number() for one in talk.say(codec.adjust(H, 96 * 1024))[1]]
    assert told == [288 * 1024] * 5
    bulk = codec.data(A, bytes(3 * WINDOW // 4))
    assert talk.hear(bulk) == ([bulk], [codec.adjust(H, 96 * 1024)])
    assert talk.say(codec.adjust(H, 1000)) == ([], [codec.adjust(H, 1000)])
    used = codec.data(H, bytes(WINDOW - WINDOW // 4))
    assert (talk.say(used), talk.hear(codec.adjust(A, 9))) == (([], [used]), ([], []))
    last = codec.data(H, b"x")
    assert talk.say(last) == ([codec.adjust(A, 9)], [last]), "what was allowed is not kept from who has used the rest"


def test_a_window_has_32_bits() -> None:
    talk = Talk().open()
    with pytest.raises(PeerFault, match="too large"):
        talk.say(codec.adjust(H, 2**32 - 1))


def test_requests_that_nobody_answers_have_a_limit() -> None:
    """A flood of them would fill memory while the host is slow."""
    talk = Talk().open()
    for _ in range(MOST_UNANSWERED):
        talk.ask("window-change", number(80) + number(24) + number(0) + number(0))
    with pytest.raises(PeerFault, match="without an answer"):
        talk.ask("signal", string("INT"))


@pytest.mark.parametrize("kind", ["x11-req", "auth-agent-req@openssh.com", "unknown@example"])
def test_agent_and_x11_forwarding_are_refused_without_a_word_to_the_host(kind: str) -> None:
    assert Talk().open().ask(kind) == ([codec.answer(A, success=False)], [])


@pytest.mark.parametrize("kind", ["x11", "auth-agent@openssh.com", "tun@openssh.com", "direct-streamlocal@openssh.com"])
def test_other_channels_are_refused(kind: str) -> None:
    heard, sent = Talk().say(codec.Opening(kind, 3, WINDOW, 1, b"").compose())
    assert (told(heard), sent) == ([codec.OPEN_FAILURE], [])


def test_forwarding_is_off_unless_the_system_and_the_grants_say_so() -> None:
    opening = codec.Opening("direct-tcpip", 3, WINDOW, 32768, string("db") + number(5432) + string("") + number(0))
    heard, sent = Talk().say(opening.compose())
    assert (told(heard), sent) == ([codec.OPEN_FAILURE], [])
    talk = Talk(forwarding=True)
    assert talk.say(opening.compose())[1] == [opening.compose()]
    assert talk.admission.permits[0].operation.target["forward"] == "db:5432"
    ssh = codec.Opening("direct-tcpip", 4, WINDOW, 32768, string("web-1") + number(22) + string("") + number(0))
    heard, sent = talk.say(ssh.compose())
    assert sent == [], "a host's SSH is reached through the bridge"
    assert b"ssh -J" in heard[0]
    talk.admission.refuse[Action.WRITE] = REFUSED
    other = codec.Opening("direct-tcpip", 5, WINDOW, 32768, string("hr") + number(1) + string("") + number(0))
    assert told(talk.say(other.compose())[0]) == [codec.OPEN_FAILURE]


def test_the_hosts_own_words_stay_between_host_and_bridge() -> None:
    """sshpiper#131: hostkeys-00 of another host makes clients fail."""
    talk = Talk().open()
    request = bytes((codec.GLOBAL_REQUEST,)) + string("hostkeys-00@openssh.com") + flag(False) + string("key")
    assert talk.hear(request) == ([], [])
    alive = bytes((codec.GLOBAL_REQUEST,)) + string("keepalive@openssh.com") + flag(True)
    assert talk.hear(alive) == ([], [bytes((codec.REQUEST_FAILURE,))])
    assert talk.say(alive) == ([bytes((codec.REQUEST_FAILURE,))], [])
    assert told(talk.hear(codec.Opening("x11", 1, 1, 1, b"").compose())[1]) == [codec.OPEN_FAILURE]


def test_no_more_sessions_is_kept() -> None:
    talk = Talk()
    talk.say(bytes((codec.GLOBAL_REQUEST,)) + string("no-more-sessions@openssh.com") + flag(False))
    assert told(talk.say(codec.Opening("session", A, WINDOW, 1, b"").compose())[0]) == [codec.OPEN_FAILURE]


def test_channels_have_a_limit_and_a_number_is_used_once() -> None:
    talk = Talk(max_channels=2)
    for sender in (1, 2):
        talk.say(codec.Opening("session", sender, WINDOW, 1, b"").compose())
    heard, _ = talk.say(codec.Opening("session", 3, WINDOW, 1, b"").compose())
    assert Fields(heard[0], 5).number() == codec.SHORTAGE
    with pytest.raises(PeerFault):
        talk.say(codec.Opening("session", 1, WINDOW, 1, b"").compose())


def test_unknown_channels_break_nothing() -> None:
    talk = Talk().open()
    for payload in (codec.data(999, b"x"), codec.close(999), codec.request(999, "exec", string("x")), codec.eof(999)):
        assert talk.say(payload) == ([], [])
        assert talk.hear(payload) == ([], [])


@pytest.mark.parametrize("payload", [b"\x5e", b"\x62\0\0", b"\x5a\0\0\0\x07ses", b"\x65\0\0\0\x2a", b"\x50\xff"])
def test_malformed_messages_are_the_peers_fault(payload: bytes) -> None:
    with pytest.raises(PeerFault):
        Talk().open().say(payload)


def test_a_terminal_is_recorded_as_it_was_seen() -> None:
    talk = Talk(recording="required").open()
    talk.ask("pty-req", string("xterm") + struct.pack("!IIII", 100, 30, 0, 0) + string(b"\0"))
    talk.ask("shell")
    talk.hear(codec.data(A, "caf\u00e9 ".encode()[:4]))
    talk.hear(codec.data(A, "caf\u00e9 ".encode()[4:]))
    talk.ask("window-change", struct.pack("!IIII", 120, 40, 0, 0), want_reply=False)
    talk.say(codec.data(H, b"typed secret"))
    talk.relay.end()
    (recording,) = talk.admission.recordings
    lines = [json.loads(line) for line in recording.text.splitlines()]
    assert (lines[0]["version"], lines[0]["width"], lines[0]["height"]) == (2, 100, 30)
    assert [line[1:] for line in lines[1:]] == [["o", "caf"], ["o", "\u00e9 "], ["r", "120x40"]]
    assert recording.closed


def test_what_the_host_owes_is_answered_before_a_refusal() -> None:
    talk = Talk(exec_only=True).open()
    terminal = string("xterm") + struct.pack("!IIII", 80, 24, 0, 0) + string(b"\0")
    assert talk.ask("pty-req", terminal)[0] == []
    assert talk.ask("x11-req")[0] == []
    heard, _ = talk.ask("shell")
    assert told(heard[:4]) == [codec.CHANNEL_SUCCESS, codec.CHANNEL_FAILURE, codec.CHANNEL_SUCCESS, codec.EXTENDED_DATA]
    assert talk.hear(codec.answer(A, success=True)) == ([], []), "the host's own answers come too late"


def test_an_agents_number_is_free_only_when_the_host_has_closed_as_well() -> None:
    """ControlMaster takes the lowest free number for the next command, faster than the host may answer."""
    talk = Talk().open()
    talk.admission.refuse[Action.WRITE] = REFUSED
    talk.ask("exec", string("rm x"))
    assert talk.say(codec.close(H)) == ([], [])
    with pytest.raises(PeerFault):
        talk.say(codec.Opening("session", A, WINDOW, 1, b"").compose())


@pytest.mark.parametrize("make", [codec.data, codec.stderr])
@pytest.mark.parametrize("length", [0, 2, 4, 2**32 - 1])
def test_data_with_a_wrong_length_is_passed_to_nobody(make: Any, length: int) -> None:
    """A host that reads the length would see another SFTP packet than the bridge."""
    talk = Talk().open()
    talk.ask("subsystem", string("sftp"))
    good = make(A, b"abc")
    wrong = good[:-7] + number(length) + b"abc"
    for say in (talk.say, talk.hear):
        with pytest.raises(PeerFault):
            say(wrong[:1] + number(H if say == talk.say else A) + wrong[5:])


def test_data_before_anything_runs_reaches_nobody() -> None:
    """It could reach a program that starts later, past its tap."""
    assert Talk().open().say(codec.data(H, b"x")) == ([], [])


def test_another_start_after_the_host_declined_the_first() -> None:
    """PuTTY's psftp asks for the subsystem, then for a command, in the same channel."""
    talk = Talk().open()
    talk.ask("env", string("LANG") + string("C"))
    talk.ask("subsystem", string("sftp"))
    success, failure = codec.answer(A, success=True), codec.answer(A, success=False)
    assert talk.hear(success) == ([success], [])
    assert talk.ask("exec", string("x")) == ([], []), "one at a time"
    assert talk.hear(failure)[0] == [failure, failure]
    for text, end in (("exec sftp", failure), ("scp -t x", success)):
        assert told(talk.ask("exec", string(text))[1])[-1] == codec.CHANNEL_REQUEST
        assert talk.hear(end) == ([end], [])
    data = codec.data(H, b"not SFTP")
    assert talk.say(data) == ([], [data])
    assert [(p.operation.verb, [o.code for o in p.outcomes]) for p in talk.admission.permits] == [
        ("ssh.exec", ["not started"]),
        ("ssh.scp", []),
    ]


def test_an_agent_has_no_error_output() -> None:
    talk = Talk().open()
    talk.ask("subsystem", string("sftp"))
    with pytest.raises(PeerFault):
        talk.say(codec.stderr(H, b"x"))


@pytest.mark.parametrize("answer", [
    struct.pack("!BIIII", codec.OPEN_CONFIRMATION, H, 99, WINDOW, 32768), codec.open_failure(H, 1, "no"),
])  # fmt: skip
def test_an_agent_answers_no_channel_that_it_opened_itself(answer: bytes) -> None:
    talk = Talk().open()
    talk.ask("exec", string("x"))
    with pytest.raises(PeerFault):
        talk.say(answer)
    assert talk.admission.open_permits == ["ssh.exec"]


@pytest.mark.parametrize("number_", [H, H + 1])
def test_a_host_confirms_a_channel_once(number_: int) -> None:
    talk = Talk().open()
    with pytest.raises(PeerFault):
        talk.hear(struct.pack("!BIIII", codec.OPEN_CONFIRMATION, A, number_, WINDOW, 32768))


@pytest.mark.parametrize("message", [codec.REQUEST_SUCCESS, codec.REQUEST_FAILURE])
def test_answers_to_the_bridges_own_keepalives_go_no_further(message: int) -> None:
    assert Talk().say(bytes((message,))) == ([], [])


def test_what_the_bridge_asks_the_host_is_answered_to_nobody_else() -> None:
    """In its place among what the agent has asked."""
    talk = Talk(forwarding=True)
    talk.relay.ask_host()
    alive = bytes((codec.GLOBAL_REQUEST,)) + string("keepalive@openssh.com") + flag(True)
    forward = bytes((codec.GLOBAL_REQUEST,)) + string("tcpip-forward") + flag(True) + string("localhost") + number(0)
    assert talk.say(forward) == ([], [alive, forward])
    talk.relay.ask_host()
    assert talk.hear(bytes((codec.REQUEST_FAILURE,)))[0] == []
    given = bytes((codec.REQUEST_SUCCESS,)) + number(4711)
    assert talk.hear(given)[0] == [given]
    assert talk.hear(bytes((codec.REQUEST_FAILURE,)))[0] == []
    talk.relay.ask_agent()
    assert talk.say(bytes((codec.REQUEST_FAILURE,))) == ([alive], [])


def test_keepalives_and_the_hosts_own_keys_are_answered_on_the_spot() -> None:
    """sshpiper#131: hostkeys-00 passed on made clients say "bad signature"."""
    talk = Talk()
    ask = bytes((codec.GLOBAL_REQUEST,)) + string("keepalive@openssh.com") + flag(True)
    failure = bytes((codec.REQUEST_FAILURE,))
    assert talk.say(ask) == ([failure], [])
    assert talk.hear(ask) == ([], [failure])
    assert talk.hear(bytes((codec.GLOBAL_REQUEST,)) + string("hostkeys-00@openssh.com") + flag(False)) == ([], [])


def test_pings_of_openssh_go_no_further() -> None:
    """sshpiper#323: an old sshd died of message 192."""
    talk = Talk().open()
    assert talk.say(bytes((192,)) + string("x")) == ([], [])


def tcp(kind: str, sender: int, host: str, port: int) -> bytes:
    rest = string(host) + number(port) + string("127.0.0.1") + number(1)
    return codec.Opening(kind, sender, WINDOW, 32768, rest).compose()


def test_a_forward_needs_the_option_and_a_permit_and_is_measured() -> None:
    assert told(Talk().say(tcp("direct-tcpip", 9, "db", 5432))[0]) == [codec.OPEN_FAILURE]
    talk = Talk(forwarding=True)
    opening = tcp("direct-tcpip", A, "db", 5432)
    assert talk.say(opening) == ([], [opening])
    talk.hear(struct.pack("!BIIII", codec.OPEN_CONFIRMATION, A, H, WINDOW, 32768))
    greeting = codec.data(A, b"220 hello")
    assert talk.hear(greeting) == ([greeting], []), "warpgate#2328: the server speaks first"
    talk.say(codec.data(H, b"hi"))
    talk.hear(codec.close(A))
    talk.say(codec.close(H))
    (permit,) = talk.admission.permits
    assert permit.operation.target["forward"] == "db:5432"
    assert [(o.result.value, o.bytes) for o in permit.outcomes] == [("success", 11)]


@pytest.mark.parametrize("port", [22, 5432])
def test_no_forward_to_ssh_and_none_that_is_refused(port: int) -> None:
    talk = Talk(forwarding=True)
    talk.admission.refuse[Action.WRITE] = REFUSED
    heard, sent = talk.say(tcp("direct-tcpip", 9, "db", port))
    assert (told(heard), sent) == ([codec.OPEN_FAILURE], [])


def test_no_forward_to_the_port_where_the_hosts_ssh_really_is() -> None:
    talk = Talk(ssh_port=2222, forwarding=True)
    for port in (22, 2222):
        assert told(talk.say(tcp("direct-tcpip", 9, "db", port))[0]) == [codec.OPEN_FAILURE]
    assert talk.say(tcp("direct-tcpip", 9, "db", 2223))[1]


@pytest.mark.parametrize(
    ("kind", "rest"),
    [("exec", string(b"reboot\0 x")), ("subsystem", string(b"sftp\0x"))],
)
def test_a_text_that_some_hosts_would_cut_is_a_fault(kind: str, rest: bytes) -> None:
    """Hosts of before 2010 read up to the zero byte: other words than those that the grants were asked about."""
    talk = Talk().open()
    with pytest.raises(PeerFault, match="zero byte"):
        talk.ask(kind, rest)
    assert talk.host.out == []


@pytest.mark.parametrize(("host", "port"), [("db\0.elsewhere", 5432), ("db", 65536 + 22)])
def test_a_forward_that_some_hosts_would_read_otherwise_is_a_fault(host: str, port: int) -> None:
    talk = Talk(forwarding=True)
    with pytest.raises(PeerFault):
        talk.say(tcp("direct-tcpip", 9, host, port))
    assert talk.host.out == []


def test_a_host_opens_forwarded_connections_only_where_it_was_asked_to_listen() -> None:
    talk = Talk(forwarding=True, max_channels=1)
    coming = tcp("forwarded-tcpip", H, "localhost", 8080)
    assert told(talk.hear(coming)[1]) == [codec.OPEN_FAILURE]
    ask = bytes((codec.GLOBAL_REQUEST,)) + string("tcpip-forward") + flag(True) + string("localhost") + number(8080)
    assert talk.say(ask) == ([], [ask])
    given = bytes((codec.REQUEST_SUCCESS,)) + number(8080)
    assert talk.hear(given) == ([given], [])
    assert talk.permits == [("ssh.forward.remote", "write")]
    assert talk.hear(coming) == ([coming], [])
    confirmation = struct.pack("!BIIII", codec.OPEN_CONFIRMATION, H, A, WINDOW, 32768)
    assert talk.say(confirmation) == ([], [confirmation])
    data = codec.data(H, b"x")
    assert talk.say(data) == ([], [data])
    assert told(talk.hear(tcp("forwarded-tcpip", H + 1, "localhost", 8080))[1]) == [codec.OPEN_FAILURE], "too many"


def test_a_shell_without_a_terminal_is_recorded_as_well() -> None:
    talk = Talk(recording="required").open()
    talk.ask("shell")
    talk.hear(codec.data(A, b"root\n"))
    talk.hear(codec.stderr(A, b"oops\n"))
    (recording,) = talk.admission.recordings
    assert [json.loads(line)[1:] for line in recording.text.splitlines()[1:]] == [["o", "root\n"], ["o", "oops\n"]]


def test_a_command_that_is_no_utf8_passes_as_its_bytes() -> None:
    talk = Talk().open()
    asked = codec.request(H, "exec", string(b"cat \xff"), want_reply=True)
    assert talk.say(asked)[1][-1] == asked


def test_an_sftp_server_of_the_agents_own_is_a_command() -> None:
    talk = Talk().open()
    talk.ask("exec", string("/srv/up/sftp-server"))
    assert talk.permits == [("ssh.exec", "write")]
    other = Talk().open()
    other.ask("exec", string("/usr/lib/openssh/sftp-server"))
    assert other.permits == [], "its operations are asked for one by one"


def test_end_of_file_status_and_data_arrive_in_the_hosts_order() -> None:
    """asyncssh#629: OpenSSH may send exit-status before the last data, and EOF before exit-status."""
    talk = Talk().open()
    talk.ask("exec", string("x"))
    talk.hear(codec.answer(A, success=True))
    order = [codec.exit_status(A, 0), codec.data(A, b"last"), codec.eof(A), codec.close(A)]
    assert [one for message in order for one in talk.hear(message)[0]] == order
    assert talk.say(codec.eof(H)) == ([], [codec.eof(H)]), "half-closed, the other way round"


@settings(max_examples=300)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(range(80, 104)), st.binary(max_size=40)), max_size=8))
def test_any_messages_raise_nothing_but_a_fault_and_leave_no_permit_open(messages: list[Any]) -> None:
    talk = Talk(forwarding=True).open()
    talk.ask("exec", string("x"))
    for from_agent, kind, rest in messages:
        with suppress(PeerFault):
            payload = bytes((kind,)) + number(H if from_agent else A) + rest
            talk.say(payload) if from_agent else talk.hear(payload)
    talk.relay.end()
    assert talk.admission.open_permits == []


@pytest.mark.parametrize("flag_", ["-t", "-f"])
def test_the_files_of_an_old_scp_are_named_at_its_end(flag_: str) -> None:
    talk = Talk().open()
    talk.ask("exec", string(f"scp -v {flag_} /srv"))
    files = b"C0644 3 notes\nabc\0"
    message = codec.data(H if flag_ == "-t" else A, files)
    assert (talk.say(message) if flag_ == "-t" else talk.hear(message)[::-1]) == ([], [message])
    talk.relay.end()
    (permit,) = talk.admission.permits
    assert (permit.operation.verb, permit.outcomes[0].detail) == ("ssh.scp", "notes (3 bytes)")


def test_a_host_gives_a_number_again_only_when_the_agent_has_done_with_it() -> None:
    talk = Talk().open()
    talk.admission.refuse[Action.WRITE] = REFUSED
    talk.ask("exec", string("rm x"))
    opening = codec.Opening("session", A + 1, 1000, 1, b"").compose()
    assert talk.say(opening) == ([], []), "the host has closed 42 by now and would give it to this one"
    talk.hear(codec.close(A))
    assert talk.say(codec.adjust(H, 5)) == ([], [])
    assert talk.say(codec.close(H)) == ([], [opening])
    talk.hear(struct.pack("!BIIII", codec.OPEN_CONFIRMATION, A + 1, H, WINDOW, 32768))
    assert told(talk.ask("exec", string("id"))[1])[-1] == codec.CHANNEL_REQUEST


def test_an_emergency_is_recorded_whatever_the_options_say() -> None:
    for record_all, recordings in ((False, 0), (True, 1)):
        talk = Talk(record_all=record_all, recording="off").open()
        talk.ask("shell")
        assert len(talk.admission.recordings) == recordings
