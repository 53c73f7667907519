"""The events of one session, and the short path for its operations.

Ideas:

* A ``SessionLog`` holds what all events of a session share, composed once: a body is then a handful of joins.
* A *read* is held in memory. If its outcome is there at the next flush (20 ms at most), the two are one event of phase
  ``complete``; if not, the intent is written at that flush and the outcome follows as an event of its own.
* A *write* (or any operation, where the audit is strict) is recorded before the legacy side acts: ``intent``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import monotonic_ns
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from bridge.translation.canonical import quoted
from bridge.translation.composing import Plain
from bridge.translation.facts import section
from bridge.translation.personal import Personal
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import (
    ABORTED,
    ALARM,
    COMPLETE,
    DENIED,
    FAILURE,
    INTENT,
    OK,
    OPERATION,
    OUTCOME,
    OUTCOMES,
    PENDING,
    SESSION_CLOSE,
    SESSION_ENDED,
    SESSION_ESTABLISHED,
    SESSION_OPEN,
    SESSION_RECORDING,
    SUCCESS,
)

if TYPE_CHECKING:
    from bridge.translation.sql import SQLLog

IN_OPERATIONS = ("agent", "delegation", "legacy", "node", "transport")
"""Sections that each operation repeats, so that it can be read (and proven) alone. The credential is in
session.open."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What is known when a session opens. ``sections``: agent, credential, delegation, decision, legacy, node,
    transport.

    ``parent``, ``trace`` and ``txn`` are correlation ids that the client brought, if any. ``personal`` is what the
    sections name by tokens; it is kept with the opening.
    """

    index: IndexKeys
    sections: Mapping[str, str]
    parent: str = ""
    trace: str = ""
    txn: str = ""
    personal: tuple[Personal, ...] = ()


Held = TypeVar("Held", bound="OpenOperation")


class SessionLog:
    """The log as one session writes it. Everything in the reactor's thread."""

    def __init__(self, log: SQLLog, facts: SessionFacts) -> None:
        self.facts = facts
        self.log = log
        self.hold = log.hold
        self.stamp = log.identifiers.next
        self._compose()

    def _compose(self) -> None:
        """What the bodies and rows of all its operations have in common: the text between what differs."""
        session, agent, owner, system, account, _action, labels = self.facts.index.columns()
        kept = {name: text for name, text in self.facts.sections.items() if name in IN_OPERATIONS}
        part = {name: f'"{name}":{kept[name]},' if name in kept else "" for name in IN_OPERATIONS}
        # No value can hold this text: quotation marks inside a value are escaped.
        head, mark, tail = self.corr("\0").partition('"request":"\\u0000"')
        self.pieces = (
            (session, agent, owner, system, account),
            labels,
            f'{part["agent"]}"corr":{self.corr()},',
            (f'{part["agent"]}"corr":{head}{mark[:-7]}', f'"{tail},'),
            f'{part["delegation"]}"id":"',
            f'",{part["legacy"]}"log":{quoted(self.log.name)},"mono":',
            f',{part["node"]}"outcome":"',
            f',{part["transport"]}"ts":"',
        )
        self.size = 300 + sum(map(len, kept.values()))

    def corr(self, request: str = "") -> str:
        facts = self.facts
        return section(
            session=facts.index.session, request=request, parent=facts.parent, trace=facts.trace, txn=facts.txn
        )

    # -- the session itself

    def opened(self) -> Deferred[int]:
        """Records the opening; fires when it is durable. Nothing may be dialled before."""
        return self.log.record(replace(self._event(SESSION_OPEN, self.facts.sections), personal=self.facts.personal))

    def established(self, legacy: str, *, backend: int = 0, client_port: int = 0) -> Deferred[int]:
        """The legacy login succeeded. ``legacy`` is the legacy section with its facts; operations carry it from now
        on."""
        index = replace(self.facts.index, backend=backend, client_port=client_port)
        self.facts = replace(self.facts, index=index, sections={**self.facts.sections, "legacy": legacy})
        self._compose()
        return self.log.record(self._event(SESSION_ESTABLISHED, self._sections("agent", "legacy", "node")))

    def closed(self, outcome: str = SUCCESS, reason: str = OK, *, detail: str = "") -> None:
        """The end. Always taken, also while the log cannot be written: it is a fact, and written when it can be
        again."""
        sections = self._sections("agent", "delegation", "legacy", "node", "transport", detail=detail)
        self.log.keep(self._event(SESSION_CLOSE, sections, outcome, reason))

    def alarm(self, reason: str, detail: str) -> None:
        """Something that should not happen; ``detail`` is a detail section. Raises LogUnavailable."""
        sections = self._sections(*IN_OPERATIONS, detail=detail)
        self.log.post(self._event(ALARM, sections, FAILURE, reason))

    def recorded(self, complete: bool, detail: str) -> None:
        """A recording is over. Always taken, as the end of the session is."""
        sections = self._sections("agent", "legacy", "node", detail=detail)
        self.log.keep(self._event(SESSION_RECORDING, sections, SUCCESS if complete else FAILURE))

    def denied(self, action: str, kind: str, decision: str, reason: str, *, reference: str = "") -> None:
        """An operation that the bridge refused. Raises LogUnavailable."""
        sections = self._sections(*IN_OPERATIONS, action=action, decision=decision)
        event = self._event(OPERATION, sections, DENIED, reason)
        self.log.post(replace(event, id=reference, index=replace(self.facts.index, action=kind)))

    def _sections(self, *names: str, **more: str) -> dict[str, str]:
        own = self.facts.sections
        return {name: own[name] for name in names if name in own} | {name: text for name, text in more.items() if text}

    def _event(self, type: str, sections: Mapping[str, str], outcome: str = SUCCESS, reason: str = OK) -> Event:
        sections = {**sections, "corr": self.corr()}
        return Event(type, outcome=outcome, reason=reason, sections=sections, index=self.facts.index, personal=())

    # -- its operations

    def operation(self, action: str, kind: str, decision: str = "") -> OpenOperation:
        """A permitted read; the legacy side may act at once. ``action`` and ``decision`` are sections.

        Raises LogUnavailable.
        """
        return self.begin(OpenOperation(self, action, kind, decision))

    def begin(self, held: Held) -> Held:
        """``operation`` for a kind of its own."""
        self.hold(held, self.size + len(held.action))
        return held

    def intent(self, action: str, kind: str, decision: str = "") -> Deferred[OpenOperation]:
        """A permitted write; fires when its intent is durable, errs with LogUnavailable. Only then may the legacy
        side act."""
        return self.begin_durably(OpenOperation(self, action, kind, decision))

    def begin_durably(self, held: Held) -> Deferred[Held]:
        """``intent`` for a kind of its own."""
        held.announced = True
        durable = self.log.commit(Intent(held))
        return durable.addCallbacks(lambda _seq: held, lambda failure: _given_up(held, failure))


def _given_up(held: OpenOperation, failure: Failure) -> Failure:
    """The caller waits no more; the intent may be written all the same, so its end is too."""
    if isinstance(failure.value, CancelledError):
        held.finish(ABORTED, SESSION_ENDED)
    return failure


class OpenOperation:
    """A permitted operation whose outcome is awaited; itself the entry of the complete event when that came in time."""

    __slots__ = (
        "action", "announced", "at", "bytes", "code", "decision", "detail", "ended", "id", "kind", "mono", "outcome",
        "outcome_at", "outcome_id", "reason", "rows", "session", "settled",
    )  # fmt: skip

    def __init__(self, session: SessionLog, action: str, kind: str, decision: str) -> None:
        self.session = session
        self.action = action
        self.kind = kind
        self.decision = decision
        self.settled = False
        self.announced = False
        self.mono = monotonic_ns() // 1000
        self.id, self.at = session.stamp()

    def finish(
        self,
        outcome: str = SUCCESS,
        reason: str = OK,
        *,
        code: str = "",
        rows: int = 0,
        bytes: int = 0,
        detail: str = "",
    ) -> None:
        """What became of it. Always taken, also while the log cannot be written; only the first call counts."""
        if self.settled:
            return
        if outcome not in OUTCOMES:
            raise ValueError(f"unknown outcome {outcome!r}")
        self.ended = monotonic_ns() // 1000
        self.outcome = outcome
        self.reason = reason
        self.code = code
        self.rows = rows
        self.bytes = bytes
        self.detail = detail
        self.settled = True
        if self.announced:
            self.outcome_id, self.outcome_at = self.session.stamp()
            self.session.log.keep_entry(Outcome(self))

    def announce(self) -> Intent:
        """At a flush, when the outcome is not known yet."""
        self.announced = True
        return Intent(self)

    @property
    def size(self) -> int:
        return self.session.size + len(self.action)

    def plain(self) -> Plain:
        return (
            self.session.pieces, COMPLETE, self.id, "", self.at, self.mono, self.outcome, self.reason, self.action,
            self.kind, self.decision, self.result(),
        )  # fmt: skip

    def result(self) -> tuple[int, str, str, int, int]:
        return self.bytes, self.code, self.detail, self.ended - self.mono, self.rows


class Intent:
    """The entry of an operation that is still going on."""

    __slots__ = ("held", "settled", "size")

    def __init__(self, held: OpenOperation) -> None:
        self.held = held
        self.settled = True
        self.size = held.size

    def announce(self) -> Intent:
        return self

    def plain(self) -> Plain:
        held = self.held
        return (
            held.session.pieces, INTENT, held.id, "", held.at, held.mono, PENDING, OK, held.action, held.kind,
            held.decision, (),
        )  # fmt: skip


class Outcome:
    """The entry of the end of an operation whose intent was written."""

    __slots__ = ("held", "settled", "size")

    def __init__(self, held: OpenOperation) -> None:
        self.held = held
        self.settled = True
        self.size = held.size

    def announce(self) -> Outcome:
        return self

    def plain(self) -> Plain:
        held = self.held
        return (
            held.session.pieces, OUTCOME, held.outcome_id, held.id, held.outcome_at, held.ended, held.outcome,
            held.reason, held.action, held.kind, held.decision, held.result(),
        )  # fmt: skip
