"""Quotas at the door and in a live session: what the agent hears, what is counted, what stands in the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from bridge.adapter import Action, AdmissionRequest, BearerToken, Operation, Outcome, Reason, Refused, Result, Secret
from bridge.admission.door import SystemDoor
from bridge.admission.session import Session
from bridge.policy import Ledger, Measure, Price, Quota, Running
from bridge.testing.stage import SYSTEM, Stage

READ = Operation("sql.select", Action.READ, ("ledger",), "SELECT * FROM ledger", "d1")


def limit(stage: Stage, limits: Mapping[Measure, int], **more: Any) -> None:
    stage.core.ledger.take([Quota("calm", limits, **more)], {SYSTEM: Price(session=1)})


async def admit(stage: Stage) -> Session:
    door = SystemDoor(stage.core, stage.system, stage.pair()[1], lambda: None)
    return await door.admit(BearerToken(Secret(stage.token())), AdmissionRequest())


async def refusal(waiting: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await waiting
    return caught.value


@pytest_twisted.ensureDeferred
async def test_a_session_too_many_hears_which_quota_and_when(stage: Stage) -> None:
    limit(stage, {Measure.STARTS: 1}, period=3600)
    await (await admit(stage)).close("ok")
    refused = await refusal(admit(stage))
    assert (refused.reason, refused.code) == (Reason.QUOTA, "quota-session-starts")
    assert "the quota calm is used up: 1 sessions begun in its period" in str(refused)
    assert refused.hint.startswith("try again in ")
    (event,) = [one for one in await stage.written() if one["type"] == "session.refused"]
    assert (event["reason"], event["agent"]["id"]) == ("quota", "deploy-7")
    assert event["detail"]["text"] == "quota calm, agent=deploy-7: session-starts 1"


@pytest_twisted.ensureDeferred
async def test_sessions_at_once_do_not_slip_through_together_and_every_end_counts(stage: Stage) -> None:
    limit(stage, {Measure.SESSIONS: 2})
    results: list[Any] = []
    for _ in range(4):
        Deferred.fromCoroutine(admit(stage)).addBoth(results.append)
    await stage.until(lambda: len(results) == 4)
    live = [one for one in results if isinstance(one, Session)]
    assert len(live) == 2
    for one in live:
        await one.close("ok")
        await one.close("ok")
    again = await admit(stage)
    assert stage.core.ledger.rows(stage.time)[0]["used"] == "1"
    await again.close("ok")


@pytest_twisted.ensureDeferred
async def test_a_session_that_was_never_opened_is_counted_as_ended(stage: Stage) -> None:
    limit(stage, {Measure.SESSIONS: 1})
    stage.break_log()
    assert (await refusal(admit(stage))).reason is Reason.LOG_UNAVAILABLE
    assert stage.core.ledger.rows(stage.time)[0]["used"] == "0"


@pytest_twisted.ensureDeferred
async def test_an_operation_too_many_is_refused_and_recorded_and_the_session_lives_on(stage: Stage) -> None:
    limit(stage, {Measure.OPERATIONS: 60}, burst=1)
    session = await admit(stage)
    session.outcome(await session.permit(READ), Outcome(Result.SUCCESS))
    refused = await refusal(session.permit(READ))
    assert (refused.reason, refused.reference, refused.hint[:17]) == (
        Reason.QUOTA,
        session.session,
        "try again in 1 s,",
    )
    stage.time += 1
    session.outcome(await session.permit(READ), Outcome(Result.SUCCESS))
    await session.close("ok")
    await stage.written()
    events = stage.events("operation")
    assert [(one["outcome"], one["reason"]) for one in events] == [
        ("success", "ok"),
        ("denied", "quota"),
        ("success", "ok"),
    ]
    assert events[1]["decision"]["reason"] == "quota calm, agent=deploy-7: operations-per-minute 60"


@pytest_twisted.ensureDeferred
async def test_what_is_permitted_at_once_is_counted_as_well(stage: Stage) -> None:
    limit(stage, {Measure.OPERATIONS: 60}, burst=2)
    session = await admit(stage)
    assert session.permit_at_once(READ) is not None
    assert session.permit_at_once(READ) is not None
    assert session.permit_at_once(READ) is None
    assert (await refusal(session.permit(READ))).reason is Reason.QUOTA


@pytest.mark.parametrize("running", list(Running))
@pytest_twisted.ensureDeferred
async def test_rows_that_are_used_up(stage: Stage, running: Running) -> None:
    """The operation that crosses the limit is finished; what comes after it is a matter of ``running``."""
    limit(stage, {Measure.ROWS: 10}, running=running)
    session = await admit(stage)
    session.outcome(await session.permit(READ), Outcome(Result.SUCCESS, rows=10))
    session.review(stage.time)
    if running is Running.FINISH:
        session.outcome(await session.permit(READ), Outcome(Result.SUCCESS))
    else:
        assert (await refusal(session.permit(READ))).reason is Reason.QUOTA
    assert (session.ending is not None) is (running is Running.CUT)
    assert (await refusal(admit(stage))).code == "quota-rows-per-day"
    await session.close("ok")
    close = [one for one in await stage.written() if one["type"] == "session.close"]
    assert close[0]["reason"] == ("quota" if running is Running.CUT else "ok")


@pytest_twisted.ensureDeferred
async def test_new_quotas_hold_for_sessions_that_live(stage: Stage) -> None:
    session = await admit(stage)
    session.outcome(await session.permit(READ), Outcome(Result.SUCCESS, rows=5))
    limit(stage, {Measure.SESSIONS: 1, Measure.OPERATIONS: 60}, burst=1)
    session.meter_anew()
    await session.permit(READ)
    assert (await refusal(session.permit(READ))).reason is Reason.QUOTA
    assert (await refusal(admit(stage))).code == "quota-sessions"
    await session.close("ok")
    assert stage.core.ledger.rows(stage.time)[0]["used"] == "0"


@pytest_twisted.ensureDeferred
async def test_without_quotas_there_is_no_meter(stage: Stage) -> None:
    stage.core.ledger = Ledger([Quota("elsewhere", {Measure.SESSIONS: 1}, systems=frozenset({"x"}))])
    session = await admit(stage)
    assert session.meter is None
    await session.close("ok")
