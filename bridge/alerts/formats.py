"""An alert in the form of each kind of channel. Pure.

Sources: Standard Webhooks (v1, symmetric); PagerDuty Events API v2; Slack incoming webhooks (Block Kit); RFC 5322.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Any

from bridge.alerts.watching import DEMOTION, Alert

SUMMARY = 1024
"""Characters of PagerDuty's summary at most."""

SECTION = 2900
"""Characters of a section in Slack: 3,000 at most, and some are escaped."""


def stop_command(alert: Alert) -> str:
    """The command that stops the agent; else the one that shows what is known."""
    if alert.agent:
        return f"idbridge agent suspend {alert.agent} --reason {alert.rule}"
    if alert.rule == "bypass":
        return f"idbridge reconcile --system {alert.system} --account {alert.account}"
    return "idbridge demotion list" if alert.rule == DEMOTION else "idbridge status"


def plain(alert: Alert, bridge: str, id: str, suppressed: int) -> dict[str, Any]:
    """The alert as JSON; for webhooks, and as PagerDuty's details."""
    values = {
        "id": id,
        "bridge": bridge,
        "rule": alert.rule,
        "severity": alert.severity,
        "title": alert.title,
        "text": alert.text,
        "at": _moment(alert).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "agent": alert.agent,
        "owner": alert.owner,
        "system": alert.system,
        "account": alert.account,
        "session": alert.session,
        "since_last": suppressed,
        "look": f"idbridge log show {alert.session}" if alert.session else "",
        "stop": stop_command(alert),
    }
    return {name: value for name, value in values.items() if value != ""}


def webhook(alert: Alert, bridge: str, id: str, suppressed: int) -> bytes:
    return json.dumps(plain(alert, bridge, id, suppressed)).encode()


def pagerduty(alert: Alert, bridge: str, id: str, suppressed: int, routing_key: str) -> bytes:
    """``dedup_key``: alerts of the same trouble are one incident there."""
    body = {
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": f"idbridge:{bridge}:{alert.key}"[:255],
        "client": "identity-bridge",
        "payload": {
            "summary": f"{alert.title}: {alert.text}"[:SUMMARY],
            "source": bridge,
            "severity": alert.severity,
            "timestamp": _moment(alert).isoformat(),
            "component": alert.system or bridge,
            "group": alert.owner or "bridge",
            "class": alert.rule,
            "custom_details": plain(alert, bridge, id, suppressed),
        },
    }
    return json.dumps(body).encode()


def slack(alert: Alert, bridge: str, id: str, suppressed: int) -> bytes:
    title = _escaped(f"{alert.title} ({bridge})")
    more = f"\n_{suppressed} more of these since the last message_" if suppressed else ""
    text = f"*{title}*\n{_escaped(alert.text)[:SECTION]}{more}"
    commands = "\n".join(f"`{_escaped(one)}`" for one in _commands(alert))
    body = {
        "text": f"{title}: {_escaped(alert.text)[:SECTION]}",
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": text}},
            {"type": "section", "text": {"type": "mrkdwn", "text": commands}},
        ],
    }
    return json.dumps(body).encode()


def mail(alert: Alert, bridge: str, id: str, suppressed: int, sender: str, to: tuple[str, ...]) -> bytes:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Subject"] = " ".join(f"[{bridge}] {alert.title}: {alert.agent or alert.account or alert.system}".split())
    message["Date"] = format_datetime(_moment(alert))
    message["Message-ID"] = make_msgid(idstring=id, domain="idbridge.invalid")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers from holiday notices
    message["X-Idbridge-Alert"] = alert.key.replace("\n", " ")
    lines = [alert.text, ""]
    if suppressed:
        lines += [f"{suppressed} more of these since the last message.", ""]
    lines += [f"{name}: {value}" for name, value in plain(alert, bridge, id, 0).items() if name in _TOLD]
    message.set_content("\n".join([*lines, "", *_commands(alert)]) + "\n")
    return message.as_bytes()


_TOLD = ("at", "rule", "agent", "owner", "system", "account", "session")


def _commands(alert: Alert) -> list[str]:
    look = [f"idbridge log show {alert.session}"] if alert.session else []
    return [*look, stop_command(alert)]


def _moment(alert: Alert) -> datetime:
    return datetime.fromtimestamp(alert.at, UTC)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
