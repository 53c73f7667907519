"""The translation log on SQLite, as the reactor uses it.

Ideas:

* ``record`` hands an event to the writer at once and answers when it is durable; ``post`` collects and hands over every
  ``FLUSH_INTERVAL``. The writer answers once per commit, by one call into the reactor.
* Fail closed: when a commit fails, all that wait and all that come get ``LogUnavailable``, and ``on_failure`` is
  told, until the writer could write again.
* Bounded: what is not durable yet is counted, in events and in characters. At the limit nothing new is permitted;
  only the ends of what was permitted before are taken, which are as many as those.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from bridge.storage.threads import ThreadReactor
from bridge.translation.alike import Group
from bridge.translation.appender import Appender
from bridge.translation.facts import node_section
from bridge.translation.identifiers import Identifiers
from bridge.translation.log import LogUnavailable
from bridge.translation.operations import SessionFacts, SessionLog
from bridge.translation.personal import salted_event, salted_session
from bridge.translation.record import Entry, Event, EventEntry
from bridge.translation.vocabulary import LOG_START, LOG_STOP
from bridge.translation.writing import FIRST_RETRY, LAST_RETRY, Done, Ticket, Writer

FLUSH_INTERVAL = 0.02
"""Seconds that a posted event or a finished read may wait for the next hand-over to the writer."""

MAX_PENDING = 20_000
"""Events not durable yet: about a second of work. More means that the disk does not keep up; waiting would not help."""

MAX_PENDING_SIZE = 64 * 1024 * 1024
"""Characters of them, so that a few thousand huge statements do not fill the memory either."""


class SQLLog:
    """See ``TranslationLog``. ``appender`` is the writer's own, and closed when it has ended; its thread calls
    ``appended`` with what is alike in each commit.

    ``salted``: personal data of what comes from now on stands beside the log.
    """

    def __init__(
        self,
        appender: Appender,
        reactor: ThreadReactor,
        name: str,
        appended: Callable[[Sequence[Group]], None] = lambda groups: None,
        *,
        node: str = "",
        version: str = "",
        first_retry: float = FIRST_RETRY,
        last_retry: float = LAST_RETRY,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self.name = name
        self.salted = False
        self.identifiers = Identifiers()
        self.unavailable = "not started"
        self._code = "stopped"
        self._reactor = reactor
        self._appender = appender
        self._node = node_section(id=node, version=version)
        self._writer = Writer(
            appender, name, self.identifiers, self._from_writer, appended,
            first_retry=first_retry, last_retry=last_retry,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._in_thread_run, name="translation-log", daemon=True)
        self._held: list[Entry] = []
        self._held_size = 0
        self._flush_call: IDelayedCall | None = None
        self._pending = 0
        self._pending_size = 0
        self._max_pending = max_pending
        self._on_failure: list[Callable[[str], None]] = []
        self._on_recovered: list[Callable[[], None]] = []
        self._stopped: Deferred[None] = Deferred()

    # -- life

    def start(self) -> Deferred[int]:
        """Starts the writer and records ``log.start``; fires when that is durable."""
        self.unavailable = self._code = ""
        self._thread.start()
        return self.record(Event(LOG_START, sections={"node": self._node}))

    def stop(self) -> Deferred[None]:
        """Takes nothing more, writes what waits and ``log.stop``; fires when the writer has ended. Call it once."""
        self._flush()
        if not self._code:
            self._hand_over([EventEntry(Event(LOG_STOP, sections={"node": self._node}).stamped(self.identifiers))], 0)
        self._code, self.unavailable = "stopped", "the log was stopped"
        self._writer.tickets.put(None)
        return self._stopped

    def _in_thread_run(self) -> None:
        try:
            self._writer.in_thread_run()
        finally:
            self._appender.close()
            self._reactor.callFromThread(self._ended)

    def _ended(self) -> None:
        if self._code != "stopped":
            self._fail("the writer of the log ended by a defect; restart the bridge")
        self._stopped.callback(None)

    # -- taking events

    def record(self, event: Event) -> Deferred[int]:
        return self.commit(self._entry(event))

    def commit(self, entry: Entry) -> Deferred[int]:
        """``record`` for an entry."""
        try:
            self._admit()
        except LogUnavailable as error:
            return fail(error)
        durable: Deferred[int] = Deferred()
        self._pending += 1
        self._pending_size += entry.size
        self._hand_over([entry], entry.size, durable)
        return durable

    def post(self, event: Event) -> None:
        self._admit()
        self.keep(event)

    def keep(self, event: Event) -> None:
        self.keep_entry(self._entry(event))

    def _entry(self, event: Event) -> EventEntry:
        return EventEntry(salted_event(event, all=self.salted).stamped(self.identifiers))

    def keep_entry(self, entry: Entry) -> None:
        self._take(entry, entry.size)

    def hold(self, entry: Entry, size: int) -> None:
        """Takes an entry that may not be settled yet. Raises LogUnavailable."""
        if self._code or self._pending >= self._max_pending or self._pending_size >= MAX_PENDING_SIZE:
            self._admit()
        self._take(entry, size)

    def record_blocking(self, event: Event, timeout: float = 15.0) -> int:
        answer: Future[int] = Future()
        self._reactor.callFromThread(self._record_for, event, answer)
        try:
            return answer.result(timeout)
        except FutureTimeout:
            raise LogUnavailable("failed", f"no answer from the log within {timeout:g} s") from None

    def _record_for(self, event: Event, answer: Future[int]) -> None:
        self.record(event).addCallbacks(answer.set_result, lambda failure: answer.set_exception(failure.value))

    def session(self, facts: SessionFacts) -> SessionLog:
        return SessionLog(self, salted_session(facts, all=self.salted))

    def pending(self) -> int:
        return self._pending

    def on_failure(self, callback: Callable[[str], None]) -> None:
        self._on_failure.append(callback)

    def on_recovered(self, callback: Callable[[], None]) -> None:
        self._on_recovered.append(callback)

    def _admit(self) -> None:
        if self._code:
            raise LogUnavailable(self._code, self.unavailable)
        if self._pending >= self._max_pending or self._pending_size >= MAX_PENDING_SIZE:
            raise LogUnavailable("overloaded", f"{self._pending} events wait to be written; the disk does not keep up")

    def _take(self, entry: Entry, size: int) -> None:
        self._pending += 1
        self._pending_size += size
        self._held.append(entry)
        self._held_size += size
        if self._flush_call is None:
            self._flush_call = self._reactor.callLater(FLUSH_INTERVAL, self._flush)

    def _flush(self) -> None:
        if self._flush_call is not None and self._flush_call.active():
            self._flush_call.cancel()
        self._flush_call = None
        if not self._held:
            return
        entries = [entry if entry.settled else entry.announce() for entry in self._held]
        size, self._held, self._held_size = self._held_size, [], 0
        self._hand_over(entries, size)

    def _hand_over(self, entries: list[Any], size: int, waiter: Deferred[int] | None = None) -> None:
        self._writer.tickets.put(Ticket(entries, size, waiter))

    # -- answers

    def _from_writer(self, done: Done) -> None:
        self._reactor.callFromThread(self._hear, done)

    def _hear(self, done: Done) -> None:
        if done.failure:
            self._fail(done.failure)
        for ticket, seq in done.committed:
            self._release(ticket)
            if ticket.waiter is None:
                continue
            if ticket.replaced:
                ticket.waiter.errback(LogUnavailable("defect", "the event cannot be put into text; an alarm has it"))
            else:
                ticket.waiter.callback(seq)
        for ticket in done.refused:
            self._release(ticket)
            ticket.waiter.errback(LogUnavailable("failed", done.failure))
        if done.recovered:
            self._recover()

    def _release(self, ticket: Ticket) -> None:
        if ticket.size:  # what the log itself adds was not counted
            self._pending -= len(ticket.entries)
            self._pending_size -= ticket.size

    def _fail(self, why: str) -> None:
        if self._code:
            return
        self._code, self.unavailable = "failed", why
        _log.critical("the translation log cannot be written: {why}", why=why)
        for callback in self._on_failure:
            callback(why)

    def _recover(self) -> None:
        if self._code != "failed":
            return
        self._code = self.unavailable = ""
        _log.warn("the translation log can be written again")
        for callback in self._on_recovered:
            callback()


_log = Logger()
