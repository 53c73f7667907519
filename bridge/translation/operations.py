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
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from bridge.translation.canonical import quoted, shortened
from bridge.translation.facts import section
from bridge.translation.identifiers import Timestamps
from bridge.translation.personal import Personal
from bridge.translation.record import Event, IndexKeys, Mark, Row
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
    VERSION,
)

if TYPE_CHECKING:
    from bridge.translation.sql import SQLLog

IN_OPERATIONS = ("agent", "delegation", "legacy", "node", "transport")
"""Sections that each operation repeats, so that it can be read (and proven) alone. The credential is in
session.open."""


_OK = quoted(OK)
_END = f'"type":"{OPERATION}","v":{VERSION}}}'


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


class SessionLog:
    """The log as one session writes it. Everything in the reactor's thread."""

    def __init__(self, log: SQLLog, facts: SessionFacts) -> None:
        self.facts = facts
        self.log = log
        self.hold = log.hold
        self.stamp = log.identifiers.next
        self._compose()

    def _compose(self) -> None:
        """What the bodies and rows of all its operations have in common, in the pieces between what differs."""
        session, agent, owner, system, account, _action, labels = self.facts.index.columns()
        self._columns, self._labels = (session, agent, owner, system, account), labels
        kept = {name: text for name, text in self.facts.sections.items() if name in IN_OPERATIONS}
        part = {name: f'"{name}":{kept[name]},' if name in kept else "" for name in IN_OPERATIONS}
        # No value can hold this text: quotation marks inside a value are escaped.
        head, mark, tail = self.corr("\0").partition('"request":"\\u0000"')
        self._corr = f'{part["agent"]}"corr":{self.corr()},'
        self._request = f'{part["agent"]}"corr":{head}{mark[:-7]}', f'"{tail},'
        self._id = f'{part["delegation"]}"id":"'
        self._mono = f'",{part["legacy"]}"log":{quoted(self.log.name)},"mono":'
        self._outcome = f',{part["node"]}"outcome":"'
        self._ts = f',{part["transport"]}"ts":"'
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
        held = OpenOperation(self, action, kind, decision)
        self.hold(held, self.size + len(action))
        return held

    def intent(self, action: str, kind: str, decision: str = "") -> Deferred[OpenOperation]:
        """A permitted write; fires when its intent is durable, errs with LogUnavailable. Only then may the legacy
        side act."""
        held = OpenOperation(self, action, kind, decision)
        held.announced = True
        durable = self.log.commit(Intent(held))
        return durable.addCallbacks(lambda _seq: held, lambda failure: _given_up(held, failure))

    def row(self, held: OpenOperation, phase: str, seq: int, timestamps: Timestamps) -> Row:
        """In the writer's thread, once or twice for every operation there is: one expression for the body."""
        if phase == OUTCOME:
            before, after = self._request
            corr, id, at, mono = f"{before}{held.id}{after}", held.outcome_id, held.outcome_at, held.ended
        else:
            corr, id, at, mono = self._corr, held.id, held.at, held.mono
        if phase == INTENT:
            outcome, reason, result = PENDING, _OK, ""
        else:
            outcome, result = held.outcome, held.result_section()
            reason = _OK if held.reason == OK else quoted(held.reason)
        decision = f'"decision":{held.decision},' if held.decision else ""
        body = (
            f'{{"action":{held.action},{corr}{decision}{self._id}{id}{self._mono}{mono}{self._outcome}{outcome}",'
            f'"phase":"{phase}","reason":{reason},{result}"seq":{seq}{self._ts}{timestamps(at)}",{_END}'
        )
        return (seq, body, at, OPERATION, phase, outcome, *self._columns, held.kind, self._labels)


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

    def result_section(self) -> str:
        code = f'"code":{quoted(self.code)},' if self.code else ""
        detail = f'"detail":{quoted(shortened(self.detail))},' if self.detail else ""
        return (
            f'"result":{{"bytes":{self.bytes:d},{code}{detail}"dur_us":{self.ended - self.mono},"rows":{self.rows:d}}},'
        )

    def row(self, seq: int, log: str, timestamps: Timestamps) -> Row:
        return self.session.row(self, COMPLETE, seq, timestamps)

    def mark(self) -> Mark | None:
        return None


class Intent:
    """The entry of an operation that is still going on."""

    __slots__ = ("held", "settled", "size")

    def __init__(self, held: OpenOperation) -> None:
        self.held = held
        self.settled = True
        self.size = held.size

    def announce(self) -> Intent:
        return self

    def row(self, seq: int, log: str, timestamps: Timestamps) -> Row:
        return self.held.session.row(self.held, INTENT, seq, timestamps)

    def mark(self) -> Mark | None:
        return Mark(INTENT, self.held.id, self.held.at)


class Outcome:
    """The entry of the end of an operation whose intent was written."""

    __slots__ = ("held", "settled", "size")

    def __init__(self, held: OpenOperation) -> None:
        self.held = held
        self.settled = True
        self.size = held.size

    def announce(self) -> Outcome:
        return self

    def row(self, seq: int, log: str, timestamps: Timestamps) -> Row:
        return self.held.session.row(self.held, OUTCOME, seq, timestamps)

    def mark(self) -> Mark | None:
        return Mark(OUTCOME, self.held.id, self.held.outcome_at)
