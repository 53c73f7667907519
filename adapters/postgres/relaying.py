"""The relay phase: both directions of a session between the first ReadyForQuery and its end.

``Requests`` decides on every message of the client, ``Answers`` attributes every answer; here they meet the streams.
A client that goes away without Terminate has its running query cancelled: the server would run it to the end otherwise,
and half-closed clients still get the answer if it is quicker than the cancel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred

from adapters.postgres import codec, guard
from adapters.postgres.answers import Answers
from adapters.postgres.cancel import CancelSlot
from adapters.postgres.codec import Front
from adapters.postgres.framing import Framer
from adapters.postgres.login import LoginFacts
from adapters.postgres.operations import Describing, Texts
from adapters.postgres.refusals import FATAL, Spoken, answer
from adapters.postgres.requests import Requests
from adapters.postgres.upstream import forward_cancel
from adapters.postgres.worker import Classifier
from bridge.adapter import (
    Admission,
    PeerFault,
    Reason,
    Refused,
    Result,
    Stream,
    StreamClosed,
    SystemFacts,
)
from bridge.adapter.relay import relay
from bridge.adapter.unexecuted import Unprepared

_FLUSH = codec.message(Front.FLUSH)
_STREAMED = frozenset(codec.FRONT_LARGE)


async def relay_session(
    client: Stream,
    upstream: Stream,
    admission: Admission,
    *,
    system: SystemFacts,
    login: LoginFacts,
    classifier: Classifier,
    cancel_slot: CancelSlot,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Until one side has ended. Raises Refused when the bridge or the legacy system ended it, the client was told."""
    session = Session(client, upstream, admission, system, login, classifier, cancel_slot, clock)
    await session.run(login.leftover_client)


class Session:
    """What the two directions share."""

    def __init__(
        self,
        client: Stream,
        upstream: Stream,
        admission: Admission,
        system: SystemFacts,
        login: LoginFacts,
        classifier: Classifier,
        slot: CancelSlot,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._admission = admission
        self._slot = slot
        self._clock = clock
        self._framer = Framer(bulk=codec.FRONT_BULK, streamed=_STREAMED, limits=codec.FRONT_LARGE)
        self._texts = Texts(login.parameters)
        self._watch = guard.Watch(admission.stamp, login.parameters, admission.actions)
        self._answers = Answers(admission.outcome, login.transaction_status)
        self._answers.unprepared = Unprepared(admission).record
        self._waiting: Deferred[None] | None = None
        self._notices: list[bytes] = []
        self._outgoing: list[bytes | memoryview] = []
        self._ended = False
        target = {"database": login.database}
        self._requests = Requests(
            admission,
            self._answers,
            self._texts,
            Describing(system.statements, target, self._texts),
            classifier,
            classifier.kept,
            scope=f"{system.statements} {login.database}",
            quiet=self._quiet,
            warn=self._warn,
        )

    async def run(self, ahead: bytes) -> None:
        self._admission.on_cut(self._goodbye)
        try:
            if ahead:
                self._client.unread(ahead)
            end = await relay(
                self._client,
                self._upstream,
                to_upstream=self._to_upstream,
                to_client=self._to_client,
                on_client_eof=self._client_left,
            )
            if end.side == "upstream":
                await self._upstream_left(end.cause)
            elif self._slot.busy:
                await forward_cancel(self._slot, self._clock)
        except PeerFault as fault:
            await self._say(Spoken(Reason.PROTOCOL, "08P01", str(fault)))
            raise
        except Refused as refused:
            await self._say(refused)
            raise
        finally:
            self._slot.busy = False
            self._answers.abandon(Result.UNKNOWN, detail="the session ended before the answer")

    # -- towards the legacy system ------------------------------------------------------------------------------------

    def _to_upstream(self, data: bytes) -> Coroutine[Any, Any, None] | None:
        if self._outgoing or self._notices or not self._framer.rests or not self._requests.at_once(data):
            return self._decide(data)
        self._slot.busy = True
        if self._notices:
            self._outgoing.append(data)
            return self._flush()
        return self._upstream.send_or_wait(data)

    async def _decide(self, data: bytes) -> None:
        self._answers.unfold()
        frames = self._framer.feed(data)
        buffer = self._framer.buffer
        done = start = 0
        for frame in frames:
            start = frame.start
            if frame.kind == Front.COPY_DATA:
                self._answers.copy_data(frame.end - start)
                continue
            if not frame.count:
                continue  # the rest of a message that was decided on
            if start > done:  # what is decided need not wait for the next decision, which may take a while
                self._outgoing.append(memoryview(buffer)[done:start])
                done = start
            instead = await self._requests.message(frame, buffer)
            if instead is not None:
                self._outgoing.append(instead)
                done = frame.end
                if not frame.ends:
                    raise PeerFault("a message of this size was refused")
        if frames and frames[-1].end > done:
            whole = done == 0 and frames[-1].end == len(buffer)
            self._outgoing.append(buffer if whole else memoryview(buffer)[done : frames[-1].end])
        await self._flush()

    async def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._notices:
            await self._tell_notices()
        self._slot.busy = not self._answers.idle
        if len(outgoing) == 1:
            await self._upstream.send(outgoing[0])
        elif outgoing:
            await self._upstream.send(b"".join(outgoing))

    async def _quiet(self) -> None:
        """Everything sent so far is answered; the server is asked not to keep answers back."""
        if self._answers.idle:
            return
        self._waiting = Deferred()
        self._outgoing.append(_FLUSH)
        await self._flush()
        if self._waiting is not None:
            await self._waiting

    def _settled(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def _client_left(self) -> None:
        await self._upstream.send_eof()
        if self._slot.busy and not self._requests.terminated:
            await forward_cancel(self._slot, self._clock)

    # -- towards the client -------------------------------------------------------------------------------------------

    def _to_client(self, data: bytes) -> Coroutine[Any, Any, None] | None:
        if self._notices or not self._answers.is_usual(data):
            return self._attribute(data)
        self._slot.busy = False
        return self._client.send_or_wait(data)

    async def _attribute(self, data: bytes) -> None:
        answers = self._answers
        out = answers.receive(data)
        if answers.parameters:
            self._look_at_parameters()
        if answers.idle:  # after the reports were looked at: whoever waited builds on them
            self._slot.busy = False
            self._settled()
        if len(out) == 1:
            await self._client.send(out[0])
        elif out:
            await self._client.send(b"".join(out))
        if self._notices:
            await self._tell_notices()

    def _look_at_parameters(self) -> None:
        reports, self._answers.parameters = self._answers.parameters, []
        for name, value in reports:
            self._texts.parameter(name, value)
            finding = self._watch.finding(name, value)
            if finding:
                self._admission.alarm("session-tampered", finding)
                spoken = Spoken(Reason.SESSION_STOPPED, "57P01", f"the bridge ended this session: {finding}")
                raise spoken.referenced(self._admission.session)

    def _warn(self, text: str) -> None:
        self._notices.append(codec.notice_response("WARNING", "01000", text))

    async def _tell_notices(self) -> None:
        if not self._answers.framer.inside:
            notices, self._notices = self._notices, []
            await self._client.send(b"".join(notices))

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _upstream_left(self, cause: str) -> None:
        if self._requests.terminated or self._answers.fatal or self._ended:
            return
        spoken = Spoken(Reason.UPSTREAM_LOST, "08006", "the legacy system closed the connection", detail=cause)
        raise spoken.referenced(self._admission.session)

    async def _say(self, refused: Refused) -> None:
        """At a message boundary only; in the middle of a message there is nothing that could be said."""
        if self._answers.framer.inside or self._ended:
            return
        self._ended = True
        severity, sqlstate, text, hint = _fatal(refused)
        try:
            await self._client.send(codec.error_response(severity, sqlstate, text, hint=hint))
        except StreamClosed:
            return

    async def _goodbye(self, refused: Refused) -> None:
        busy = self._slot.busy
        await self._say(refused)
        if busy:
            await forward_cancel(self._slot, self._clock, parting=True)


def _fatal(refused: Refused) -> tuple[str, str, str, str]:
    """The end of a session is FATAL, whatever the reason."""
    said = answer(refused, live=True)
    return FATAL, said.sqlstate, said.text, said.hint
