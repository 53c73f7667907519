"""Statement text without its literals, by PostgreSQL's own lexical rules (manual 4.1; scan.l).

Ideas:

* ``redact`` walks tokens, never searches for quotes: `a$b$c` is a name, `1e'x'` a number and a string.
* Where the lexing is in doubt (unterminated, `standard_conforming_strings` unknown) everything from there on is ``?``.
* ``shape`` is a cache key that is the same for statements that differ only in plain integers.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

MAX_TEXT = 16 * 1024
"""Characters of a statement that the log keeps; the rest is cut before redaction, so a cut literal is a ``?``."""

MAX_SHAPE = 4096
"""Longest text used as a cache key; with the size of the caches this bounds their memory."""

_NAME = r"[A-Za-z_\x80-\U0010ffff]"
_NAME_REST = r"[A-Za-z0-9_$\x80-\U0010ffff]"
_TAG_REST = r"[A-Za-z0-9_\x80-\U0010ffff]"

# Groups are atomic, `(?>…)`, never possessive, `(…)*+`: Python before 3.11.5, and so Debian 12's, matches the latter
# wrongly (gh-106052). A single character or class may be possessive.
# What is kept: names (unless they are a string's prefix), quoted names, parameters, white space, operators. A lone `$`
# is not PostgreSQL and so not kept. In an operator `--` and `/*` begin a comment all the same (scan.l, "operator").
_KEPT = (
    rf"(?>(?:(?![eEbBxXnN]'|[uU]&'){_NAME}{_NAME_REST}*+"
    r'|"(?>(?:[^"]++|"")*)"'
    r"|\$[0-9]++"
    rf"|[^'\"$0-9A-Za-z_\x80-\U0010ffff/-]++"
    r"|-(?!-)|/(?!\*))*)"
)
_ESCAPED = r"'(?>(?:[^'\\]++|''|\\.)*)'"
_PLAIN = r"'(?>(?:[^']++|'')*)'"
# A string goes on after white space with a line break, in the mode it began with (scan.l, "quotecontinue").
_GAP = r"(?>(?:[ \t\f\v]|--[^\n\r]*+)*)[\n\r](?>(?:[ \t\n\r\f\v]|--[^\n\r]*+[\n\r])*)"
_NUMBER = (
    r"(?:0[xX][0-9a-fA-F_]++|0[oObB][0-9_]++"
    r"|[0-9][0-9_]*+(?>(?:\.[0-9_]*+)?)(?>(?:[eE][+-]?[0-9][0-9_]*+)?))"
)
_DOLLAR = rf"\$(?P<tag>(?:{_NAME}{_TAG_REST}*+)?)\$.*?\$(?P=tag)\$"


def _token(plain: str) -> re.Pattern[str]:
    literal = (
        rf"[eE]{_ESCAPED}(?>(?:{_GAP}{_ESCAPED})*)"
        rf"|(?:[bBxXnN]|[uU]&)?{plain}(?>(?:{_GAP}{plain})*)"
        rf"|{_NUMBER}|{_DOLLAR}"
    )
    return re.compile(
        rf"({_KEPT})(?:(?P<literal>{literal})|(?P<line>--[^\n\r]*+)|(?P<block>/\*)|(?P<end>\Z))", re.DOTALL
    )


_STANDARD = _token(_PLAIN)
_BACKSLASHES = _token(_ESCAPED)
_BLOCK_EDGE = re.compile(r"/\*|\*/")


@lru_cache(maxsize=1024)
def _redact(text: str, standard_strings: bool) -> str:
    token = _STANDARD if standard_strings else _BACKSLASHES
    out: list[str] = []
    position = 0
    while match := token.match(text, position):
        out.append(match[1])
        kind = match.lastgroup
        if kind == "end":
            return "".join(out)
        position = match.end()
        if kind == "block":
            position = _block_end(text, position)
            if position < 0:
                break
        out.append(" " if kind in ("block", "line") else "?")
    else:
        # no token fits here: an unterminated string, name or dollar quote, or a stray `$`
        kept = _KEPT_ONLY.match(text, position)
        out.append((kept[0] if kept else "") + "?")
    return "".join(out)


_KEPT_ONLY = re.compile(_KEPT)


def _block_end(text: str, position: int) -> int:
    """Block comments nest. -1: it does not end."""
    depth = 1
    while depth:
        edge = _BLOCK_EDGE.search(text, position)
        if edge is None:
            return -1
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position


def redact(text: str, standard_strings: bool | None = True) -> str:
    """``text`` with every literal replaced by ``?`` and every comment by a space; parameters (``$1``) stay.

    ``standard_strings`` is the session's standard_conforming_strings; None: not known, then text that reads differently
    in the two modes is cut at its first quote.
    """
    text = text[:MAX_TEXT] if len(text) > MAX_TEXT else text
    if standard_strings is not None:
        return _redact(text, standard_strings)
    redacted = _redact(text, True)
    if "\\" not in text or redacted == _redact(text, False):
        return redacted
    return _redact(text[: text.index("'")], True) + "?" if "'" in text else "?"


_LIST = re.compile(r"\?(?:\s*,\s*\?)+")
_SPACE = re.compile(r"\s+")


@lru_cache(maxsize=1024)
def digest(redacted: str) -> str:
    """32 hexadecimal digits over the redacted text, with white space and lists of literals made equal."""
    even = _SPACE.sub(" ", _LIST.sub("?, ...", redacted)).strip(" ;")
    return hashlib.sha256(even.encode("utf-8", "surrogatepass")).hexdigest()[:32]


# Both begin with one set of bytes, which the search skips to quickly: every statement passes them.
_CONTEXTUAL = re.compile(rb"['\"$\\\x80-\xff\x00/-](?:(?<![/-])|(?<=-)-|(?<=/)\*)")
_INTEGER = re.compile(rb"[0-9](?<![\w.].)[0-9]*+(?![\w.])")


def shape(text: bytes) -> bytes | None:
    """A key under which what was learned about a statement may be kept; None: do not keep it.

    Plain decimal integers become ``0``, so that `… WHERE aid = 17` and `… = 99` are one shape. That is safe only where
    digits cannot be anything but an integer token: so only in ASCII text without any quote, dollar sign, backslash or
    comment mark, where no string, quoted name or comment exists and the lexer has nothing to disagree with the server
    about. Every other text is its own key.
    """
    if len(text) > MAX_SHAPE:
        return None
    if _CONTEXTUAL.search(text):
        return text
    return _INTEGER.sub(b"0", text)
