"""A ``Refused`` in SSH's words: whether the login may go on, the reason code of the disconnect, and what to do.

During the login the text goes into a banner (RFC 4252 section 5.4), which clients show; the end of a connection is told
by SSH_MSG_DISCONNECT (RFC 4253 section 11.1).
"""

from __future__ import annotations

from typing import NamedTuple

from bridge.adapter import Reason, Refused

PROTOCOL_ERROR = 2
SERVICE_NOT_AVAILABLE = 7
BY_APPLICATION = 11
TOO_MANY_CONNECTIONS = 12
NO_MORE_AUTH_METHODS = 14
ILLEGAL_USER_NAME = 15


class Rule(NamedTuple):
    """``again``: another proof in the same connection may still succeed."""

    code: int
    again: bool
    hint: str = ""


_PROOF = "Give a fresh token of your own as the password, or a certificate or key that the bridge knows."
_GRANT = "Ask the owner of the legacy system for a grant; quote the reference."
_LATER = "Try again later; if it lasts, give the reference to the people who run the bridge."

RULES: dict[Reason, Rule] = {
    Reason.PLAINTEXT: Rule(PROTOCOL_ERROR, again=False),
    Reason.CREDENTIAL_MISSING: Rule(NO_MORE_AUTH_METHODS, again=True, hint=_PROOF),
    Reason.CREDENTIAL_INVALID: Rule(NO_MORE_AUTH_METHODS, again=True, hint=_PROOF),
    Reason.CREDENTIAL_EXPIRED: Rule(NO_MORE_AUTH_METHODS, again=True, hint=_PROOF),
    Reason.CREDENTIAL_REVOKED: Rule(NO_MORE_AUTH_METHODS, again=True, hint=_PROOF),
    Reason.AGENT_INACTIVE: Rule(NO_MORE_AUTH_METHODS, again=False, hint="Ask the owner of this agent."),
    Reason.NOT_GRANTED: Rule(ILLEGAL_USER_NAME, again=False, hint=_GRANT),
    Reason.ACTION_DENIED: Rule(BY_APPLICATION, again=False, hint=_GRANT),
    Reason.QUOTA: Rule(TOO_MANY_CONNECTIONS, again=False, hint=_LATER),
    Reason.LOG_UNAVAILABLE: Rule(SERVICE_NOT_AVAILABLE, again=False, hint=_LATER),
    Reason.TOO_MANY: Rule(TOO_MANY_CONNECTIONS, again=False, hint="Close idle connections, or try again later."),
    Reason.UPSTREAM_UNAVAILABLE: Rule(SERVICE_NOT_AVAILABLE, again=False, hint=_LATER),
    Reason.UPSTREAM_LOST: Rule(BY_APPLICATION, again=False, hint="Connect again."),
    Reason.PROTOCOL: Rule(PROTOCOL_ERROR, again=False),
    Reason.UNSUPPORTED: Rule(BY_APPLICATION, again=False),
    Reason.INTERNAL: Rule(BY_APPLICATION, again=False, hint="Give the reference to the people who run the bridge."),
    Reason.SESSION_EXPIRED: Rule(BY_APPLICATION, again=False, hint="Connect again with a fresh token."),
    Reason.SESSION_REVOKED: Rule(BY_APPLICATION, again=False, hint="Ask the owner of this agent."),
    Reason.SESSION_STOPPED: Rule(BY_APPLICATION, again=False),
    Reason.SESSION_IDLE: Rule(BY_APPLICATION, again=False, hint="Connect again."),
    Reason.SHUTDOWN: Rule(BY_APPLICATION, again=False, hint="Connect again."),
}


def rule(refused: Refused) -> Rule:
    return RULES[refused.reason]


def spoken(refused: Refused) -> str:
    """What happened, the reference, what to do, and the same for programs, on one line."""
    text = refused.in_one(RULES[refused.reason].hint)
    return "".join(char if char.isprintable() else " " for char in text)
