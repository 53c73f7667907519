"""A statement in the form that the second opinion gets: no literal, no comment, nothing that only advises.

Literals are all alike, and lists and rows of them are cut to one: neither changes what the statement is, and a bulk
INSERT becomes short.
"""

from __future__ import annotations

from collections.abc import Iterator

from adapters.mysql.lexer import NUMBER, QUOTED, SIGN, STRING, VARIABLE, WORD, Token

_ADVICE = frozenset(
    """
    SQL_NO_CACHE SQL_CACHE SQL_CALC_FOUND_ROWS HIGH_PRIORITY LOW_PRIORITY SQL_SMALL_RESULT SQL_BIG_RESULT
    SQL_BUFFER_RESULT DELAYED QUICK
    """.split()  # noqa: SIM905
)
_PLAIN = {STRING: "'s'", NUMBER: "0", VARIABLE: "@v"}
_LITERALS = frozenset({"'s'", "0", "NULL", "null", "?"})
_ALONE = b"(),;"


def normal(tokens: list[Token]) -> str:
    out: list[str] = []
    last: Token | None = None
    for token in _without_advice(tokens):
        piece = _piece(token)
        together = last is not None and last.kind == token.kind == SIGN and last.end == token.start
        last = token
        if piece in _LITERALS and out[-1:] == ["-"] and out[-2:-1] in (["("], [","]):
            out.pop()  # a sign
        if piece in _LITERALS and out[-1:] == [","] and out[-2] in _LITERALS:
            out.pop()  # the literal in front of the comma stands for both
        elif piece == ")" and _repeats(out[-6:]):
            del out[-3:]
        elif together and token.text not in _ALONE and out[-1] not in ("(", ")", ",", ";"):
            out[-1] += piece  # one operator: `:=`, `->`
        else:
            out.append(piece)
    return " ".join(out)


def _piece(token: Token) -> str:
    text = token.text.decode("utf-8", "replace")
    if token.kind == QUOTED:
        return "`" + text.replace("`", "``") + "`"
    return "NULL" if text == "\\N" else _PLAIN.get(token.kind, text)


def _repeats(last: list[str]) -> bool:
    """`(0) , (0`: rows of literals are all alike, the first stands for all."""
    signs = len(last) == 6 and (last[0], *last[2:5]) == ("(", ")", ",", "(")
    return signs and last[1] in _LITERALS and last[5] in _LITERALS


def _without_advice(tokens: list[Token]) -> Iterator[Token]:
    """Without what sqlglot does not know and what does nothing: `SQL_NO_CACHE`, the variables of `INTO @a, @b`."""
    into = False
    for index, token in enumerate(tokens):
        word = token.text.upper().decode("latin-1") if token.kind in (WORD, SIGN) else ""
        if into and (token.kind == VARIABLE or word == ","):
            continue
        into = word == "INTO" and index + 1 < len(tokens) and tokens[index + 1].kind == VARIABLE
        if into or word in _ADVICE:
            continue
        yield token._replace(text=b"INSERT") if word == "REPLACE" and index == 0 else token
