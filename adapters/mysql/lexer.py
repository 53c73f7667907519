"""MySQL's own lexical rules (sql_lex.cc; manual 9.1, 9.2, 9.7), over bytes.

Ideas:

* Where the server could read the text in another way than this does, the text is in *doubt*, and is then not
  understood: an open quote, a control character, a backslash while sql_mode is not known.
* Only character sets whose bytes above 0x7F never hold an ASCII byte are read (``SAFE_CHARSETS``): no quote hides.
* ``/*! … */`` and ``/*M! … */`` are code, not comments; a text with one is marked ``executable``, its inside not read.
* ``shape`` is a cache key that is the same for statements that differ only in plain integers.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from adapters.mysql.literals import ROWS, end_of_string

MAX_TEXT = 16 * 1024
"""Bytes of a statement that the log keeps; the rest is cut before redaction, so a cut literal is a ``?``."""

MAX_SHAPE = 4096
"""Longest text used as a cache key; with the size of the caches this bounds their memory."""

MAX_TOKENS = 100_000
"""Tokens of a text, rows of literals not counted; what has more was made to have: 100,000 take some 100 ms."""

SAFE_CHARSETS = frozenset(
    """
    armscii8 ascii binary cp1250 cp1251 cp1256 cp1257 cp850 cp852 cp866 dec8 eucjpms gb2312 geostd8 greek hebrew hp8
    keybcs2 koi8r koi8u latin1 latin2 latin5 latin7 macce macroman tis620 ujis utf8 utf8mb3 utf8mb4
    """.split()  # noqa: SIM905
)
"""Character sets by MySQL's name in which the bytes of quotes, backslash and comment marks are only those. In big5,
gbk, gb18030, sjis, cp932 and euckr a second byte may look like one of them (research D2)."""

WORD, QUOTED, STRING, NUMBER, SIGN, VARIABLE, SPACE, COMMENT = "WQSN.@ #"
"""Kinds of tokens. WORD: a keyword or bare name; QUOTED: a quoted name; SIGN: one character of punctuation (or ``@@``);
VARIABLE: ``@name``."""


class Token(NamedTuple):
    """``text`` of a QUOTED has neither quotes nor doubling; of a WORD is as written."""

    kind: str
    text: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Modes:
    """What the session's settings say about reading text; None: not known.

    ``backslashes``: they escape (NO_BACKSLASH_ESCAPES is off). ``ansi``: double quotes are around names (ANSI_QUOTES).
    ``charset``: the one of the client's text is safe. ``foreign``: a mode with another grammar (ORACLE, MSSQL).
    """

    backslashes: bool | None = True
    ansi: bool | None = False
    charset: bool = True
    foreign: bool = False

    @classmethod
    def of(cls, sql_mode: str, charset: str) -> Modes:
        modes = set(sql_mode.upper().split(","))
        return cls(
            "NO_BACKSLASH_ESCAPES" not in modes,
            bool(modes & {"ANSI_QUOTES", "ANSI"}),
            charset.lower() in SAFE_CHARSETS,
            bool(modes & {"ORACLE", "MSSQL"}),
        )

    @property
    def plain(self) -> bool:
        """The defaults: what was learnt about a text in another plain session holds here too."""
        return self == PLAIN


PLAIN = Modes()
UNKNOWN = Modes(None, None)

_SPACE = rb"[ \t\n\v\f\r]+"
_WORD = rb"[A-Za-z0-9_$\x80-\xff]+"
_NUMBER = (
    rb"(?:0x[0-9A-Fa-f]+|0b[01]+|[0-9]+(?![A-Za-z0-9_$.\x80-\xff])|[0-9]+[eE][+-]?[0-9]+"
    rb"|(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![A-Za-z0-9_$\x80-\xff])"
)
# `--` begins a comment before white space, a control character or the end; a control character is in doubt anyway.
_LINE = rb"(?:#|--(?=[ \t\n\v\f\r]|\Z))[^\n\x00]*"
_SIGNS = rb"@@|\\N|[!%&*+(),\-./:;<=>?@\[\]^{|}~]"
_TOKEN = re.compile(
    rb"(?P<space>" + _SPACE + rb")|(?P<number>" + _NUMBER + rb")|(?P<word>" + _WORD + rb")|(?P<quote>['\"`])"
    rb"|(?P<line>" + _LINE + rb")|(?P<block>/\*)|(?P<variable>@[A-Za-z0-9_$.\x80-\xff]+)|(?P<sign>" + _SIGNS + rb")"
)
_EXECUTABLE = re.compile(rb"M?!")
_QUOTE = re.compile(rb"[\"'`]")
_KINDS = {
    "space": SPACE,
    "number": NUMBER,
    "word": WORD,
    "line": COMMENT,
    "variable": VARIABLE,
    "sign": SIGN,
}


@dataclass(frozen=True, slots=True)
class Lexed:
    """``doubt``: offset from which on the text is not understood; -1: it is understood to its end."""

    tokens: list[Token]
    doubt: int = -1
    executable: bool = False


def lex(text: bytes, modes: Modes = PLAIN, *, spaces: bool = False) -> Lexed:
    """The tokens, up to the doubt if there is one; white space and comments only with ``spaces``.

    Without ``spaces``, rows of literals are cut to `(0)`: they are most of a large text, and say nothing.
    """
    reading = _Reading(text, modes)
    size = len(text)
    while reading.position < size and len(reading.tokens) <= MAX_TOKENS:
        if not reading.step(spaces):
            return Lexed(reading.tokens, reading.position, reading.executable)
    return Lexed(reading.tokens, reading.position if reading.position < size else -1, reading.executable)


class _Reading:
    """Where the lexer is. ``step`` says False when it cannot be sure to go on as the server would."""

    __slots__ = ("_after_rows", "_ansi", "_doubt", "_escapes", "_rows", "_text", "executable", "position", "tokens")

    def __init__(self, text: bytes, modes: Modes) -> None:
        self._text = text
        self._escapes, self._ansi = modes.backslashes is not False, bool(modes.ansi)
        self._rows = ROWS[self._escapes, self._ansi]
        self._doubt = _doubtful_from(text, modes)
        self._after_rows = -2  # number of tokens when rows of literals ended
        self.tokens: list[Token] = []
        self.position = 0
        self.executable = False

    def step(self, spaces: bool) -> bool:
        text, start = self._text, self.position
        found = _TOKEN.match(text, start)
        if found is None:
            return False
        group, end = found.lastgroup or "", found.end()
        if group == "quote":
            kind, end = self._quoted(start)
        elif group == "block":
            kind, end = COMMENT, self._block(start)
        else:
            kind = _KINDS[group]
        if end < 0 or 0 <= self._doubt < end:
            return False
        if kind == SIGN and not spaces and self._doubt < 0 and found[0] == b"(" and self._skip_rows(start):
            return True
        if spaces or kind not in (SPACE, COMMENT):
            self.tokens.append(Token(kind, _inner(kind, text[start:end]), start, end))
        self.position = end
        return True

    def _quoted(self, start: int) -> tuple[str, int]:
        quote = self._text[start : start + 1]
        name = quote == b"`" or (self._ansi and quote == b'"')
        return QUOTED if name else STRING, end_of_string(self._text, start, escapes=self._escapes and not name)

    def _skip_rows(self, start: int) -> bool:
        run = self._rows.match(self._text, start)
        if run is None:
            return False
        end, tokens = run.end(), self.tokens
        if self._after_rows == len(tokens) - 1 and tokens[-1].text == b",":
            del tokens[-4:]  # rows, as these
        tokens += (
            Token(SIGN, b"(", start, start + 1),
            Token(NUMBER, b"0", start, end),
            Token(SIGN, b")", end - 1, end),
        )
        self._after_rows = len(tokens)
        self.position = end
        return True

    def _block(self, start: int) -> int:
        """End of a comment; -1: it is code, or its end is in doubt. Comments do not nest (sql_lex.cc)."""
        text = self._text
        if _EXECUTABLE.match(text, start + 2):
            self.executable = True
            return -1
        end = text.find(b"*/", start + 2)
        if end < 0 or text.find(b"\0", start, end) >= 0:
            return -1
        hint = text.startswith(b"+", start + 2)  # MySQL reads tokens in it, so a quote may hide its end
        return -1 if hint and _QUOTE.search(text, start, end) else end + 2


def _doubtful_from(text: bytes, modes: Modes) -> int:
    """Where what the modes leave open begins to matter; -1: nowhere."""
    marks = [0] if modes.foreign else []
    if modes.backslashes is None:
        marks.append(text.find(b"\\"))
    if modes.ansi is None:
        marks.append(text.find(b'"'))
    if not modes.charset and not text.isascii():
        marks.append(next(index for index, byte in enumerate(text) if byte > 0x7F))
    return min((mark for mark in marks if mark >= 0), default=-1)


def _inner(kind: str, text: bytes) -> bytes:
    if kind != QUOTED:
        return text
    quote = text[:1]
    return text[1:-1].replace(quote * 2, quote)


# -- for the log ------------------------------------------------------------------------------------------------------


def redact(text: bytes, modes: Modes = PLAIN) -> str:
    """The text with every literal replaced by ``?`` and every comment by a space; from a doubt on all is ``?``."""
    return _redact(text[:MAX_TEXT], modes)


@lru_cache(maxsize=1024)
def _redact(text: bytes, modes: Modes) -> str:
    lexed = lex(text, modes, spaces=True)
    parts = [_REDACTED.get(token.kind) or text[token.start : token.end] for token in lexed.tokens]
    if lexed.doubt >= 0:
        parts.append(b"?")
    return b"".join(parts).decode("utf-8", "replace")


_REDACTED = {STRING: b"?", NUMBER: b"?", COMMENT: b" "}

_LIST = re.compile(r"\?(?:\s*,\s*\?)+")
_ROWS = re.compile(r"(\(\?(?:, \.\.\.)?\))(?:\s*,\s*\(\?(?:, \.\.\.)?\))+")
_WHITE = re.compile(r"\s+")


@lru_cache(maxsize=1024)
def digest(redacted: str) -> str:
    """32 hexadecimal digits over the redacted text, with white space, lists and rows of literals made equal."""
    even = _ROWS.sub(r"\1", _LIST.sub("?, ...", redacted))
    return hashlib.sha256(_WHITE.sub(" ", even).strip(" ;").encode("utf-8", "surrogatepass")).hexdigest()[:32]


# Both begin with one set of bytes, which the search skips to quickly: every statement passes them.
_CONTEXTUAL = re.compile(rb"['\"`$@\\#\x80-\xff\x00-\x08\x0e-\x1f\x7f/-](?:(?<![/-])|(?<=-)-|(?<=/)\*)")
_INTEGER = re.compile(rb"[0-9](?<![\w.].)[0-9]*(?![\w.])")


def shape(text: bytes) -> bytes | None:
    """A key under which what was learnt about a statement may be kept; None: do not keep it.

    Plain decimal integers become ``0``. That is safe only where digits cannot be anything but an integer token: in
    ASCII text without quote, variable, backslash, comment mark or control character. Every other text is its own key.
    """
    if len(text) > MAX_SHAPE:
        return None
    if _CONTEXTUAL.search(text):
        return text
    return _INTEGER.sub(b"0", text)
