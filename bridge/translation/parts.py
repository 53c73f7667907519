"""Looking into a decoded event, which may be of a newer version: a part that is not there is empty."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

Fields = Mapping[str, Any]


def part(body: Fields, name: str) -> Fields:
    """The section ``name`` of a body, or of a section."""
    found = body.get(name)
    return found if isinstance(found, Mapping) else {}


def at(body: Fields) -> int:
    """``ts`` in Unix milliseconds, 0 when it cannot be read."""
    try:
        return round(datetime.fromisoformat(str(body.get("ts"))).timestamp() * 1000)
    except ValueError:
        return 0
