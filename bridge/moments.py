"""Times and durations as people write them."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UTC = re.compile(r" ?(?:UTC|GMT)$")
_UNIX_MS = re.compile(r"[0-9]{13}")


def seconds(text: str) -> int:
    """``15m``, ``2h``, ``90d`` or plain seconds. Raises ValueError."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError("expected a duration such as 90s, 15m, 2h, 3d or 1w")
    return int(found[1]) * _UNITS[found[2]]


def unix_ms(text: str, now: float | None = None, *, end: bool = False) -> int:
    """``now``, ``today``, ``15m`` (ago), an ISO 8601 time (local unless it has a zone), or Unix milliseconds.

    ``end``: a date alone means its last millisecond. ``UTC`` at the end is a zone too, as PostgreSQL's log has it.
    Raises ValueError.
    """
    now = time.time() if now is None else now
    if text == "now":
        return int(now * 1000)
    if text == "today":
        midnight = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
        return int(midnight.timestamp() * 1000)
    if _DURATION.fullmatch(text):
        return int((now - seconds(text)) * 1000)
    if _UNIX_MS.fullmatch(text):
        return int(text)
    try:
        if end and _DATE.fullmatch(text):
            return int((datetime.fromisoformat(text) + timedelta(days=1)).timestamp() * 1000) - 1
        return int(datetime.fromisoformat(_UTC.sub("+00:00", text)).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            "expected a time such as 2026-11-25T09:41:07, 2026-11-25, today, or 15m for 15 minutes ago"
        ) from None
