"""One event in the words of others: each format is a function from an event to one line of text, without line end.

Ideas:

* One event becomes one line in every format, so that counting lines is counting events.
* No event stops a format: one that somebody altered, or that a later version wrote, is told as an alarm in its place.
* ``ocsf`` carries the exact body (``raw_data``) and so can be proven; ``cef`` and ``syslog`` carry its id, sequence
  number and SHA-256. README.md has the mappings.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from bridge.translation.formats.cef import cef
from bridge.translation.formats.ocsf import ocsf
from bridge.translation.formats.syslog import syslog
from bridge.translation.parts import Fields
from bridge.translation.reading import LoggedEvent

Line = Callable[[LoggedEvent], str]

_UNREADABLE = {
    "type": "alarm",
    "outcome": "failure",
    "reason": "unreadable",
    "detail": {"text": "this event of the log cannot be read; somebody may have altered it"},
}
_DEFECTS = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


def total(line: Callable[[LoggedEvent, Fields], str]) -> Line:
    """``line`` for any event there may be."""

    def of(event: LoggedEvent) -> str:
        try:
            return line(event, event.fields)
        except _DEFECTS:
            return line(event, _UNREADABLE)

    return of


def jsonl(event: LoggedEvent) -> str:
    """The exact body."""
    return event.body


LINES: Mapping[str, Line] = MappingProxyType(
    {"jsonl": jsonl, "ocsf": total(ocsf), "cef": total(cef), "syslog": total(syslog)}
)

__all__ = ["LINES", "Line", "jsonl", "syslog", "total"]
