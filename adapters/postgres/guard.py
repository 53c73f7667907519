"""What no session may do, what a read-only one may not, and the alarm for what slipped through (research D3, level 1).

Ideas:

* A session without the action ``write`` gets settings pinned at login; statements that would unpin them are refused.
* ParameterStatus is the alarm: whatever way a pinned value or our stamp was changed, the server reports it.
* This stops accidents and known tricks. Proof is only an account that cannot write: ``doctor`` says whether it is one.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.postgres.statements import IDENTITY, PINNED, RENAMES, STAMP, Statement
from bridge.adapter import Action

PINNED_SETTINGS = {
    "default_transaction_read_only": "on",
    "standard_conforming_strings": "on",
    "client_encoding": "UTF8",
}
"""Read-only by default, and text that the parser here and the server read alike."""


READ_ONLY = "this session is read-only"
"""Begins what is said of a session whose agent had no grant to write when it logged in."""


def read_only(actions: frozenset[Action]) -> bool:
    return not actions & {Action.WRITE, Action.ADMIN}


def startup_parameters(actions: frozenset[Action]) -> Mapping[str, str]:
    """Settings to send at login; they win over the client's own wishes."""
    return dict(PINNED_SETTINGS) if read_only(actions) else {}


def objection(statement: Statement, *, is_read_only: bool) -> str:
    """Why the statement is refused whatever the grants say; empty: they decide."""
    if IDENTITY in statement.flags:
        return "the bridge does not let a session change its role or user"
    if STAMP in statement.flags:
        return "application_name can only be changed by SET; the bridge keeps its stamp in front"
    if is_read_only:
        if PINNED in statement.flags:
            return f"{READ_ONLY}, and the setting keeps it so"
        if statement.action is not Action.READ:
            return READ_ONLY
    return ""


class Watch:
    """Compares each ParameterStatus with what must stay."""

    def __init__(self, stamp: str, parameters: Mapping[str, str], actions: frozenset[Action]) -> None:
        self._stamp = stamp
        self._pinned = {"session_authorization": parameters.get("session_authorization")}
        if read_only(actions):
            self._pinned.update(PINNED_SETTINGS)

    def finding(self, name: str, value: str) -> str:
        """What is wrong with the report; empty: nothing. Values are not repeated, they may be the agent's data."""
        if name == "application_name":
            return "" if value.startswith(self._stamp) else "the stamp in application_name was replaced"
        expected = self._pinned.get(name)
        if expected is None or value == expected or (name == "client_encoding" and value.upper() == "UTF8"):
            return ""
        return f"{name} was changed"


MAX_APPLICATION_NAME = 63
"""NAMEDATALEN - 1: the server cuts there, so the stamp comes first."""


def renaming(statement: Statement, stamp: str) -> str:
    """``SET [SESSION|LOCAL] application_name``, with the stamp in front of the wished name.

    Written anew, so nothing of the client's own spelling goes upstream but printable ASCII inside quotes.
    """
    wished = "".join(char if " " <= char <= "~" and char not in "'\\" else "?" for char in statement.value)
    wished = wished.removeprefix(stamp).strip()
    name = f"{stamp} {wished}".strip()[:MAX_APPLICATION_NAME]
    local = "LOCAL " if statement.name == "local" else ""
    return f"SET {local}application_name = '{name}'"


def with_renamings(text: str, statements: tuple[Statement, ...], stamp: str) -> str:
    """``text`` with every statement that sets application_name replaced by ``renaming``."""
    whole = text.encode("utf-8")
    for statement in reversed(statements):
        if RENAMES in statement.flags:
            end = statement.end or len(whole)
            new = renaming(statement, stamp).encode("ascii")
            whole = whole[: statement.start] + b" " + new + whole[end:]
    return whole.decode("utf-8")
