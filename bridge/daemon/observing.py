"""The daemon's own log: one JSON object a line. Not the translation log, and held to the same rule: no token in it."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any, TextIO

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogBeginner
from zope.interface import implementer

_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*")
_SECRET_FIELDS = re.compile(r"pass(word|wd|phrase)|secret|token$|authorization|cookie", re.IGNORECASE)
_PLAIN = (str, int, float, bool)
MAX_TEXT = 8 * 1024  # characters of one field; a line stays whole JSON


def redact(text: str) -> str:
    """``text`` with everything that looks like a JWT taken out."""
    return _TOKEN.sub("<token>", text) if "eyJ" in text else text


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text)} characters)"


@implementer(ILogObserver)
class JSONObserver:
    """Writes each event with its time, level, text and plain fields; a failure with its traceback, without locals."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, event: LogEvent) -> None:
        line: dict[str, Any] = {
            "ts": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(event["log_time"])) + "Z",
            "level": getattr(event.get("log_level"), "name", "info"),
            "from": event.get("log_namespace", ""),
            "text": _short(redact(formatEvent(event))),
        }
        line = {**{name: _value(name, value) for name, value in event.items() if _shown(name, value)}, **line}
        failure = event.get("log_failure")
        if failure is not None:
            line["traceback"] = _short(redact(failure.getTraceback(elideFrameworkCode=True)))
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()


@implementer(ILogObserver)
class TextObserver:
    """The same for a person at a terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, event: LogEvent) -> None:
        level = getattr(event.get("log_level"), "name", "info")
        stamp = time.strftime("%H:%M:%S", time.localtime(event["log_time"]))
        text = redact(formatEvent(event))
        failure = event.get("log_failure")
        if failure is not None:
            text += "\n" + redact(failure.getTraceback(elideFrameworkCode=True))
        self._out.write(f"{stamp} {level:8} {_short(text)}\n")
        self._out.flush()


def _shown(name: str, value: Any) -> bool:
    return not name.startswith("log_") and isinstance(value, _PLAIN) and name not in ("format", "isError", "system")


def _value(name: str, value: Any) -> Any:
    if _SECRET_FIELDS.search(name):
        return "<secret>"
    return _short(redact(value)) if isinstance(value, str) else value


def begin(log_format: str) -> None:
    """From now on everything is logged to standard error as ``json`` or ``text``."""
    observer = JSONObserver(sys.stderr) if log_format == "json" else TextObserver(sys.stderr)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
