"""What a statement does, read off its tokens.

Ideas:

* An allow-list: a statement whose first words are not named here is ``sql.unparsed``, which only ``admin`` permits.
* Every method only makes ``action`` stronger: what a name in front of a parenthesis may do, files, locks.
* That something only reads is believed after a second opinion: sqlglot must see a query, and nothing else, in it
  (``second_opinion``). Both read ``normal``, in which no literal and no comment is left to disagree about.
* A statement with statements inside (CREATE PROCEDURE, BEGIN NOT ATOMIC) reaches to the end of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from adapters.mysql.assignments import CHARSET, IDENTITY, LEXICAL, PINNED, Setting, settings_of
from adapters.mysql.functions import ADMINISTRATIVE, NO_FUNCTIONS, READING, WRITING
from adapters.mysql.lexer import (
    NUMBER,
    PLAIN,
    QUOTED,
    SIGN,
    STRING,
    WORD,
    Lexed,
    Modes,
    Token,
    lex,
)
from adapters.mysql.normal import normal
from bridge.adapter import Action

__all__ = ["CHARSET", "IDENTITY", "LEXICAL", "PINNED"]

KILL = "kill"  # of the form that can be mapped: ``name`` is query or connection, ``value`` the number
KILL_OTHERWISE = "kill-otherwise"  # of any other form: refused always
LOCAL = "local"  # LOAD DATA LOCAL; ``value`` is the file's name as it stands in the text
USES = "uses"  # changes the current database to ``name``
SEVERAL = "several"  # may answer with any number of results
OPAQUE = "opaque"  # code that was not looked into
TEXT = "text"  # PREPARE … FROM 'text': ``value`` is the text

MAX_OBJECTS = 32
"""Tables kept per statement; the log is no place for a list of thousands of partitions."""

MAX_STRING = 4096
"""Bytes of a literal that is looked into: names of files and character sets, texts of PREPARE."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a text, ``text[start:end]``.

    ``databases``: those its names may belong to, beside the current one. ``name`` and ``value``: see the flags.
    ``normal``: the statement without literals, where a second opinion is to be had.
    """

    verb: str
    action: Action
    objects: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    name: str = ""
    value: str = ""
    start: int = 0
    end: int = 0
    normal: str = ""


UNPARSED = Statement("sql.unparsed", Action.ADMIN, flags=frozenset({LEXICAL, SEVERAL, OPAQUE}))
EXECUTABLE = replace(UNPARSED, verb="sql.executable_comment")
EMPTY = Statement("sql.empty", Action.READ)

_ORDER = (Action.READ, Action.WRITE, Action.ADMIN)


def stronger(left: Action, right: Action) -> Action:
    return max(left, right, key=_ORDER.index)


def depend_on_integers(statements: Sequence[Statement]) -> bool:
    """What is known about one text does not hold for another that differs in integers."""
    return len(statements) > 1 or bool(statements[0].flags) or statements[0].verb == "sql.set"


def classify(text: bytes, modes: Modes = PLAIN) -> tuple[Statement, ...]:
    """The statements of a text in order; one ``UNPARSED`` where the whole is not understood."""
    lexed = lex(text, modes)
    if lexed.executable:
        return (replace(EXECUTABLE, end=len(text)),)
    if lexed.doubt >= 0:
        return (replace(UNPARSED, end=len(text)),)
    parts = _split(lexed)
    statements = tuple(_Reading(tokens).finish() for tokens in parts)
    if not statements:
        return (replace(EMPTY, end=len(text)),)
    # The server reads a later statement of a text in the modes that the earlier ones have set.
    changed = any(LEXICAL in statement.flags for statement in statements[:-1])
    if changed and re.search(rb"[\\\"\x80-\xff]", text):
        return (replace(UNPARSED, end=len(text)),)
    return statements


_BODIES = re.compile(
    rb"CREATE (OR REPLACE )?(DEFINER .*|AGGREGATE )?(PROCEDURE|FUNCTION|TRIGGER|EVENT|PACKAGE|LIBRARY)\b.*"
    rb"|ALTER (DEFINER .*)?(EVENT|LIBRARY)\b.*|CREATE (OR REPLACE )?DEFINER .*|BEGIN NOT\b.*"
    rb"|(IF|CASE|LOOP|WHILE|REPEAT|FOR|DECLARE)\b.*|(EXPLAIN|DESCRIBE|DESC|ANALYZE|SET STATEMENT)\b.* BEGIN NOT\b.*"
    rb"|[^ ]+ : .*"
)
HEAD = 24
"""Tokens in which the kind of a statement shows: `CREATE OR REPLACE DEFINER = 'u' @ 'h' AGGREGATE FUNCTION IF …`."""


def _split(lexed: Lexed) -> list[list[Token]]:
    parts: list[list[Token]] = []
    current: list[Token] = []
    for index, token in enumerate(lexed.tokens):
        if token.kind != SIGN or token.text != b";":
            current.append(token)
        elif current and _has_body(current):
            current += lexed.tokens[index:]
            break
        elif current:
            parts.append(current)
            current = []
    if current:
        parts.append(current)
    return parts


def _has_body(tokens: list[Token]) -> bool:
    head = b" ".join(token.text.upper() if token.kind in (WORD, SIGN) else b"?" for token in tokens[:HEAD])
    return _BODIES.match(head) is not None


# -- tables of statements ---------------------------------------------------------------------------------------------

R, W, A = Action.READ, Action.WRITE, Action.ADMIN

_SIMPLE: dict[str, tuple[str, Action]] = {
    "INSERT": ("sql.insert", W),
    "REPLACE": ("sql.replace", W),
    "UPDATE": ("sql.update", W),
    "DELETE": ("sql.delete", W),
    "TRUNCATE": ("sql.truncate", W),
    "CALL": ("sql.call", W),
    "DO": ("sql.do", W),
    "HANDLER": ("sql.handler", W),
    "LOCK TABLES": ("sql.lock", W),
    "LOCK TABLE": ("sql.lock", W),
    "UNLOCK TABLES": ("sql.unlock", R),
    "UNLOCK TABLE": ("sql.unlock", R),
    "XA": ("sql.xa", W),
    "BEGIN": ("sql.begin", R),
    "START TRANSACTION": ("sql.begin", R),
    "COMMIT": ("sql.commit", R),
    "ROLLBACK": ("sql.rollback", R),
    "SAVEPOINT": ("sql.savepoint", R),
    "RELEASE SAVEPOINT": ("sql.release", R),
    "SHOW": ("sql.show", R),
    "HELP": ("sql.help", R),
    "GET": ("sql.diagnostics", R),
    "SIGNAL": ("sql.signal", R),
    "RESIGNAL": ("sql.signal", R),
    "CHECKSUM": ("sql.checksum", R),
    "CREATE TEMPORARY": ("sql.ddl.create_temporary_table", W),
    "CREATE OR REPLACE TEMPORARY": ("sql.ddl.create_temporary_table", W),
    "DROP TEMPORARY": ("sql.ddl.drop_temporary_table", W),
    "GRANT": ("sql.grant", A),
    "REVOKE": ("sql.revoke", A),
    "RENAME": ("sql.ddl.rename", A),
}
_ADMIN = frozenset(
    """
    ANALYZE BACKUP BINLOG CACHE CHANGE CHECK CLONE FLUSH IMPORT INSTALL LOCK OPTIMIZE PURGE REPAIR RESET RESTART
    SHUTDOWN START STOP UNINSTALL
    """.split()  # noqa: SIM905
)
_QUERIES = frozenset({"SELECT", "WITH", "TABLE", "VALUES", "("})
_LISTS = {"FROM", "JOIN", "INTO", "UPDATE", "TABLE", "TABLES", "STRAIGHT_JOIN", "USING"}
_NO_NAMES = frozenset(
    """
    SELECT SET WHERE VALUES VALUE IGNORE LOW_PRIORITY DELAYED HIGH_PRIORITY QUICK ONLY IF EXISTS NOT OUTFILE DUMPFILE
    LATERAL ON DUAL TABLE FROM IN LIKE
    """.split()  # noqa: SIM905
)


class _Reading:
    """Gathers what one statement does."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.span = tokens[0].start, tokens[-1].end
        self.words = [_upper(token) for token in tokens]  # "" for what is neither a bare word nor a sign
        self.verb = ""
        self.action = Action.READ
        self.flags: set[str] = set()
        self.functions: dict[str, None] = {}
        self.tables: dict[str, None] = {}
        self.name = ""
        self.value = ""
        self.query = False

    def finish(self) -> Statement:
        self._kind(0)
        self._scan()
        text = normal(self.tokens) if self.query else ""
        return Statement(
            self.verb,
            self.action,
            tuple(self.tables)[:MAX_OBJECTS],
            self._databases(),
            tuple(self.functions)[:MAX_OBJECTS],
            frozenset(self.flags),
            self.name,
            self.value,
            *self.span,
            normal=text,
        )

    def raise_to(self, action: Action) -> None:
        self.action = stronger(self.action, action)

    def word(self, index: int) -> str:
        return self.words[index] if index < len(self.words) else ""

    def _unparsed(self) -> None:
        self.verb = UNPARSED.verb
        self.raise_to(Action.ADMIN)
        self.flags |= UNPARSED.flags

    # -- kinds --------------------------------------------------------------------------------------------------------

    def _kind(self, at: int) -> None:
        """What begins with the token ``at``."""
        first = self.word(at)
        special = _SPECIAL.get(first)
        if _has_body(self.tokens[at:]):
            self._unparsed()
            if first in ("CREATE", "ALTER"):
                self.verb = f"sql.ddl.{first.lower()}_routine"
        elif special is not None:
            special(self, at)
        elif first in _QUERIES:
            self.query = True
            self.verb = "sql.values" if first == "VALUES" else "sql.select"
        elif first in ("CREATE", "ALTER", "DROP") and not self._known(at):
            self._ddl(at)
        elif self._known(at):
            self._simple(at)
        elif first in _ADMIN:
            self.verb = f"sql.{first.lower()}"
            self.raise_to(Action.ADMIN)
        else:
            self._unparsed()

    def _known(self, at: int) -> tuple[str, Action] | None:
        for size in (4, 2, 1):
            known = _SIMPLE.get(" ".join(self.words[at : at + size]))
            if known is not None:
                return known
        return None

    def _simple(self, at: int) -> None:
        known = self._known(at)
        assert known is not None
        self.verb, action = known
        self.raise_to(action)
        if self.verb in ("sql.insert", "sql.replace", "sql.update", "sql.delete"):
            self.query = True
        elif self.verb == "sql.call":
            self.flags |= {SEVERAL, LEXICAL}
        elif self.verb == "sql.begin":
            self._modes(at)

    def _ddl(self, at: int) -> None:
        skipped = {"OR", "REPLACE", "UNIQUE", "FULLTEXT", "SPATIAL", "ONLINE", "OFFLINE", "IGNORE", "UNDO"}
        rest = [word for word in self.words[at + 1 : at + 8] if word not in skipped]
        what = rest[0] if rest and rest[0].isalpha() else "other"
        if self.word(at) == "DROP" and what == "PREPARE":
            self._deallocate(at)
            return
        self.raise_to(Action.ADMIN)
        self.verb = f"sql.ddl.{self.word(at)}_{what}".lower()

    def _explain(self, at: int) -> None:
        """EXPLAIN runs parts of what it explains, on older servers, and all of it with ANALYZE: so it counts as it."""
        after = at + 1
        while self.word(after) in ("EXTENDED", "PARTITIONS", "ANALYZE", "FORMAT"):
            after += 3 if self.word(after) == "FORMAT" else 1
        if self.word(after) in ("TABLE", "TABLES", "LOCAL", "NO_WRITE_TO_BINLOG"):
            self.verb = "sql.analyze"
            self.raise_to(Action.ADMIN)
        elif self.word(after) in _EXPLAINED:
            self._kind(after)
            self.verb = "sql.explain"
            self.query = self.query and self.action is Action.READ
            self.tokens, self.words = self.tokens[after:], self.words[after:]
        elif self.word(after) == "FOR" or self.word(at) == "ANALYZE":
            self._unparsed()
        else:
            self.verb = "sql.describe"
            if after < len(self.tokens):
                self._name_at(after)

    def _use(self, at: int) -> None:
        self.verb = "sql.use"
        if len(self.tokens) - at == 2 and self.tokens[at + 1].kind in (WORD, QUOTED):
            self.name = _text(self.tokens[at + 1])
            self.flags.add(USES)
        else:
            self._unparsed()

    def _load(self, at: int) -> None:
        self.verb = "sql.load"
        local = self.word(at + 2) if self.word(at + 2) not in ("LOW_PRIORITY", "CONCURRENT") else self.word(at + 3)
        if self.word(at + 1) in ("DATA", "XML") and local == "LOCAL":
            self.raise_to(Action.WRITE)
            self.flags.add(LOCAL)
            self.value = next((_text(token) for token in self.tokens if token.kind == STRING), "")
        else:
            self.raise_to(Action.ADMIN)

    def _kill(self, at: int) -> None:
        self.verb = "sql.kill"
        what = [word for word in self.words[at + 1 : -1] if word]
        last = self.tokens[-1]
        if what in ([], ["QUERY"], ["CONNECTION"]) and last.kind == NUMBER and last.text.isdigit():
            self.flags.add(KILL)
            self.name = what[0].lower() if what else "connection"
            self.value = last.text.decode("ascii")
        else:
            self.flags.add(KILL_OTHERWISE)
        if len(self.tokens) - at != 2 + len(what):
            self.flags = (self.flags - {KILL}) | {KILL_OTHERWISE}

    # -- statements from text -----------------------------------------------------------------------------------------

    def _prepare(self, at: int) -> None:
        self.verb = "sql.prepare"
        if len(self.tokens) - at < 4 or self.word(at + 2) != "FROM":
            self._unparsed()
            return
        self.name = _text(self.tokens[at + 1]).lower()
        source = self.tokens[at + 3]
        whole = len(self.tokens) - at == 4 and source.kind == STRING and len(source.text) <= MAX_STRING
        if whole and b"\\" not in source.text:
            self.value = _text(source)
            self.flags.add(TEXT)
        else:  # a variable, or a text that reads in more than one way: anything may be in it
            self.raise_to(Action.ADMIN)
            self.flags |= {OPAQUE}

    def _execute(self, at: int) -> None:
        self.flags |= {SEVERAL, LEXICAL}
        if self.word(at + 1) == "IMMEDIATE" or len(self.tokens) - at < 2:
            self.verb = "sql.execute_immediate"
            self.raise_to(Action.ADMIN)
            self.flags.add(OPAQUE)
            return
        self.verb = "sql.execute"
        self.name = _text(self.tokens[at + 1]).lower()

    def _deallocate(self, at: int) -> None:
        self.verb = "sql.deallocate"

    # -- transactions and settings ------------------------------------------------------------------------------------

    def _modes(self, at: int) -> None:
        pairs = list(zip(self.words[at:], self.words[at + 1 :], strict=False))
        if ("READ", "WRITE") in pairs:
            self.raise_to(Action.WRITE)
            self.flags.add(PINNED)

    def _set(self, at: int) -> None:
        self.verb = "sql.set"
        second, third = self.word(at + 1), self.word(at + 2)
        if second == "STATEMENT":
            self._set_statement(at)
        elif second == "TRANSACTION" or (second in ("SESSION", "LOCAL", "GLOBAL") and third == "TRANSACTION"):
            self.raise_to(Action.ADMIN if second == "GLOBAL" else Action.READ)
            self._modes(at)
        elif second == "ROLE" or (second, third) == ("SESSION", "AUTHORIZATION"):
            self.flags.add(IDENTITY)
        elif second in ("PASSWORD", "DEFAULT", "RESOURCE"):
            self.raise_to(Action.ADMIN)
        else:
            self._settings(self.tokens[at + 1 :])

    def _set_statement(self, at: int) -> None:
        """`SET STATEMENT a = 1, … FOR statement`: the settings hold for that statement (MariaDB)."""
        depth, end = 0, len(self.tokens)
        for index in range(at + 2, len(self.tokens)):
            depth += {"(": 1, ")": -1}.get(self.words[index], 0)
            if self.words[index] == "FOR" and not depth:
                end = index
                break
        self._settings(self.tokens[at + 2 : end])
        if end + 1 < len(self.tokens):
            self._kind(end + 1)
            self.query = False
        self.verb = "sql.set_statement"
        self.raise_to(Action.WRITE)
        self.flags.add(PINNED)

    def _settings(self, tokens: list[Token]) -> None:
        setting: Setting = settings_of(tokens)
        self.raise_to(setting.action)
        self.flags |= setting.flags

    # -- what may stand anywhere --------------------------------------------------------------------------------------

    def _scan(self) -> None:
        words = self.words
        for index, word in enumerate(words):
            following = words[index + 1] if index + 1 < len(words) else ""
            if following == "(" and self.tokens[index].kind in (WORD, QUOTED):
                self._call(index)
            if word == "INTO" and following in ("OUTFILE", "DUMPFILE"):
                self.raise_to(Action.ADMIN)
            elif (word, following) in _LOCKING or (word == "VALUE" and following == "FOR"):
                self.raise_to(Action.WRITE)
            if word in _LISTS:
                self._names(index + 1)

    def _call(self, index: int) -> None:
        token = self.tokens[index]
        name = _text(token).lower()
        before = self.words[index - 1] if index else ""
        if before == ".":
            schema = _text(self.tokens[index - 2]) if index > 1 else ""
            if not self._is_table(index - 2):
                self._function(f"{schema}.{name}", Action.WRITE)
        elif token.kind == WORD and name in NO_FUNCTIONS:
            return
        elif name in ADMINISTRATIVE:
            self._function(name, Action.ADMIN)
        elif name in WRITING or (name not in READING and not self._is_table(index)):
            self._function(name, Action.WRITE)

    def _function(self, name: str, action: Action) -> None:
        self.functions[name] = None
        self.raise_to(action)

    def _is_table(self, index: int) -> bool:
        """A list of columns follows: `INSERT INTO t (`, `WITH t (a) AS (`; nothing that could be called there."""
        before = self.words[index - 1] if index else ""
        if before in ("INTO", "TABLE", "REFERENCES", "INDEX", "KEY", "VIEW", "EXISTS"):
            return self.action is not Action.READ
        if before not in ("WITH", "RECURSIVE", ",") or "WITH" not in self.words[: index + 1]:
            return False
        end = index + 2
        while end < len(self.tokens) and (self.tokens[end].kind in (WORD, QUOTED) or self.words[end] == ","):
            end += 1
        return self.words[end : end + 3] == [")", "AS", "("]

    def _names(self, at: int) -> None:
        """The names of a list: `a.b AS x, c`."""
        while at < len(self.tokens):
            while self.word(at) in _NO_NAMES and self.word(at) not in ("SELECT", "SET", "WHERE", "VALUES", "ON"):
                at += 1
            end = self._name_at(at)
            if end == at:
                return
            if self.word(end) == "AS":
                end += 1
            if end < len(self.tokens) and self.tokens[end].kind in (WORD, QUOTED) and self.word(end + 1) == ",":
                end += 1
            if self.word(end) != ",":
                return
            at = end + 1

    def _name_at(self, at: int) -> int:
        if at >= len(self.tokens) or self.tokens[at].kind not in (WORD, QUOTED) or self.word(at) in _NO_NAMES:
            return at
        parts = [_text(self.tokens[at])]
        at += 1
        while self.word(at) == "." and at + 1 < len(self.tokens):
            parts.append(_text(self.tokens[at + 1]))
            at += 2
        if self.word(at) != "(":
            self.tables[".".join(parts[:2])] = None
        return at

    def _databases(self) -> tuple[str, ...]:
        """Every `x` of `x.y`: of a table's name surely, of a column's perhaps."""
        found: dict[str, None] = dict.fromkeys(self._bare_databases())
        for index in range(1, len(self.tokens) - 1):
            if self.words[index] == "." and (index < 2 or self.words[index - 2] != "."):
                token = self.tokens[index - 1]
                setting = index > 1 and self.words[index - 2] == "@@"
                if token.kind in (WORD, QUOTED) and not setting and not token.text.isdigit():
                    found[_text(token)] = None
        return tuple(found)

    def _bare_databases(self) -> Iterator[str]:
        """Databases that stand without a table: `DROP DATABASE x`, `SHOW TABLES FROM x`, `SHOW KEYS FROM t IN x`."""
        words, names = self.words, 0
        of_table = self.verb == "sql.show" and not _OF_TABLE.isdisjoint(words[:4])
        for index, word in enumerate(words[:-1]):
            token = self.tokens[index + 1]
            if word in ("DATABASE", "SCHEMA"):
                yield from (_text(one) for one in self.tokens[index + 1 :][:4] if one.kind in (WORD, QUOTED))
            elif self.verb == "sql.show" and word in ("FROM", "IN") and token.kind in (WORD, QUOTED):
                names += 1
                if names > of_table and self.word(index + 2) != ".":
                    yield _text(token)


_OF_TABLE = frozenset({"COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS"})
_EXPLAINED = _QUERIES | {"INSERT", "REPLACE", "UPDATE", "DELETE"}
_LOCKING = frozenset({("FOR", "UPDATE"), ("FOR", "SHARE"), ("IN", "SHARE")})
_SPECIAL = {
    "EXPLAIN": _Reading._explain,
    "DESCRIBE": _Reading._explain,
    "DESC": _Reading._explain,
    "ANALYZE": _Reading._explain,
    "USE": _Reading._use,
    "LOAD": _Reading._load,
    "KILL": _Reading._kill,
    "PREPARE": _Reading._prepare,
    "EXECUTE": _Reading._execute,
    "DEALLOCATE": _Reading._deallocate,
    "SET": _Reading._set,
}


def _upper(token: Token) -> str:
    if token.kind in (WORD, SIGN):
        return token.text.decode("latin-1").upper()
    return ""


def _text(token: Token) -> str:
    """A name or the value of a simple literal; long ones are cut."""
    raw = token.text[:MAX_STRING]
    if token.kind == STRING:
        quote = raw[:1]
        raw = raw[1:-1].replace(quote * 2, quote)
    return raw.decode("utf-8", "replace")
