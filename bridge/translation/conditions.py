"""A query as the WHERE of a statement on ``event``.

What an index column holds is compared there; the rest is read out of the body, whose text is searched first, because
most bodies need not be parsed then. Where in the log an agent's, account's or session's events are, ``narrowing`` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Protocol

from bridge.translation.canonical import clean, quoted
from bridge.translation.narrowing import Sql, of_columns, of_sessions
from bridge.translation.personal import PREFIX
from bridge.translation.query import Pattern, Term, Value
from bridge.translation.schema import NOT_OPERATION, NOT_SUCCESS
from bridge.translation.vocabulary import OPERATION, SUCCESS

COLUMNS = frozenset({"agent", "owner", "system", "account", "outcome", "type", "phase", "action", "session"})

_OF_SESSION: tuple[str, ...] = ("agent", "system", "account")

REASON = "json_extract(body, '$.reason')"
_NAMED = (
    "coalesce(json_extract(body, '$.delegation.subject.sub'),"
    " CASE json_extract(body, '$.actor.kind') WHEN 'person' THEN json_extract(body, '$.actor.id') END, '')"
)
PERSON = f"ifnull((SELECT value FROM personal WHERE token = {_NAMED}), {_NAMED})"
_MEMBERS = {"reason": REASON, "person": PERSON, "verb": "ifnull(json_extract(body, '$.action.verb'), '')"}
_LISTS = {"object": "$.action.objects", "grant": "$.decision.rules"}


class Selection(Protocol):
    """``Query`` and ``Filters``."""

    @property
    def terms(self) -> tuple[Term, ...]: ...
    @property
    def before(self) -> int | None: ...
    @property
    def after(self) -> int | None: ...
    def described(self) -> dict[str, str | int]: ...


def condition(selection: Selection, *, after: int | None = None, last: int | None = None) -> Sql:
    """The condition and its parameters. ``after`` (excluded) and ``last`` (included) narrow it further."""
    befores = [one for one in (selection.before, None if last is None else last + 1) if one is not None]
    before = min(befores, default=None)
    after = max((one for one in (selection.after, after) if one is not None), default=None)
    parts = [_term(term) for term in selection.terms] + _helped(selection.terms, after, before)
    for sql, number in (("seq < ?", before), ("seq > ?", after)):
        if number is not None:
            parts.append((sql, (number,)))
    return _joined("AND", parts or [("1", ())])


def _helped(terms: Iterable[Term], after: int | None, before: int | None) -> list[Sql]:
    """What follows from the terms and lets SQLite use an index."""
    exact: dict[str, tuple[str, ...]] = {}
    times: dict[str, int | None] = {"since": None, "until": None}
    for term in terms:
        texts = tuple(clean(value) for value in term.values if isinstance(value, str))
        if term.key in times and isinstance(term.values[0], int):
            times[term.key] = term.values[0]
        elif term.key in COLUMNS and len(texts) == len(term.values) and not term.negated:
            exact[term.key] = texts
    if "session" in exact:
        return [of_sessions(exact["session"], after=after, before=before)]
    if partial := _partial_indexes(terms):
        return [(sql, ()) for sql in partial]
    if "agent" in exact or "system" in exact:
        columns: dict[str, tuple[str, ...]] = {name: exact[name] for name in _OF_SESSION if name in exact}
        return [of_columns(columns, **times, after=after, before=before)]
    return []


def _partial_indexes(terms: Iterable[Term]) -> list[str]:
    """The conditions of partial indexes that follow from the terms: SQLite uses them when they stand there."""
    found = []
    for term in terms:
        if term.key == "type" and term.negated == (OPERATION in term.values):
            found.append(NOT_OPERATION)
        if term.key == "outcome" and not term.negated and SUCCESS not in term.values:
            found.append(NOT_SUCCESS)
    return found


def plain_condition(terms: Iterable[Term]) -> Sql:
    """The condition alone, for statements that read a part of the log from end to end."""
    return _joined("AND", [_term(term) for term in terms] or [("1", ())])


def dimension_condition(terms: Iterable[Term]) -> Sql:
    """The condition on tables that have what the terms name as columns; times are not among them."""
    return _joined("AND", [_term(term, COLUMNS | _MEMBERS.keys()) for term in terms] or [("1", ())])


def _term(term: Term, columns: Set[str] = COLUMNS) -> Sql:
    if term.key == "since":
        return "ts >= ?", term.values
    if term.key == "until":
        return "ts <= ?", term.values
    exact = tuple(value for value in term.values if isinstance(value, str))
    if term.key in columns and len(exact) == len(term.values) > 1:
        sql: Sql = (f"{term.key} IN ({', '.join('?' * len(exact))})", tuple(map(clean, exact)))
    else:
        sql = _joined("OR", [_one(term.key, value, columns) for value in term.values])
    return (f"NOT ({sql[0]})", sql[1]) if term.negated else sql


def _one(key: str, value: Value, columns: Set[str]) -> Sql:
    if key in columns:
        return _equal(key, value)
    if key == "label":
        return "instr(labels, ?) > 0", (f"|{clean(str(value))}|",)
    if key == "text":
        return _text(str(value))
    if key in _LISTS:
        found, parameters = _equal("value", value)
        sql = f"EXISTS (SELECT 1 FROM json_each(body, '{_LISTS[key]}') WHERE {found})"
    else:
        sql, parameters = _equal(_MEMBERS[key], value)
    if isinstance(value, Pattern):
        return sql, parameters
    named = f" OR instr(body, '{PREFIX}') > 0" if key == "person" else ""
    return f"((instr(body, ?) > 0{named}) AND {sql})", (quoted(str(value)), *parameters)


def _equal(column: str, value: Value) -> Sql:
    """A pattern stands for something: it never is what is not there."""
    if isinstance(value, Pattern):
        return f"({column} GLOB ? AND {column} <> '')", (_glob(value),)
    return f"{column} = ?", (clean(str(value)),)


def _glob(pattern: Pattern) -> str:
    return clean(pattern.text).replace("[", "[[]").replace("?", "[?]")


def _text(value: str) -> Sql:
    body = f"%{_escaped(quoted(value)[1:-1])}%"
    text = f"%{_escaped(clean(value))}%"
    return (
        "(body LIKE ? ESCAPE '\\' AND ifnull(json_extract(body, '$.action.text') LIKE ? ESCAPE '\\', 0))",
        (body, text),
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _joined(word: str, parts: list[Sql]) -> Sql:
    if len(parts) == 1:
        return parts[0]
    return f"({f' {word} '.join(sql for sql, _ in parts)})", tuple(one for _, values in parts for one in values)
