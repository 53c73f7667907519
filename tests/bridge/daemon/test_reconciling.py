"""Where the schedule looks for sessions past the bridge."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from bridge.daemon.reconciling import Reconciler


def reconciler(hosts: tuple[str, ...], *sessions: tuple[str, str]) -> Reconciler:
    """``sessions`` are the systems and hosts of live ones."""
    system: Any = SimpleNamespace(facts=SimpleNamespace(hosts=hosts))
    live = [
        SimpleNamespace(system=SimpleNamespace(name=name), request=SimpleNamespace(target={"host": host}))
        for name, host in sessions
    ]
    core: Any = SimpleNamespace(live=live)
    return Reconciler(lambda: core, lambda: {"fleet": system}, lambda name: system, Clock())


@pytest.mark.parametrize(
    ("hosts", "looked_at"),
    [
        ((), [""]),
        (("web-2", "web-*"), ["web-1", "web-2"]),
        (("web-*",), ["web-1"]),
    ],
)
def test_of_a_fleet_the_named_hosts_and_those_in_use(hosts: tuple[str, ...], looked_at: list[str]) -> None:
    assert reconciler(hosts, ("fleet", "WEB-1"), ("other", "db-1")).hosts("fleet") == looked_at


def test_each_system_is_due_after_its_own_time() -> None:
    one = reconciler(())
    assert one.due({"fleet": 60.0}) == ["fleet"]
    assert one.due({"fleet": 60.0}) == []
