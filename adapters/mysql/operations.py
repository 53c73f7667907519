"""From what a client sends to an ``Operation``: the text in the form the log wants, what it does, on what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adapters.mysql.lexer import MAX_TEXT, Modes, digest, redact
from adapters.mysql.statements import Statement, stronger
from bridge.adapter import Action, Operation, StatementLogging

MAX_PARAMETERS = 64
"""Parameter values kept per operation under ``statements: full``, each cut at ``MAX_VALUE`` characters."""

MAX_VALUE = 1024

STATEMENTS, ONE, SEVERAL = "statements", "one", "several"
"""The fact by which a grant can keep to commands of one statement, and its values. A client of ours asks for ONE when
it logs in, and an operation that says nothing is ONE."""

OWN_DATABASES = frozenset({"information_schema"})
"""Shows each account what it may see; clients ask it unbidden."""


class Describing:
    """Makes the operations of one session."""

    def __init__(self, logging: StatementLogging) -> None:
        self._logging = logging

    @property
    def scope(self) -> str:
        """What an operation depends on beside its statement and database."""
        return self._logging._value_

    @property
    def repeatable(self) -> bool:
        """Statements of one shape make equal operations: not where the log keeps the literals."""
        return self._logging is not StatementLogging.FULL

    def of(self, text: bytes, statement: Statement, modes: Modes, database: str, *, several: bool = False) -> Operation:
        """``text`` is the whole text, of which the statement is a part, one of ``several``; ``database`` the current
        one."""
        part = text[statement.start : statement.end].strip() if statement.end else text
        redacted = redact(part, modes)
        details: dict[str, str | int] = {}
        if len(part) > MAX_TEXT:
            details["bytes"] = len(part)
        if statement.functions:
            details["functions"] = ", ".join(statement.functions)
        full = self._logging is StatementLogging.FULL
        kept = readable(part[:MAX_TEXT]) if full else redacted if self._logging is StatementLogging.REDACTED else ""
        return Operation(
            statement.verb,
            statement.action,
            statement.objects,
            kept,
            digest(redacted),
            None,
            {"database": database} | ({STATEMENTS: SEVERAL} if several else {}),
            details,
        )

    def command(self, verb: str, action: Action, database: str, **details: str | int) -> Operation:
        """A command without SQL."""
        return Operation(verb, action, target={"database": database}, details=details)

    def executed(self, operation: Operation, prepared: Operation | None) -> Operation:
        """SQL's EXECUTE: does what the prepared statement does; one that was not seen may do anything."""
        if prepared is None:
            why = "EXECUTE of a statement that the bridge has not seen"
            return replace(operation, action=Action.ADMIN, details={**operation.details, "why": why})
        details = {**operation.details, "prepared": prepared.text or prepared.digest}
        action = stronger(operation.action, prepared.action)
        return replace(operation, action=action, objects=prepared.objects, details=details)

    def bound(self, operation: Operation, values: Sequence[str | None] | None, count: int) -> Operation:
        """With the parameters' values, where the log may have them; None: they could not be read."""
        if not count or self._logging is not StatementLogging.FULL:
            return operation
        details = {**operation.details, "parameter_count": count}
        kept = None if values is None else tuple(values)
        return replace(operation, parameters=kept, details=details)

    @property
    def keeps_values(self) -> bool:
        return self._logging is StatementLogging.FULL


def readable(text: bytes) -> str:
    """For the log: never fails; what is no UTF-8 is U+FFFD."""
    return text.decode("utf-8", "replace")


def foreign(statement: Statement, database: str) -> tuple[str, ...]:
    """The databases a statement names beside the current one."""
    if not statement.databases:
        return ()
    own = OWN_DATABASES | {database.lower()}
    return tuple(name for name in statement.databases if name.lower() not in own)
