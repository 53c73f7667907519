"""Break-glass while the bridge runs: its end comes whatever the clock does, and a missing review is told of daily."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - tests own the process

from bridge.admission.emergencies import Emergencies
from bridge.daemon.emergencies import REMIND, BreakGlass
from bridge.policy.emergency import Emergency, Rules
from bridge.storage import ThreadPool, open_engine, upgrade
from bridge.testing.people import PEOPLE, approved
from bridge.translation.record import Event

BEGAN = 2000
ASKED = Emergency("bg_1", "orders", "svc_admin", "oncall-1", "alice", "INC-7", 1800, 1000)
OPEN = replace(approved(ASKED, "b1", "bob", "carol"), began=BEGAN)  # for 1800 s


class Watching:
    def __init__(self, folder: Path) -> None:
        self.engine = open_engine(folder / "registry.db", kind="registry")
        upgrade(self.engine, "registry")
        self.store = Emergencies(self.engine)
        self.pool = ThreadPool("test", 1, reactor)
        self.now, self.clock = float(BEGAN), 50.0
        self.events: list[Event] = []
        self.glass = self.started()

    def started(self) -> BreakGlass:
        glass = BreakGlass(
            self.store, self.pool, lambda: self.clock, lambda: self.now, self.events.append, lambda agent: "payments"
        )
        glass.rules = Rules({name: PEOPLE[name] for name in ("alice", "bob", "carol")}, bridge="b1")
        return glass

    def pass_time(self, seconds: float, clock_set: float = 0.0) -> None:
        self.now += seconds + clock_set
        self.clock += seconds

    def row(self) -> Emergency:
        (found,) = self.store.in_thread_all()
        return found


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Any]:
    made = Watching(tmp_path)
    made.store.in_thread_add(OPEN)
    yield made
    pytest_twisted.blockon(made.pool.stop(grace=2.0))
    made.engine.dispose()


@pytest_twisted.ensureDeferred
async def test_it_ends_in_time_and_that_is_written_down_once(watching: Watching) -> None:
    glass = watching.glass
    assert await glass.take()
    assert [one.id for one in glass.open] == ["bg_1"]
    assert not await glass.take()
    watching.pass_time(1799)
    assert not glass.end()
    await glass.settle()
    assert watching.events == []
    watching.pass_time(1)
    assert glass.end()
    assert glass.open == []
    for _ in range(2):
        await glass.settle()
    assert watching.row().ended == BEGAN + 1800
    (event,) = watching.events
    assert (event.index.owner, event.index.session) == ("payments", "bg_1")
    assert '"ended":3800' in event.sections["change"]


@pytest.mark.parametrize("set_to", [-1000.0, -3600.0, 3600.0])
@pytest_twisted.ensureDeferred
async def test_a_clock_that_is_set_does_not_make_it_longer(watching: Watching, set_to: float) -> None:
    glass = watching.glass
    await glass.take()
    watching.pass_time(600, clock_set=set_to)
    watching.pass_time(1200)
    assert glass.end()
    await glass.settle()
    watching.now = BEGAN + 10.0
    assert not await watching.started().take()  # nor does a restart
    assert watching.row().ended


@pytest_twisted.ensureDeferred
async def test_a_restart_in_the_middle_keeps_its_end(watching: Watching) -> None:
    await watching.glass.take()
    watching.pass_time(1000)
    after = watching.started()
    assert await after.take()
    watching.pass_time(800)
    assert after.end()


@pytest_twisted.ensureDeferred
async def test_it_ends_when_who_approved_it_leaves(watching: Watching) -> None:
    glass = watching.glass
    await glass.take()
    glass.rules = replace(glass.rules, people={name: PEOPLE[name] for name in ("alice", "bob", "dave")})
    assert await glass.take()
    assert glass.open == []


@pytest_twisted.ensureDeferred
async def test_an_overdue_review_is_told_of_once_a_day(watching: Watching) -> None:
    glass = watching.glass
    watching.store.in_thread_change("bg_1", lambda one: replace(one, ended=one.ends))
    due = BEGAN + 1800 + glass.rules.review
    for now, told in ((due - 1, 0), (due, 1), (due + 60, 1), (due + REMIND, 2)):
        watching.now = now
        await glass.settle()
        assert len(watching.events) == told
    assert '"overdue":true' in watching.events[0].sections["change"]
    watching.store.in_thread_change("bg_1", lambda one: replace(one, reviewed=int(watching.now)))
    watching.now += 2 * REMIND
    await glass.settle()
    assert len(watching.events) == 2


@pytest_twisted.ensureDeferred
async def test_a_new_password_counts_after_the_end_alone(watching: Watching) -> None:
    await watching.glass.rotated("orders", "svc_admin")
    assert not watching.row().rotated
    watching.pass_time(1801)
    await watching.glass.rotated("orders", "other")
    assert not watching.row().rotated
    await watching.glass.rotated("orders", "svc_admin")
    assert watching.row().rotated
    (event,) = watching.events
    assert '"rotation_due":false' in event.sections["change"]
