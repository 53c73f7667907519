"""Logins to a host go by turns, and each way in which one fails is told to the right people."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from adapters.ssh import hosts
from adapters.ssh.host_exchange import HostKeyRefused, NothingInCommon
from adapters.ssh.hosts import Hosts
from adapters.ssh.options import Options
from adapters.ssh.upstream import LoginRefused
from bridge.adapter import AdmissionRequest, BearerToken, PeerFault, Reason, Refused, Secret, StreamClosed, TimedOut
from bridge.testing.door import FakeAdmission, FakeDoor


class _Engine:
    host_key_blob = b"key"


class _Leg:
    """What a login gives."""

    engine = _Engine()
    facts = {"software": "OpenSSH_9.2p1", "kex": "curve25519-sha256", "host_key": "ssh-ed25519"}


class Rehearsal:
    """Logins that end when the test says so: ``going`` are those on their way to the host."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.door = FakeDoor(Options(**options))
        self.hosts = Hosts(Clock().seconds)
        self.hosts.deferring = _never
        self.going: list[Deferred[Any]] = []
        self.names: list[str] = []
        self.ended: list[Any] = []
        self.admissions: list[FakeAdmission] = []
        monkeypatch.setattr(hosts.upstream, "log_in", self._log_in)

    async def _log_in(self, stream: Any, *, host: str, **rest: Any) -> Any:
        self.names.append(host)
        waiting: Deferred[Any] = Deferred()
        self.going.append(waiting)
        return await waiting

    def start(self, host: str = "web-1") -> None:
        admitted = Deferred.fromCoroutine(self.door.admit(BearerToken(Secret("t")), AdmissionRequest()))
        admission: FakeAdmission = admitted.result
        self.admissions.append(admission)
        running = Deferred.fromCoroutine(self.hosts.log_in(admission, self.door.system, host))
        running.addCallbacks(self.ended.append, lambda failure: self.ended.append(failure.value))


async def _never(function: Any, *arguments: Any) -> Any:
    raise AssertionError("nothing blocks here")


def test_a_login_is_recorded_with_what_the_hosts_log_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Rehearsal(monkeypatch)
    play.start()
    play.going[0].callback(_Leg())
    assert play.door.story == ["admit", "connect", "established"]
    assert str(play.admissions[0].facts["host_key"]).startswith("ssh-ed25519 SHA256:")
    assert play.names == ["web-1"]


def test_a_few_at_a_time_and_the_others_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Rehearsal(monkeypatch, handshakes=2)
    for _ in range(4):
        play.start()
    play.start("web-2")
    assert play.names == ["web-1", "web-1", "web-2"]  # a busy host is in nobody's way but its own
    assert play.door.story.count("connect") == 3
    play.going[0].callback(_Leg())
    play.going[1].errback(StreamClosed("gone"))
    assert play.names == ["web-1", "web-1", "web-2", "web-1", "web-1"]
    for waiting in play.going[2:]:
        waiting.callback(_Leg())
    assert len(play.ended) == 5
    assert not play.hosts._turns  # of a host to which nobody logs in nothing is kept


def test_the_line_is_not_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "MOST_WAITING", 1)
    play = Rehearsal(monkeypatch, handshakes=1)
    for _ in range(3):
        play.start()
    assert isinstance(play.ended[0], Refused)
    assert play.ended[0].reason is Reason.TOO_MANY


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (LoginRefused("the password was refused"), "login refused"),
        (HostKeyRefused("web-1 shows a key that is not pinned"), "alarm host-key"),
        (NothingInCommon("no cipher"), "alarm algorithms"),
        (PeerFault("no SSH server"), ""),
        (TimedOut("too long"), ""),
        (StreamClosed("reset"), ""),
    ],
)
def test_the_agent_only_hears_that_the_host_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, told: str
) -> None:
    play = Rehearsal(monkeypatch)
    play.start()
    play.going[0].errback(failure)
    (refused,) = play.ended
    assert refused.reason is Reason.UPSTREAM_UNAVAILABLE
    assert str(failure) not in str(refused)
    assert refused.detail == str(failure)
    assert play.door.story == ["admit", "connect", *filter(None, [told])]


def test_an_unreachable_host(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Rehearsal(monkeypatch)
    unreachable = Refused(Reason.UPSTREAM_UNAVAILABLE, "unavailable")
    monkeypatch.setattr(FakeAdmission, "connect", _raising(unreachable))
    play.start()
    assert play.ended == [unreachable]
    assert not play.hosts._turns


def _raising(refused: Refused) -> Any:
    async def connect(self: FakeAdmission) -> Any:
        raise refused

    return connect
