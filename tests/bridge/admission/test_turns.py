"""A static secret is changed by one at a time, not while somebody looks with it, and nobody logs in meanwhile."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred, ensureDeferred

from bridge.adapter import Secret
from bridge.admission.survey import survey
from bridge.admission.turns import Turns
from bridge.testing.stage import READER, Stage

NAME = "store:one"


class Table:
    """Who came to what, in order; each that is called leaves when it is told."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.said: list[str] = []
        self.leaving: dict[str, Deferred[None]] = {}

    def begin(self, who: str, turn: Any) -> Deferred[None]:
        self.leaving[who] = Deferred()

        async def stay() -> None:
            async with turn:
                self.said.append(who)
                await self.leaving[who]

        return ensureDeferred(stay())

    def log_in(self, who: str, reference: str = NAME) -> None:
        async def wait() -> None:
            await self.turns.unchanged(reference)
            self.said.append(who)

        coroutine: Coroutine[Any, Any, None] = wait()
        ensureDeferred(coroutine)

    def leave(self, who: str) -> None:
        self.leaving[who].callback(None)


def test_logins_wait_for_a_change_and_for_nothing_else() -> None:
    table = Table()
    table.begin("doctor", table.turns.looking(NAME))
    table.log_in("at once")
    table.begin("change", table.turns.changing(NAME))
    table.log_in("still at once")
    assert not table.turns.is_changing(NAME)
    table.leave("doctor")
    assert table.turns.is_changing(NAME)
    for number in range(3):
        table.log_in(f"login {number}")
    table.log_in("another", "store:other")
    assert table.said == ["doctor", "at once", "still at once", "change", "another"]
    table.leave("change")
    assert sorted(table.said[5:]) == ["login 0", "login 1", "login 2"]
    assert not table.turns.is_changing(NAME)


def test_changes_are_one_after_the_other_and_doctors_behind_them() -> None:
    table = Table()
    for who in ("first", "second"):
        table.begin(who, table.turns.changing(NAME))
    table.begin("doctor", table.turns.looking(NAME))
    assert table.said == ["first"]
    table.leave("first")
    assert table.said == ["first", "second"]
    table.leave("second")
    assert table.said == ["first", "second", "doctor"]


def test_a_turn_that_fails_is_over() -> None:
    table = Table()
    failed = table.begin("change", table.turns.changing(NAME))
    table.leaving["change"].errback(ValueError("broken"))
    failed.addErrback(lambda failure: failure.trap(ValueError))
    table.log_in("login")
    assert table.said == ["change", "login"]


@pytest_twisted.ensureDeferred
async def test_doctor_waits_for_a_change_but_the_change_not_for_itself(stage: Stage) -> None:
    table = Table()
    core, reference = stage.core, str(stage.system.accounts[READER].secret)
    table.turns = core.turns
    table.begin("change", core.turns.changing(reference))
    async with survey(core, stage.system, READER, secret=Secret("new")):
        table.said.append("its own login")
    done = table.begin("doctor", survey(core, stage.system, READER))
    assert (table.said, stage.story) == (["change", "its own login"], [])  # it has not read the secret either
    table.leave("change")
    table.leave("doctor")
    await done
    assert (table.said[-1], stage.story) == ("doctor", [f"secret {READER}"])
