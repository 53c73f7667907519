"""What no session may do, and what a read-only one may not (research D3, level 1).

Ideas:

* A session without the action ``write`` is made READ ONLY at login and after every reset; statements that would undo
  that are refused, and so is all that is not known to only read.
* This stops accidents and known tricks. Proof is only an account that cannot write: ``doctor`` says whether it is one.
"""

from __future__ import annotations

import re

from adapters.mysql.assignments import CHARSET, IDENTITY, PINNED
from adapters.mysql.statements import KILL, KILL_OTHERWISE, LOCAL, USES, Statement
from bridge.adapter import Action

SEAT_BELT = "SET SESSION TRANSACTION READ ONLY"


def read_only(actions: frozenset[Action]) -> bool:
    return not actions & {Action.WRITE, Action.ADMIN}


def after_login(actions: frozenset[Action]) -> tuple[str, ...]:
    """To be run upstream before the client hears yes, and again after COM_RESET_CONNECTION."""
    return (SEAT_BELT,) if read_only(actions) else ()


_ALWAYS = {
    IDENTITY: "the bridge does not let a session change its role or user",
    CHARSET: "in this character set a text reads in more than one way; use utf8mb4",
    KILL_OTHERWISE: "the bridge understands KILL [CONNECTION | QUERY] number, alone, and nothing else of it",
}


def objection(statement: Statement, *, is_read_only: bool, local_files: bool) -> str:
    """Why the statement is refused whatever the grants say; empty: they decide."""
    for flag, why in _ALWAYS.items():
        if flag in statement.flags:
            return why
    if LOCAL in statement.flags and not local_files:
        return "LOAD DATA LOCAL is not allowed on this system"
    if is_read_only:
        if PINNED in statement.flags:
            return "this session is read-only, and the setting keeps it so"
        if statement.action is not Action.READ:
            return "this session is read-only"
    return ""


def inner_objection(statement: Statement) -> str:
    """What may not be prepared: the bridge must see it when it runs."""
    kinds = ((KILL, "KILL"), (LOCAL, "LOAD DATA LOCAL"), (USES, "USE"))
    return next((f"{what} cannot be prepared" for flag, what in kinds if flag in statement.flags), "")


def among_others(statement: Statement) -> str:
    """What must be the only statement of its command."""
    return "KILL must be the only statement of a command" if KILL in statement.flags else ""


_HIDDEN = re.compile(rb"\b(?:kill|role|authorization)\b")


def hidden(statement: Statement, text: bytes) -> str:
    """In a text that is not understood, not even ``admin`` may have what the bridge must see.

    The body of a routine is exempt: what it does is done when it is called, and not seen then either.
    """
    lower = text.lower()
    suspicious = any(word in lower for word in (b"kill", b"role", b"authorization"))  # much quicker than the pattern
    if statement.verb.startswith("sql.ddl") or not suspicious or not _HIDDEN.search(lower):
        return ""
    return "KILL and SET ROLE are refused in a text that the bridge does not understand"
