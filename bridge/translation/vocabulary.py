"""The closed lists of the log: event types, phases, outcomes and the reasons of its own. FORMAT.md explains each.

A type, phase or outcome that is not listed is refused when the event is made. Reasons are open, because the fine
codes of credentials and protocols are listed where they arise; their form is fixed, and those given here keep their
meaning.
"""

from __future__ import annotations

import re

VERSION = 1
"""Of the format, in each event as ``v``. A change that an old reader would misread raises it."""

SESSION_OPEN = "session.open"
SESSION_REFUSED = "session.refused"
SESSION_ESTABLISHED = "session.established"
SESSION_CLOSE = "session.close"
SESSION_STOP = "session.stop"
SESSION_RECORDING = "session.recording"
RECORDING_PRUNE = "recording.prune"
OPERATION = "operation"
REGISTRY_CHANGE = "registry.change"
CONFIG_CHANGE = "config.change"
POLICY_VERSION = "policy.version"
SECRET_CHANGE = "secret.change"  # noqa: S105 - a type
DRILL = "drill"
SECRET_SCAN = "secret.scan"  # noqa: S105 - a type
DENY_CHANGE = "deny.change"
KEY_CHANGE = "key.change"
BREAK_GLASS = "breakglass.change"
ACCESS_REQUEST = "access.request"
ACCESS_GRANT = "access.grant"
DEMOTION = "demotion.change"
TOKEN_ISSUE = "token.issue"  # noqa: S105 - a type
ACCOUNT_CHECK = "account.check"
RECONCILE = "reconcile"
LOG_READ = "log.read"
LOG_START = "log.start"
LOG_STOP = "log.stop"
LOG_RECOVERED = "log.recovered"
LOG_VERIFY = "log.verify"
LOG_HEARTBEAT = "log.heartbeat"
LOG_SINK = "log.sink"
LOG_PRUNE = "log.prune"
LOG_KEY = "log.key"
LOG_ERASE = "log.erase"
ALARM = "alarm"
ALERT = "alert"

TYPES = {
    SESSION_OPEN: "an agent was admitted; written before the legacy system is dialled",
    SESSION_REFUSED: "an agent, or somebody, was turned away",
    SESSION_ESTABLISHED: "the legacy system accepted the static account; has the facts that its own logs show",
    SESSION_CLOSE: "the end of a session, whatever it was",
    SESSION_STOP: "somebody asked for a live session to be ended",
    SESSION_RECORDING: "a recording of what an agent saw in a terminal is over",
    RECORDING_PRUNE: "recordings that were kept long enough are about to be removed",
    OPERATION: "an agent asked something of the legacy system",
    REGISTRY_CHANGE: "an agent or owner was created, changed, suspended, revoked …",
    CONFIG_CHANGE: "the configuration was loaded or changed",
    POLICY_VERSION: "the policy that counts from here on, in full, so that it can be asked again",
    SECRET_CHANGE: "a stored secret was set or deleted (never its value)",
    DRILL: "a credential drill was begun or ended; tokens of its agents count as expired early",
    SECRET_SCAN: "files were searched for static secrets; what was found where, never a value",
    DENY_CHANGE: "an entry of the deny list was added or removed",
    KEY_CHANGE: "the keys of an issuer changed",
    BREAK_GLASS: "somebody asked for an account in an emergency, approved, used or reviewed it",
    ACCESS_REQUEST: "access for a time was asked for, denied or withdrawn, or nobody decided",
    ACCESS_GRANT: "access was given for a time, revoked, or is over",
    DEMOTION: "somebody asked for or approved a change to less strict modes, or it was taken, or refused",
    TOKEN_ISSUE: "the built-in issuer signed a token",
    ACCOUNT_CHECK: "the bridge logged in as a static account to see what it may do (doctor)",
    RECONCILE: "the sessions of a static account that the legacy system lists were compared with those of the bridge",
    LOG_READ: "somebody read or exported the log",
    LOG_START: "the log was opened for writing",
    LOG_STOP: "the log was closed in order",
    LOG_RECOVERED: "the log could not be written for a while and can again",
    LOG_HEARTBEAT: "once a minute: the bridge lives and can record; has how far its clock is off",
    LOG_VERIFY: "somebody looked whether the log is what it was",
    LOG_SINK: "a sink has failed for a while, works again, or is to send events again",
    LOG_PRUNE: "events that were kept long enough and are archived are about to be deleted",
    LOG_ERASE: "personal data beside the log is about to be erased, or was",
    LOG_KEY: "the key that checkpoints are signed with is about to be replaced",
    ALARM: "something that should not happen",
    ALERT: "somebody was, or could not be, told of something",
}

INTENT = "intent"
OUTCOME = "outcome"
COMPLETE = "complete"
PHASES = {
    INTENT: "about to be done; an outcome event follows that names this one in corr.request",
    OUTCOME: "what became of an intent",
    COMPLETE: "the whole matter in one event",
}

PENDING = ""
SUCCESS = "success"
FAILURE = "failure"
DENIED = "denied"
ABORTED = "aborted"
UNKNOWN = "unknown"
OUTCOMES = {
    PENDING: "not known yet; intents only",
    SUCCESS: "done",
    FAILURE: "tried, and the legacy system or the bridge could not",
    DENIED: "the bridge said no",
    ABORTED: "permitted, but never executed",
    UNKNOWN: "permitted, and whether it was executed is not known",
}

OK = "ok"
BRIDGE_STOPPED = "bridge-stopped"
CLIENT_LEFT = "client-left"
UPSTREAM_ERROR = "upstream-error"
WOULD_DENY = "would-deny"
SESSION_ENDED = "session-ended"
UNRECORDABLE = "unrecordable"
TREE_DAMAGED = "tree-damaged"
SINK_FAILING = "sink-failing"
SINK_REQUIRED = "sink-required"
WITNESS_REFUSED = "witness-refused"
WITNESS_LATE = "witness-late"
CLOCK_JUMPED = "clock-jumped"
CLOCK_OFF = "clock-off"
ARCHIVE_FAILING = "archive-failing"
REASONS = {
    OK: "nothing to say",
    BRIDGE_STOPPED: "the bridge ended (crash, kill, power) before the end was known; written at its next start",
    CLIENT_LEFT: "the agent closed the connection",
    UPSTREAM_ERROR: "the legacy system answered with an error; result.code has it",
    WOULD_DENY: "permitted by the mode observe or warn; enforce would have denied it",
    SESSION_ENDED: "the session ended before the end of the operation was known",
    UNRECORDABLE: "a defect of the bridge: an event could not be put into text, and this one stands in its place",
    TREE_DAMAGED: "the log no longer agrees with its last checkpoint; nothing is signed until it does",
    SINK_FAILING: "a sink does not take events; they are kept and sent when it does",
    SINK_REQUIRED: "a required sink is too far behind; nobody is admitted until it has caught up",
    WITNESS_REFUSED: "a witness says that the log is not what it was",
    CLOCK_JUMPED: "the host's clock was moved by more than a second at once",
    CLOCK_OFF: "the host's clock is off by more than a second",
    ARCHIVE_FAILING: "segments of the log cannot be written to its archive, or one of them is damaged",
    WITNESS_LATE: "a witness, an authority or a folder has had no new checkpoint for too long",
}

_REASON = re.compile(r"[a-z0-9][a-z0-9._:+-]{0,63}")


def check(type: str, phase: str, outcome: str, reason: str) -> None:
    """Raises ValueError when a code is not one."""
    if type not in TYPES:
        raise ValueError(f"unknown event type {type!r}")
    if phase not in PHASES:
        raise ValueError(f"unknown phase {phase!r}")
    if outcome not in OUTCOMES or (outcome == PENDING) != (phase == INTENT):
        raise ValueError(f"unknown outcome {outcome!r} for phase {phase!r}")
    if not _REASON.fullmatch(reason):
        raise ValueError("a reason is a code of at most 64 characters: a-z 0-9 . _ : + -")
