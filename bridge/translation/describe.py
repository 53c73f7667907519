"""One event in one English sentence, for people who read the log."""

from __future__ import annotations

from collections.abc import Callable

from bridge.translation.demotion_words import describe_demotion
from bridge.translation.emergency_words import describe_emergency
from bridge.translation.parts import Fields
from bridge.translation.parts import part as _part
from bridge.translation.vocabulary import (
    ABORTED,
    ACCESS_GRANT,
    ACCESS_REQUEST,
    ALARM,
    ALERT,
    BREAK_GLASS,
    CONFIG_CHANGE,
    DEMOTION,
    DENIED,
    DENY_CHANGE,
    DRILL,
    FAILURE,
    INTENT,
    KEY_CHANGE,
    LOG_ERASE,
    LOG_HEARTBEAT,
    LOG_KEY,
    LOG_PRUNE,
    LOG_READ,
    LOG_RECOVERED,
    LOG_SINK,
    LOG_START,
    LOG_STOP,
    LOG_VERIFY,
    OK,
    OPERATION,
    POLICY_VERSION,
    RECONCILE,
    RECORDING_PRUNE,
    REGISTRY_CHANGE,
    SECRET_CHANGE,
    SECRET_SCAN,
    SESSION_CLOSE,
    SESSION_ESTABLISHED,
    SESSION_OPEN,
    SESSION_RECORDING,
    SESSION_REFUSED,
    SESSION_STOP,
    SUCCESS,
    TOKEN_ISSUE,
    UNKNOWN,
)

_VERBS = {
    SUCCESS: "ran",
    FAILURE: "tried",
    DENIED: "was denied",
    ABORTED: "asked for, but never ran,",
    UNKNOWN: "may have run",
}

_SUBJECTS = {
    REGISTRY_CHANGE: "changed the agent registry",
    CONFIG_CHANGE: "changed the configuration",
    SECRET_CHANGE: "changed a stored secret",
    DRILL: "began or ended a credential drill",
    SECRET_SCAN: "searched files for static secrets",
    DENY_CHANGE: "changed the deny list",
    KEY_CHANGE: "changed the keys of an issuer",
    LOG_ERASE: "erased personal data beside the log",
    LOG_KEY: "replaced the key that checkpoints of the log are signed with",
    TOKEN_ISSUE: "issued a token",
    SESSION_STOP: "asked to end a session",
}


def describe(body: Fields) -> str:
    """``body`` is a decoded event (``LoggedEvent.fields``)."""
    words = _WORDS.get(str(body.get("type", "")), _other)
    return words(body)


def _who(body: Fields) -> str:
    agent = _part(body, "agent")
    name = agent.get("name") or agent.get("id")
    if not name:
        return "Somebody"
    subject = _part(_part(body, "delegation"), "subject").get("sub")
    owner = f" (owner {agent['owner']})" if agent.get("owner") else ""
    return f"{name}{owner}" + (f", for {subject}," if subject else "")


def _where(body: Fields) -> str:
    legacy = _part(body, "legacy")
    account = f" as {legacy['account']}" if legacy.get("account") else ""
    return f"{legacy.get('system', 'an unknown system')}{account}"


def _why(body: Fields) -> str:
    parts = [str(body.get("reason", OK))] if body.get("reason", OK) != OK else []
    if text := _part(body, "detail").get("text"):
        parts.append(str(text))
    return f": {', '.join(parts)}" if parts else ""


def _operation(body: Fields) -> str:
    action, result = _part(body, "action"), _part(body, "result")
    verb = str(action.get("verb", "an operation"))
    name = verb.split(".", 1)[-1].upper()
    what = f"{'an' if name.startswith(tuple('AEIOU')) else 'a'} {name}"
    did = "is about to run" if body.get("phase") == INTENT else _VERBS.get(str(body.get("outcome")), "asked for")
    objects = f" of {', '.join(action['objects'])}" if action.get("objects") else ""
    return f"{_who(body)} {did} {what}{objects} on {_where(body)}{_result(body, result)}"


def _result(body: Fields, result: Fields) -> str:
    outcome = body.get("outcome")
    if outcome == SUCCESS:
        rows = result.get("rows", 0)
        return f": {rows} row{'' if rows == 1 else 's'}"
    code = f", code {result['code']}" if result.get("code") else ""
    return f"{_why(body)}{code}"


def _opened(body: Fields) -> str:
    return f"{_who(body)} was let in to {_where(body)}"


def _refused(body: Fields) -> str:
    source = _part(body, "transport").get("src")
    return f"{_who(body)}{f' from {source}' if source else ''} was refused at {_where(body)}{_why(body)}"


def _established(body: Fields) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in _part(_part(body, "legacy"), "facts").items())
    return f"{_who(body)} is connected to {_where(body)}{f' ({facts})' if facts else ''}"


def _closed(body: Fields) -> str:
    how = "ended" if body.get("outcome") == SUCCESS else f"ended ({body.get('outcome')})"
    return f"The session of {_who(body)} on {_where(body)} {how}{_why(body)}"


def _changed(body: Fields) -> str:
    actor, change = _part(body, "actor"), _part(body, "change")
    subject = f" ({change['subject']})" if change.get("subject") else ""
    who = actor.get("id", "The bridge")
    if body.get("phase") == INTENT:
        return f"{who} is about to do this: {_SUBJECTS[str(body['type'])]}{subject}"
    failed = " (it failed)" if body.get("outcome") == FAILURE else ""
    return f"{who} {_SUBJECTS[str(body['type'])]}{subject}{failed}{_why(body)}"


_ACCESS = {
    "pending": "asked for",
    "approved": "gave",
    "denied": "denied",
    "withdrawn": "withdrew the request for",
    "lapsed": "let lapse the request for",
    "revoked": "revoked",
    "over": "ended",
}


def _access(body: Fields) -> str:
    actor, change = _part(body, "actor").get("id", "The bridge"), _part(body, "change")
    after = _part(change, "after")
    if not after:
        refused = body.get("outcome") == DENIED
        did = "was refused when asking" if refused else "is about to ask or decide"
        failed = " (it failed)" if body.get("outcome") == FAILURE else ""
        return f"{actor} {did} for access ({change.get('subject', 'a request')}){failed}{_why(body)}"
    what = f"{', '.join(after.get('actions', []))} on {after.get('system')} as {after.get('account')}"
    whom = "" if actor == after.get("agent") else f" of {after.get('agent')}"
    told = f"{actor} {_ACCESS.get(str(after.get('state')), 'changed')} access{whom} for a time ({what})"
    return f"{told}: {after.get('note') or after.get('reason')}"


def _recorded(body: Fields) -> str:
    detail = _part(body, "detail")
    whole = "" if body.get("outcome") == SUCCESS else ", which is not complete"
    return f"What {_who(body)} saw on {_where(body)} was recorded as {detail.get('file', '')}{whole}"


def _pruned(body: Fields) -> str:
    detail = _part(body, "detail")
    count, size = len(detail.get("files", [])), detail.get("bytes", 0)
    return f"{count} recordings were kept long enough and are removed ({size} bytes)"


def _pruned_events(body: Fields) -> str:
    detail = _part(body, "detail")
    first, last, kept = (detail.get(name, 0) for name in ("first", "last", "kept"))
    return f"The events {first} to {last} were kept long enough and are deleted, but for {kept}; the archive has them"


def _read(body: Fields) -> str:
    detail = _part(body, "detail")
    query, count = detail.get("query", "read"), detail.get("count", 0)
    return f"{_part(body, 'actor').get('id', 'Somebody')} read the log ({query}): {count} events"


def _compared(body: Fields) -> str:
    counts = _part(_part(body, "detail"), "counts")
    told = ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "none"
    legacy = _part(body, "legacy")
    return f"The sessions of {legacy.get('account')} on {legacy.get('system')} were compared: {told}"


def _policy(body: Fields) -> str:
    after = _part(_part(body, "change"), "after")
    counts = f"{len(after.get('grants', ()))} grants on {len(after.get('systems', ()))} systems"
    return f"A new policy counts from here on ({str(after.get('digest', ''))[:19]}): {counts}"


def _heartbeat(body: Fields) -> str:
    offset = _part(body, "node").get("clock_ms")
    clock = "nothing synchronises its clock" if offset is None else f"its clock is off by {offset} ms"
    return f"The bridge lives; {clock}"


def _verified(body: Fields) -> str:
    actor, detail = _part(body, "actor"), _part(body, "detail")
    result = detail.get("text") or f"all {detail.get('size', 0)} events are what they were"
    return f"{actor.get('id') or 'Somebody'} verified the log: {result}"


def _log(text: str) -> Callable[[Fields], str]:
    return lambda body: f"{text}{_why(body)}"


def _sink(body: Fields) -> str:
    detail = _part(body, "detail")
    how = "works again" if body.get("outcome") == SUCCESS else "fails"
    first = detail.get("first")
    told = f"is to send everything from event {first} on" if first else how
    return f"The sink {detail.get('sink', 'of no name')} {told}{_why(body)}"


def _alarm(body: Fields) -> str:
    legacy = _part(body, "legacy")
    place = f" on {_where(body)} in the session of {_who(body)}" if legacy else ""
    return f"ALARM{place}{_why(body)}"


def _alert(body: Fields) -> str:
    detail = _part(body, "detail")
    told = f"{', '.join(detail.get('channels', [])) or 'nobody'}"
    did = "could not be told" if body.get("outcome") == FAILURE else "is told"
    return f"{told} {did}: {detail.get('text', 'an alert')}"


def _other(body: Fields) -> str:
    return f"{body.get('type', 'event')} {body.get('outcome', '')}{_why(body)}"


_WORDS: dict[str, Callable[[Fields], str]] = {
    SESSION_OPEN: _opened,
    SESSION_REFUSED: _refused,
    SESSION_ESTABLISHED: _established,
    SESSION_CLOSE: _closed,
    SESSION_RECORDING: _recorded,
    RECORDING_PRUNE: _pruned,
    LOG_PRUNE: _pruned_events,
    OPERATION: _operation,
    LOG_READ: _read,
    RECONCILE: _compared,
    POLICY_VERSION: _policy,
    ACCESS_REQUEST: _access,
    ACCESS_GRANT: _access,
    LOG_START: _log("The log was opened"),
    LOG_STOP: _log("The log was closed in order"),
    LOG_RECOVERED: _log("The log can be written again"),
    LOG_VERIFY: _verified,
    LOG_HEARTBEAT: _heartbeat,
    LOG_SINK: _sink,
    ALARM: _alarm,
    ALERT: _alert,
    **dict.fromkeys(_SUBJECTS, _changed),
    BREAK_GLASS: describe_emergency,
    DEMOTION: describe_demotion,
}
