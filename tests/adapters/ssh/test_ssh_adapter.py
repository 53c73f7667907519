"""The adapter itself: host keys are there before anybody is spoken to; the rest is asked by the conformance suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from adapters.ssh.adapter import SSHAdapter
from adapters.ssh.gate import survived
from adapters.ssh.host_keys import HostKeys
from adapters.ssh.options import Options
from bridge.adapter import Reason, Refused, SystemFacts
from bridge.testing.door import FakeDoor
from bridge.testing.streams import memory_pair


class Later:
    """A pool whose work is done when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self._waiting: list[Deferred[None]] = []

    async def __call__(self, function: Any, *arguments: Any) -> Any:
        self.asked.append(function)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        await waiting
        return function(*arguments)

    def work(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)


def started(options: Options, folder: Path) -> tuple[SSHAdapter, SystemFacts, Later]:
    adapter, pool = SSHAdapter(Clock().seconds), Later()
    adapter.start(pool)
    return adapter, SystemFacts("hosts", options, folder=str(folder)), pool


def test_connections_that_come_first_together_see_one_key(tmp_path: Path) -> None:
    adapter, system, pool = started(Options(), tmp_path)
    found: list[HostKeys] = []
    for _ in range(3):
        Deferred.fromCoroutine(adapter._keys(system)).addCallback(found.append)
    pool.work()
    assert len(pool.asked) == 1
    assert len(found) == 3
    assert found[0] is found[1] is found[2]


def test_a_host_key_that_cannot_be_used_is_told_to_ops_only(tmp_path: Path) -> None:
    adapter, system, pool = started(Options(host_key=(str(tmp_path / "none"),)), tmp_path)
    door = FakeDoor(system=system)
    _, near = memory_pair()
    raised: list[Any] = []
    Deferred.fromCoroutine(adapter.serve(near, door)).addErrback(lambda failure: raised.append(failure.value))
    pool.work()
    assert isinstance(raised[0], Refused)
    assert raised[0].reason is Reason.INTERNAL
    assert "host key none" in raised[0].detail
    assert not near.sent


def test_a_quota_refuses_an_operation_and_the_session_lives_on() -> None:
    refused = Refused(Reason.QUOTA, "the quota calm is used up")
    assert survived(refused) is refused
    with pytest.raises(Refused):
        survived(Refused(Reason.SESSION_REVOKED, "revoked"))
