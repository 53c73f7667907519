"""What agents are told when the answer is no: what happened, and what to do.

Texts for peers that have not proven themselves are the same whether an agent, a system or an account exists.
"""

from __future__ import annotations

from bridge.adapter import Reason, Refused

TEXTS: dict[Reason, tuple[str, str]] = {
    Reason.PLAINTEXT: (
        "this connection is not encrypted, and a credential is only taken on an encrypted one",
        "connect with TLS and verify the bridge's certificate",
    ),
    Reason.CREDENTIAL_MISSING: (
        "no credential was given",
        "put the agent's own token where the client takes a password",
    ),
    Reason.CREDENTIAL_INVALID: (
        "the credential was not accepted",
        "get a new token for this system from the agent's issuer; with the reference, ops can see the cause",
    ),
    Reason.CREDENTIAL_EXPIRED: (
        "the token has expired",
        "get a new token and connect again; tokens live for minutes",
    ),
    Reason.CREDENTIAL_REVOKED: ("the token was revoked", "ask the agent's owner"),
    Reason.AGENT_INACTIVE: ("the agent is not active", "ask the agent's owner"),
    Reason.NOT_GRANTED: (
        "no grant lets this agent in with that account",
        "ask ops, who can run `idbridge explain`, for a grant",
    ),
    Reason.ACTION_DENIED: (
        "the agent's grants do not permit this operation",
        "ask ops, who can run `idbridge explain`, for a grant",
    ),
    Reason.QUOTA: ("the agent has reached its limit", "close sessions that are not needed, or try again later"),
    Reason.LOG_UNAVAILABLE: (
        "the translation log cannot be written, and nothing is done unrecorded",
        "try again later; ops have been told",
    ),
    Reason.TOO_MANY: ("the bridge has too many connections", "try again later"),
    Reason.UPSTREAM_UNAVAILABLE: (
        "the legacy system is unavailable",
        "try again later; with the reference, ops can see the cause",
    ),
    Reason.UPSTREAM_LOST: ("the connection to the legacy system was lost", "connect again"),
    Reason.PROTOCOL: ("the client broke the protocol", ""),
    Reason.UNSUPPORTED: ("the bridge does not support this", ""),
    Reason.INTERNAL: ("the bridge failed", "ops can find the cause with the reference"),
    Reason.SESSION_EXPIRED: ("the session ended with its token", "get a new token and connect again"),
    Reason.SESSION_REVOKED: ("the agent's access was revoked", "ask the agent's owner"),
    Reason.SESSION_STOPPED: ("an operator ended the session", "ask ops"),
    Reason.SESSION_IDLE: ("the session was idle too long", "connect again"),
    Reason.SHUTDOWN: ("the bridge is shutting down", "connect again"),
}


def askable(refused: Refused) -> Refused:
    """The same, where the agent may ask for what it did not get; a refusal that was not recorded cannot be named."""
    if refused.reference:
        refused.askable = True
        refused.hint = f"ask for it for a time: idbridge request ask --reference {refused.reference}"
    return refused


def cause(failure: Exception) -> str:
    """What ops are told, who may know more than an agent: of a refusal its detail, if it has one."""
    return failure.detail or failure.text if isinstance(failure, Refused) else str(failure)
