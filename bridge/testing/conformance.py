"""The promises that every adapter keeps, whatever its protocol; asked with the real core between played networks.

An adapter's test gives a ``Scenario``: how its client and its legacy system talk. Each ``check_…`` of the suite is one
promise; ``CHECKS`` names them for a parametrised test::

    @pytest.mark.parametrize("name", CHECKS)
    @pytest_twisted.ensureDeferred
    async def test_promise(name, tmp_path): await ConformanceSuite(MyScenario(), tmp_path, reactor).run(name)

A broken promise is an AssertionError that says which. What is asked of the log is read from the log's own database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from bridge.adapter import Adapter, Address, Reason, StreamClosed
from bridge.policy import Grant
from bridge.testing.stage import AGENT, GRANTS, PASSWORD, READER, SYSTEM, Stage
from bridge.testing.streams import MemoryStream

QUIET = 0.1  # seconds in which what must not happen would have happened

FREE = Grant("free", agents=frozenset({AGENT}), systems=frozenset({SYSTEM}), account=READER, default=True)
"""Read, write and admin: for the promises that are not about what grants forbid."""


class Scenario(Protocol):
    """One protocol, as its clients and its legacy system speak it. Streams are the far ends of the adapter's.

    ``protocol`` is the adapter's name, ``options`` an instance of its ``Options``.
    """

    protocol: str
    options: Any
    garbage: bytes  # what no client of this protocol would say, at any moment

    def adapter(self) -> Adapter:
        """A started adapter."""
        ...

    async def log_in(self, client: MemoryStream, token: bytes, account: str, *, stamp: str = "") -> str:
        """The client's login to its end; "" for yes, else the error that it was told.

        ``stamp`` is to be given wherever the protocol lets a client name itself.
        """
        ...

    async def legacy(self, stream: MemoryStream, *, password: str, accept: bool) -> None:
        """The legacy system: its login (``accept`` False: it refuses), then an answer to each operation, to the end.

        An operation that arrives is added to ``operations`` before it is answered; while ``silent`` it is not answered.
        """
        ...

    operations: list[bytes]
    silent: bool

    def stamp_of(self, sent: bytes) -> str:
        """The name under which the legacy system knows the session, from all that was sent to it."""
        ...

    async def read(self, client: MemoryStream) -> str:
        """One reading operation and its answer: "" for success, else the error."""
        ...

    async def write(self, client: MemoryStream) -> str: ...

    async def change_identity(self, client: MemoryStream) -> str:
        """Asks, inside the session, to be somebody else (SET ROLE, COM_CHANGE_USER, a second bind)."""
        ...

    async def change_stamp(self, client: MemoryStream) -> str:
        """Tries, inside the session, to change what the legacy system knows it by."""
        ...

    async def last_words(self, client: MemoryStream) -> str:
        """The error that the client is told before the connection ends; "" when it just ends."""
        ...


class _Run:
    """One adapter between a client and a legacy system, on one stage."""

    def __init__(self, scenario: Scenario, stage: Stage) -> None:
        self.scenario = scenario
        self.stage = stage
        self.accept = True
        self.adapter = scenario.adapter()
        stage.replace_system(encrypts=self.adapter.encrypts)
        self.client, self.near = stage.pair()
        self.serving: Deferred[None] | None = None
        self.crashed = ""
        self._playing: list[Deferred[None]] = []
        stage.on_dial = self._dialled

    def _dialled(self, far: MemoryStream) -> None:
        playing = Deferred.fromCoroutine(self._play(far))
        playing.addErrback(_gone)
        self._playing.append(playing)

    async def _play(self, far: MemoryStream) -> None:
        try:
            await self.scenario.legacy(far, password=PASSWORD, accept=self.accept)
        finally:
            await far.close()

    def start(self) -> None:
        self.serving = self.stage.attend(self.adapter, self.near)
        self.serving.addErrback(self._crash)

    def _crash(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            self.crashed = repr(failure.value)

    async def log_in(self, token: bytes = b"", stamp: str = "") -> str:
        self.start()
        logging_in = self.scenario.log_in(self.client, token or self.stage.token(), READER, stamp=stamp)
        error: str = await self.stage.within(logging_in)
        return error

    async def logged_in(self, stamp: str = "") -> None:
        error = await self.log_in(stamp=stamp)
        assert not error, f"the login failed: {error}"

    async def ask(self, asking: Callable[[MemoryStream], Awaitable[str]]) -> str:
        error: str = await self.stage.within(asking(self.client))
        return error

    @property
    def upstream(self) -> MemoryStream:
        """The adapter's end of its legacy connection."""
        near: MemoryStream = self.stage.legacy[0].other
        return near

    def types(self) -> list[str]:
        return [str(event["type"]) for event in self.stage.events()]

    async def over(self) -> list[dict[str, Any]]:
        """The session has ended, with everything it owes; its events."""
        serving = self.serving
        assert serving is not None
        await self.stage.until(lambda: serving.called)
        assert not self.crashed, f"serve() failed: {self.crashed}"
        events = await self.stage.written()
        opened = [event for event in events if event["type"] == "session.open"]
        closed = [event for event in events if event["type"] == "session.close"]
        assert len(opened) == len(closed), f"{len(opened)} sessions opened, {len(closed)} closed"
        assert all(event["reason"] != Reason.INTERNAL for event in closed), "serve() raised what is no BridgeError"
        _one_end_each(events)
        assert len(self.stage.core.live) == 0, "the session is still among the living"
        assert self.near.ended, "the client's connection is still open"
        assert all(far.other.ended for far in self.stage.legacy), "a legacy connection is still open"
        return events

    async def closed_as(self, *reasons: str) -> None:
        close = (await self.over())[-1]
        assert close["type"] == "session.close", f"the last event is {close['type']}"
        assert close["reason"] in reasons, f"closed as {close['reason']}, expected one of {reasons}"

    async def clean_up(self) -> None:
        self.scenario.silent = False
        for stream in (self.client, *self.stage.legacy):
            stream.abort()
        serving = self.serving
        if serving is not None:
            await self.stage.until(lambda: serving.called)
        for playing in self._playing:
            playing.cancel()
        self.adapter.stop()
        await self.stage.close()


def _gone(failure: Failure) -> None:
    if not isinstance(failure.value, StreamClosed | CancelledError):
        failure.raiseException()


def _one_end_each(events: list[dict[str, Any]]) -> None:
    operations = [event for event in events if event["type"] == "operation"]
    intents = sorted(event["id"] for event in operations if event["phase"] == "intent")
    outcomes = sorted(event["corr"]["request"] for event in operations if event["phase"] == "outcome")
    assert intents == outcomes, f"{len(intents)} operations begun, {len(outcomes)} ended: each has one end"
    told = [event["reason"] for event in operations if event["reason"] == "session-ended"]
    assert not told, "the adapter told no outcome of an operation; the core had to"


class ConformanceSuite:
    """``folder`` is empty and the suite's own; ``reactor`` the real one, for threads."""

    def __init__(self, scenario: Scenario, folder: Path, reactor: Any) -> None:
        self._scenario = scenario
        self._folder = folder
        self._reactor = reactor

    async def run(self, name: str) -> None:
        grants = GRANTS if "denied" in name else (FREE,)
        stage = await Stage.open(
            self._folder, self._reactor, protocol=self._scenario.protocol, options=self._scenario.options, grants=grants
        )
        run = _Run(self._scenario, stage)
        try:
            await getattr(self, f"check_{name}")(run)
        finally:
            await run.clean_up()

    # -- order

    async def check_nothing_is_dialled_before_the_open_record(self, run: _Run) -> None:
        await run.logged_in()
        assert run.stage.story == [f"secret {READER}", "dial after session.open"], run.stage.story
        assert run.types()[:2] == ["session.open", "session.established"], "yes was said before it was recorded"

    async def check_refused_credential_touches_nothing(self, run: _Run) -> None:
        error = await run.log_in(b"eyJhbGciOiJFZERTQSJ9.e30.Zm9yZ2Vk")
        (event,) = await run.over()
        reference = event["corr"]["session"]
        assert event["type"] == "session.refused"
        assert reference in error, f"the client must hear the reference {reference}, heard {error!r}"
        assert run.stage.story == [], "the secret was read or the legacy system dialled for a stranger"

    async def check_no_log_no_session(self, run: _Run) -> None:
        run.stage.break_log()
        assert await run.log_in(), "the client must hear an error"
        assert run.stage.story == [], "the secret was read or the legacy system dialled without a record"

    async def check_plaintext_is_refused_before_a_credential(self, run: _Run) -> None:
        run.client, run.near = run.stage.pair(Address("192.0.2.7", 40007))
        if run.adapter.encrypts:
            token = run.stage.token()
            assert not await run.log_in(token)
            assert token not in run.client.sent, "the token crossed the network in the clear"
            return
        assert await run.log_in(), "the client must hear an error"
        (event,) = await run.over()
        assert event["reason"] == Reason.PLAINTEXT, event["reason"]
        assert "credential" not in event

    async def check_log_that_fails_mid_session_stops_operations(self, run: _Run) -> None:
        await run.logged_in()
        run.stage.break_log()
        assert await run.ask(self._scenario.write), "the client must hear an error"
        assert not self._scenario.operations, "an operation went upstream without its record"

    # -- secrets and the stamp

    async def check_token_and_password_stay_on_their_sides(self, run: _Run) -> None:
        token = run.stage.token()
        assert not await run.log_in(token)
        assert not await run.ask(self._scenario.read)
        assert token not in run.upstream.sent, "the token went upstream"
        assert PASSWORD.encode() not in run.near.sent, "the static password went to the client"
        await run.client.close()
        await run.over()
        stored = b"".join(path.read_bytes() for path in run.stage.folder.glob("*.db*"))
        assert token not in stored, "the token is in the log"
        assert PASSWORD.encode() not in stored, "the static password is in the log"

    async def check_the_stamp_cannot_be_forged(self, run: _Run) -> None:
        forged = "ib:ses_0000000000000000"
        await run.logged_in(stamp=forged)
        session = run.stage.events("session.open")[0]["corr"]["session"]
        assert self._scenario.stamp_of(bytes(run.upstream.sent)).startswith(f"ib:{session}"), "not the session's stamp"

    async def check_the_stamp_cannot_be_changed(self, run: _Run) -> None:
        await run.logged_in()
        error = await run.ask(self._scenario.change_stamp)
        assert error or not self._scenario.operations, "the change went upstream"

    # -- the legacy system says no

    async def check_unreachable_legacy_system(self, run: _Run) -> None:
        run.stage.unreachable = "connection refused by 192.0.2.20"
        error = await run.log_in()
        assert "192.0.2.20" not in error, "the client must not hear where the legacy system is"
        await self._unavailable(run, error)

    async def check_refused_static_login_is_told_to_ops_only(self, run: _Run) -> None:
        run.accept = False
        await self._unavailable(run, await run.log_in())
        assert run.types() == ["session.open", "alarm", "session.close"], run.types()
        assert run.stage.core.breaker.open_circuits(run.stage.time), "the bridge must stop trying"

    async def _unavailable(self, run: _Run, error: str) -> None:
        close = (await run.over())[-1]
        assert close["reason"] == Reason.UPSTREAM_UNAVAILABLE, close["reason"]
        assert close["corr"]["session"] in error, f"the client must hear the reference, heard {error!r}"

    # -- operations

    async def check_operations_have_one_outcome_each(self, run: _Run) -> None:
        await run.logged_in()
        for _ in range(3):
            assert not await run.ask(self._scenario.read)
            assert not await run.ask(self._scenario.write)
        await run.client.close()
        events = await run.over()
        ended = [one for one in events if one["type"] == "operation" and one["phase"] != "intent"]
        assert [one["action"]["kind"] for one in ended].count("write") == 3
        assert [one["action"]["kind"] for one in ended].count("read") == 3
        assert {one["outcome"] for one in ended} == {"success"}

    async def check_a_write_goes_upstream_after_its_record(self, run: _Run) -> None:
        await run.logged_in()
        self._scenario.silent = True
        writing = Deferred.fromCoroutine(self._awaited(self._scenario.write(run.client)))
        writing.addErrback(_gone)
        await run.stage.until(lambda: self._scenario.operations)
        assert [one["phase"] for one in run.stage.events("operation")] == ["intent"], "executed before it was recorded"
        run.client.abort()
        await run.over()
        outcomes = [one["outcome"] for one in run.stage.events("operation") if one["phase"] == "outcome"]
        assert outcomes == ["unknown"], f"an operation whose answer nobody saw has the outcome {outcomes}"

    async def check_denied_operation_leaves_the_session(self, run: _Run) -> None:
        await run.logged_in()
        assert await run.ask(self._scenario.write), "the client must hear an error"
        assert not self._scenario.operations, "a denied operation went upstream"
        assert not await run.ask(self._scenario.read), "the session must live on"
        await run.client.close()
        events = await run.over()
        assert [one["outcome"] for one in events if one["type"] == "operation"] == ["denied", "success"]

    async def check_identity_change_is_not_passed_on(self, run: _Run) -> None:
        await run.logged_in()
        error = await run.ask(self._scenario.change_identity)
        assert error or run.types().count("session.open") == 2, "neither refused nor admitted anew"
        assert not self._scenario.operations, "the change went upstream"

    # -- ends

    async def check_client_leaves(self, run: _Run) -> None:
        await run.logged_in()
        await run.client.close()
        await run.closed_as("ok", "client-left", "connection-lost")

    async def check_client_breaks(self, run: _Run) -> None:
        await run.logged_in()
        run.client.abort()
        await run.closed_as("ok", "client-left", "connection-lost")

    async def check_client_leaves_before_login(self, run: _Run) -> None:
        run.start()
        await run.client.close()
        await run.over()
        assert run.stage.story == []

    async def check_client_breaks_while_a_write_waits_for_its_record(self, run: _Run) -> None:
        await run.logged_in()
        writing = Deferred.fromCoroutine(self._awaited(self._scenario.write(run.client)))
        writing.addErrback(_gone)
        run.client.abort()
        await run.over()

    async def check_legacy_system_leaves(self, run: _Run) -> None:
        await run.logged_in()
        await run.stage.legacy[0].close()
        await run.closed_as("upstream-lost", "ok", "connection-lost")

    async def check_legacy_system_breaks(self, run: _Run) -> None:
        await run.logged_in()
        run.stage.legacy[0].abort()
        await run.closed_as("upstream-lost", "ok", "connection-lost")

    async def check_garbage_at_the_start(self, run: _Run) -> None:
        run.start()
        await run.client.send(self._scenario.garbage)
        await run.client.send_eof()
        await run.over()
        assert run.stage.story == []

    async def check_garbage_in_the_session(self, run: _Run) -> None:
        await run.logged_in()
        await run.client.send(self._scenario.garbage)
        await run.client.send_eof()
        await run.closed_as("protocol", "connection-lost")
        assert not self._scenario.operations, "garbage went upstream"

    async def check_revocation_ends_the_session_with_a_goodbye(self, run: _Run) -> None:
        await run.logged_in()
        run.stage.move("revoke")
        words = Deferred.fromCoroutine(self._awaited(self._scenario.last_words(run.client)))
        run.stage.core.live.cut(lambda session: session.agent.id == AGENT, Reason.SESSION_REVOKED, "")
        heard = await run.stage.within(words)
        assert "revoked" in heard, f"the client must hear why, heard {heard!r}"
        await run.closed_as(Reason.SESSION_REVOKED)

    async def check_expiry_ends_an_operation_that_is_going_on(self, run: _Run) -> None:
        await run.logged_in()
        self._scenario.silent = True
        writing = Deferred.fromCoroutine(self._awaited(self._scenario.write(run.client)))
        await run.stage.until(lambda: self._scenario.operations)
        for session in run.stage.core.live:
            session.review(session.credential.expires_at)
        assert await run.stage.within(writing), "the client must hear why"
        await run.closed_as(Reason.SESSION_EXPIRED)

    @staticmethod
    async def _awaited(asking: Awaitable[str]) -> str:
        return await asking


CHECKS = tuple(name.removeprefix("check_") for name in vars(ConformanceSuite) if name.startswith("check_"))
