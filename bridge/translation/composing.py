"""What the writer is given: plain values, which may go to another process as they are, and the row each becomes.

Ideas:

* An *operation* is the few values of its own, beside the *pieces* of text that all operations of its session share
  (and that ``marshal`` writes once for all of them). Any other event brings its sections whole.
* The *body* is composed where the sequence number is known: top-level keys in sorted order, so that it is canonical
  JSON as its sections are. Its exact bytes are what is stored and later hashed.
* The *index columns* repeat some values of the body for finding; the body is the truth.

Both kinds begin alike, with None for the pieces of what is no operation::

    operation  pieces, phase, id, request, at, mono, outcome, reason, action, kind, decision, result
    event      None,   phase, id, request, at, mono, outcome, reason, type, sections, columns, backend, client port,
               personal

``pieces``: columns, labels, corr, corr with a request (before and after it), id, mono, outcome, ts. ``result``: bytes,
code, detail, microseconds, rows; () while there is none. ``columns``: session, agent, owner, system, account, action,
labels. ``personal``: token, salt and value of each.
"""

from __future__ import annotations

from typing import Any

from bridge.translation.canonical import quoted, shortened
from bridge.translation.identifiers import Timestamps
from bridge.translation.vocabulary import OK, OPERATION, VERSION

Plain = tuple[Any, ...]

Row = tuple[int, str, int, str, str, str, str, str, str, str, str, str, str]
"""seq, body, ts, type, phase, outcome, session, agent, owner, system, account, action, labels"""

_OK = quoted(OK)
_END = f'"type":"{OPERATION}","v":{VERSION}}}'


def row(plain: Plain, seq: int, log: str, timestamps: Timestamps) -> Row:
    """``log`` is the log's name. Raises TypeError or ValueError where a value cannot become text."""
    if plain[0] is None:
        return _event(plain, seq, log, timestamps)
    pieces, phase, id, request, at, mono, outcome, reason, action, kind, decision, result = plain
    columns, labels, corr, (before, after), to_id, to_mono, to_outcome, to_ts = pieces
    if request:
        corr = f"{before}{request}{after}"
    reason = _OK if reason == OK else quoted(reason)
    decision = f'"decision":{decision},' if decision else ""
    body = (
        f'{{"action":{action},{corr}{decision}{to_id}{id}{to_mono}{mono}{to_outcome}{outcome}",'
        f'"phase":"{phase}","reason":{reason},{_result(*result) if result else ""}"seq":{seq}{to_ts}{timestamps(at)}"'
        f",{_END}"
    )
    return (seq, body, at, OPERATION, phase, outcome, *columns, kind, labels)


def _result(size: int, code: str, detail: str, duration: int, rows: int) -> str:
    code = f'"code":{quoted(code)},' if code else ""
    detail = f'"detail":{quoted(shortened(detail))},' if detail else ""
    return f'"result":{{"bytes":{size:d},{code}{detail}"dur_us":{duration},"rows":{rows:d}}},'


def _event(plain: Plain, seq: int, log: str, timestamps: Timestamps) -> Row:
    _, phase, id, _, at, mono, outcome, reason, type, sections, columns, _, _, _ = plain
    members = {
        **sections,
        "id": quoted(id),
        "log": quoted(log),
        "mono": str(mono),
        "outcome": f'"{outcome}"',
        "phase": f'"{phase}"',
        "reason": f'"{reason}"',
        "seq": str(seq),
        "ts": f'"{timestamps(at)}"',
        "type": f'"{type}"',
        "v": str(VERSION),
    }
    body = "{" + ",".join(f'"{key}":{members[key]}' for key in sorted(members)) + "}"
    return (seq, body, at, type, phase, outcome, *columns)
