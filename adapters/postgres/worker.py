"""What a text does, from the cache or from the process that parses.

Ideas:

* The parser runs in a process of its own (``parser_child``) that may crash, hang or grow: then the text counts as not
  understood (``sql.unparsed``, which only ``admin`` grants permit) and a new process is started for the next one.
* One text at a time, a bounded queue, a limit of time and size. Large texts have a process and a queue of their own:
  whoever sends many of them keeps nobody else waiting.
* The cache keeps answers by the text's ``lexer.shape``, never by anything that could make two meanings look the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import struct
import subprocess
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import DeferredLock

from adapters.postgres import parser_child
from adapters.postgres.statements import EMPTY, RENAMES, UNPARSED, Statement, depend_on_integers
from bridge.adapter import Action
from bridge.adapter.kept_operations import KeptOperations
from bridge.adapter.own_process import start_module

MAX_PARSED = 256 * 1024
"""Bytes of a text that is parsed; a longer one is not understood. 256 KiB takes some 50 ms and 100 MB."""

TIME_LIMIT = 2.0
"""Seconds for one text; what takes longer was made to."""

LARGE = 8 * 1024
"""Bytes above which a text is large: what is shorter takes a few milliseconds."""

MAX_NESTING = 64
"""Depth of comments within comments; the parser's time grows with its square (40 KB of ``/*`` take 3 s)."""

QUEUE = 64
"""Texts that wait for the parser; more would wait longer than a client does, so the next is not understood."""

CACHED = 4096
"""Answers kept; with ``lexer.MAX_SHAPE`` at most 16 MiB of keys, in practice under 2."""

Statements = tuple[Statement, ...]
_NOT_UNDERSTOOD: Statements = (UNPARSED,)
_LENGTH = struct.Struct(">I")


class ParserProcess:
    """The child, started when first asked. All methods run in one thread at a time."""

    def __init__(self, *, time_limit: float = TIME_LIMIT) -> None:
        self._time_limit = time_limit
        self._child: subprocess.Popen[bytes] | None = None
        self.crashes = 0

    def in_thread_parse(self, text: str) -> list[list[Any]] | None:
        """The statements as plain lists; None when the text is no SQL or the child did not survive it."""
        try:
            reply = self._ask(text.encode("utf-8"))
        except (OSError, UnicodeEncodeError, EOFError, TimeoutError):
            self.crashes += 1
            self.in_thread_stop()
            return None
        return json.loads(reply)  # type: ignore[no-any-return]

    def _ask(self, text: bytes) -> bytes:
        child = self._running()
        assert child.stdin is not None
        until = time.monotonic() + self._time_limit
        self._write(child.stdin.fileno(), _LENGTH.pack(len(text)) + text, until)
        (size,) = _LENGTH.unpack(self._read(child, 4, until))
        return self._read(child, size, until)

    def _write(self, out: int, data: bytes, until: float) -> None:
        view = memoryview(data)
        while view:
            _, writable, _ = select.select([], [out], [], max(0.0, until - time.monotonic()))
            if not writable:
                raise TimeoutError
            view = view[os.write(out, view) :]

    def _read(self, child: subprocess.Popen[bytes], size: int, until: float) -> bytes:
        assert child.stdout is not None
        source, got = child.stdout.fileno(), bytearray()
        while len(got) < size:
            readable, _, _ = select.select([source], [], [], max(0.0, until - time.monotonic()))
            if not readable:
                raise TimeoutError
            piece = os.read(source, size - len(got))
            if not piece:
                raise EOFError
            got += piece
        return bytes(got)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.in_thread_stop()
            pipe = subprocess.PIPE
            self._child = start_module(parser_child, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, bufsize=0)
            os.set_blocking(self._child.stdin.fileno(), False)  # type: ignore[union-attr]
        return self._child

    def in_thread_stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(1.0)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


class _Lane:
    """One parser and those that wait for it."""

    def __init__(self, parser: ParserProcess) -> None:
        self.parser = parser
        self.lock = DeferredLock()

    @property
    def full(self) -> bool:
        return len(self.lock.waiting) >= QUEUE


class Classifier:
    """One per adapter. ``cached`` answers at once or not at all; ``classify`` always answers."""

    def __init__(self, parser: ParserProcess | None = None) -> None:
        self._small = _Lane(parser or ParserProcess())
        self._large = _Lane(ParserProcess()) if parser is None else self._small
        self._deferring: Callable[..., Awaitable[Any]] | None = None
        self._cache: OrderedDict[bytes, Statements] = OrderedDict()
        self._stopped = False
        self.kept = KeptOperations()

    def start(self, deferring: Callable[..., Awaitable[Any]]) -> None:
        self._deferring = deferring

    def stop(self) -> None:
        self._stopped = True
        for lane in (self._small, self._large):
            lane.parser.in_thread_stop()

    def cached(self, key: bytes | None) -> Statements | None:
        return self._cache.get(key) if key is not None else None

    async def classify(self, text: bytes, decoded: str | None, key: bytes | None) -> Statements:
        """``decoded``: the text as the server reads it, None when that is in doubt. ``key`` None: do not remember."""
        if decoded is None or len(text) > MAX_PARSED:
            return _NOT_UNDERSTOOD
        known = self.cached(key)
        if known is not None:
            return known
        lane = self._large if len(text) > LARGE else self._small
        if lane.full or nesting(decoded) > MAX_NESTING:
            return _NOT_UNDERSTOOD
        statements = await self._parse(decoded, lane)
        keepable = statements is not _NOT_UNDERSTOOD and not any(RENAMES in s.flags for s in statements)
        if key is not None and keepable and (key == text or not depend_on_integers(statements)):
            self._cache[key] = statements
            if len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        return statements

    async def _parse(self, text: str, lane: _Lane) -> Statements:
        if self._deferring is None or self._stopped:
            return _NOT_UNDERSTOOD
        await lane.lock.acquire()
        try:
            plain = await self._deferring(lane.parser.in_thread_parse, text)
        finally:
            lane.lock.release()
        if plain is None:
            return _NOT_UNDERSTOOD
        return tuple(map(_statement, plain)) or (EMPTY,)


_COMMENT_EDGE = re.compile(r"/\*|\*/")


def nesting(text: str) -> int:
    """How deep comments are nested, or seem to be: marks inside strings count too."""
    depth = deepest = 0
    for edge in _COMMENT_EDGE.findall(text):
        depth = depth + 1 if edge == "/*" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def _statement(plain: list[Any]) -> Statement:
    verb, action, objects, functions, flags, name, value, start, end = plain
    return Statement(verb, Action(action), tuple(objects), tuple(functions), frozenset(flags), name, value, start, end)
