"""A ``Refused`` in MySQL's words: error code, SQLSTATE, text (manual, "Server Error Message Reference").

The protocol has no place for a hint, so it follows the text, and then what programs read (``Refused.marks``).
"""

from __future__ import annotations

from typing import NamedTuple

from adapters.mysql import codec
from bridge.adapter import Reason, Refused

MAX_TEXT = 500
"""Bytes; clients keep 512 of an error message (MYSQL_ERRMSG_SIZE)."""


class Rule(NamedTuple):
    """Error code and SQLSTATE, whether a live session ends by it, and what the client can do."""

    code: int
    sqlstate: str
    fatal: bool = True
    hint: str = ""


_TOKEN = "Pass a fresh token of your own as the password."  # noqa: S105
_GRANT = "Ask the owner of the legacy system for a grant; quote the reference."
_LATER = "Try again later; if it lasts, give the reference to the people who run the bridge."

RULES: dict[Reason, Rule] = {
    Reason.PLAINTEXT: Rule(3159, "HY000", hint="Connect with TLS and verify the server's certificate."),
    Reason.CREDENTIAL_MISSING: Rule(1045, "28000", hint=_TOKEN),
    Reason.CREDENTIAL_INVALID: Rule(1045, "28000", hint=_TOKEN),
    Reason.CREDENTIAL_EXPIRED: Rule(1045, "28000", hint=_TOKEN),
    Reason.CREDENTIAL_REVOKED: Rule(1045, "28000", hint=_TOKEN),
    Reason.AGENT_INACTIVE: Rule(1045, "28000", hint="Ask the owner of this agent."),
    Reason.NOT_GRANTED: Rule(1044, "42000", hint=_GRANT),
    Reason.ACTION_DENIED: Rule(1142, "42000", False, _GRANT),
    Reason.QUOTA: Rule(1226, "42000", False, _LATER),
    Reason.LOG_UNAVAILABLE: Rule(1105, "HY000", False, _LATER),
    Reason.TOO_MANY: Rule(1040, "08004", hint="Close idle connections, or try again later."),
    Reason.UPSTREAM_UNAVAILABLE: Rule(2003, "HY000", hint=_LATER),
    Reason.UPSTREAM_LOST: Rule(2006, "HY000", hint="Connect again."),
    Reason.PROTOCOL: Rule(1835, "HY000"),
    Reason.UNSUPPORTED: Rule(1235, "42000", False),
    Reason.INTERNAL: Rule(1105, "HY000", hint="Give the reference to the people who run the bridge."),
    Reason.SESSION_EXPIRED: Rule(1927, "70100", hint="Connect again with a fresh token."),
    Reason.SESSION_REVOKED: Rule(1927, "70100", hint="Ask the owner of this agent."),
    Reason.SESSION_STOPPED: Rule(1927, "70100"),
    Reason.SESSION_IDLE: Rule(4031, "HY000", hint="Connect again."),
    Reason.SHUTDOWN: Rule(1053, "08S01", hint="Connect again."),
}


class Spoken(Refused):
    """A refusal of MySQL's own making, with its own code: a client too old for tokens, words of upstream."""

    def __init__(
        self, reason: Reason, number: int, sqlstate: str, text: str, *, hint: str = "", detail: str = ""
    ) -> None:
        super().__init__(reason, text, hint=hint, detail=detail, code=f"{reason.value}-{number}")
        self.number = number
        self.sqlstate = sqlstate


class Answer(NamedTuple):
    """``fatal``: the connection ends behind it."""

    code: int
    sqlstate: str
    text: str
    fatal: bool


def answer(refused: Refused, *, live: bool = False) -> Answer:
    """What the client hears. ``live``: the session has begun, so that some refusals leave it alive."""
    rule = RULES[refused.reason]
    code, sqlstate = rule.code, rule.sqlstate
    if isinstance(refused, Spoken):
        code, sqlstate = refused.number, refused.sqlstate
    return Answer(code, sqlstate, _printable(refused.in_one(rule.hint)), rule.fatal or not live)


def error_payload(refused: Refused, *, live: bool = False) -> bytes:
    """The ERR payload for ``answer``; the caller puts it into a packet."""
    code, sqlstate, text, _ = answer(refused, live=live)
    return codec.error(code, sqlstate, text)


def _printable(text: str) -> str:
    clean = "".join(char if char.isprintable() or char == "\n" else " " for char in text)
    return clean.encode()[:MAX_TEXT].decode("utf-8", "ignore")
