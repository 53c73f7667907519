"""How grave an event is, on the scale of each format."""

from __future__ import annotations

from enum import Enum

from bridge.translation.parts import Fields
from bridge.translation.vocabulary import ALARM, DENIED, FAILURE, UNKNOWN


class Severity(Enum):
    """``ocsf``: severity_id; ``cef``: 0 to 10; ``syslog``: RFC 5424, table 2."""

    INFORMATIONAL = (1, 3, 6)
    LOW = (2, 5, 5)
    MEDIUM = (3, 6, 4)
    HIGH = (4, 9, 2)

    @property
    def ocsf(self) -> int:
        return self.value[0]

    @property
    def cef(self) -> int:
        return self.value[1]

    @property
    def syslog(self) -> int:
        return self.value[2]


def severity(body: Fields) -> Severity:
    if body.get("type") == ALARM:
        return Severity.HIGH
    outcome = body.get("outcome")
    if outcome == DENIED:
        return Severity.MEDIUM
    return Severity.LOW if outcome in (FAILURE, UNKNOWN) else Severity.INFORMATIONAL
