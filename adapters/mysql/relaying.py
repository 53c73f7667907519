"""The relay phase: both directions of a session between the client's first command and its end.

``Commands`` decides on every command of the client, ``Answers`` attributes every answer; here they meet the streams.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred

from adapters.mysql import codec
from adapters.mysql.classifier import Classifier
from adapters.mysql.codec import HEADER_SIZE, Com, Frame, Framer, packets
from adapters.mysql.commands import Commands, Refusal, Verdict
from adapters.mysql.kill import Kills, KillSlot
from adapters.mysql.login import LoginFacts
from adapters.mysql.operations import Describing
from adapters.mysql.refusals import Spoken, error_payload
from adapters.mysql.results import RESULTS, Answers, Expected
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
from bridge.adapter.relay import relay as pump
from bridge.adapter.unexecuted import Unprepared

MAX_COLLECTED = 16 * 1024 * 1024
"""Bytes of a statement's text that are collected to be understood: one packet of the protocol."""

_COLLECTED = frozenset({Com.QUERY, Com.STMT_PREPARE})
"""Commands that are decided on as a whole; of the others the head says all."""


async def relay(
    client: Stream,
    upstream: Stream,
    admission: Admission,
    *,
    system: SystemFacts,
    login: LoginFacts,
    kills: Kills,
    slot: KillSlot,
    classifier: Classifier,
) -> None:
    """Until one side has ended. Raises Refused when the bridge or the legacy system ended it, the client was told."""
    session = Session(client, upstream, admission, system, login, kills, slot, classifier)
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
        kills: Kills,
        slot: KillSlot,
        classifier: Classifier,
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._admission = admission
        self._framer = Framer(streams=True)
        self._answers = Answers(admission.outcome, login.capabilities)
        self._answers.file_asked = self._file_asked
        self._commands = Commands(
            admission,
            self._answers,
            Describing(system.statements),
            classifier,
            kills,
            slot,
            capabilities=login.capabilities,
            database=login.database,
            multi_statements=system.options.multi_statements,
            local_files=system.options.local_infile,
            quiet=self._quiet,
            ask=self._ask,
            unprepared=Unprepared(admission).record,
        )
        self._outgoing: list[bytes | memoryview] = []
        self._collected: list[bytes] = []
        self._collecting = 0  # bytes in ``_collected``, headers included
        self._verdict: Verdict = None  # on the command whose pieces are coming in
        self._sequence = 0
        self._waiting: Deferred[None] | None = None
        self._ended = False

    async def run(self, ahead: bytes) -> None:
        self._admission.on_cut(self._say)
        try:
            if ahead:
                self._client.unread(ahead)
            end = await pump(
                self._client,
                self._upstream,
                to_upstream=self._to_upstream,
                to_client=self._to_client,
                on_client_eof=self._client_left,
            )
            if end.side == "upstream":
                self._upstream_left(end.cause)
        except PeerFault as fault:
            await self._say(Spoken(Reason.PROTOCOL, 1835, "HY000", str(fault)))
            raise
        except Refused as refused:
            await self._say(refused)
            raise
        finally:
            self._answers.abandon(Result.UNKNOWN, detail="the session ended before the answer")

    # -- towards the legacy system ------------------------------------------------------------------------------------

    def _to_upstream(self, data: bytes) -> Coroutine[Any, Any, None] | None:
        if self._outgoing or not self._framer.rests or not self._commands.at_once(data):
            return self._decide(data)
        self._sequence = 0
        return self._upstream.send_or_wait(data)

    async def _decide(self, data: bytes) -> None:
        self._answers.unfold()
        framer = self._framer
        frames = framer.feed(data)
        buffer = framer.buffer
        whole = (0, HEADER_SIZE, len(buffer), 0, len(buffer) - HEADER_SIZE, True, True)
        if len(frames) == 1 and frames[0] == whole and not self._answers.infile and not self._outgoing:
            await self._command(buffer)  # most of what clients send
            return
        for frame in frames:
            await self._frame(frame, buffer)
        self._check_number(framer.rest[3:4])  # of a packet that is not there yet
        await self._flush()

    async def _command(self, packet: bytes) -> None:
        """One command, which is there as a whole."""
        self._sequence = 0
        self._verdict = verdict = await self._commands.command(packet[HEADER_SIZE:], True)
        if verdict is None:
            await self._upstream.send(packet)
        elif isinstance(verdict, Refusal):
            await self._refuse(verdict)
        elif verdict:
            await self._upstream.send(verdict)

    async def _frame(self, frame: Frame, buffer: bytes) -> None:
        self._check_sequence(frame)
        if self._answers.infile:
            self._file_piece(frame, buffer)
        elif frame.first:
            await self._begin(frame, buffer)
        elif self._collecting:
            await self._collect(frame, buffer)
        else:
            await self._go_on(frame, buffer)

    def _check_sequence(self, frame: Frame) -> None:
        if frame.body != frame.start:
            self._check_number(bytes((frame.sequence,)), first=frame.first)
            self._sequence = frame.sequence

    def _check_number(self, number: bytes, first: bool | None = None) -> None:
        """Every command begins at 0 (research B5); a file's packets go on behind the server's request for it."""
        if number and not self._answers.infile:
            begins = not self._framer.inside if first is None else first
            if number[0] != (0 if begins else (self._sequence + 1) & 0xFF):
                raise PeerFault("packets out of order")

    async def _begin(self, frame: Frame, buffer: bytes) -> None:
        body = buffer[frame.body : frame.end]
        if not frame.last and body[:1] and body[0] in _COLLECTED:
            await self._collect(frame, buffer)
            return
        if self._outgoing and not self._answers.idle:
            await self._flush()  # what is decided need not wait for the next decision, which may take a while
        self._verdict = await self._commands.command(body, frame.last)
        if isinstance(self._verdict, bytes) and self._verdict:
            self._outgoing.append(self._verdict)
        await self._go_on(frame, buffer)

    async def _go_on(self, frame: Frame, buffer: bytes) -> None:
        """The next piece of a command that was decided on."""
        verdict = self._verdict
        if verdict is None:
            whole = frame.start == 0 and frame.end == len(buffer)
            self._outgoing.append(buffer if whole else memoryview(buffer)[frame.start : frame.end])
        elif frame.last and isinstance(verdict, Refusal):
            await self._refuse(verdict)

    async def _refuse(self, refusal: Refusal) -> None:
        now = self._answers.own(packets(refusal.payload, self._sequence + 1))
        if now:
            await self._client.send(now)

    async def _collect(self, frame: Frame, buffer: bytes) -> None:
        """A text of several pieces, until it is whole or longer than the bridge reads."""
        piece = buffer[frame.start : frame.end]
        if self._collecting <= MAX_COLLECTED:
            self._collected.append(piece)
        self._collecting += len(piece)
        if not frame.last:
            return
        whole, collected = self._collecting <= MAX_COLLECTED, b"".join(self._collected)
        self._collected, self._collecting = [], 0
        body = collected[codec.HEADER_SIZE :]
        self._verdict = await self._commands.command(body, whole)
        if self._verdict is None:
            self._outgoing.append(collected)
        elif isinstance(self._verdict, Refusal):
            await self._refuse(self._verdict)
        else:
            self._outgoing.append(self._verdict)

    def _file_piece(self, frame: Frame, buffer: bytes) -> None:
        """LOAD DATA LOCAL: the file's packets up to an empty one."""
        self._outgoing.append(memoryview(buffer)[frame.start : frame.end])
        last = frame.first and frame.length == 0
        self._answers.file_piece(frame.end - frame.body, last=last)

    async def _client_left(self) -> None:
        if self._framer.rest or self._framer.inside:
            raise PeerFault("the client went away amid a packet")
        await self._upstream.send_eof()

    async def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if len(outgoing) == 1:
            await self._upstream.send(outgoing[0])
        elif outgoing:
            await self._upstream.send(b"".join(outgoing))

    async def _quiet(self) -> None:
        """Everything sent so far is answered, or the client is to send a file first."""
        if self._answers.idle:
            return
        self._waiting = Deferred()
        await self._flush()
        if self._waiting is not None:
            await self._waiting

    def _settled(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def _ask(self, text: str) -> bytes:
        """A statement of the bridge's own."""
        question = Expected(RESULTS, kept_back=True)
        self._answers.expect(question)
        self._outgoing.append(packets(bytes((Com.QUERY,)) + text.encode("ascii"), 0))
        await self._quiet()
        return b"".join(question.seen)

    # -- towards the client -------------------------------------------------------------------------------------------

    def _to_client(self, data: bytes) -> Coroutine[Any, Any, None] | None:
        if self._answers.is_usual(data):
            return self._client.send_or_wait(data)
        return self._attribute(data)

    async def _attribute(self, data: bytes) -> None:
        answers = self._answers
        out = answers.receive(data)
        if len(out) == 1:
            await self._client.send(out[0])
        elif out:
            await self._client.send(b"".join(out))
        if answers.upward:
            upward, answers.upward = answers.upward, []
            await self._upstream.send(b"".join(upward))
        if self._waiting is not None and (answers.idle or answers.infile):
            self._settled()  # last: whoever waited may answer the client himself

    def _file_asked(self, name: bytes) -> bytes:
        """b"" when it is the file that the client itself has named; the server could name any."""
        offered = self._commands.offered_file
        self._commands.offered_file = None
        if offered is not None and offered.encode("utf-8") == name:
            return b""
        self._admission.alarm("file-asked", "the legacy system asked the client for a file it did not offer")
        text = "the legacy system asked for a file that this command does not name"
        spoken = Spoken(Reason.ACTION_DENIED, 4166, "HY000", text)
        return error_payload(spoken.referenced(self._admission.session), live=True)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _upstream_left(self, cause: str) -> None:
        if self._commands.terminated or self._answers.fatal or self._ended:
            return
        spoken = Spoken(Reason.UPSTREAM_LOST, 2006, "HY000", "the legacy system closed the connection", detail=cause)
        raise spoken.referenced(self._admission.session)

    async def _say(self, refused: Refused) -> None:
        """Between packets only; in the middle of one there is nothing that could be said.

        It has the number that the client waits for: behind the last packet, or 1 when nothing is under way.
        """
        if self._answers.inside or self._ended:
            return
        self._ended = True
        sequence = 1 if self._answers.idle else self._answers.sequence + 1
        try:
            await self._client.send(packets(error_payload(refused, live=True), sequence))
        except StreamClosed:
            return
