"""The writer's thread.

Ideas:

* Tickets come through one queue; the writer takes all that wait (up to ``MAX_BATCH`` events) into one commit. Whatever
  arrives during a commit shares the next one: alone, an event is not delayed; under load, the batches grow by
  themselves.
* A failed commit changes nothing on the disk. Then every waiting caller is told, and what needs no answer (things
  that have happened already) is kept, in order. The writer tries again at growing intervals; when it succeeds,
  ``log.recovered`` and what was kept come first.
* One event that cannot be put into text must not stop the log: an alarm takes its place.
* Checkpoints are signed by the appender, within commits or between them (``checkpoints``).
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.translation.alike import Group
from bridge.translation.appender import FAULTS, Appender, words_of
from bridge.translation.composing import row
from bridge.translation.facts import detail_section
from bridge.translation.identifiers import Identifiers, Timestamps
from bridge.translation.record import Entry, Event, EventEntry
from bridge.translation.vocabulary import ALARM, FAILURE, LOG_RECOVERED, TREE_DAMAGED, UNRECORDABLE

MAX_BATCH = 1000
"""Events in one commit. At about 20 µs each it holds the write lock for 20 ms, which another process can wait for."""

FIRST_RETRY = 0.5
LAST_RETRY = 15.0
"""Seconds between attempts to write again: doubling from the first to the last. A full disk is soon seen to be free."""

_DEFECTS = (TypeError, ValueError, AttributeError, KeyError)


@dataclass(slots=True)
class Ticket:
    """Entries that belong together, and who waits for them (None: nobody).

    ``replaced``: alarms stand in the place of some of them, so whoever waits must be refused: no event, no action.
    """

    entries: Sequence[Entry]
    size: int
    waiter: Any = None
    replaced: bool = False


@dataclass(slots=True)
class Done:
    """What the writer tells the reactor: ``committed`` with the first sequence numbers, or ``refused`` and why."""

    committed: list[tuple[Ticket, int]] = field(default_factory=list)
    refused: list[Ticket] = field(default_factory=list)
    failure: str = ""
    recovered: bool = False


class Writer:
    """Runs ``in_thread_run`` until ``None`` is put into ``tickets``. ``tell`` and ``appended`` are called from the
    thread: ``appended`` with what is alike in each commit."""

    def __init__(
        self,
        appender: Appender,
        log: str,
        identifiers: Identifiers,
        tell: Callable[[Done], None],
        appended: Callable[[Sequence[Group]], None] = lambda groups: None,
        *,
        first_retry: float = FIRST_RETRY,
        last_retry: float = LAST_RETRY,
    ) -> None:
        self.tickets: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._appender = appender
        self._log = log
        self._identifiers = identifiers
        self._tell = tell
        self._appended = appended
        self._refused = ""
        self._first_retry = first_retry
        self._last_retry = last_retry
        self._stopping = False
        self._failure = ""
        self._failed_at = 0.0
        self._kept: list[Ticket] = []

    def in_thread_run(self) -> None:
        while not self._stopping:
            if self._failure:
                self._wait_out()
            else:
                self._commit(self._gather(self._appender.wait))
        if self._failure and self._kept:
            self._try_again()  # the last chance of what was kept
        if not self._failure:
            self._seal()

    def _gather(self, timeout: float | None) -> list[Ticket]:
        """Waits for a ticket and takes those that are there."""
        tickets: list[Ticket] = []
        count = 0
        while count < MAX_BATCH:
            try:
                ticket = self.tickets.get(not tickets, timeout)
            except queue.Empty:
                break
            if ticket is None:
                self._stopping = True
                break
            tickets.append(ticket)
            count += len(ticket.entries)
        return tickets

    def _commit(self, tickets: list[Ticket]) -> None:
        if not tickets:
            if not self._stopping:
                self._seal()
            return
        try:
            done = self._write(tickets)
        except FAULTS as error:
            self._fail(tickets, error)
        else:
            self._tell(done)
            self._look_at_checkpoints()

    def _seal(self) -> None:
        """The checkpoint that became due without an event, or the last one."""
        try:
            self._appender.seal()
        except FAULTS as error:
            self._fail([], error)
        else:
            self._look_at_checkpoints()

    def _look_at_checkpoints(self) -> None:
        """Says once that they are not signed any more, and why."""
        refused = self._appender.refused
        if refused and refused != self._refused:
            detail = detail_section(text=refused)
            event = Event(ALARM, outcome=FAILURE, reason=TREE_DAMAGED, sections={"detail": detail})
            self.tickets.put(Ticket([EventEntry(event.stamped(self._identifiers))], 0))
        self._refused = refused

    def _write(self, tickets: list[Ticket]) -> Done:
        try:
            return self._write_all(tickets)
        except _DEFECTS:
            return self._write_all([self._replaced(ticket) for ticket in tickets])

    def _write_all(self, tickets: list[Ticket]) -> Done:
        entries = tickets[0].entries if len(tickets) == 1 else [entry for ticket in tickets for entry in ticket.entries]
        seq, groups = self._appender.append(self._log, [entry.plain() for entry in entries])
        self._appended(groups)
        committed = []
        for ticket in tickets:
            committed.append((ticket, seq))
            seq += len(ticket.entries)
        return Done(committed)

    def _replaced(self, ticket: Ticket) -> Ticket:
        """The ticket with an alarm in the place of each entry that cannot become a row."""
        entries = [self._replaced_entry(entry) for entry in ticket.entries]
        ticket.replaced = any(new is not old for new, old in zip(entries, ticket.entries, strict=True))
        ticket.entries = entries
        return ticket

    def _replaced_entry(self, entry: Entry) -> Entry:
        try:
            for value in row(entry.plain(), 1, self._log, Timestamps()):
                value.encode() if isinstance(value, str) else value + 0
        except _DEFECTS as error:
            detail = detail_section(code=type(error).__name__)
            event = Event(ALARM, outcome=FAILURE, reason=UNRECORDABLE, sections={"detail": detail})
            return EventEntry(event.stamped(self._identifiers))
        return entry

    def _fail(self, tickets: list[Ticket], error: Exception) -> None:
        self._failure = words_of(error)
        self._failed_at = time.monotonic()
        self._retry = self._first_retry
        self._retry_at = self._failed_at + self._retry
        self._tell(Done(refused=self._keep(tickets), failure=self._failure))

    def _keep(self, tickets: list[Ticket]) -> list[Ticket]:
        """Keeps what nobody waits for; returns the others, which are to be refused."""
        self._kept += [ticket for ticket in tickets if ticket.waiter is None]
        return [ticket for ticket in tickets if ticket.waiter is not None]

    def _wait_out(self) -> None:
        refused = self._keep(self._gather(max(0.0, self._retry_at - time.monotonic())))
        if refused:
            self._tell(Done(refused=refused, failure=self._failure))
        if not self._stopping and time.monotonic() >= self._retry_at:
            self._try_again()

    def _try_again(self) -> None:
        tickets = [self._recovery(), *self._kept]
        done = Done(recovered=True)
        try:
            while tickets:
                batch = _first(tickets)
                done.committed += self._write(batch).committed
                tickets = tickets[len(batch) :]
        except FAULTS:
            written = {id(ticket) for ticket, _seq in done.committed}
            self._kept = [ticket for ticket in self._kept if id(ticket) not in written]
            self._retry = min(self._retry * 2, self._last_retry)
            self._retry_at = time.monotonic() + self._retry
            self._tell(Done([pair for pair in done.committed if pair[0].size], failure=self._failure))
            return
        self._kept = []
        self._failure = ""
        self._tell(done)

    def _recovery(self) -> Ticket:
        detail = detail_section(
            text=self._failure,
            down_ms=int((time.monotonic() - self._failed_at) * 1000),
            kept=sum(len(ticket.entries) for ticket in self._kept),
        )
        event = Event(LOG_RECOVERED, sections={"detail": detail})
        return Ticket([EventEntry(event.stamped(self._identifiers))], 0)


def _first(tickets: list[Ticket]) -> list[Ticket]:
    count = 0
    for position, ticket in enumerate(tickets):
        count += len(ticket.entries)
        if count >= MAX_BATCH:
            return tickets[: position + 1]
    return tickets
