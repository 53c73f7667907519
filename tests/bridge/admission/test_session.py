"""A live session: what it permits, what it writes, and how it ends."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred

from bridge.adapter import (
    Action,
    AdmissionRequest,
    BearerToken,
    Operation,
    Outcome,
    PeerFault,
    Reason,
    Refused,
    Result,
    Secret,
    Stream,
    StreamClosed,
    TimedOut,
)
from bridge.admission.attendance import attend
from bridge.admission.session import Session
from bridge.policy import Effect, Grant, Mode
from bridge.policy.access_request import Asking, Terms
from bridge.testing import MemoryStream
from bridge.testing.stage import AGENT, GRANTS, PASSWORD, READER, START, SYSTEM, WRITER, Stage
from bridge.translation.recordings import Recordings

READ = Operation("sql.select", Action.READ, ("ledger",), "SELECT * FROM ledger", "d1")
WRITE = Operation("sql.delete", Action.WRITE, ("ledger",), "DELETE FROM ledger", "d2")
DONE = Outcome(Result.SUCCESS, rows=3)
Story = Callable[[Stream, Any], Awaitable[None]]


class Told:
    """An adapter that runs ``story`` once the door has admitted."""

    def __init__(self, story: Story, account: str | None = None, token: bytes = b"") -> None:
        self.story = story
        self.account = account
        self.token = token
        self.session: Session
        self.heard: list[Refused] = []

    async def serve(self, client: Stream, door: Any) -> None:
        self.session = await door.admit(BearerToken(Secret(self.token)), AdmissionRequest(self.account))
        await self.session.connect()
        await self.session.established({"backend": 4711, "server_version": "15"})
        self.session.on_cut(self.hear)
        await self.story(client, self.session)

    async def hear(self, refused: Refused) -> None:
        self.heard.append(refused)


async def play(stage: Stage, story: Story, account: str | None = None) -> tuple[Told, Deferred[None], MemoryStream]:
    """Starts a session; returns when the story has begun."""
    began: list[bool] = []

    async def told(client: Stream, session: Any) -> None:
        began.append(True)
        await story(client, session)

    adapter = Told(told, account, stage.token())
    client, near = stage.pair()
    running = Deferred.fromCoroutine(attend(stage.core, stage.system, adapter, near, lambda: None))  # type: ignore[arg-type]
    await stage.until(lambda: began or running.called)
    return adapter, running, client


async def whole(stage: Stage, story: Story, account: str | None = None) -> list[dict[str, Any]]:
    """A session from begin to end; its events after session.established."""
    _adapter, running, _ = await play(stage, story, account)
    await stage.within(running)
    events = await stage.written()
    assert [event["type"] for event in events[:2]] == ["session.open", "session.established"]
    assert events[-1]["type"] == "session.close"
    assert len(stage.core.live) == 0
    assert all(stream.other.ended for stream in stage.legacy)
    return events[2:]


async def waits(client: Stream, session: Any) -> None:
    await client.receive()


@pytest_twisted.ensureDeferred
async def test_established_records_what_the_legacy_log_shows(stage: Stage) -> None:
    adapter, running, client = await play(stage, waits)
    (event,) = stage.events("session.established")
    assert event["legacy"]["facts"] == {"backend": 4711, "local": "192.0.2.1:50000", "server_version": "15"}
    suspects = stage.reader.in_thread_who(SYSTEM, READER, stage.events()[0] and _ms(event), pid=4711, window=60_000)
    assert [one.session for one in suspects if one.certain] == [adapter.session.session]
    await client.close()
    await stage.within(running)


def _ms(event: dict[str, Any]) -> int:
    from datetime import datetime

    return int(datetime.fromisoformat(event["ts"].replace("Z", "+00:00")).timestamp() * 1000)


@pytest_twisted.ensureDeferred
async def test_the_last_connection_before_established_is_the_one_recorded(stage: Stage) -> None:
    """A login may be tried again, with another version of the protocol, on a new connection."""

    class Twice(Told):
        async def serve(self, client: Stream, door: Any) -> None:
            self.session = await door.admit(BearerToken(Secret(self.token)), AdmissionRequest())
            (await self.session.connect()).abort()
            await self.session.connect()
            await self.session.established({"backend": 1})

    await attend(stage.core, stage.system, Twice(waits, None, stage.token()), stage.pair()[1], lambda: None)  # type: ignore[arg-type]
    await stage.written()
    (event,) = stage.events("session.established")
    assert event["legacy"]["facts"]["local"] == "192.0.2.1:50001"


@pytest_twisted.ensureDeferred
async def test_a_read_is_one_event_with_its_outcome(stage: Stage) -> None:
    async def story(client: Stream, session: Any) -> None:
        session.outcome(await session.permit(READ), DONE)

    operation, close = await whole(stage, story)
    assert (operation["phase"], operation["outcome"], operation["result"]["rows"]) == ("complete", "success", 3)
    assert operation["action"]["text"] == "SELECT * FROM ledger"
    assert close["detail"]["operations"] == {"read": 1}
    assert (close["outcome"], close["reason"]) == ("success", "ok")


@pytest.mark.parametrize("strict", [False, True])
@pytest_twisted.ensureDeferred
async def test_an_intent_is_durable_before_the_permit(staged: Any, strict: bool) -> None:
    """Of writes always; of reads where the audit is strict."""
    stage = await staged(roles=["writer"], strict_audit=strict)
    seen: list[list[str]] = []

    async def story(client: Stream, session: Any) -> None:
        for operation in (READ, WRITE):
            permit = await session.permit(operation)
            seen.append([event["phase"] for event in stage.events("operation")])
            session.outcome(permit, DONE)

    await whole(stage, story, WRITER)
    assert seen[0] == (["intent"] if strict else [])
    assert seen[1].count("intent") == (2 if strict else 1)  # the read's end may have come to the disk after it


@pytest_twisted.ensureDeferred
async def test_a_read_that_is_permitted_at_once_is_recorded_the_same(stage: Stage) -> None:
    async def story(client: Stream, session: Any) -> None:
        session.outcome(await session.permit(READ), DONE)
        session.outcome(session.permit_at_once(READ), DONE)

    asked, at_once, close = await whole(stage, story)
    differing = {"id", "mono", "seq", "ts"}
    assert {key: value for key, value in asked.items() if key not in differing and key != "result"} == {
        key: value for key, value in at_once.items() if key not in differing and key != "result"
    }
    assert asked["result"]["rows"] == at_once["result"]["rows"] == 3
    assert close["detail"]["operations"] == {"read": 2}


@pytest.mark.parametrize("why", ["write", "denied", "strict", "no log", "cut", "closed"])
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_permitted_at_once_leaves_nothing_behind(staged: Any, why: str) -> None:
    account = WRITER if why == "write" else None
    stage = await staged(roles=["writer"] if why == "write" else ["reader"], strict_audit=why == "strict")
    operation = WRITE if why in ("write", "denied") else READ

    async def story(client: Stream, session: Any) -> None:
        if why == "no log":
            stage.break_log()
            with pytest.raises(Refused):
                await session.permit(READ)
        elif why == "cut":
            session.cut(Reason.SESSION_REVOKED)
        elif why == "closed":
            await session.end()
        counted = dict(session.operations)
        assert session.permit_at_once(operation) is None
        assert dict(session.operations) == counted

    _adapter, running, _ = await play(stage, story, account)
    await stage.within(running)
    if why != "no log":
        assert not [event for event in await stage.written() if event["type"] == "operation"]


@pytest_twisted.ensureDeferred
async def test_a_denied_operation_is_recorded_and_the_session_lives_on(stage: Stage) -> None:
    async def story(client: Stream, session: Any) -> None:
        with pytest.raises(Refused) as caught:
            await session.permit(WRITE)
        assert (caught.value.reason, caught.value.reference) == (Reason.ACTION_DENIED, session.session)
        session.outcome(await session.permit(READ), DONE)

    denied, read, close = await whole(stage, story)
    assert (denied["outcome"], denied["reason"], denied["action"]["kind"]) == ("denied", "action-denied", "write")
    assert read["outcome"] == "success"
    assert close["reason"] == "ok"


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.WARN])
@pytest_twisted.ensureDeferred
async def test_on_trial_it_is_let_through_and_recorded_and_with_warn_told(staged: Any, mode: Mode) -> None:
    stage = await staged(mode=mode)
    warnings: list[str] = []

    async def story(client: Stream, session: Any) -> None:
        permit = await session.permit(WRITE)
        warnings.append(permit.warning)
        session.outcome(permit, DONE)

    intent, outcome, _ = await whole(stage, story)
    assert (intent["decision"]["would"], outcome["reason"]) == ("deny", "would-deny")
    assert bool(warnings[0]) == (mode is Mode.WARN)


@pytest_twisted.ensureDeferred
async def test_equal_statements_of_other_targets_are_not_confused(staged: Any) -> None:
    """Sections are remembered per statement; what else differs must still be recorded."""
    stage = await staged(grants=[Grant("all", agents=frozenset({AGENT}), systems=frozenset({SYSTEM}), account=READER)])
    same = {"verb": "sql.call", "text": "SELECT f($1)", "digest": "d"}

    async def story(client: Stream, session: Any) -> None:
        for operation in (
            Operation(action=Action.READ, objects=("a",), **same),
            Operation(action=Action.READ, objects=("b",), **same),
            Operation(action=Action.WRITE, objects=("b",), **same),
            Operation(action=Action.READ, objects=("b",), target={"database": "x"}, **same),
            Operation(action=Action.READ, objects=("b",), target={"database": "y"}, **same),
        ):
            session.outcome(await session.permit(operation), DONE)

    await whole(stage, story)
    seen = [event["action"] for event in stage.events("operation") if event["phase"] != "intent"]
    facts = [(one["kind"], one["objects"], one.get("target", {}).get("database")) for one in seen]
    assert facts == [
        ("read", ["a"], None),
        ("read", ["b"], None),
        ("write", ["b"], None),
        ("read", ["b"], "x"),
        ("read", ["b"], "y"),
    ]


@pytest_twisted.ensureDeferred
async def test_a_new_policy_bites_at_the_next_operation(stage: Stage) -> None:
    """The session lives on; what it does is decided by the grants as they are."""

    async def story(client: Stream, session: Any) -> None:
        session.outcome(await session.permit(READ), DONE)
        deny = Grant("stop", effect=Effect.DENY, agents=frozenset({AGENT}), systems=frozenset({SYSTEM}))
        stage.core.policy = stage.policy([*GRANTS, deny])
        with pytest.raises(Refused, match="do not permit"):
            await session.permit(READ)
        stage.core.policy = stage.policy(GRANTS)
        session.outcome(await session.permit(READ), DONE)

    events = await whole(stage, story)
    assert [event["outcome"] for event in events[:-1]] == ["success", "denied", "success"]


@pytest_twisted.ensureDeferred
async def test_a_role_that_was_taken_away_is_gone_at_the_next_operation(stage: Stage) -> None:
    from dataclasses import replace

    from bridge.identity.agents import Directory

    async def story(client: Stream, session: Any) -> None:
        agents = [replace(agent, roles=("stranger",)) for agent in stage.core.directory]
        stage.core.directory = Directory(agents, 99)
        with pytest.raises(Refused, match="do not permit"):
            await session.permit(READ)

    await whole(stage, story)


@pytest_twisted.ensureDeferred
async def test_without_a_log_nothing_is_permitted_but_outcomes_are_taken(stage: Stage) -> None:
    async def story(client: Stream, session: Any) -> None:
        begun = await session.permit(READ)
        stage.break_log()
        for operation in (READ, WRITE):
            with pytest.raises(Refused) as caught:
                await session.permit(operation)
            assert caught.value.reason in (Reason.LOG_UNAVAILABLE, Reason.ACTION_DENIED)
        session.outcome(begun, DONE)

    _, running, _ = await play(stage, story)
    await stage.within(running)


@pytest_twisted.ensureDeferred
async def test_an_outcome_that_an_adapter_forgot_is_unknown(staged: Any) -> None:
    """Whatever the adapter did: each permitted operation has exactly one end in the log."""
    stage = await staged(roles=["writer"])

    async def story(client: Stream, session: Any) -> None:
        await session.permit(WRITE)
        permit = await session.permit(READ)
        session.outcome(permit, DONE)
        session.outcome(permit, Outcome(Result.FAILURE))

    await whole(stage, story, WRITER)
    ends = [(event["phase"], event["outcome"], event["reason"]) for event in stage.events("operation")]
    assert sorted(ends) == [
        ("complete", "success", "ok"),
        ("intent", "", "ok"),
        ("outcome", "unknown", "session-ended"),
    ]


@pytest_twisted.ensureDeferred
async def test_a_permit_that_is_cancelled_while_its_intent_is_written_has_an_end(staged: Any) -> None:
    """The client left meanwhile: the intent stands in the log, and that nothing came of it."""
    stage = await staged(roles=["writer"])

    async def story(client: Stream, session: Any) -> None:
        permitting = Deferred.fromCoroutine(session.permit(WRITE))
        permitting.cancel()
        with pytest.raises(CancelledError):
            await permitting

    await whole(stage, story, WRITER)
    ends = [(event["phase"], event["outcome"], event["reason"]) for event in stage.events("operation")]
    assert ends == [("intent", "", "ok"), ("outcome", "aborted", "session-ended")]


@pytest_twisted.ensureDeferred
async def test_cut_while_its_intent_is_written_reaches_nothing(staged: Any) -> None:
    stage = await staged(roles=["writer"])

    async def story(client: Stream, session: Any) -> None:
        permitting = Deferred.fromCoroutine(session.permit(WRITE))
        session.cut(Reason.SESSION_REVOKED)
        with pytest.raises(Refused) as caught:
            await permitting
        assert caught.value.reason is Reason.SESSION_REVOKED

    events = await whole(stage, story, WRITER)
    assert [event["outcome"] for event in events[:-1]] == ["", "aborted"]
    assert events[-1]["reason"] == "session-revoked"


@pytest_twisted.ensureDeferred
async def test_a_cut_session_says_goodbye_and_then_both_sides_are_dropped(stage: Stage) -> None:
    adapter, running, client = await play(stage, waits)
    adapter.session.cut(Reason.SESSION_STOPPED, "lunch")
    adapter.session.cut(Reason.SHUTDOWN)
    await stage.within(running)
    assert [(one.reason, str(one)) for one in adapter.heard] == [
        (Reason.SESSION_STOPPED, f"an operator ended the session (reference {adapter.session.session})")
    ]
    assert client.other.ended
    assert stage.legacy[0].other.ended
    close = (await stage.written())[-1]
    assert (close["reason"], close["detail"]["text"]) == ("session-stopped", "lunch")


@pytest_twisted.ensureDeferred
async def test_a_goodbye_that_hangs_is_cut_after_the_grace(stage: Stage) -> None:
    adapter, running, client = await play(stage, waits)
    adapter.session.on_cut(lambda refused: Deferred())
    adapter.session.cut(Reason.SESSION_REVOKED)
    assert not running.called
    stage.clock.advance(2)
    await stage.within(running)
    assert client.other.ended == "aborted"


@pytest_twisted.ensureDeferred
async def test_a_cut_ends_only_the_part_of_the_connection_that_the_session_is(stage: Stage) -> None:
    client, near = stage.pair()
    inner_client, inner = stage.pair()

    class Within(Told):
        async def serve(self, outer: Stream, door: Any) -> None:
            credential = BearerToken(Secret(self.token))
            self.session = await door.admit(credential, AdmissionRequest(), within=inner)
            self.session.on_cut(self.hear)
            self.session.cut(Reason.SESSION_STOPPED)
            await outer.send(b"still here")

        async def hear(self, refused: Refused) -> None:
            await inner.send(b"goodbye")

    await attend(stage.core, stage.system, Within(waits, None, stage.token()), near, lambda: None)  # type: ignore[arg-type]
    assert (inner.ended != "", inner_client.waiting) == (True, b"goodbye")
    assert (near.ended, client.waiting) == ("", b"still here")


@pytest.mark.parametrize("when", ["dialling", "before anybody listens"])
@pytest_twisted.ensureDeferred
async def test_cut_during_the_legacy_login(stage: Stage, when: str) -> None:
    """Nobody hears a goodbye yet: the adapter's next step says it, and the client is there to be told."""
    heard: list[Refused] = []

    class Opening(Told):
        async def serve(self, client: Stream, door: Any) -> None:
            self.session = await door.admit(BearerToken(Secret(self.token)), AdmissionRequest())
            try:
                if when == "dialling":
                    stage.on_dial = lambda far: self.session.cut(Reason.SESSION_REVOKED)
                    await self.session.connect()
                else:
                    await self.session.connect()
                    self.session.cut(Reason.SESSION_REVOKED)
                    await self.session.established({})
            except Refused as refused:
                heard.append(refused)
                await client.send(b"goodbye")
                raise

    client, near = stage.pair()
    await attend(stage.core, stage.system, Opening(waits, None, stage.token()), near, lambda: None)  # type: ignore[arg-type]
    assert [one.reason for one in heard] == [Reason.SESSION_REVOKED]
    assert client.waiting == b"goodbye"
    assert (await stage.written())[-1]["reason"] == "session-revoked"
    assert stage.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("limit", "after", "reason"),
    [
        ({}, 600, Reason.SESSION_EXPIRED),
        ({"max_session": 60.0}, 60, Reason.SESSION_EXPIRED),
        ({"idle": 30.0}, 30, Reason.SESSION_IDLE),
    ],
)
@pytest_twisted.ensureDeferred
async def test_time_ends_a_session(staged: Any, limit: dict[str, float], after: int, reason: Reason) -> None:
    """With its token, after the longest session, or when idle; and not a second earlier."""
    stage = await staged(**limit)
    adapter, running, _ = await play(stage, waits)
    adapter.session.review(stage.time + after - 1)
    assert adapter.session.ending is None
    adapter.session.review(stage.time + after)
    await stage.within(running)
    assert [one.reason for one in adapter.heard] == [reason]


@pytest_twisted.ensureDeferred
async def test_an_adapter_looks_at_its_session_every_second_but_not_twice_at_once(stage: Stage) -> None:
    begun: list[Deferred[None]] = []

    async def look() -> None:
        begun.append(Deferred())
        await begun[-1]

    adapter, running, client = await play(stage, waits)
    adapter.session.each_second(look)
    for second in range(3):
        adapter.session.review(stage.time + second)
    assert len(begun) == 1
    begun[0].callback(None)
    adapter.session.review(stage.time + 3)
    assert len(begun) == 2
    await client.close()
    await stage.within(running)
    assert begun[1].called, "the end gives it up"
    assert adapter.heard == []


@pytest_twisted.ensureDeferred
async def test_a_look_that_fails_ends_the_session(stage: Stage, expected_failures: list[type[BaseException]]) -> None:
    expected_failures.append(PeerFault)

    async def look() -> None:
        raise PeerFault("nonsense")

    adapter, running, _ = await play(stage, waits)
    adapter.session.each_second(look)
    adapter.session.review(stage.time)
    await stage.within(running)
    assert [one.reason for one in adapter.heard] == [Reason.INTERNAL]


@pytest_twisted.ensureDeferred
async def test_a_session_may_outlive_its_token_where_the_system_says_so(staged: Any) -> None:
    stage = await staged(end_with_token=False)
    adapter, running, client = await play(stage, waits)
    adapter.session.review(stage.time + 100_000)
    assert adapter.session.ending is None
    await client.close()
    await stage.within(running)


@pytest_twisted.ensureDeferred
async def test_a_session_that_waits_for_a_long_answer_is_not_idle(staged: Any) -> None:
    stage = await staged(idle=30.0, end_with_token=False)
    adapter, running, client = await play(stage, waits)
    permit = await adapter.session.permit(READ)
    adapter.session.review(stage.time + 3600)
    assert adapter.session.ending is None
    stage.time += 300
    adapter.session.outcome(permit, DONE)
    adapter.session.review(stage.time + 29)
    assert adapter.session.ending is None
    await client.close()
    await stage.within(running)


@pytest_twisted.ensureDeferred
async def test_a_legacy_system_that_cannot_be_reached(stage: Stage) -> None:
    stage.unreachable = "connection refused by 192.0.2.20"
    _adapter, running, _ = await play(stage, waits)
    await stage.within(running)
    opened, close = await stage.written()
    assert (opened["type"], close["type"], close["reason"]) == ("session.open", "session.close", "upstream-unavailable")
    assert close["outcome"] == "failure"
    assert "connection refused" in close["detail"]["text"]
    assert any("connection refused" in one for one in stage.warnings)


@pytest_twisted.ensureDeferred
async def test_a_refused_static_login_opens_the_circuit_and_is_an_alarm(stage: Stage) -> None:
    heard: list[Refused] = []

    async def story(client: Stream, session: Any) -> None:
        heard.append(await session.login_refused("password authentication failed for user svc_reader_login"))
        raise heard[0]

    _adapter, running, _ = await play(stage, story)
    await stage.within(running)
    assert "svc_reader_login" not in str(heard[0])
    assert stage.core.breaker.refusal(SYSTEM, READER, stage.time) > 0
    events = await stage.written()
    assert [(event["type"], event["reason"]) for event in events[-2:]] == [
        ("alarm", "upstream-login-refused"),
        ("session.close", "upstream-unavailable"),
    ]


async def _raise(error: BaseException) -> None:
    raise error


ENDS: dict[str, tuple[Callable[[Stream, Any], Awaitable[None]], str, str]] = {
    "returns": (lambda client, session: _nothing(), "success", "ok"),
    "garbage": (lambda client, session: _raise(PeerFault("a length of 1 GiB")), "failure", "protocol"),
    "lost": (lambda client, session: _raise(StreamClosed("reset")), "success", "connection-lost"),
    "late": (lambda client, session: _raise(TimedOut("waited")), "failure", "timed-out"),
    "refused": (lambda client, session: _raise(Refused(Reason.UPSTREAM_LOST, "gone")), "failure", "upstream-lost"),
    "defect": (lambda client, session: _raise(KeyError("unexpected")), "failure", "internal"),
    "cancelled": (lambda client, session: _raise(CancelledError()), "failure", "shutdown"),
}


async def _nothing() -> None:
    pass


@pytest.mark.parametrize("kind", list(ENDS))
@pytest_twisted.ensureDeferred
async def test_every_kind_of_end_is_written_once(
    stage: Stage, kind: str, expected_failures: list[type[BaseException]]
) -> None:
    expected_failures.append(KeyError)
    story, outcome, reason = ENDS[kind]
    _, running, _ = await play(stage, story)
    running.addErrback(lambda failure: failure.trap(CancelledError) and None)
    await stage.within(running)
    closes = [event for event in await stage.written() if event["type"] == "session.close"]
    assert [(event["outcome"], event["reason"]) for event in closes] == [(outcome, reason)]
    assert len(stage.core.live) == 0


@pytest_twisted.ensureDeferred
async def test_an_alarm_is_in_the_log_and_told_to_ops(stage: Stage) -> None:
    async def story(client: Stream, session: Any) -> None:
        session.alarm("stamp-tampered", "application_name was changed")

    alarm, _ = await whole(stage, story)
    assert (alarm["type"], alarm["reason"], alarm["agent"]["id"]) == ("alarm", "stamp-tampered", AGENT)
    assert any("stamp-tampered" in one for one in stage.warnings)


@pytest_twisted.ensureDeferred
async def test_neither_token_nor_secret_is_in_any_file_or_warning(stage: Stage) -> None:
    async def story(client: Stream, session: Any) -> None:
        session.outcome(await session.permit(READ), DONE)
        raise PeerFault("rule")

    adapter, running, _ = await play(stage, story)
    await stage.within(running)
    await stage.written()
    token = adapter.token.decode()
    stored = b"".join(path.read_bytes() for path in stage.folder.glob("*.db*"))
    for part in (PASSWORD, token, token.split(".")[2]):
        assert part.encode() not in stored
        assert part not in "".join(stage.warnings)


@pytest_twisted.ensureDeferred
async def test_phases_of_a_login_are_measured(stage: Stage) -> None:
    await whole(stage, lambda client, session: _nothing())
    assert set(stage.core.tally.phases) == {"verify", "open", "secret", "connect", "login"}


def studio(stage: Stage, limit: int = 1000) -> Recordings:
    return Recordings(
        stage.folder / "recordings", stage.folder / "recordings.key", stage.pool, stage.clock, limit=limit
    )


@pytest_twisted.ensureDeferred
async def test_a_recording_ends_with_the_session_and_the_log_has_its_digest(stage: Stage) -> None:
    stage.core.recordings = studio(stage)

    async def records(client: Stream, session: Any) -> None:
        session.recording("pty-0", required=True).write("seen")

    _adapter, running, _ = await play(stage, records)
    await stage.within(running)
    await stage.until(lambda: stage.events("session.recording"))
    (event,) = stage.events("session.recording")
    (path,) = (stage.folder / "recordings").iterdir()
    digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert (event["outcome"], event["detail"]["file"], event["detail"]["digest"]) == ("success", path.name, digest)
    assert event["agent"]["id"] == AGENT


@pytest_twisted.ensureDeferred
async def test_a_required_recording_that_fails_ends_the_session(stage: Stage) -> None:
    stage.core.recordings = studio(stage, limit=3)

    async def records(client: Stream, session: Any) -> None:
        session.recording("pty-0", required=True).write("more")
        await waits(client, session)

    _adapter, running, _client = await play(stage, records)
    await stage.within(running)
    await stage.until(lambda: stage.events("session.recording"))
    assert [event["reason"] for event in stage.events("alarm")] == ["recording"]
    assert stage.events("session.close")[0]["reason"] == Reason.INTERNAL
    assert stage.events("session.recording")[0]["outcome"] == "failure"


@pytest_twisted.ensureDeferred
async def test_one_that_is_not_required_costs_an_alarm(stage: Stage) -> None:
    async def records(client: Stream, session: Any) -> None:
        session.recording("pty-0", required=False).write("lost")
        with pytest.raises(Refused):
            session.recording("pty-0", required=True)

    events = await whole(stage, records)
    assert [event["type"] for event in events] == ["alarm", "session.close"]


GIVEN = Grant("request:req_1", agents=frozenset({AGENT}), systems=frozenset({SYSTEM}), account=WRITER,
              actions=frozenset({Action.READ, Action.WRITE}), expires=int(START) + 60)  # fmt: skip


@pytest.mark.parametrize("how", ["over", "revoked"])
@pytest_twisted.ensureDeferred
async def test_a_session_ends_with_what_was_given_for_a_time(staged: Any, how: str) -> None:
    stage = await staged(grants=(*GRANTS, GIVEN))
    adapter, running, _ = await play(stage, waits, WRITER)
    adapter.session.review(stage.time)
    assert adapter.heard == []
    if how == "over":
        stage.time = START + 60
    else:
        stage.core.policy = stage.policy(GRANTS)
    adapter.session.review(stage.time)
    await stage.until(lambda: adapter.heard)
    (heard,) = adapter.heard
    assert (heard.reason, heard.text) == (Reason.SESSION_REVOKED, "the access that was given for a time is over")
    stage.clock.advance(5)
    await stage.within(running)
    assert (await stage.written())[-1]["reason"] == "session-revoked"


@pytest_twisted.ensureDeferred
async def test_a_session_that_has_a_grant_of_its_own_meanwhile_lives_on(staged: Any) -> None:
    stage = await staged(grants=(*GRANTS, GIVEN))
    adapter, running, client = await play(stage, waits, WRITER)
    own = Grant("own", agents=frozenset({AGENT}), systems=frozenset({SYSTEM}), account=WRITER)
    stage.core.policy = stage.policy((*GRANTS, own))
    stage.time = START + 60
    adapter.session.review(stage.time)
    assert adapter.session.ending is None
    await client.close()
    await stage.within(running)


@pytest_twisted.ensureDeferred
async def test_who_may_ask_is_told_so_and_nobody_else(staged: Any) -> None:
    """Nor where a deny grant decided, nor where the refusal is not in the log."""
    deny = Grant("never", Effect.DENY, agents=frozenset({AGENT}), actions=frozenset({Action.ADMIN}))
    stage = await staged(grants=(*GRANTS, deny))
    stage.core.asking = Asking({SYSTEM: Terms({READER: frozenset({"lead"})})})
    heard: list[Refused] = []

    async def tries(client: Stream, session: Any) -> None:
        for action in (Action.WRITE, Action.ADMIN):
            with pytest.raises(Refused) as caught:
                await session.permit(Operation("sql.do", action, (), "DO", "d"))
            heard.append(caught.value)

    adapter, running, _ = await play(stage, tries)
    await stage.within(running)
    session = adapter.session.session
    assert [one.marks for one in heard] == [
        f"reason=action-denied reference={session} request=possible", f"reason=action-denied reference={session}",
    ]  # fmt: skip
    assert heard[0].hint == f"ask for it for a time: idbridge request ask --reference {session}"
