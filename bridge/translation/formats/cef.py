"""CEF 0 (ArcSight "Implementing ArcSight Common Event Format", revision 26), one line an event."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from bridge.translation.describe import describe
from bridge.translation.formats.endpoints import endpoint
from bridge.translation.formats.severity import severity
from bridge.translation.parts import Fields, at, part
from bridge.translation.reading import LoggedEvent

PRODUCT = "identity-bridge"

MAX_VALUE = 1023
"""Characters of a value: what the dictionary allows for suser, msg and their like; custom strings could be longer."""

_LINES = re.compile(r"[\r\n]+")


def cef(event: LoggedEvent, body: Fields) -> str:
    version = part(body, "node").get("ver") or "0"
    header = (PRODUCT, PRODUCT, version, body.get("type", ""), describe(body)[:512], severity(body).cef)
    extension = " ".join(f"{key}={_value(value)}" for key, value in _extension(event, body) if value not in ("", None))
    return "CEF:0|" + "|".join(map(_header, header)) + "|" + extension


def _header(value: object) -> str:
    return _LINES.sub(" ", str(value).replace("\\", "\\\\").replace("|", "\\|"))


def _value(value: object) -> str:
    text = str(value)[:MAX_VALUE].replace("\\", "\\\\").replace("=", "\\=")
    return _LINES.sub(r"\\n", text)


def _extension(event: LoggedEvent, body: Fields) -> Iterator[tuple[str, object]]:
    agent, legacy, action = part(body, "agent"), part(body, "legacy"), part(body, "action")
    result, decision = part(body, "result"), part(body, "decision")
    subject = part(part(body, "delegation"), "subject").get("sub")
    yield "rt", at(body) or None
    yield "externalId", body.get("id")
    yield "cat", body.get("type")
    yield "outcome", body.get("outcome")
    yield "reason", body.get("reason")
    yield "act", decision.get("effect")
    yield "suser", subject or agent.get("id") or part(body, "actor").get("id")
    yield "duser", legacy.get("account")
    yield "app", part(body, "transport").get("proto")
    yield from _addresses(body)
    yield "dvchost", part(body, "node").get("id")
    yield "msg", action.get("text") or part(body, "detail").get("text")
    yield "request", action.get("verb")
    yield from _custom("cs1", "agent", agent.get("id"))
    yield from _custom("cs2", "owner", agent.get("owner"))
    yield from _custom("cs3", "purpose", agent.get("purpose"))
    yield from _custom("cs4", "system", legacy.get("system"))
    yield from _custom("cs5", "session", part(body, "corr").get("session"))
    yield from _custom("cs6", "objects", ",".join(map(str, action.get("objects", ()))))
    yield from _custom("cn1", "seq", event.seq)
    yield from _custom("cn2", "rows", result.get("rows"))
    yield "fileHash", "sha256:" + hashlib.sha256(event.body.encode()).hexdigest()


def _custom(key: str, label: str, value: object) -> Iterator[tuple[str, object]]:
    if value not in ("", None):
        yield f"{key}Label", label
        yield key, value


def _addresses(body: Fields) -> Iterator[tuple[str, object]]:
    source = endpoint(part(body, "transport").get("src"))
    target = endpoint(part(body, "legacy").get("upstream"))
    for prefix, one, ipv6 in (("s", source, "c6a2"), ("d", target, "c6a3")):
        if one.version == 4:
            yield {"s": "src", "d": "dst"}[prefix], one.host
        elif one.version == 6:
            yield from _custom(ipv6, {"s": "Source IPv6 Address", "d": "Destination IPv6 Address"}[prefix], one.host)
        elif one.host:
            yield f"{prefix}host", one.host
        if one.port:
            yield f"{prefix}pt", one.port
