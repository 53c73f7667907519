"""The language in which the log is asked, as a pure parser.

::

    agent:deploy-7 action:write,admin -system:sandbox label:finance since:2026-11-01 text:"invoice"

A *term* is ``key:value``; terms that stand side by side must all hold. Several values, separated by commas or given by
repeating the key, mean any of them; ``-`` before the key means none of them. A value with blanks, commas or quotation
marks stands in ``"``, with ``\\"`` and ``\\\\`` inside. ``*`` outside quotation marks stands for anything. What is
not such a query is a ``QueryError`` with the position and the accepted keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from bridge.moments import unix_ms
from bridge.translation.identifiers import timestamp
from bridge.translation.vocabulary import OUTCOMES, PHASES, TYPES

MAX_LENGTH = 10_000
"""Characters of a query."""

MAX_VALUES = 200
"""Values of one query; each is a parameter of the statement that SQLite compiles."""

LAST_MOMENT = 253_402_300_799_999
"""The end of the year 9999 in Unix milliseconds: no later time can be written."""

KEYS: Mapping[str, str] = MappingProxyType(
    {
        "agent": "the agent's id",
        "owner": "the id of the agent's owner",
        "person": "who stands behind it: the subject that an agent acted for, or who gave an admin command",
        "system": "the legacy system",
        "account": "the static account",
        "label": "a label of the system or account, such as pii",
        "action": "read, write or admin",
        "outcome": "success, failure, denied, aborted or unknown",
        "reason": "the code of a refusal or an end, such as not-granted",
        "type": "the event's type, such as session.refused",
        "phase": "intent, outcome or complete",
        "verb": "what was asked, such as sql.update",
        "object": "what it was asked of, such as a table",
        "grant": "a deciding grant",
        "session": "a session's id, or a refusal's reference",
        "text": "text in the statement, in either case",
        "since": "from this time: 2026-11-25T09:00, today, or 2h for two hours ago",
        "until": "up to this time; a date alone includes its day",
    }
)

TIMES = ("since", "until")
_CLOSED = {
    "action": ("read", "write", "admin"),
    "outcome": tuple(filter(None, OUTCOMES)),
    "type": tuple(TYPES),
    "phase": tuple(PHASES),
}
_NO_PATTERN = frozenset({"label", "text", *TIMES})
_KEY = re.compile(r"-?([A-Za-z_]*)")
_BARE = re.compile(r'[^\s,"]+')
_PLAIN = re.compile(r"[^\s,\"*\\]+")
_SPACE = re.compile(r"\s*")


class QueryError(ValueError):
    """What is not a query. ``position`` counts characters from 1; 0 when it was not given as text."""

    def __init__(self, text: str, position: int) -> None:
        super().__init__(f"position {position} of the query: {text}" if position else text)
        self.position = position


@dataclass(frozen=True, slots=True)
class Pattern:
    """A value in which ``*`` stands for anything."""

    text: str

    def matches(self, value: str) -> bool:
        return re.fullmatch(".*".join(map(re.escape, self.text.split("*"))), value, re.DOTALL) is not None


Value = str | int | Pattern


@dataclass(frozen=True, slots=True)
class Term:
    """``values`` are Unix milliseconds for ``since`` and ``until``, else text or a ``Pattern``."""

    key: str
    values: tuple[Value, ...]
    negated: bool = False

    def __str__(self) -> str:
        return f"{'-' if self.negated else ''}{self.key}:{','.join(map(_written, self.values))}"


@dataclass(frozen=True, slots=True)
class Query:
    """What to find: all terms hold. ``before`` and ``after`` are sequence numbers (excluded), for paging.

    Its text is a query again, with absolute times, so that it means the same tomorrow.
    """

    terms: tuple[Term, ...] = ()
    before: int | None = None
    after: int | None = None

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    def described(self) -> dict[str, str | int]:
        """For the record of the read."""
        paging = {"before": self.before, "after": self.after}
        return {"query": str(self)} | {name: seq for name, seq in paging.items() if seq is not None}

    def time(self, key: str) -> int | None:
        """``since`` or ``until`` in Unix milliseconds."""
        found = (value for term in self.terms if term.key == key for value in term.values)
        return next((value for value in found if isinstance(value, int)), None)


def parse(text: str, now: float | None = None) -> Query:
    """``now`` (Unix seconds) is what ``2h`` counts from. Raises QueryError."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"longer than {MAX_LENGTH} characters", MAX_LENGTH + 1)
    return Query(tuple(merged(_terms(text, now))))


def equals(members: Mapping[str, Any]) -> Iterator[Term]:
    """A term for each member that is not empty: how options say the same as a query. Raises QueryError."""
    for key, value in members.items():
        if value not in ("", None):
            yield Term(key, (value,) if key in TIMES else tuple(_checked(key, str(value), 0)))


def merged(terms: Iterable[Term]) -> list[Term]:
    """One term a key and sign. Raises QueryError when a time is given twice."""
    found: dict[tuple[str, bool], Term] = {}
    for term in terms:
        known = found.get((term.key, term.negated))
        if known and term.key in TIMES:
            raise QueryError(f"{term.key} is given twice", 0)
        values = (*known.values, *term.values) if known else term.values
        found[term.key, term.negated] = Term(term.key, tuple(dict.fromkeys(values)), term.negated)
    if sum(len(term.values) for term in found.values()) > MAX_VALUES:
        raise QueryError(f"more than {MAX_VALUES} values", 0)
    return list(found.values())


def _terms(text: str, now: float | None) -> Iterator[Term]:
    at = _after_space(text, 0)
    times: set[str] = set()
    while at < len(text):
        key, value_at = _key(text, at)
        negated = text[at] == "-"
        if key in TIMES and (negated or key in times):
            raise QueryError(f"{key} cannot be negated" if negated else f"{key} is given twice", at + 1)
        times.add(key)
        values: list[Value] = []
        while True:
            start, (raw, quoted, value_at) = value_at, _value(text, value_at, key)
            if key in TIMES:
                values.append(_time(key, raw, now, start + 1))
            else:
                values += _checked(key, raw, start + 1, quoted=quoted)
            if not text.startswith(",", value_at):
                break
            if key in TIMES:
                raise QueryError(f"{key} takes one time", value_at + 1)
            value_at += 1
        yield Term(key, tuple(values), negated)
        at = _after_space(text, value_at)
        if at == value_at < len(text):
            raise QueryError(f"expected a blank between two terms, found {text[at]!r}", at + 1)


def _key(text: str, at: int) -> tuple[str, int]:
    """The key of the term at ``at``, and where its first value begins."""
    found = _KEY.match(text, at)
    assert found is not None
    key, end = found[1].lower(), found.end()
    if not key or not text.startswith(":", end):
        word = _BARE.match(text, at)
        shown = word[0] if word else text[at]
        raise QueryError(f'{shown[:40]!r} is not a term; write key:value, such as text:"invoice". {_keys()}', at + 1)
    if key not in KEYS:
        near = get_close_matches(key, KEYS, 1)
        meant = f", did you mean {near[0]}?" if near else "."
        raise QueryError(f"no key {key!r}{meant} {_keys()}", found.start(1) + 1)
    return key, end + 1


def _keys() -> str:
    return f"Keys: {', '.join(KEYS)}"


def _value(text: str, at: int, key: str) -> tuple[str, bool, int]:
    """The value at ``at``, whether it was quoted, and where it ends."""
    if text.startswith('"', at):
        return _quoted(text, at)
    found = _BARE.match(text, at)
    if found is None:
        raise QueryError(f"{key}: has no value here; expected {KEYS[key]}", at + 1)
    return found[0], False, found.end()


def _quoted(text: str, at: int) -> tuple[str, bool, int]:
    parts, end = [], at + 1
    while end < len(text) and text[end] != '"':
        if text[end] == "\\":
            end += 1
            if text[end : end + 1] not in ('"', "\\"):
                raise QueryError('after \\ only " and \\ may stand', end)
        parts.append(text[end])
        end += 1
    if end >= len(text):
        raise QueryError("the quotation mark here is not closed", at + 1)
    if not parts:
        raise QueryError("an empty value", at + 1)
    return "".join(parts), True, end + 1


def _checked(key: str, raw: str, position: int, *, quoted: bool = True) -> list[Value]:
    known = _CLOSED.get(key)
    pattern = Pattern(raw) if not quoted and "*" in raw and key not in _NO_PATTERN else None
    if known is None:
        return [pattern or raw]
    found = [one for one in known if one == raw or (pattern and pattern.matches(one))]
    if not found:
        raise QueryError(f"no {key} {raw!r}; one of {', '.join(known)}", position)
    return [*found]


def _time(key: str, raw: str, now: float | None, position: int) -> int:
    try:
        return min(max(unix_ms(raw, now, end=key == "until"), 0), LAST_MOMENT)
    except ValueError as error:
        raise QueryError(f"{key}: {error}", position) from None


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _written(value: Value) -> str:
    if isinstance(value, int):
        return timestamp(value)
    if isinstance(value, Pattern):
        return value.text
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
