"""A ``Refused`` in PostgreSQL's words: severity, SQLSTATE, text, hint (Appendix A of the PostgreSQL manual).

The same reason can have another code while a session is live: a log that cannot be written is 57P03 to a client that
logs in (pools and multi-host connection strings then try elsewhere or later) and 58030 to a statement.
"""

from __future__ import annotations

from typing import NamedTuple

from adapters.postgres import codec
from bridge.adapter import Reason, Refused

FATAL = "FATAL"
ERROR = "ERROR"


class Rule(NamedTuple):
    """SQLSTATE at login, SQLSTATE and severity in a live session, and what the client can do."""

    login: str
    live: str
    severity: str
    hint: str = ""


_TOKEN = "Pass a fresh token of your own as the password."  # noqa: S105
_GRANT = "Ask the owner of the legacy system for a grant; quote the reference."
_LATER = "Try again later; if it lasts, give the reference to the people who run the bridge."

RULES: dict[Reason, Rule] = {
    Reason.PLAINTEXT: Rule("28000", "28000", FATAL, "Connect with sslmode=verify-full."),
    Reason.CREDENTIAL_MISSING: Rule("28P01", "28P01", FATAL, _TOKEN),
    Reason.CREDENTIAL_INVALID: Rule("28P01", "28P01", FATAL, _TOKEN),
    Reason.CREDENTIAL_EXPIRED: Rule("28P01", "28P01", FATAL, _TOKEN),
    Reason.CREDENTIAL_REVOKED: Rule("28P01", "28P01", FATAL, _TOKEN),
    Reason.AGENT_INACTIVE: Rule("28000", "28000", FATAL, "Ask the owner of this agent."),
    Reason.NOT_GRANTED: Rule("42501", "42501", FATAL, _GRANT),
    Reason.ACTION_DENIED: Rule("42501", "42501", ERROR, _GRANT),
    Reason.QUOTA: Rule("53300", "53300", ERROR, _LATER),
    Reason.LOG_UNAVAILABLE: Rule("57P03", "58030", ERROR, _LATER),
    Reason.TOO_MANY: Rule("53300", "53300", FATAL, "Close idle connections, or try again later."),
    Reason.UPSTREAM_UNAVAILABLE: Rule("08001", "08001", FATAL, _LATER),
    Reason.UPSTREAM_LOST: Rule("08006", "08006", FATAL, "Connect again."),
    Reason.PROTOCOL: Rule("08P01", "08P01", FATAL),
    Reason.UNSUPPORTED: Rule("0A000", "0A000", ERROR),
    Reason.INTERNAL: Rule("XX000", "XX000", FATAL, "Give the reference to the people who run the bridge."),
    Reason.SESSION_EXPIRED: Rule("57P01", "57P01", FATAL, "Connect again with a fresh token."),
    Reason.SESSION_REVOKED: Rule("57P01", "57P01", FATAL, "Ask the owner of this agent."),
    Reason.SESSION_STOPPED: Rule("57P01", "57P01", FATAL),
    Reason.SESSION_IDLE: Rule("57P05", "57P05", FATAL, "Connect again."),
    Reason.SHUTDOWN: Rule("57P01", "57P01", FATAL, "Connect again."),
}


class Spoken(Refused):
    """A refusal of PostgreSQL's own making, with its own SQLSTATE: a database that must be named, words of upstream."""

    def __init__(self, reason: Reason, sqlstate: str, text: str, *, hint: str = "", detail: str = "") -> None:
        super().__init__(reason, text, hint=hint, detail=detail, code=f"{reason.value}-{sqlstate}")
        self.sqlstate = sqlstate


class Answer(NamedTuple):
    severity: str
    sqlstate: str
    text: str
    hint: str


def answer(refused: Refused, *, live: bool = False) -> Answer:
    """What the client hears. ``live``: the session has begun, so that some refusals leave it alive (ERROR)."""
    rule = RULES[refused.reason]
    sqlstate = rule.live if live else rule.login
    if isinstance(refused, Spoken):
        sqlstate = refused.sqlstate
    severity = rule.severity if live else FATAL
    return Answer(severity, sqlstate, _printable(str(refused)), _printable(refused.hint or rule.hint))


def error_message(refused: Refused, *, live: bool = False) -> bytes:
    """The ErrorResponse for ``answer``."""
    severity, sqlstate, text, hint = answer(refused, live=live)
    return codec.error_response(severity, sqlstate, text, detail=refused.marks, hint=hint)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)
