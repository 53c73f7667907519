"""Which answer belongs to which message (research A7, "attribution queue").

Ideas:

* One ``Expected`` per client message that the server answers; a ReadyForQuery always closes everything up to its Sync,
  whatever we believed, so that a surprise cannot shift the attribution for good.
* After an error the server skips to the next Sync; what it skipped was never executed (``ABORTED``).
* A Sync that arrives while the server copies in is swallowed by it, but only while it copies: such a Sync is counted as
  one that may be answered (pgdog#886).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from adapters.postgres import codec
from adapters.postgres.codec import Back
from adapters.postgres.framing import HEADER, Frame, Framer
from adapters.postgres.names import Change
from adapters.postgres.usual import Asked, answer
from bridge.adapter import Operation, Outcome, PeerFault, Permit, Result

Record = Callable[[Permit, Outcome], None]

QUERY, PARSE, BIND, CLOSE, DESCRIBE, EXECUTE, SYNC, CALL, REFUSED, COPY_END = "QPBCDESFRc"
_CLOSED_BY_READY = frozenset({QUERY, SYNC, CALL})
ERROR_HEAD = 1024
"""Bytes of an ErrorResponse in which its SQLSTATE stands: it comes third."""

NOT_WHILE_COPYING = "the client sent another message before it ended its COPY"
"""The server fails the COPY and swallows that message, unless the COPY had failed before: nobody could tell which."""

USUAL = 8
"""Messages that wait for an answer, at most, where the answer is looked at as a whole: Parse, Bind, Describe, Execute,
Sync and a few more."""

_READY = b"Z\0\0\0\5"
_USUAL = {
    Back.PARSE_COMPLETE: PARSE,
    Back.BIND_COMPLETE: BIND,
    Back.CLOSE_COMPLETE: CLOSE,
    Back.ROW_DESCRIPTION: DESCRIBE,
    Back.NO_DATA: DESCRIBE,
}
_NOTED = (Back.BIND_COMPLETE, Back.PARSE_COMPLETE, Back.CLOSE_COMPLETE)


@dataclass(eq=False, slots=True)
class Unit:
    """One permitted operation under way. ``whole``: a text that was not understood, of any number of statements."""

    permit: Permit
    whole: bool = False
    changes: tuple[Change[object], ...] = ()
    rows: int = 0
    bytes: int = 0
    copied_in: bool = False
    ended: bool = False
    tag_rows: int = 0


@dataclass(eq=False, slots=True)
class Expected:
    """``error``: what the client hears instead of the error that the server will send here (a refusal).

    ``operation``: of a Parse, what the log is told when the server will not even prepare it.
    """

    kind: str
    units: Sequence[Unit] = ()
    change: Change[object] | None = None
    error: bytes = b""
    operation: Operation | None = None
    at: int = 0
    failed: bool = field(default=False)


_NOTHING = Expected("")


class Fatal(Exception):
    """The server said FATAL: it closes now."""


class Answers:
    """Both directions tell it what passes; it tells ``record`` what became of each operation."""

    def __init__(self, record: Record, status: str = "I") -> None:
        self._record = record
        self._queue: deque[Expected] = deque()
        self._asked: Asked | None = None  # in place of a queue
        self._suspended: list[Unit] = []
        self._copying = False  # the server takes copy data, and the client has not said that it is done
        self._copied = 0
        self._ignoring = False  # the server failed and ignores what comes until the next Sync
        self._maybe = 0  # Syncs that the server swallowed, unless its copy had failed by then
        self.framer = Framer(
            bulk=codec.BACK_BULK,
            streamed=frozenset(codec.BACK_LARGE),
            limits=codec.BACK_LARGE,
            default_limit=1 << 20,
        )
        self.status = status
        self.fatal = ""
        self.rested = True  # everything is answered, and the last answer was ReadyForQuery: all changes are reported
        self.parameters: list[tuple[str, str]] = []  # reports not yet looked at
        self.ready: Callable[[str], None] = lambda status: None
        self.bound: Callable[[Asked], None] = lambda asked: None
        self.unfolded: Callable[[Asked], Sequence[Expected]] = lambda asked: ()
        self.unprepared: Callable[[Operation, str], None] = lambda operation, code: None

    @property
    def idle(self) -> bool:
        return not self._queue and self._asked is None

    @property
    def quiet(self) -> bool:
        """Nothing at all is under way."""
        return self.rested and not (self._maybe or self._suspended or self._ignoring)

    @property
    def in_flight(self) -> int:
        return len(self._queue)

    @property
    def copying(self) -> bool:
        return self._copying

    # -- what the client asks ---------------------------------------------------------------------------------------

    def ask(self, asked: Asked) -> None:
        """A usual request, when all is ``quiet``."""
        self.rested = False
        self._asked = asked

    def unfold(self) -> None:
        """Before anything that the usual exchange does not have."""
        asked, self._asked = self._asked, None
        if asked is not None:
            self._queue.extend(self.unfolded(asked))

    def expect(self, expected: Expected) -> None:
        self.rested = False
        if self._ignoring:
            self._abort(expected)
        else:
            self._queue.append(expected)

    def sync(self) -> None:
        if self._copying:
            self._maybe += 1
        else:
            self._ignoring = self.rested = False
            self._queue.append(Expected(SYNC))

    def copy_data(self, size: int) -> None:
        self._copied += size

    def copy_end(self) -> None:
        if self._copying:
            self._copying = False
        elif self._queue:
            self._queue.append(Expected(COPY_END))

    # -- what the server answers --------------------------------------------------------------------------------------

    def is_usual(self, data: bytes) -> bool:
        """Whether ``data`` is the whole answer to what was asked; then it is noted, and goes to the client as it is."""
        asked = self._asked
        if asked is None or not self.framer.rests:
            return False
        outcome = answer(data, asked)
        if outcome is None:
            return False
        self._asked = None
        self._record(asked.permit, outcome)
        self.status = status = chr(data[-1])
        self.rested = True
        if asked.prepared is not None:
            self.bound(asked)
        self.ready(status)
        return True

    def receive(self, data: bytes) -> list[bytes | memoryview]:
        """What is to be sent to the client of it. Raises PeerFault when it is not the protocol."""
        self.unfold()
        if data[-6:-1] == _READY and self._usual(data):
            return [data]
        frames = self.framer.feed(data)
        buffer = self.framer.buffer
        out: list[bytes | memoryview] = []
        done = 0
        for frame in frames:
            kind = frame.kind
            if kind in codec.BACK_BULK:
                self._bulk(frame)
                continue
            if not frame.count:
                continue  # the rest of a message that was looked at before
            instead = self._message(kind, buffer, frame)
            if instead is not None:
                if frame.start > done:
                    out.append(memoryview(buffer)[done : frame.start])
                out.append(instead)
                done = frame.end
        if frames:
            end = frames[-1].end
            if done == 0 and end == len(buffer):
                return [buffer]
            if end > done:
                out.append(memoryview(buffer)[done:end])
        return out

    def _usual(self, data: bytes) -> bool:
        """Whether ``data`` is the whole answer to all that waits, one statement, and nothing else; then it is noted.

        Most answers are. Anything at all that is otherwise changes nothing here and goes the long way.
        """
        queue = self._queue
        if not 0 < len(queue) <= USUAL or self._maybe or self._suspended or not self.framer.rests:
            return False
        waiting, unpack = iter(queue), HEADER.unpack_from
        expected = next(waiting)
        unit: Unit | None = None
        position = rows = size = tag_rows = 0
        last = len(data) - len(_READY) - 1
        while position < last:
            kind, length = unpack(data, position)
            begin = position
            while kind == Back.DATA_ROW and length >= 4:
                rows += 1
                position += length + 1
                if position > last:
                    return False
                kind, length = unpack(data, position)
            size += position - begin
            end = position + 1 + length
            if end > last or length < 4:
                return False
            if kind == Back.COMMAND_COMPLETE and expected.kind in (EXECUTE, QUERY) and unit is None:
                if len(expected.units) != 1 or expected.at:
                    return False
                unit = expected.units[0]
                if unit.whole or unit.copied_in or unit.ended:
                    return False
                tag_rows = codec.tag_rows(data[position + 5 : end - 1])
                if expected.kind == EXECUTE:
                    expected = next(waiting, _NOTHING)
            elif expected.kind == _USUAL.get(kind) and not rows:
                expected = next(waiting, _NOTHING)
            elif kind != Back.ROW_DESCRIPTION or expected.kind != QUERY or rows:
                return False
            position = end
        if unit is None or expected.kind not in (QUERY, SYNC) or next(waiting, None) is not None:
            return False
        status = codec.parse_ready(data[-1:])
        for expected in queue:
            if expected.change is not None:
                expected.change.confirm()
        queue.clear()
        unit.rows += rows
        unit.bytes += size
        unit.tag_rows += tag_rows
        self._finish(unit, Result.SUCCESS)
        self.status = status
        self.rested = True
        self.ready(status)
        return True

    def _bulk(self, frame: Frame) -> None:
        unit = self._unit()
        if unit is not None:
            unit.rows += frame.count
            unit.bytes += frame.end - frame.start

    def _message(self, kind: int, buffer: bytes, frame: Frame) -> bytes | None:
        if kind == Back.COMMAND_COMPLETE:
            self._complete(codec.tag_rows(buffer[frame.start + 5 : frame.end - 1]))
        elif kind == Back.READY_FOR_QUERY:
            self._ready(codec.parse_ready(buffer[frame.start + 5 : frame.end]))
        elif kind in _NOTED:
            self._confirmed()
        elif kind in (Back.ROW_DESCRIPTION, Back.NO_DATA):
            head = self._head()
            if head is not None and head.kind == DESCRIBE:
                self._queue.popleft()
        elif kind == Back.ERROR_RESPONSE:
            return self._error(buffer[frame.start + 5 : min(frame.end, frame.start + ERROR_HEAD)])
        elif kind == Back.EMPTY_QUERY_RESPONSE:
            self._complete(0)
        elif kind == Back.PORTAL_SUSPENDED:
            self._suspend()
        elif kind == Back.COPY_IN_RESPONSE:
            self._begin_copy()
        elif kind == Back.FUNCTION_CALL_RESPONSE:
            head = self._head()
            if head is not None and head.kind == CALL:
                self._finish(head.units[0], Result.SUCCESS)
        elif kind == Back.PARAMETER_STATUS:
            self.parameters.append(codec.parse_parameter_status(buffer[frame.start + 5 : frame.end]))
        return None

    # -- the queue ----------------------------------------------------------------------------------------------------

    def _head(self) -> Expected | None:
        queue = self._queue
        while queue and queue[0].kind == COPY_END:
            queue.popleft()
        return queue[0] if queue else None

    def _unit(self) -> Unit | None:
        head = self._head()
        if head is None or head.at >= len(head.units):
            return None
        return head.units[head.at]

    def _complete(self, tag_rows: int) -> None:
        head = self._head()
        if head is None or head.kind not in (QUERY, EXECUTE):
            return
        unit = self._unit()
        if unit is not None:
            unit.tag_rows += tag_rows
            if unit.copied_in:
                unit.bytes, self._copied = unit.bytes + self._copied, 0
                self._maybe = 0
            if not unit.whole:
                self._finish(unit, Result.SUCCESS)
                head.at += 1
        self._copying = False
        if head.kind == EXECUTE:
            if unit is not None and unit.whole:
                self._finish(unit, Result.SUCCESS)
            self._pop()

    def _pop(self) -> None:
        self._queue.popleft()

    def _confirmed(self) -> None:
        head = self._head()
        if head is not None and head.kind in (PARSE, BIND, CLOSE):
            self._queue.popleft()
            if head.change is not None:
                head.change.confirm()

    def _suspend(self) -> None:
        head = self._head()
        if head is None or head.kind != EXECUTE:
            return
        self._queue.popleft()
        for unit in head.units:
            if not unit.ended and unit not in self._suspended:
                self._suspended.append(unit)

    def _begin_copy(self) -> None:
        """Syncs up to the end of the copy are swallowed; the end may be there already, or still to come."""
        head = self._head()
        unit = self._unit()
        if head is None or unit is None:
            return
        unit.copied_in = True
        rest = list(self._queue)[1:]
        self._copying = True
        kept = [head]
        for index, expected in enumerate(rest):
            if expected.kind == COPY_END:
                self._copying = False
                kept += rest[index + 1 :]
                break
            if expected.kind != SYNC:
                raise PeerFault(NOT_WHILE_COPYING)
            self._maybe += 1
        self._queue = deque(kept)

    def _error(self, body: bytes) -> bytes | None:
        severity, code = error_facts(body)
        if severity in ("FATAL", "PANIC"):
            self.fatal = code
            self.abandon(Result.FAILURE, code)
            return None
        head = self._head()
        if head is None:
            return None
        self._copying = False
        unit = self._unit()
        if unit is not None:
            self._finish(unit, Result.FAILURE, code)
            head.at += 1
        head.failed = True
        for left in head.units[head.at :]:
            self._finish(left, Result.ABORTED)
        head.at = len(head.units)
        if head.operation is not None and not self._executes():
            self.unprepared(head.operation, code)
        instead = head.error or None
        if head.kind not in _CLOSED_BY_READY:
            self._skip()
        return instead

    def _executes(self) -> bool:
        """Whether an Execute waits before the next Sync: then the statement has its event already."""
        return any(expected.kind == EXECUTE for expected in takewhile(lambda one: one.kind != SYNC, self._queue))

    def _skip(self) -> None:
        """To the next Sync: nothing before it was executed."""
        while self._queue and self._queue[0].kind != SYNC:
            self._abort(self._queue.popleft())
        self._ignoring = not self._queue

    def _abort(self, expected: Expected) -> None:
        if expected.change is not None:
            expected.change.drop()
        for unit in expected.units:
            if unit not in self._suspended:
                self._finish(unit, Result.ABORTED)

    def _ready(self, status: str) -> None:
        head = self._head()
        if self._maybe and (head is None or head.kind not in _CLOSED_BY_READY):
            self._maybe -= 1  # a Sync that was not swallowed after all: the copy had failed before it
        else:
            while self._queue:
                expected = self._queue.popleft()
                if expected.kind in _CLOSED_BY_READY:
                    self._close(expected)
                    break
                self._abort(expected)
        self.status = status
        if status == "I" and self._suspended:
            for unit in self._suspended:
                self._finish(unit, Result.SUCCESS, detail="portal closed before its last row")
            self._suspended.clear()
        self._head()  # the end of a copy that never began is answered by nothing
        self.rested = not self._queue
        self.ready(status)

    def _close(self, expected: Expected) -> None:
        for unit in expected.units[expected.at :]:
            understood = unit.whole and not expected.failed
            self._finish(unit, Result.SUCCESS if understood else Result.ABORTED)

    def _finish(self, unit: Unit, result: Result, code: str = "", detail: str = "") -> None:
        if unit.ended:
            return
        unit.ended = True
        if unit in self._suspended:
            self._suspended.remove(unit)
        for change in unit.changes:
            if result is Result.SUCCESS:
                change.confirm()
            else:
                change.drop()
        self._record(unit.permit, Outcome(result, code, max(unit.rows, unit.tag_rows), unit.bytes, detail))

    def close_portal(self, unit: Unit) -> None:
        """The client closed or replaced the portal of a suspended operation."""
        if unit in self._suspended:
            self._finish(unit, Result.SUCCESS, detail="portal closed before its last row")

    def abandon(self, result: Result, code: str = "", detail: str = "") -> None:
        """The session ends: what runs has ``result``, what waits behind it was not executed as far as we know."""
        self.unfold()
        running = True
        while self._queue:
            expected = self._queue.popleft()
            for unit in expected.units:
                if not unit.ended:
                    self._finish(unit, result if running else Result.UNKNOWN, code if running else "", detail)
                    running = False
        for unit in list(self._suspended):
            self._finish(unit, Result.SUCCESS, detail="portal closed before its last row")


def error_facts(body: bytes) -> tuple[str, str]:
    """Severity and SQLSTATE of the head of an ErrorResponse, complete or not."""
    fields = {part[:1]: part[1:] for part in body.split(b"\0")[:4]}
    severity = fields.get(b"V") or fields.get(b"S") or b""
    return severity.decode("ascii", "replace"), fields.get(b"C", b"").decode("ascii", "replace")
