"""What a client hears when the answer is no.

A refusal says what happened, what to do, and a reference that ops find in the translation log. Towards a peer that has
not proven itself the text is the same whether an agent, a system or an account exists or not.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from bridge.adapter.errors import BridgeError


class Reason(StrEnum):
    """Stable codes of refusals and session ends, as they stand in the translation log."""

    # before the agent is known
    PLAINTEXT = "plaintext"  # a credential is only taken on an encrypted connection
    CREDENTIAL_MISSING = "credential-missing"
    CREDENTIAL_INVALID = "credential-invalid"  # malformed, forged, unknown issuer, wrong audience, unknown agent …
    CREDENTIAL_EXPIRED = "credential-expired"  # genuine, but past its end
    CREDENTIAL_REVOKED = "credential-revoked"
    # the agent is known
    AGENT_INACTIVE = "agent-inactive"  # draft, suspended, revoked, expired, orphaned
    NOT_GRANTED = "not-granted"  # no grant, or the account does not exist: one text for both
    ACTION_DENIED = "action-denied"  # an operation, inside a session that lives on
    QUOTA = "quota"
    # the bridge and the legacy system
    LOG_UNAVAILABLE = "log-unavailable"
    TOO_MANY = "too-many-connections"
    UPSTREAM_UNAVAILABLE = "upstream-unavailable"  # unreachable, refused the static login, or circuit open
    UPSTREAM_LOST = "upstream-lost"
    PROTOCOL = "protocol"  # the client broke the protocol
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"
    # ends of a session that was live
    SESSION_EXPIRED = "session-expired"
    SESSION_REVOKED = "session-revoked"
    SESSION_STOPPED = "session-stopped"  # by an operator
    SESSION_IDLE = "session-idle"
    SHUTDOWN = "shutdown"


class Refused(BridgeError):
    """The client must hear this. ``str()`` is the text for the client; ``detail`` is for the log only.

    ``reference`` is the id under which the log has it; ``code`` a finer stable code for the log. ``askable``: a known
    agent may ask for what it did not get.
    """

    def __init__(
        self, reason: Reason, text: str, *, reference: str = "", code: str = "", detail: str = "", hint: str = ""
    ) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.hint = hint
        self.reference = reference
        self.code = code or reason.value
        self.detail = detail
        self.askable = False

    def referenced(self, reference: str) -> Self:
        """This refusal, with the id under which the log has it."""
        self.reference = reference
        return self

    @property
    def marks(self) -> str:
        """For programs, in every protocol alike: ``reason=not-granted reference=ref_4k0v request=possible``."""
        reference = f" reference={self.reference}" if self.reference else ""
        return f"reason={self.reason.value}{reference}{' request=possible' if self.askable else ''}"

    def in_one(self, usual: str = "") -> str:
        """Everything in one text, for a protocol that has room for one. ``usual`` is its hint where this has none."""
        hint = self.hint or usual
        return f"{self}. {hint} [{self.marks}]" if hint else f"{self} [{self.marks}]"

    def __str__(self) -> str:
        return f"{self.text} (reference {self.reference})" if self.reference else self.text
