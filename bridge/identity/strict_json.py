"""A JSON object, read so that two readers cannot disagree on what it says.

Refused beyond RFC 8259: duplicate names, NaN and Infinity (also by overflow), numbers of many digits, deep nesting,
lone surrogates, a byte order mark. ``json`` alone accepts each of them.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 8  # a Kubernetes token needs 3, a delegation chain of 4 needs 5
MAX_DIGITS = 18  # fits a signed 64-bit integer; converting 4,000 digits is work for nothing

_STRING = re.compile(rb'"(?>(?:[^"\\]|\\.)*)"?', re.DOTALL)  # the optional end keeps an open string linear
_BRACKET = re.compile(rb"[\[\]{}]")


class NotStrictJSON(ValueError):
    """The text is not a JSON object in the strict sense. The message names the rule, never the text."""


def parse_object(data: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """The object that ``data`` is. Raises NotStrictJSON."""
    if _too_deep(data, max_depth):
        raise NotStrictJSON(f"nested deeper than {max_depth}")
    try:
        value = _DECODER.decode(data.decode())
        if b"\\u" in data:
            _refuse_lone_surrogates(value)
    except NotStrictJSON:
        raise
    except (ValueError, RecursionError):
        raise NotStrictJSON("not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise NotStrictJSON("not a JSON object")
    return value


def _too_deep(data: bytes, limit: int) -> bool:
    """Counts brackets outside strings before anything recurses."""
    if data.count(b"{") + data.count(b"[") <= limit:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", data)):
        depth += 1 if bracket in b"{[" else -1
        if depth > limit:
            return True
    return False


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotStrictJSON("a lone surrogate") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotStrictJSON("a name occurs twice in one object")
    return result


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise NotStrictJSON(f"an integer of more than {MAX_DIGITS} digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text) if len(text) <= 64 else math.inf
    if not math.isfinite(value):
        raise NotStrictJSON("a number out of range")
    return value


def _constant(_: str) -> NoReturn:
    raise NotStrictJSON("NaN or Infinity")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float, parse_constant=_constant, strict=True
)
