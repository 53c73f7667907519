"""Ends of strings and of rows of literals, found in steps.

A regular expression holds the interpreter until it is done, whatever thread it runs in. So each match here is bounded
to some milliseconds, and what is longer is a loop that others can interrupt.
"""

from __future__ import annotations

import re

_STEP = 4000  # pieces of a string per match: one piece is what lies between two quotes or backslashes

# Of rows, per match: pieces of a string, literals of a row, rows. What has more is read token by token.
_PIECES, _LITERALS, _ROWS = b"{0,20}", b"{0,200}", b"{0,20}"


def _inside(quote: bytes, escapes: bool) -> bytes:
    """One piece of what may stand between the quotes: a doubled quote, an escaped character, anything else."""
    return rb"[^%b\\]+|\\.|%b%b" % ((quote,) * 3) if escapes else rb"[^%b]+|%b%b" % ((quote,) * 3)


_STRINGS = {
    (quote, escapes): re.compile(rb"(?>(?:%b){0,%d})" % (_inside(quote, escapes), _STEP), re.DOTALL)
    for quote in (b"'", b'"', b"`")
    for escapes in (True, False)
}


def end_of_string(text: bytes, start: int, *, escapes: bool) -> int:
    """Behind the closing quote of what opens at ``start``; -1: it does not close."""
    quote = text[start : start + 1]
    match = _STRINGS[quote, escapes].match
    position = start + 1
    while found := match(text, position):
        if text.startswith(quote, found.end()):
            return found.end() + 1
        if found.end() == position:
            break
        position = found.end()
    return -1


def _rows(escapes: bool, ansi: bool) -> re.Pattern[bytes]:
    strings = [rb"%b(?>(?:%b)%b)%b" % (q, _inside(q, escapes), _PIECES, q) for q in ((b"'",) if ansi else (b"'", b'"'))]
    alone = rb"(?![A-Za-z0-9_$.\x80-\xff])"
    literal = rb"(?:(?:_binary ?|[xX])?(?:%b)|(?:-?[0-9]+(?>(?:\.[0-9]*)?)|(?i:null|true|false))%b)" % (
        b"|".join(strings),
        alone,
    )
    gap = rb"[ \t\n\r]*"
    comma = gap + b"," + gap
    row = rb"\(%b%b(?>(?:%b%b)%b)%b\)" % (gap, literal, comma, literal, _LITERALS, gap)
    return re.compile(rb"%b(?>(?:%b%b)%b)" % (row, comma, row, _ROWS), re.DOTALL)


ROWS = {(escapes, ansi): _rows(escapes, ansi) for escapes in (True, False) for ansi in (True, False)}
"""Rows of plain literals, one behind the other: most of a bulk INSERT. By: backslashes escape, ANSI_QUOTES."""
