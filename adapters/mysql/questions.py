"""Simple queries over a connection that is logged in, for ``doctor`` (protocol page "COM_QUERY Response")."""

from __future__ import annotations

import time
from collections.abc import Callable

from adapters.mysql import codec
from adapters.mysql.codec import Com
from adapters.mysql.greeting import Conversation
from bridge.adapter import BridgeError, Deadline, PeerFault, Stream

QUERY_TIMEOUT = 30.0
"""Seconds for one question; catalogs of many thousand tables answer in under one."""

MAX_ROWS = 10_000
"""Rows read of one answer; the questions themselves have a LIMIT where the server takes one."""

NULL = 0xFB

Row = tuple[str, ...]


class Unanswered(BridgeError):
    """The server refused a question; the message is its code and text."""


class Questions:
    """One after the other. The login was made without DEPRECATE_EOF, so that rows end with EOF."""

    def __init__(self, upstream: Stream, clock: Callable[[], float] = time.monotonic) -> None:
        self._conversation = Conversation(upstream, "the legacy server")
        self._clock = clock

    async def ask(self, sql: str) -> list[Row]:
        """The rows as text, NULL as an empty one. Raises Unanswered, PeerFault, StreamClosed, TimedOut."""
        deadline = Deadline(QUERY_TIMEOUT, self._clock)
        self._conversation.begin_command()
        await self._conversation.send(bytes((Com.QUERY,)) + sql.encode())
        head = await self._hear(deadline)
        if head[0] == codec.OK:
            return []
        columns = codec.lenenc(codec.body_of(head, "column count"))
        for _ in range(columns):
            await self._hear(deadline)
        if not _is_eof(await self._hear(deadline)):
            raise PeerFault("the legacy server sent no end of its columns")
        return await self._rows(columns, deadline)

    async def _rows(self, columns: int, deadline: Deadline) -> list[Row]:
        rows: list[Row] = []
        while not _is_eof(payload := await self._hear(deadline)):
            if len(rows) >= MAX_ROWS:
                raise PeerFault("the legacy server has too long an answer")
            rows.append(_row(payload, columns))
        return rows

    async def _hear(self, deadline: Deadline) -> bytes:
        payload = await self._conversation.hear(deadline)
        if payload[:1] == b"\xff":
            fields = codec.parse_error(payload)
            raise Unanswered(f"{fields.code}: {fields.message}")
        if not payload:
            raise PeerFault("the legacy server sent an empty payload")
        return payload


def _is_eof(payload: bytes) -> bool:
    return payload[0] == codec.EOF and len(payload) < 9


def _row(payload: bytes, columns: int) -> Row:
    reader = codec.body_of(payload, "row")
    values = []
    for _ in range(columns):
        if reader.left and payload[-reader.left] == NULL:
            reader.u8()
            values.append("")
        else:
            values.append(codec.lenenc_string(reader).decode("utf-8", "replace"))
    return tuple(values)
