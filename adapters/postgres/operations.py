"""From what a client sends to an ``Operation``: the text in the form the log wants, what it does, on what.

``Texts`` knows how the session's text is to be read (client_encoding, standard_conforming_strings); where that is in
doubt the text is not parsed, and so not permitted short of ``admin``, and its literals are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from adapters.postgres.codec import Bind, FunctionCall
from adapters.postgres.lexer import MAX_TEXT, digest, redact
from adapters.postgres.statements import UNPARSED, Statement, stronger
from bridge.adapter import Action, Operation, StatementLogging

MAX_PARAMETERS = 64
"""Parameter values kept per operation under ``statements: full``, each cut at ``MAX_VALUE`` characters."""

MAX_VALUE = 1024

# Encodings by PostgreSQL's name whose bytes above 0x7F never hold an ASCII byte: quotes and backslashes are themselves
# (manual 24.3.1). In SJIS, BIG5, GBK, UHC, GB18030 and JOHAB they may be half a character.
_CODECS = {
    "UTF8": "utf-8",
    "SQL_ASCII": "utf-8",
    **{f"LATIN{n}": f"iso8859_{part}" for n, part in enumerate((1, 2, 3, 4, 9, 10, 13, 14, 15, 16), 1)},
    **{f"ISO_8859_{n}": f"iso8859_{n}" for n in (5, 6, 7, 8)},
    **{f"WIN{n}": f"cp{n}" for n in (866, 874, 1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258)},
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
    "EUC_JP": "euc_jp",
    "EUC_KR": "euc_kr",
    "EUC_CN": "gb2312",
}


class Texts:
    """How the session's statement text reads.

    Once anything may have changed that, it is known only while nothing is in flight (``rested``): the server reports
    changes at ReadyForQuery, and what is in flight may toggle them, a ROLLBACK just as a prepared SET.
    """

    __slots__ = ("_reported", "_touched", "encoding", "rested")

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self.encoding = parameters.get("client_encoding", "SQL_ASCII").upper()
        self._reported = parameters.get("standard_conforming_strings", "on") == "on"
        self._touched = not self._reported
        self.rested: Callable[[], bool] = lambda: True

    def parameter(self, name: str, value: str) -> None:
        if name == "client_encoding":
            self._touched = self._touched or self.encoding != value.upper()
            self.encoding = value.upper()
        elif name == "standard_conforming_strings":
            self._reported = value == "on"
            self._touched = self._touched or not self._reported

    def doubt(self) -> None:
        """A statement that may change how text reads is in this session."""
        self._touched = True

    @property
    def doubtful(self) -> bool:
        return self._touched and not self.rested()

    @property
    def standard_strings(self) -> bool | None:
        """standard_conforming_strings; None: not known."""
        return None if self.doubtful else self._reported

    @property
    def plain(self) -> bool:
        """Nothing special: what was learned about a text in another plain session holds here too."""
        return (not self._touched or self.standard_strings is True) and self.encoding == "UTF8"

    def decode(self, text: bytes) -> str | None:
        """As the server reads it; None when that is in doubt."""
        if self.standard_strings is not True and b"\\" in text:
            return None
        if text.isascii():
            return text.decode("ascii")
        codec = _CODECS.get(self.encoding)
        if codec is None or self.doubtful:
            return None
        try:
            return text.decode(codec)
        except UnicodeDecodeError:
            return None

    def encode(self, text: str) -> bytes:
        """The way back from ``decode``."""
        return text.encode("ascii" if text.isascii() else _CODECS[self.encoding])

    def readable(self, text: bytes) -> str:
        """For the log: never fails; what cannot be decoded is U+FFFD, and nothing at all where quotes are in doubt."""
        head = text[: 4 * MAX_TEXT]
        if head.isascii():
            return head.decode("ascii")
        codec = _CODECS.get(self.encoding)
        return head.decode(codec, "replace") if codec else "'"  # an open quote: redacts to ``?``


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement the server knows by name; ``operation`` is what executing it is, before parameters.

    ``plain``: executing it is that and nothing more, whatever the session has done.
    """

    statement: Statement
    operation: Operation
    plain: bool = False


class Describing:
    """Makes the operations of one session."""

    def __init__(self, logging: StatementLogging, target: Mapping[str, str], texts: Texts) -> None:
        self._logging = logging
        self._target = dict(target)
        self._texts = texts

    @property
    def repeatable(self) -> bool:
        """Statements of one shape make equal operations: not where the log keeps the literals."""
        return not self.keeps_values

    @property
    def keeps_values(self) -> bool:
        """The log may have the values of parameters."""
        return self._logging is StatementLogging.FULL

    def operations(self, text: bytes, statements: tuple[Statement, ...]) -> list[Operation]:
        if len(statements) == 1:
            return [self._one(self._texts.readable(text), statements[0])]
        decoded = self._texts.decode(text)
        whole = (decoded or "").encode("utf-8")
        out = []
        for statement in statements:
            part = whole[statement.start : statement.end or None]
            out.append(self._one(part.decode("utf-8", "replace").strip(), statement))
        return out

    def _one(self, text: str, statement: Statement) -> Operation:
        redacted = redact(text, self._texts.standard_strings)
        details: dict[str, str | int] = {}
        if len(text) > MAX_TEXT:
            details["characters"] = len(text)
        if statement.functions:
            details["functions"] = ", ".join(statement.functions)
        kept = {StatementLogging.FULL: text[:MAX_TEXT], StatementLogging.REDACTED: redacted}.get(self._logging, "")
        return Operation(
            statement.verb,
            statement.action,
            statement.objects,
            kept,
            digest(redacted),
            None,
            self._target,
            details,
        )

    def executed(self, prepared: Prepared, operation: Operation) -> Operation:
        """SQL's EXECUTE: does what the prepared statement does."""
        details = {**operation.details, "prepared": prepared.operation.text or prepared.operation.digest}
        action = stronger(operation.action, prepared.operation.action)
        return replace(operation, action=action, objects=prepared.operation.objects, details=details)

    def unseen(self, operation: Operation, why: str) -> Operation:
        """Names a statement the bridge has not seen: anything could be behind it."""
        return replace(operation, verb=UNPARSED.verb, action=Action.ADMIN, details={**operation.details, "why": why})

    def bound(self, operation: Operation, bind: Bind | None) -> Operation:
        """With the parameters' values, where the log may have them."""
        if bind is None or not bind.parameters:
            return operation
        values = tuple(self._value(bind, index) for index in range(min(len(bind.parameters), MAX_PARAMETERS)))
        details = {**operation.details, "parameter_count": len(bind.parameters)}
        return replace(operation, parameters=values, details=details)

    def _value(self, bind: Bind, index: int) -> str | None:
        value = bind.parameters[index]
        if value is None:
            return None
        if bind.format(index) == 1:
            return "\\x" + value[: MAX_VALUE // 2].hex()
        return self._texts.readable(value[: 4 * MAX_VALUE])[:MAX_VALUE]

    def function_call(self, call: FunctionCall) -> Operation:
        name, action = LARGE_OBJECTS.get(call.oid, ("", Action.ADMIN))
        if name == "lo_open" and not _opens_for_reading(call):
            action = Action.WRITE
        verb = f"sql.function.{name}" if name else "sql.function"
        return Operation(verb, action, target=self._target, details={"function_oid": call.oid})

    def malformed(self, kind: str) -> Operation:
        return Operation("sql.malformed", Action.READ, target=self._target, details={"message": kind})


INV_WRITE = 0x20000

LARGE_OBJECTS: dict[int, tuple[str, Action]] = {
    952: ("lo_open", Action.READ),
    953: ("lo_close", Action.READ),
    954: ("loread", Action.READ),
    955: ("lowrite", Action.WRITE),
    956: ("lo_lseek", Action.READ),
    957: ("lo_creat", Action.WRITE),
    958: ("lo_tell", Action.READ),
    715: ("lo_create", Action.WRITE),
    964: ("lo_unlink", Action.WRITE),
    1004: ("lo_truncate", Action.WRITE),
    3170: ("lo_lseek64", Action.READ),
    3171: ("lo_tell64", Action.READ),
    3172: ("lo_truncate64", Action.WRITE),
}
"""Functions that drivers call by FunctionCall (pg_proc.dat): the large objects. No other is let through: a call by
number goes past every check of statements (research 0.6)."""


def _opens_for_reading(call: FunctionCall) -> bool:
    binary = all(code == 1 for code in call.formats) and call.formats
    if not binary or len(call.arguments) != 2 or len(call.arguments[1] or b"") != 4:
        return False
    return not int.from_bytes(call.arguments[1] or b"", "big") & INV_WRITE
