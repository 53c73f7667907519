"""Statements of a text, with the second opinion, from the cache where it was asked before.

Ideas:

* The cache keeps answers by the text's ``lexer.shape``, never by anything that could make two meanings look the same.
* sqlglot takes milliseconds for a large text: those run in a thread, one at a time, with a bounded queue.
* There is a limit to what is read; a longer text is not understood.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import DeferredLock

from adapters.mysql.functions import WRITING
from adapters.mysql.lexer import Modes
from adapters.mysql.opinion import Opinion, second_opinion
from adapters.mysql.statements import MAX_OBJECTS, UNPARSED, Statement, classify, depend_on_integers
from bridge.adapter import Action
from bridge.adapter.kept_operations import KeptOperations

MAX_READ = 16 * 1024 * 1024
"""Bytes of a text that is read, one packet of the protocol: mostly rows of literals or one long string, half a second
of a thread at most; what has too many tokens is given up sooner."""

INLINE = 4096
"""Bytes of a text that is read at once; longer ones go to the thread."""

QUEUE = 64
"""Texts that wait for the thread; more would wait longer than a client does, so the next is not understood."""

CACHED = 4096
"""Answers kept; with ``lexer.MAX_SHAPE`` at most 16 MiB of keys, in practice under 2."""

Statements = tuple[Statement, ...]


class Classifier:
    """One per adapter. Before ``start`` everything runs at once."""

    def __init__(self) -> None:
        self._cache: OrderedDict[bytes, Statements] = OrderedDict()
        self._deferring: Callable[..., Awaitable[Any]] | None = None
        self._lock = DeferredLock()
        self._waiting = 0
        self.kept = KeptOperations()

    def start(self, deferring: Callable[..., Awaitable[Any]]) -> None:
        self._deferring = deferring

    async def classify(self, text: bytes, modes: Modes, key: bytes | None) -> Statements:
        """``key``: the text's shape, None when nothing is to be kept."""
        if key is not None:
            known = self._cache.get(key)
            if known is not None:
                self._cache.move_to_end(key)
                return known if key == text or len(known) > 1 else (replace(known[0], end=len(text)),)
        if len(text) > MAX_READ:
            return (replace(UNPARSED, end=len(text)),)
        statements = await self._read(text, modes)
        if key is not None and (key == text or not depend_on_integers(statements)):
            self._cache[key] = statements
            if len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        return statements

    async def _read(self, text: bytes, modes: Modes) -> Statements:
        if len(text) <= INLINE or self._deferring is None:
            return in_thread_classify(text, modes)
        if self._waiting >= QUEUE:
            return (replace(UNPARSED, end=len(text)),)
        self._waiting += 1
        try:
            await self._lock.acquire()
            try:
                statements: Statements = await self._deferring(in_thread_classify, text, modes)
            finally:
                self._lock.release()
        finally:
            self._waiting -= 1
        return statements


def in_thread_classify(text: bytes, modes: Modes) -> Statements:
    return tuple(_second(statement) for statement in classify(text, modes))


def _second(statement: Statement) -> Statement:
    """With the second opinion: a query that sqlglot does not see as one may write."""
    if not statement.normal:
        return statement
    opinion: Opinion | None = second_opinion(statement.normal)
    statement = replace(statement, normal="")
    if opinion is None or not opinion.reads:
        action = Action.WRITE if statement.action is Action.READ else statement.action
        statement = replace(statement, action=action)
    if opinion is not None and WRITING.isdisjoint(statement.functions):  # those take names of sequences
        schemas = (name.partition(".")[0] for name in statement.functions if "." in name)
        databases = tuple(dict.fromkeys((*opinion.databases, *schemas)))
        statement = replace(statement, objects=opinion.tables[:MAX_OBJECTS], databases=databases)
    return statement
