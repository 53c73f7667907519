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

MAX_TEXT = 16 * 1024
"""Bytes of a statement that the log keeps; the rest is cut before redaction, so a cut literal is a ``?``."""

MAX_SHAPE = 4096
"""Longest text used as a cache key; with the size of the caches this bounds their memory."""

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
_ESCAPED = rb"(?>(?:[^%b\\]+|\\.|%b%b)*)"
_UNESCAPED = rb"(?>(?:[^%b]+|%b%b)*)"


def _pattern(backslashes: bool, ansi: bool) -> re.Pattern[bytes]:
    single = (_ESCAPED if backslashes else _UNESCAPED).replace(b"%b", b"'")
    double = (_ESCAPED if backslashes and not ansi else _UNESCAPED).replace(b"%b", b'"')
    doubled = rb'"' + double + rb'"'
    string = rb"'" + single + rb"'" + (b"" if ansi else rb"|" + doubled)
    quoted = rb"`(?>(?:[^`]+|``)*)`" + (rb"|" + doubled if ansi else b"")
    return re.compile(
        rb"(?P<space>" + _SPACE + rb")|(?P<number>" + _NUMBER + rb")|(?P<word>" + _WORD + rb")"
        rb"|(?P<string>" + string + rb")|(?P<quoted>" + quoted + rb")|(?P<line>" + _LINE + rb")|(?P<block>/\*)"
        rb"|(?P<variable>@[A-Za-z0-9_$.\x80-\xff]+)|(?P<sign>" + _SIGNS + rb")",
        re.DOTALL,
    )


_PATTERNS = {(b, a): _pattern(b, a) for b in (True, False) for a in (True, False)}
_EXECUTABLE = re.compile(rb"M?!")
_QUOTE = re.compile(rb"[\"'`]")
_KINDS = {
    "space": SPACE,
    "number": NUMBER,
    "word": WORD,
    "string": STRING,
    "quoted": QUOTED,
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
    """The tokens, up to the doubt if there is one; white space and comments only with ``spaces``."""
    doubt = _doubtful_from(text, modes)
    match = _PATTERNS[modes.backslashes is not False, bool(modes.ansi)].match
    tokens: list[Token] = []
    position, size, executable = 0, len(text), False
    while position < size:
        found = match(text, position)
        if found is None:
            return Lexed(tokens, position, executable)
        group = found.lastgroup
        end = found.end()
        if group == "block":
            end, executable, hidden = _block(text, position, executable)
            if hidden:
                return Lexed(tokens, position, executable)
            kind = COMMENT
        else:
            assert group is not None
            kind = _KINDS[group]
        if 0 <= doubt < end:
            return Lexed(tokens, position, executable)
        if spaces or kind not in (SPACE, COMMENT):
            tokens.append(Token(kind, _inner(kind, found[0]), position, end))
        position = end
    return Lexed(tokens, -1, executable)


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


def _block(text: bytes, start: int, executable: bool) -> tuple[int, bool, bool]:
    """End of a comment, whether it is code, and whether its end is in doubt. Comments do not nest (sql_lex.cc)."""
    if _EXECUTABLE.match(text, start + 2):
        return start, True, True
    end = text.find(b"*/", start + 2)
    if end < 0 or text.find(b"\0", start, end) >= 0:
        return start, executable, True
    hint = text.startswith(b"+", start + 2)  # MySQL reads tokens in it, so a quote may hide its end
    return end + 2, executable, bool(hint and _QUOTE.search(text, start, end))


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
