"""A ``Refused`` in LDAP's words: a result code and a diagnostic message (RFC 4511 section 4.1.9 and appendix A)."""

from __future__ import annotations

from typing import NamedTuple

from adapters.ldap import answers
from adapters.ldap.codes import ANSWER, Code, Op
from bridge.adapter import Reason, Refused


class Rule(NamedTuple):
    """The code at a Bind, the code of any other operation, whether the connection ends by it, what the client can do.

    Who may not log in although its token is good hears 50, not 49: it would fetch a new token in vain (research A5).
    """

    bind: Code
    live: Code
    fatal: bool = False
    hint: str = ""


_TOKEN = "Bind with a fresh token of your own as the password."  # noqa: S105
_GRANT = "Ask the owner of the legacy system for a grant; quote the reference."
_LATER = "Try again later; if it lasts, give the reference to the people who run the bridge."

_NO, _AUTH = Code.INVALID_CREDENTIALS, Code.STRONGER_AUTH

RULES: dict[Reason, Rule] = {
    Reason.PLAINTEXT: Rule(Code.CONFIDENTIALITY, Code.CONFIDENTIALITY, hint="Use LDAPS or StartTLS."),
    Reason.CREDENTIAL_MISSING: Rule(Code.UNWILLING, _AUTH, hint=_TOKEN),
    Reason.CREDENTIAL_INVALID: Rule(_NO, _AUTH, hint=_TOKEN),
    Reason.CREDENTIAL_EXPIRED: Rule(_NO, _AUTH, hint=_TOKEN),
    Reason.CREDENTIAL_REVOKED: Rule(_NO, _AUTH, hint=_TOKEN),
    Reason.AGENT_INACTIVE: Rule(_NO, _AUTH, hint="Ask the owner of this agent."),
    Reason.NOT_GRANTED: Rule(Code.INSUFFICIENT_ACCESS, Code.INSUFFICIENT_ACCESS, hint=_GRANT),
    Reason.ACTION_DENIED: Rule(Code.INSUFFICIENT_ACCESS, Code.INSUFFICIENT_ACCESS, hint=_GRANT),
    Reason.QUOTA: Rule(Code.BUSY, Code.ADMIN_LIMIT, hint=_LATER),
    Reason.LOG_UNAVAILABLE: Rule(Code.UNAVAILABLE, Code.UNAVAILABLE, hint=_LATER),
    Reason.TOO_MANY: Rule(Code.BUSY, Code.BUSY, hint="Close idle connections, or try again later."),
    Reason.UPSTREAM_UNAVAILABLE: Rule(Code.UNAVAILABLE, Code.UNAVAILABLE, hint=_LATER),
    Reason.UPSTREAM_LOST: Rule(Code.UNAVAILABLE, Code.UNAVAILABLE, fatal=True, hint="Connect again."),
    Reason.PROTOCOL: Rule(Code.PROTOCOL_ERROR, Code.PROTOCOL_ERROR, fatal=True),
    Reason.UNSUPPORTED: Rule(Code.METHOD_NOT_SUPPORTED, Code.UNWILLING),
    Reason.INTERNAL: Rule(
        Code.OTHER, Code.OTHER, fatal=True, hint="Give the reference to the people who run the bridge."
    ),
    Reason.SESSION_EXPIRED: Rule(_AUTH, _AUTH, fatal=True, hint="bridge: token expired. " + _TOKEN),
    Reason.SESSION_REVOKED: Rule(_AUTH, _AUTH, fatal=True, hint="Ask the owner of this agent."),
    Reason.SESSION_STOPPED: Rule(Code.UNAVAILABLE, Code.UNAVAILABLE, fatal=True),
    Reason.SESSION_IDLE: Rule(Code.UNAVAILABLE, Code.UNAVAILABLE, fatal=True, hint="Connect again."),
    Reason.SHUTDOWN: Rule(Code.UNAVAILABLE, Code.UNAVAILABLE, fatal=True, hint="Connect again."),
}


class Spoken(Refused):
    """A refusal of LDAP's own making, with its own result code."""

    def __init__(self, reason: Reason, result: Code, text: str, *, hint: str = "", detail: str = "") -> None:
        super().__init__(reason, text, hint=hint, detail=detail, code=f"{reason.value}-{result.value}")
        self.result = result


class Answer(NamedTuple):
    """``fatal``: the connection ends behind it."""

    code: Code
    text: str
    fatal: bool


def answer(refused: Refused, *, live: bool = True) -> Answer:
    """What the client hears; ``live`` False: it is the answer to a Bind."""
    rule = RULES[refused.reason]
    code = rule.live if live else rule.bind
    if isinstance(refused, Spoken):
        code = refused.result
    return Answer(code, _printable(refused.in_one(rule.hint)), rule.fatal)


def refusal(refused: Refused, request: int, number: int) -> bytes:
    """The answer message to a request of tag ``request`` that has an answer."""
    code, text, _ = answer(refused, live=request != Op.BIND)
    return answers.result(number, ANSWER[request], code, text)


def goodbye(refused: Refused) -> bytes:
    """The Notice of Disconnection for the end of a session."""
    code, text, _ = answer(refused)
    return answers.notice_of_disconnection(code, text)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
