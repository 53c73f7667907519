"""Personal data that can be erased: the body has a salted digest (a *token*), the value stands in a table beside it.

Ideas:

* The token is part of the body and never changes, so hashes, proofs and archives stay right when the value is erased;
  without salt and value nobody can say whose token it is.
* One salt for an event, or for a session, whose events its id ties together anyway.
* Whoever reads an event's ``fields`` sees the values that are still there; its ``body`` is the exact text.

Personal are: on whose behalf an agent acted and the persons before (``delegation``), who gave a command (``actor``),
how an owner is reached, and who asked for access or decided about it (``change``). Ids of agents and owners are not:
they name roles, or should.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine

from bridge.storage import reading, writing
from bridge.translation.canonical import canonical, clean
from bridge.translation.schema import NOT_OPERATION
from bridge.translation.vocabulary import LOG_ERASE

if TYPE_CHECKING:
    from bridge.translation.operations import SessionFacts
    from bridge.translation.record import Event

PREFIX = "pii:"
SALT = 16

_SECTIONS = ("actor", "change", "delegation")
_REACHED = ("contact", "on_call")
_ASKING, _USER = ("requester", "decider", "behalf"), "user:"
_TOKEN = re.compile(rf'"({PREFIX}[A-Za-z0-9_-]{{43}})"')
_AT_ONCE = 500

KEEP = "INSERT INTO personal (token, seq, salt, value) VALUES (?, ?, ?, ?) ON CONFLICT (token) DO NOTHING"
"""In the commit of the events: each with the sequence number of the first event that has it."""


@dataclass(frozen=True, slots=True)
class Personal:
    """``token`` stands in bodies for ``value``."""

    token: str
    salt: bytes
    value: str


def token(salt: bytes, value: str) -> str:
    """``pii:`` and the base64url of SHA-256(salt ‖ value)."""
    return PREFIX + base64.urlsafe_b64encode(hashlib.sha256(salt + value.encode()).digest()).decode().rstrip("=")


# -- writing


def salted_event(event: Event, *, all: bool) -> Event:
    """With tokens; without ``all`` only where a value looks like one, so that nobody can pass for somebody else."""
    if event.personal is not None:
        return event
    sections, found = _salted(event.sections, all=all)
    return replace(event, sections=sections, personal=found) if found else event


def salted_session(facts: SessionFacts, *, all: bool) -> SessionFacts:
    sections, found = _salted(facts.sections, all=all)
    return replace(facts, sections=sections, personal=found)


def _salted(sections: Mapping[str, str], *, all: bool) -> tuple[Mapping[str, str], tuple[Personal, ...]]:
    texts = {name: sections[name] for name in _SECTIONS if name in sections}
    if not texts or not (all or any(PREFIX in text for text in texts.values())):
        return sections, ()
    salt = secrets.token_bytes(SALT)
    found: dict[str, Personal] = {}

    def hidden(value: str) -> str:
        if not value or not (all or value.startswith(PREFIX)):
            return value
        one = Personal(token(salt, value), salt, value)
        found[one.token] = one
        return one.token

    fields = _with({name: json.loads(text) for name, text in texts.items()}, hidden)
    if not found:
        return sections, ()
    return {**sections, **{name: canonical(fields[name]) for name in texts}}, tuple(found.values())


def _with(fields: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """``fields``, changed in place: ``change`` of every personal value."""
    delegation = fields.get("delegation")
    if isinstance(delegation, dict):
        for one in (delegation.get("subject"), *(delegation.get("chain") or ())):
            _member(one, "sub", change)
    actor = fields.get("actor")
    if isinstance(actor, dict) and actor.get("kind") == "person":
        _member(actor, "id", change)
    if isinstance(fields.get("change"), dict):
        for side in (fields["change"].get("before"), fields["change"].get("after")):
            _owner(side, change)
            _asked(side, change)
    return fields


def _asked(side: Any, change: Callable[[str], str]) -> None:
    """Of an access request: agents that ask are no persons."""
    for name in _ASKING if isinstance(side, dict) and "requester" in side else ():
        if name == "behalf" or str(side.get(name, "")).startswith((_USER, PREFIX)):
            _member(side, name, change)


def _owner(side: Any, change: Callable[[str], str]) -> None:
    """An owner, an agent's owner, or the keys of a configuration that changed (``owners.payments.contact``)."""
    if not isinstance(side, dict):
        return
    for name in side:
        if str(name).rpartition(".")[2] in _REACHED:
            _member(side, name, change)
    _owner(side.get("owner"), change)


def _member(place: Any, name: str, change: Callable[[str], str]) -> None:
    if isinstance(place, dict) and isinstance(place.get(name), str):
        place[name] = change(place[name])


# -- reading


def known(connection: Connection, bodies: Iterable[str]) -> dict[str, Personal]:
    """By token: what is still there of what the bodies have."""
    wanted = sorted({one for body in bodies if PREFIX in body for one in _TOKEN.findall(body)})
    found: dict[str, Personal] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        rows = connection.exec_driver_sql(
            f"SELECT token, salt, value FROM personal WHERE token IN ({marks})", tuple(some)
        )
        found |= {row[0]: Personal(*row) for row in rows}
    return found


def names(found: Mapping[str, Personal]) -> dict[str, str]:
    return {token: one.value for token, one in found.items()}


def resolved(fields: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """An event's fields with the values in the place of tokens; what was erased stays a token."""
    return _with(fields, lambda value: names.get(value, value)) if names else fields


def wrong(rows: Iterable[Sequence[Any]]) -> list[int]:
    """Of (token, seq, salt, value): the sequence numbers whose value is not the one that was salted."""
    return [seq for one, seq, salt, value in rows if one != token(bytes(salt), str(value))]


# -- erasing


@dataclass(frozen=True, slots=True)
class Erasable:
    """How often a value stands beside the log, and in how many events in clear (written before it was salted)."""

    tokens: int
    clear: int


def in_thread_erasable(engine: Engine, value: str) -> Erasable:
    """Raises StorageError."""
    with reading(engine) as connection:
        tokens = connection.exec_driver_sql(
            "SELECT count(*) FROM personal WHERE value = ?", (clean(value),)
        ).scalar_one()
        clear = connection.exec_driver_sql(
            "SELECT count(*) FROM event WHERE instr(body, ?) > 0", (json.dumps(clean(value), ensure_ascii=False),)
        ).scalar_one()
    return Erasable(int(tokens), int(clear))


def in_thread_erase(engine: Engine, value: str) -> int:
    """Deletes the value and its salts, and overwrites where they stood; returns how many. Raises StorageError."""
    with writing(engine) as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
        done = connection.exec_driver_sql("DELETE FROM personal WHERE value = ?", (clean(value),)).rowcount
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
    with engine.connect() as outside:
        outside.exec_driver_sql("ROLLBACK")
        outside.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return int(done)


def last_erasure(connection: Connection) -> int:
    """The sequence number of the last event about one; 0 when there was none."""
    sql = f"SELECT max(seq) FROM event WHERE type = ? AND {NOT_OPERATION}"
    return int(connection.exec_driver_sql(sql, (LOG_ERASE,)).scalar() or 0)
