"""Events as OCSF 1.8.0, the newest release of the schema (1.9 is not released). README.md has the mapping.

What a class has no place for stands in ``unmapped.bridge``, and the exact event in ``raw_data``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from bridge.translation import vocabulary as v
from bridge.translation.describe import describe
from bridge.translation.formats import ocsf_objects as objects
from bridge.translation.formats.ocsf_classes import (
    API_ACTIVITY,
    AUTHENTICATION,
    BASE_EVENT,
    DATASTORE_ACTIVITY,
    DETECTION_FINDING,
    ENTITY_MANAGEMENT,
    EVENT_LOG_ACTIVITY,
    OTHER,
    EventClass,
)
from bridge.translation.formats.ocsf_objects import Object, pruned
from bridge.translation.formats.severity import severity
from bridge.translation.parts import Fields, at, part
from bridge.translation.reading import LoggedEvent

SCHEMA = "1.8.0"
PROFILES = ["security_control"]

Mapped = tuple[EventClass, int, Object]
"""The class, its activity_id, and the attributes that only this class has."""

_LOGON, _LOGOFF, _TICKET, _SWITCH = 1, 2, 3, 7
_CREATE, _READ, _UPDATE, _DELETE, _DEACTIVATE, _SUSPEND, _RESUME = 1, 2, 3, 4, 11, 12, 13
_IMPERSONATE = 2
_NEW = 1  # status_id of a finding

_SQL = {
    "select": 4, "values": 4, "show": 4, "explain": 4, "table": 4, "fetch": 4,
    "insert": 5, "replace": 5, "copy": 5, "load": 5, "update": 2, "merge": 2,
    "delete": 7, "truncate": 7, "drop": 7, "create": 6,
}  # fmt: skip
_API = {"read": _READ, "write": _UPDATE}
_LOG = {v.LOG_START: 6, v.LOG_STOP: 7, v.LOG_RECOVERED: 9, v.LOG_READ: 3}
_STATES = {"suspended": _SUSPEND, "revoked": _DEACTIVATE, "expired": _DEACTIVATE}
_SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}
_SHA256 = 3


def ocsf(event: LoggedEvent, body: Fields) -> str:
    return json.dumps(mapped(event, body), ensure_ascii=False, separators=(",", ":"))


def mapped(event: LoggedEvent, body: Fields) -> Object:
    """The event as an OCSF object."""
    kind, activity, own = _MAPPED.get(str(body.get("type")), _other)(body)
    caption = kind.activities[activity]
    name = str(body.get("type", "")) if activity == OTHER else caption
    weight = severity(body).ocsf
    return pruned(
        activity_id=activity,
        activity_name=name,
        category_uid=kind.category_uid,
        category_name=kind.category,
        class_uid=kind.uid,
        class_name=kind.name,
        type_uid=kind.uid * 100 + activity,
        type_name=f"{kind.name}: {caption}",
        time=at(body),
        severity_id=weight,
        severity=_SEVERITIES[weight],
        message=describe(body),
        metadata=_metadata(event, body),
        status_code=body.get("reason"),
        status_detail=part(body, "detail").get("text") or part(body, "result").get("detail"),
        authorizations=objects.authorizations(body),
        raw_data=event.body,
        raw_data_hash={"algorithm_id": _SHA256, "algorithm": "SHA-256", "value": _sha256(event.body)},
        raw_data_size=len(event.body.encode()),
        unmapped={"bridge": _unmapped(body)},
    ) | {**_status(body), **_control(body), **own}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _metadata(event: LoggedEvent, body: Fields) -> Object:
    product = pruned(name=objects.PRODUCT, vendor_name=objects.PRODUCT, version=part(body, "node").get("ver"))
    return pruned(
        version=SCHEMA,
        profiles=PROFILES,
        product=product,
        uid=body.get("id"),
        sequence=event.seq,
        correlation_uid=part(body, "corr").get("session"),
        event_code=body.get("type"),
        log_name=body.get("log"),
        log_version=str(body.get("v", "")),
        original_time=body.get("ts"),
        labels=list(part(body, "legacy").get("class", ())),
    )


def _unmapped(body: Fields) -> Object:
    kept = ("agent", "delegation", "legacy", "decision", "corr", "change")
    return pruned(phase=body.get("phase"), **{name: part(body, name) for name in kept})


def _status(body: Fields) -> Object:
    outcome = body.get("outcome") or "pending"
    return {"status_id": {v.SUCCESS: 1, v.FAILURE: 2, v.DENIED: 2}.get(outcome, OTHER), "status": outcome}


def _control(body: Fields) -> Object:
    """What the bridge, as a security control, did about it."""
    decision = part(body, "decision")
    if body.get("outcome") == v.DENIED or decision.get("effect") == "deny":
        return {"action_id": 2, "action": "Denied", "disposition_id": 2, "disposition": "Blocked"}
    if decision.get("would") == "deny":
        return {"action_id": 3, "action": "Observed", "disposition_id": 17, "disposition": "Logged"}
    if decision:
        return {"action_id": 1, "action": "Allowed", "disposition_id": 1, "disposition": "Allowed"}
    return {}


def _login(activity: int, user: Callable[[Fields], Object], **more: Any) -> Callable[[Fields], Mapped]:
    def login(body: Fields) -> Mapped:
        transport = part(body, "transport")
        system = str(part(body, "legacy").get("system") or objects.PRODUCT)
        own = pruned(
            user=user(body),
            actor=objects.actor(body),
            service={"name": system},
            src_endpoint=objects.source(body),
            dst_endpoint=objects.target(body),
            session=objects.session(body),
            authentication_token=objects.token(body),
            auth_protocol_id=OTHER if part(body, "credential") else None,
            auth_protocol=part(body, "credential").get("profile"),
            is_remote=True,
            is_cleartext=not transport.get("tls") if transport else None,
        )
        return AUTHENTICATION, activity, own | more

    return login


def _operation(body: Fields) -> Mapped:
    action = part(body, "action")
    family, _, verb = str(action.get("verb", "")).partition(".")
    return _statement(body, action, verb) if family == "sql" else _request(body, action)


def _statement(body: Fields, action: Fields, verb: str) -> Mapped:
    words = verb.removeprefix("ddl.").split("_")
    default = {"read": 4, "write": 5}.get(str(action.get("kind")), OTHER)
    database = part(action, "target").get("database") or part(part(body, "legacy"), "target").get("database")
    text, digest = action.get("text"), str(action.get("digest", ""))
    names = list(map(str, action.get("objects", ())))
    query = pruned(
        query_string=text or digest or verb,
        uid=digest,
        name=action.get("verb"),
        bytes=part(body, "result").get("bytes"),
    )
    own = _acted(body) | pruned(
        type_id=3 if names else 1,
        database={"name": database or str(part(body, "legacy").get("system", "unknown")), "type_id": 1},
        table={"name": names[0]} if names else None,
        query_info=query,
    )
    return DATASTORE_ACTIVITY, _SQL.get(words[0], default), own


def _request(body: Fields, action: Fields) -> Mapped:
    result = part(body, "result")
    objects_named = [{"name": str(name)} for name in action.get("objects", ())]
    own = _acted(body) | pruned(
        api=_api(body, str(action.get("verb") or "unknown"), str(result.get("code", ""))), resources=objects_named
    )
    return API_ACTIVITY, _API.get(str(action.get("kind")), OTHER), own


def _acted(body: Fields) -> Object:
    spent = part(body, "result").get("dur_us")
    return pruned(
        actor=objects.actor(body),
        src_endpoint=objects.source(body),
        dst_endpoint=objects.target(body),
        duration=spent // 1000 if isinstance(spent, int) else None,
    )


def _api(body: Fields, operation: str, code: str = "") -> Object:
    system = str(part(body, "legacy").get("system") or objects.PRODUCT)
    return pruned(
        operation=operation,
        service={"name": system},
        request={"uid": str(body.get("id", ""))},
        response=pruned(error=code),
    )


def _other_request(activity: int) -> Callable[[Fields], Mapped]:
    return lambda body: (API_ACTIVITY, activity, _acted(body) | {"api": _api(body, str(body["type"]))})


def _entity(kind: str) -> Callable[[Fields], Mapped]:
    """A thing of the bridge itself was created, changed or removed."""

    def entity(body: Fields) -> Mapped:
        change = part(body, "change")
        subject = str(change.get("subject") or part(body, "corr").get("session") or kind)
        former = pruned(name=subject, uid=subject, type_id=OTHER, type=kind, data=part(change, "before"))
        result = pruned(name=subject, uid=subject, type_id=OTHER, type=kind, data=part(change, "after"))
        own = pruned(actor=objects.actor(body), entity=former, entity_result=result if "data" in result else None)
        return ENTITY_MANAGEMENT, _changed(body, change), own

    return entity


def _changed(body: Fields, change: Fields) -> int:
    if body.get("type") == v.SESSION_STOP:
        return _DEACTIVATE
    before, after = part(change, "before"), part(change, "after")
    if before.get("state") != after.get("state") and before:
        return _STATES.get(str(after.get("state")), _RESUME if after.get("state") == "active" else _UPDATE)
    if bool(before) == bool(after):
        return _UPDATE
    return _CREATE if after else _DELETE


def _log(body: Fields) -> Mapped:
    name = str(body.get("log") or "log")
    own = pruned(
        actor=objects.actor(body),
        log_name=name,
        log_provider=objects.PRODUCT,
        log_type_id=2,
        log_type="Application",
        count=part(body, "detail").get("count") or None,
    )
    return EVENT_LOG_ACTIVITY, _LOG.get(str(body.get("type")), OTHER), own


def _alarm(body: Fields) -> Mapped:
    finding = pruned(
        uid=str(body.get("id") or "unknown"),
        title=f"Alarm: {body.get('reason', '')}",
        desc=describe(body),
        created_time=at(body),
        types=[str(body.get("reason", ""))],
    )
    # A finding's status is that of its investigation, not of what was found.
    own = {"finding_info": finding, "is_alert": True, "status_id": _NEW, "status": "New"}
    return DETECTION_FINDING, _CREATE, own | {"evidences": [{"actor": objects.actor(body)}]}


def _other(body: Fields) -> Mapped:
    """Types that came after this table."""
    if str(body.get("type", "")).startswith("log."):
        return _log(body)
    return BASE_EVENT, OTHER, {}


_MAPPED: dict[str, Callable[[Fields], Mapped]] = {
    v.SESSION_OPEN: _login(_LOGON, objects.agent_user),
    v.SESSION_REFUSED: _login(_LOGON, objects.agent_user),
    v.SESSION_ESTABLISHED: _login(
        _SWITCH, objects.legacy_user, account_switch_type_id=_IMPERSONATE, account_switch_type="Impersonate"
    ),
    v.SESSION_CLOSE: _login(_LOGOFF, objects.agent_user),
    v.TOKEN_ISSUE: _login(_TICKET, objects.agent_user),
    v.ACCOUNT_CHECK: _login(_LOGON, objects.legacy_user),
    v.SESSION_STOP: _entity("session"),
    v.SESSION_RECORDING: _other_request(_CREATE),
    v.RECORDING_PRUNE: _other_request(_DELETE),
    v.OPERATION: _operation,
    v.RECONCILE: _other_request(_READ),
    v.SECRET_SCAN: _other_request(_READ),
    v.REGISTRY_CHANGE: _entity("agent registry"),
    v.CONFIG_CHANGE: _entity("configuration"),
    v.POLICY_VERSION: _entity("policy"),
    v.SECRET_CHANGE: _entity("secret"),
    v.BREAK_GLASS: _entity("break-glass"),
    v.ACCESS_REQUEST: _entity("access request"),
    v.ACCESS_GRANT: _entity("access for a time"),
    v.DEMOTION: _entity("demotion"),
    v.DENY_CHANGE: _entity("deny list"),
    v.KEY_CHANGE: _entity("issuer keys"),
    v.LOG_KEY: _entity("log key"),
    v.ALARM: _alarm,
}
