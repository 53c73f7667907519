"""RFC 5424 syslog messages: structured data for finding, and any other format of ours as the message.

The message has no byte order mark (MSG-ANY of section 6.4): readers of JSON and CEF do not expect one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from bridge.translation.describe import describe
from bridge.translation.formats.severity import severity
from bridge.translation.parts import Fields, part
from bridge.translation.reading import LoggedEvent

LOG_AUDIT = 13
"""The facility "log audit" of table 1."""

ENTERPRISE = 32473
"""The number that RFC 5612 sets aside for examples: we have none of our own, and users set theirs."""

_UNPRINTABLE = re.compile(r"[^!-~]+")
_SEQUENCE_END = 2**31 - 1  # of meta sequenceId, section 7.3.1


def syslog(
    event: LoggedEvent,
    body: Fields,
    message: Callable[[LoggedEvent], str] | None = None,
    *,
    facility: int = LOG_AUDIT,
    enterprise: int = ENTERPRISE,
    limit: int = 0,
) -> str:
    """One message, without framing. ``limit`` in bytes: of a longer one the message part is the sentence alone, and its
    structured data says ``shortened="yes"`` (a receiver would cut it anywhere, without saying so); 0 is no limit."""
    head = _head(body, facility)
    data = _data(event, body, enterprise)
    whole = f"{head} {data}] {message(event) if message else event.body}"
    if limit and len(whole.encode()) > limit:
        sentence = re.sub(r"\s+", " ", describe(body))
        short = f'{head} {data} shortened="yes"] {sentence}'
        return short.encode()[:limit].decode(errors="ignore")
    return whole


def _head(body: Fields, facility: int) -> str:
    priority = facility * 8 + severity(body).syslog
    host, kind = _name(part(body, "node").get("id"), 255), _name(body.get("type"), 32)
    return f"<{priority}>1 {_name(body.get('ts'), 40)} {host} idbridge - {kind}"


def _name(value: object, longest: int) -> str:
    """PRINTUSASCII, "-" when there is nothing."""
    return _UNPRINTABLE.sub("_", str(value or ""))[:longest] or "-"


def _data(event: LoggedEvent, body: Fields, enterprise: int) -> str:
    """All elements but the closing bracket of the last."""
    agent, legacy, action = part(body, "agent"), part(body, "legacy"), part(body, "action")
    named = {
        "seq": event.seq,
        "id": body.get("id"),
        "log": body.get("log"),
        "phase": body.get("phase"),
        "outcome": body.get("outcome"),
        "reason": body.get("reason"),
        "session": part(body, "corr").get("session"),
        "agent": agent.get("id"),
        "owner": agent.get("owner"),
        "system": legacy.get("system"),
        "account": legacy.get("account"),
        "verb": action.get("verb"),
        "kind": action.get("kind"),
        "sha256": hashlib.sha256(event.body.encode()).hexdigest(),
    }
    own = "".join(f' {key}="{_quoted(value)}"' for key, value in named.items() if value not in ("", None))
    sequence = (event.seq - 1) % _SEQUENCE_END + 1
    version = part(body, "node").get("ver")
    origin = f'[origin software="identity-bridge"{_version(version)}]'
    return f'[meta sequenceId="{sequence}"]{origin}[bridge@{enterprise}{own}'


def _version(version: object) -> str:
    return f' swVersion="{_quoted(str(version)[:32])}"' if version else ""


def _quoted(value: object) -> str:
    """Section 6.3.3; control characters are allowed there, and left out all the same, for readers line by line."""
    text = re.sub(r"[\x00-\x1f\x7f]+", " ", str(value))
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
