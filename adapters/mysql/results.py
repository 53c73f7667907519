"""Which answer belongs to which command, and where each answer ends (protocol page "Command Response").

Ideas:

* One ``Expected`` per command that is answered, first in first out. What passes is not touched: bytes go on as they
  came, and this only knows where in them it is.
* A refusal waits in the queue for its place, as an answer of our own (``own``).
* The bridge's own questions are in the queue too; their answers are kept from the client (``kept_back``).
* Rows are only counted: one step per packet, no copy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adapters.mysql import codec
from adapters.mysql.codec import HEADER_SIZE, MAX_PAYLOAD, Cap, Status, packets
from adapters.mysql.usual import HEAD, Asked, UsualAnswers
from bridge.adapter import Outcome, PeerFault, Permit, Result

Record = Callable[[Permit, Outcome], None]

RESULTS, ONE, TEXT, PREPARE, FETCH, FIELDS, OWN = "results", "one", "text", "prepare", "fetch", "fields", "own"
"""Kinds of answers: any number of results; one OK, EOF or ERR; one packet of text; see the protocol for the others."""

FIRST, COLUMNS, COLUMNS_END, ROWS = range(4)
"""Where in an answer we are: before its first packet, its columns, the EOF behind them, its rows."""

MAX_CONTROL = 1 << 24
"""Longest packet that is looked at as a whole (OK with session changes, ERR): one packet of the protocol."""

PROGRESS = 0xFFFF
"""MariaDB: an ERR with this code is a report on the way, no end."""

_SUCCESS = Result.SUCCESS
_SERVER_FAULT = "the legacy system broke the protocol"


@dataclass(eq=False, slots=True)
class Unit:
    """One permitted operation under way. ``several``: it may have any number of results."""

    permit: Permit
    several: bool = False
    rows: int = 0
    bytes: int = 0
    ended: bool = False


def _nothing(*_: object) -> None:
    return None


class Expected:
    """``done`` is told whether it succeeded; ``prepared`` the number and count of parameters of a new statement;
    ``cursor`` the operation whose rows are still to be fetched."""

    __slots__ = (
        "at",
        "cursor",
        "done",
        "kept_back",
        "kind",
        "left",
        "more",
        "own",
        "phase",
        "prepared",
        "seen",
        "units",
    )

    def __init__(
        self,
        kind: str,
        units: Sequence[Unit] = (),
        *,
        own: bytes = b"",
        kept_back: bool = False,
        done: Callable[[bool, str], None] = _nothing,
        prepared: Callable[[int, int], None] = _nothing,
        cursor: Callable[[Unit], None] = _nothing,
    ) -> None:
        self.kind = kind
        self.units = units
        self.own = own
        self.kept_back = kept_back
        self.done = done
        self.prepared = prepared
        self.cursor = cursor
        self.at = 0
        self.left = 0
        self.phase = ROWS if kind in (FETCH, FIELDS) else FIRST
        self.seen: list[bytes] = []  # what was kept back
        self.more: list[int] = []  # PREPARE: columns still to come, of the parameters last

    @property
    def unit(self) -> Unit | None:
        return self.units[self.at] if self.at < len(self.units) else None


class Answers:
    """Both directions tell it what passes; it tells ``record`` what became of each operation.

    ``upward``: bytes for the legacy server that an answer asked for. ``infile``: the client is sending a file.
    ``file_asked`` decides on a request for a file: b"" lets it pass, else the ERR payload for the client.
    """

    def __init__(self, record: Record, capabilities: int) -> None:
        self._record = record
        self._deprecated_eof = bool(capabilities & Cap.DEPRECATE_EOF)
        self._end_below = MAX_PAYLOAD if self._deprecated_eof else 9
        self._reading = UsualAnswers(deprecated_eof=self._deprecated_eof)
        self._queue: deque[Expected] = deque()
        self._asked: Asked | None = None  # in place of a queue
        self._rest = b""
        self._left = 0  # bytes still to come of a packet that is being passed on
        self._continued = False  # the payload goes on in the next packet
        self._data = b""
        self._passed = 0  # of ``_data``: up to here it is decided who gets it
        self._out: list[bytes | memoryview] = []
        self.sequence = 0
        self.infile = False
        self.fatal = ""
        self.upward: list[bytes] = []
        self.file_asked: Callable[[bytes], bytes] = lambda name: codec.error(4166, "HY000", "no files")
        self.unfolded: Callable[[Asked], Expected] = lambda asked: Expected(RESULTS, (Unit(asked.permit),))

    @property
    def idle(self) -> bool:
        return not self._queue and self._asked is None

    @property
    def quiet(self) -> bool:
        """Nothing at all is under way."""
        return self._asked is None and not (self._queue or self._rest or self._left or self._continued or self.infile)

    @property
    def in_flight(self) -> int:
        return len(self._queue)

    @property
    def inside(self) -> bool:
        """A packet was passed on in part: nothing of our own may be said now."""
        return self._left > 0 or self._continued

    # -- what the client asks -----------------------------------------------------------------------------------------

    def ask(self, asked: Asked) -> None:
        """A usual command, when all is ``quiet``."""
        self._asked = asked

    def unfold(self) -> None:
        """Before anything that the usual exchange does not have."""
        asked, self._asked = self._asked, None
        if asked is not None:
            self._queue.append(self.unfolded(asked))

    def expect(self, expected: Expected) -> None:
        self._queue.append(expected)

    def own(self, packet: bytes) -> bytes:
        """An answer of ours: what is to be sent now, or b"" when it has to wait for its place."""
        if not self._queue:
            return packet
        self._queue.append(Expected(OWN, own=packet))
        return b""

    def file_piece(self, size: int, *, last: bool) -> None:
        """Of the file that the server has asked for."""
        unit = self._queue[0].unit if self._queue else None
        if unit is not None:
            unit.bytes += size
        self.infile = not last

    # -- what the server answers --------------------------------------------------------------------------------------

    def is_usual(self, data: bytes) -> bool:
        """Whether ``data`` is the whole answer to what was asked; then it is noted, and goes to the client as it is.

        Raises PeerFault when it is not the protocol.
        """
        asked = self._asked
        answered = self._reading.read(data) if asked is not None else None
        if asked is None or answered is None:
            return False
        self._asked = None
        self.sequence = answered.sequence
        self._record(asked.permit, Outcome(_SUCCESS, "", answered.rows, answered.bytes))
        return True

    def receive(self, data: bytes) -> list[bytes | memoryview]:
        """What is to be sent to the client of it. Raises PeerFault when it is not the protocol."""
        self.unfold()
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if len(self._queue) == 1 and not self._left and not self._continued and self._usual(self._queue[0], data):
            return [data]
        self._data, self._passed, self._out = data, 0, []
        size = len(data)
        position = self._carry_on(size) if self._left else 0
        while position < size:
            following = self._step(position, size)
            if following < 0:
                self._rest = data[position:] if position else data
                break
            position = following
        if position == size and not self._out and not self._passed and not self._keeping:
            return [data]
        self._pass(position)
        return self._out

    def _usual(self, head: Expected, data: bytes) -> bool:
        """Whether ``data`` is the whole answer to all that waits; then it is noted. Else nothing was changed."""
        if head.kind != RESULTS or head.phase != FIRST or head.kept_back or head.at or len(head.units) != 1:
            return False
        unit = head.units[0]
        answered = None if unit.several else self._reading.read(data)
        if answered is None:
            return False
        self.sequence = answered.sequence
        unit.rows += answered.rows
        unit.bytes += answered.bytes
        self.finish(unit, Result.SUCCESS)
        self._queue.popleft()
        head.done(True, "")
        return True

    @property
    def _keeping(self) -> bool:
        return bool(self._queue) and self._queue[0].kept_back

    def _pass(self, end: int) -> None:
        if end > self._passed:
            piece = memoryview(self._data)[self._passed : end]
            if self._keeping:
                self._queue[0].seen.append(bytes(piece))
            else:
                self._out.append(piece)
            self._passed = end

    def _carry_on(self, size: int) -> int:
        end = min(self._left, size)
        self._left -= end
        unit = self._queue[0].unit if self._queue else None
        if unit is not None:
            unit.bytes += end
        return end

    def _step(self, position: int, size: int) -> int:
        """The end of what begins at ``position``; -1: more is needed to say."""
        if size - position < HEADER_SIZE:
            return -1
        if self._continued:
            return self._advance(position, size)
        length = int.from_bytes(self._data[position : position + 3], "little")
        if not length:
            raise PeerFault(f"{_SERVER_FAULT}: an empty packet")
        if size - position == HEADER_SIZE:
            return -1
        head = self._queue[0] if self._queue else None
        if head is not None and head.phase == ROWS:
            return self._rows(head, position, size)
        if head is not None and head.phase == COLUMNS:
            return self._columns(head, position, size)
        return self._control(head, position, length, size)

    def _advance(self, position: int, size: int) -> int:
        """Past one packet that is only passed on, whether it is there to its end or not."""
        header = int.from_bytes(self._data[position : position + HEADER_SIZE], "little")
        length, self.sequence = header & MAX_PAYLOAD, header >> 24
        self._continued = length == MAX_PAYLOAD
        end = position + HEADER_SIZE + length
        self._left = max(0, end - size)
        return min(end, size)

    def _columns(self, head: Expected, position: int, size: int) -> int:
        """Descriptions of columns, or of parameters: only counted, each when it is there as a whole."""
        data, left, start = self._data, head.left, position
        while left and size - position >= HEADER_SIZE:
            length = data[position] | data[position + 1] << 8 | data[position + 2] << 16
            if not 0 < length < MAX_PAYLOAD:
                raise PeerFault(f"{_SERVER_FAULT}: the description of a column has an impossible length")
            if position + HEADER_SIZE + length > size:
                break
            position += HEADER_SIZE + length
            left -= 1
        self.sequence = (self.sequence + head.left - left) & 0xFF
        head.left = left
        if not left:
            head.phase = COLUMNS_END
            if self._deprecated_eof:
                self._columns_ended(head, position, 0)
        return position if position > start else -1

    def _rows(self, head: Expected, position: int, size: int) -> int:
        """Runs of rows: half of what the bridge does for a large result, so one plain loop."""
        unpack, data, below, start, count = HEAD.unpack_from, self._data, self._end_below, position, 0
        last = size - HEADER_SIZE - 1
        length = first = 0
        while position <= last:
            header, first = unpack(data, position)
            length = header & MAX_PAYLOAD
            if (first >= 0xFE and (first == 0xFF or length < below)) or not length or length == MAX_PAYLOAD:
                break
            count += 1
            position += HEADER_SIZE + length
        if count:
            self.sequence = (self.sequence + count) & 0xFF
            self._left = max(0, position - size)
            position = min(position, size)
            self._count(head, count, position - start)
            if position > last:
                return position
        if length == MAX_PAYLOAD and first != codec.ERROR:
            end = self._advance(position, size)
            self._count(head, 1, end - position)
            return end
        end = self._control(head, position, length, size)
        return position if end < 0 and count else end

    def _count(self, head: Expected, rows: int, size: int) -> None:
        unit = head.unit
        if unit is not None and head.kind != FIELDS:
            unit.rows += rows
            unit.bytes += size

    # -- packets that say something -----------------------------------------------------------------------------------

    def _control(self, head: Expected | None, position: int, length: int, size: int) -> int:
        if not length:
            raise PeerFault(f"{_SERVER_FAULT}: an empty packet")
        if length > MAX_CONTROL:
            raise PeerFault(f"{_SERVER_FAULT}: an answer is too long")
        end = position + HEADER_SIZE + length
        if end > size:
            return -1
        payload = self._data[position + HEADER_SIZE : end]
        self.sequence = self._data[position + 3]
        first = payload[0]
        if first == codec.ERROR:
            self._error(head, payload, end)
        elif head is None:
            raise PeerFault(f"{_SERVER_FAULT}: an answer to nothing")
        elif head.phase == ROWS:
            self._result_ended(head, self._status(payload), end)
        elif head.phase == COLUMNS_END:
            self._columns_ended(head, end, self._status(payload))
        elif first == codec.LOCAL_INFILE and head.kind == RESULTS:
            self._file(head, payload[1:], position, end)
        else:
            _FIRST[head.kind](self, head, payload, end)
        return end

    def _status(self, payload: bytes) -> int:
        return codec.end_status(payload, deprecated_eof=self._deprecated_eof)

    def _first_result(self, head: Expected, payload: bytes, end: int) -> None:
        if payload[0] == codec.OK:
            ok = codec.parse_ok(payload)
            if head.unit is not None:
                head.unit.rows += ok.affected
            self._result_ended(head, ok.status, end)
            return
        head.left = codec.lenenc(codec.body_of(payload, "column count"))
        if not head.left:
            raise PeerFault(f"{_SERVER_FAULT}: a result without columns")
        head.phase = COLUMNS

    def _first_one(self, head: Expected, payload: bytes, end: int) -> None:
        if payload[0] not in (codec.OK, codec.EOF):
            raise PeerFault(f"{_SERVER_FAULT}: neither OK nor ERR")
        self._succeeded(head, end)

    def _first_text(self, head: Expected, payload: bytes, end: int) -> None:
        self._succeeded(head, end)

    def _first_prepare(self, head: Expected, payload: bytes, end: int) -> None:
        reader = codec.body_of(payload, "COM_STMT_PREPARE_OK")
        reader.u8()
        number, columns, parameters = codec.u32(reader), codec.u16(reader), codec.u16(reader)
        if payload[0] != codec.OK:
            raise PeerFault(f"{_SERVER_FAULT}: neither OK nor ERR")
        head.prepared(number, parameters)
        head.more = [count for count in (columns, parameters) if count]
        self._next_columns(head, end)

    def _next_columns(self, head: Expected, end: int) -> None:
        if head.more:
            head.left, head.phase = head.more.pop(), COLUMNS
        else:
            self._succeeded(head, end)

    def _columns_ended(self, head: Expected, end: int, status: int) -> None:
        if head.kind == PREPARE:
            self._next_columns(head, end)
            return
        head.phase = ROWS
        if status & Status.CURSOR_EXISTS:  # the rows come by COM_STMT_FETCH
            self._result_ended(head, status, end)

    def _result_ended(self, head: Expected, status: int, end: int) -> None:
        more = bool(status & Status.MORE_RESULTS)
        unit = head.unit
        fetching = head.kind == FETCH and not status & Status.LAST_ROW_SENT
        if status & Status.CURSOR_EXISTS and not more and not status & Status.LAST_ROW_SENT and unit is not None:
            head.at += 1  # its outcome comes with its last row
            head.cursor(unit)
        elif unit is not None and not fetching and not (unit.several and more):
            self.finish(unit, Result.SUCCESS)
            head.at += 1
        if more:
            head.phase = FIRST
        else:
            self._succeeded(head, end)

    # -- the queue ----------------------------------------------------------------------------------------------------

    def _succeeded(self, head: Expected, end: int) -> None:
        """What is left of a command was not executed, unless something before it may have had any number of results."""
        if head.kind != FETCH:
            unclear = any(unit.several for unit in head.units[: head.at + 1])
            for unit in head.units[head.at :]:
                last = head.at == 0 or unclear
                self.finish(unit, Result.SUCCESS if last else Result.ABORTED)
        self._pop(head, end, True, "")

    def _error(self, head: Expected | None, payload: bytes, end: int) -> None:
        code = int.from_bytes(payload[1:3], "little")
        if code == PROGRESS:
            return
        if head is None:
            self.fatal = str(code)
            return
        unit = head.unit
        if unit is not None:
            self.finish(unit, Result.FAILURE, str(code))
            for left in head.units[head.at + 1 :]:
                self.finish(left, Result.UNKNOWN if unit.several else Result.ABORTED)
        self._pop(head, end, False, str(code))

    def _pop(self, head: Expected, end: int, succeeded: bool, code: str) -> None:
        self._pass(end)
        self._queue.popleft()
        head.done(succeeded, code)
        while self._queue and self._queue[0].kind == OWN:
            self._out.append(self._queue.popleft().own)

    def finish(self, unit: Unit, result: Result, code: str = "", detail: str = "") -> None:
        if not unit.ended:
            unit.ended = True
            self._record(unit.permit, Outcome(result, code, unit.rows, unit.bytes, detail))

    def _file(self, head: Expected, name: bytes, position: int, end: int) -> None:
        """The server names any file it likes; the client would send it."""
        refusal = self.file_asked(name)
        head.phase = FIRST
        if not refusal:
            self.infile = True
            return
        if head.unit is not None:
            self.finish(head.unit, Result.DENIED, detail="a file that the client did not offer")
        self._pass(position)
        self._out.append(packets(refusal, self.sequence))
        self.upward.append(packets(b"", self.sequence + 1))
        head.kept_back = True  # what the server makes of an empty file

    def abandon(self, result: Result, code: str = "", detail: str = "") -> None:
        """The session ends: what runs has ``result``, what waits behind it was not executed as far as we know."""
        self.unfold()
        running = True
        while self._queue:
            head = self._queue.popleft()
            for unit in head.units[head.at :]:
                self.finish(unit, result if running else Result.UNKNOWN, code if running else "", detail)
                running = False


_FIRST = {
    RESULTS: Answers._first_result,
    ONE: Answers._first_one,
    TEXT: Answers._first_text,
    PREPARE: Answers._first_prepare,
}
