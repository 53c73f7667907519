"""What a statement does, read off libpg_query's parse tree.

Ideas:

* An allow-list: every kind of statement and every node inside one is named here, or the statement is ``sql.unparsed``,
  which only a grant of ``admin`` permits.
* Reading means: no node that writes or locks rows, and no function that is not known to only read (``functions``).
* Pure: the parse itself happens in ``parser_child``, a process that may die of a text (research D1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adapters.postgres.functions import ADMINISTRATIVE, ONE_ARGUMENT, READING, RUNS_TEXT_SCHEMAS, SET_CONFIG
from bridge.adapter import Action

Tree = Mapping[str, Any]

MAX_OBJECTS = 32
"""Tables kept per statement; the log is no place for a list of thousands of partitions."""

IDENTITY = "identity"  # would change who the session is: refused always
STAMP = "stamp"  # sets application_name by a way that cannot be rewritten: refused always
RENAMES = "renames"  # `SET application_name`: forwarded with our stamp in front
PINNED = "pinned"  # changes a setting that the guard pins in read-only sessions
STRINGS = "strings"  # may change how later text is lexed

_IDENTITY_SETTINGS = frozenset({"role", "session_authorization"})
_PINNED_SETTINGS = frozenset(
    {
        "default_transaction_read_only",
        "transaction_read_only",
        "standard_conforming_strings",
        "backslash_quote",
        "client_encoding",
        "names",
    }
)
_LEXICAL_SETTINGS = frozenset({"standard_conforming_strings", "backslash_quote", "client_encoding", "names"})
ADMIN_SETTINGS = re.compile(
    r"log_.*|session_replication_role|.*preload_libraries|dynamic_library_path|allow_system_table_mods"
    r"|zero_damaged_pages|ignore_.*|debug_.*|trace_.*|pgaudit\..*|auto_explain\..*|local_preload_libraries|temp_file_limit|track_.*"
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a text. ``start`` and ``end`` are offsets into its UTF-8 bytes (``end`` 0: to the end).

    ``name`` is the prepared statement or cursor that ``verb`` is about (``*``: all of them), or ``local`` with
    SET LOCAL; ``value`` the wished application_name; ``functions`` those that made it more than a read.
    """

    verb: str
    action: Action
    objects: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    name: str = ""
    value: str = ""
    start: int = 0
    end: int = 0


UNPARSED = Statement("sql.unparsed", Action.ADMIN, flags=frozenset({STRINGS}))
EMPTY = Statement("sql.empty", Action.READ)

_ORDER = (Action.READ, Action.WRITE, Action.ADMIN)


def stronger(left: Action, right: Action) -> Action:
    return max(left, right, key=_ORDER.index)


def depend_on_integers(statements: tuple[Statement, ...]) -> bool:
    """What is known about one text does not hold for another that differs in integers: `SET … = 0` is not `= 1`, and
    statements behind a longer number start elsewhere."""
    return len(statements) > 1 or statements[0].verb == "sql.set"


# -- tables of statements ---------------------------------------------------------------------------------------------

_SIMPLE: dict[str, tuple[str, Action]] = {
    "SelectStmt": ("sql.select", Action.READ),
    "InsertStmt": ("sql.insert", Action.WRITE),
    "UpdateStmt": ("sql.update", Action.WRITE),
    "DeleteStmt": ("sql.delete", Action.WRITE),
    "MergeStmt": ("sql.merge", Action.WRITE),
    "TruncateStmt": ("sql.truncate", Action.WRITE),
    "LockStmt": ("sql.lock", Action.WRITE),
    "VariableShowStmt": ("sql.show", Action.READ),
    "ExplainStmt": ("sql.explain", Action.READ),
    "PrepareStmt": ("sql.prepare", Action.READ),
    "ExecuteStmt": ("sql.execute", Action.READ),
    "DeallocateStmt": ("sql.deallocate", Action.READ),
    "DeclareCursorStmt": ("sql.declare", Action.READ),
    "FetchStmt": ("sql.fetch", Action.READ),
    "ClosePortalStmt": ("sql.close", Action.READ),
    "DiscardStmt": ("sql.discard", Action.READ),
    "ListenStmt": ("sql.listen", Action.READ),
    "UnlistenStmt": ("sql.unlisten", Action.READ),
    "NotifyStmt": ("sql.notify", Action.WRITE),
    "ConstraintsSetStmt": ("sql.set_constraints", Action.READ),
    "CallStmt": ("sql.call", Action.WRITE),
    "RefreshMatViewStmt": ("sql.refresh", Action.WRITE),
    "TransactionStmt": ("sql.transaction", Action.READ),
    "VariableSetStmt": ("sql.set", Action.READ),
    "CopyStmt": ("sql.copy", Action.READ),
    "DoStmt": ("sql.do", Action.ADMIN),  # a program that we do not understand
    "GrantStmt": ("sql.grant", Action.ADMIN),
    "GrantRoleStmt": ("sql.grant_role", Action.ADMIN),
    "VacuumStmt": ("sql.vacuum", Action.ADMIN),
    "ClusterStmt": ("sql.cluster", Action.ADMIN),
    "ReindexStmt": ("sql.reindex", Action.ADMIN),
    "CheckPointStmt": ("sql.checkpoint", Action.ADMIN),
    "LoadStmt": ("sql.load", Action.ADMIN),
    "AlterSystemStmt": ("sql.alter_system", Action.ADMIN),
    "ReassignOwnedStmt": ("sql.reassign_owned", Action.ADMIN),
}
_DDL = re.compile(
    r"(Create|Alter|Drop|Define|Rename|Comment|SecLabel|ImportForeignSchema|Index|Rule|View|CompositeType|Table).*Stmt"
)
_TRANSACTION = re.compile(r"TRANS_STMT_(\w+)")
_SNAKE = re.compile(r"(?<=[a-z])(?=[A-Z])")

# Nodes that may stand inside a statement and do nothing by themselves. FuncCall, the writing statements and what else
# has meaning is treated by name in ``_visit``.
_INERT = frozenset(
    """
    A_ArrayExpr A_Const A_Expr A_Indices A_Indirection A_Star Alias BitString Boolean BoolExpr BooleanTest CaseExpr
    CaseWhen CoalesceExpr CollateClause ColumnDef ColumnRef CommonTableExpr CTECycleClause CTESearchClause CurrentOfExpr
    DefElem Float FuncCall GroupingFunc GroupingSet IndexElem InferClause Integer IntoClause JoinExpr List LockingClause
    MergeWhenClause MinMaxExpr MultiAssignRef NamedArgExpr NullTest OnConflictClause ParamRef PartitionSpec
    RangeFunction
    RangeSubselect RangeTableFunc RangeTableFuncCol RangeTableSample RangeVar ResTarget RowExpr SQLValueFunction
    SelectStmt SetToDefault SortBy String SubLink TypeCast TypeName VacuumRelation WindowDef WithClause XmlExpr
    XmlSerialize Constraint JsonFormat JsonReturning JsonValueExpr JsonOutput JsonKeyValue JsonObjectConstructor
    JsonArrayConstructor JsonArrayQueryConstructor JsonAggConstructor JsonObjectAgg JsonArrayAgg JsonIsPredicate
    JsonFuncExpr JsonTable JsonTableColumn JsonTablePathSpec JsonArgument JsonBehavior JsonParseExpr JsonScalarExpr
    JsonSerializeExpr InsertStmt UpdateStmt DeleteStmt MergeStmt AccessPriv RoleSpec ReturningClause ReturningOption
    """.split()  # noqa: SIM905
)
_WRITING = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


def classify(tree: list[Tree]) -> tuple[Statement, ...]:
    """One Statement for each statement of a parsed text, in order."""
    return tuple(_classify(raw) for raw in tree)


def _classify(raw: Tree) -> Statement:
    start = raw.get("stmt_location", 0)
    end = start + raw["stmt_len"] if raw.get("stmt_len") else 0
    try:
        ((kind, node),) = raw["stmt"].items()
        reading = _Reading()
        reading.statement(kind, node)
        return reading.finish(start, end)
    except (_NotUnderstood, LookupError, TypeError, ValueError, AttributeError):  # another shape of tree: fail closed
        return Statement(UNPARSED.verb, UNPARSED.action, flags=UNPARSED.flags, start=start, end=end)


class _NotUnderstood(Exception):
    """A node or a shape of one that is not in the allow-list."""


class _Reading:
    """Gathers what one statement does; every method only ever makes ``action`` stronger."""

    def __init__(self) -> None:
        self.verb = ""
        self.action = Action.READ
        self.relations: dict[str, None] = {}
        self.common: set[str] = set()
        self.functions: dict[str, None] = {}
        self.flags: set[str] = set()
        self.name = ""
        self.value = ""

    def finish(self, start: int, end: int) -> Statement:
        objects = tuple(name for name in self.relations if name not in self.common)[:MAX_OBJECTS]
        functions = tuple(self.functions)[:MAX_OBJECTS]
        flags = frozenset(self.flags)
        return Statement(self.verb, self.action, objects, functions, flags, self.name, self.value, start, end)

    def raise_to(self, action: Action) -> None:
        self.action = stronger(self.action, action)

    # -- roots --------------------------------------------------------------------------------------------------------

    def statement(self, kind: str, node: Tree) -> None:
        known = _SIMPLE.get(kind)
        if known is not None:
            self.verb, action = known
            self.raise_to(action)
            if kind in _WRITING:
                self._write(node)
            special = getattr(self, f"_{_snake(kind)}", None)
            if special is not None:
                special(node)
            elif action is Action.ADMIN:
                self.mentions(node)
            else:
                self.visit(node)
        elif kind == "CreateTableAsStmt":
            self._create_table_as(node)
        elif _DDL.fullmatch(kind):
            self._ddl(kind, node)
        else:
            raise _NotUnderstood(kind)

    def _ddl(self, kind: str, node: Tree) -> None:
        what = _snake(kind).removesuffix("_stmt")
        removed = node.get("removeType") or node.get("renameType") or node.get("objtype")
        if kind == "DropStmt" and removed:
            what = "drop_" + str(removed).removeprefix("OBJECT_").lower()
        elif kind == "CreateStmt":
            what = "create_table"
        elif kind == "IndexStmt":
            what = "create_index"
        elif kind == "ViewStmt":
            what = "create_view"
        self.verb = f"sql.ddl.{what}"
        temporary = kind == "CreateStmt" and node.get("relation", {}).get("relpersistence") == "t"
        self.raise_to(Action.WRITE if temporary else Action.ADMIN)
        self.mentions(node)
        if temporary:
            self.visit(node)

    def _create_table_as(self, node: Tree) -> None:
        self.verb = "sql.ddl.create_table_as"
        into = node.get("into", {}).get("rel", {})
        self.raise_to(Action.WRITE if into.get("relpersistence") == "t" else Action.ADMIN)
        query = node.get("query", {})
        if "ExecuteStmt" in query:
            raise _NotUnderstood("CREATE TABLE AS EXECUTE")
        self.visit(node)

    def _select_stmt(self, node: Tree) -> None:
        self.visit(node)
        if "valuesLists" in node and "targetList" not in node:
            self.verb = "sql.values"

    def _explain_stmt(self, node: Tree) -> None:
        ((kind, query),) = node["query"].items()
        inner = _Reading()
        inner.statement(kind, query)
        # Planning runs immutable functions, so those count even where the statement is not executed.
        runs = any(option["DefElem"]["defname"] == "analyze" for option in node.get("options", ()))
        if runs or inner.functions or kind == "ExecuteStmt":
            self.raise_to(inner.action)
        self._take(inner)
        self.name = inner.name if kind == "ExecuteStmt" else ""
        if kind == "ExecuteStmt":
            self.verb = "sql.execute"

    def _prepare_stmt(self, node: Tree) -> None:
        self.name = _named(node["name"])
        ((kind, query),) = node["query"].items()
        inner = _Reading()
        inner.statement(kind, query)
        self.raise_to(inner.action)
        self._take(inner)

    def _take(self, inner: _Reading) -> None:
        self.relations |= inner.relations
        self.common |= inner.common
        self.functions |= inner.functions
        self.flags |= inner.flags

    def _execute_stmt(self, node: Tree) -> None:
        self.name = _named(node["name"])
        self.visit(node)

    def _deallocate_stmt(self, node: Tree) -> None:
        self.name = _named(node.get("name", "")) or "*"

    def _declare_cursor_stmt(self, node: Tree) -> None:
        self.name = _named(node["portalname"])
        self.visit(node)

    def _fetch_stmt(self, node: Tree) -> None:
        self.name = _named(node["portalname"])
        if node.get("ismove"):
            self.verb = "sql.move"

    def _close_portal_stmt(self, node: Tree) -> None:
        self.name = _named(node.get("portalname", "")) or "*"

    def _discard_stmt(self, node: Tree) -> None:
        # DISCARD ALL resets the session to what it was at login, our stamp included; poolers and Npgsql rely on it.
        if node.get("target") == "DISCARD_ALL":
            self.name = "*"

    def _transaction_stmt(self, node: Tree) -> None:
        match = _TRANSACTION.fullmatch(node["kind"])
        if match is None:
            raise _NotUnderstood(node["kind"])
        what = match[1].lower()
        self.verb = f"sql.{what}"
        if what in ("prepare", "commit_prepared", "rollback_prepared"):
            self.verb = f"sql.{what if what != 'prepare' else 'prepare_transaction'}"
            self.raise_to(Action.WRITE)
        self._transaction_modes(node.get("options", ()))

    def _transaction_modes(self, options: Any) -> None:
        for option in options:
            mode = option["DefElem"]
            if mode["defname"] == "transaction_read_only" and not _integer(mode.get("arg", {})):
                self.raise_to(Action.WRITE)
                self.flags.add(PINNED)

    def _copy_stmt(self, node: Tree) -> None:
        self.visit(node)
        if node.get("is_program") or "filename" in node:
            self.raise_to(Action.ADMIN)
        elif node.get("is_from"):
            self.raise_to(Action.WRITE)
        self.verb = "sql.copy_in" if node.get("is_from") else "sql.copy_out"

    # -- settings -----------------------------------------------------------------------------------------------------

    def _variable_set_stmt(self, node: Tree) -> None:
        kind, name = node["kind"], node.get("name", "").lower()
        self.verb = "sql.reset" if kind in ("VAR_RESET", "VAR_RESET_ALL") else "sql.set"
        if kind == "VAR_SET_MULTI":
            if name not in ("transaction", "session characteristics"):
                if name == "transaction snapshot":
                    return
                raise _NotUnderstood(name)
            self._transaction_modes(node.get("args", ()))
            return
        if kind == "VAR_RESET_ALL":
            self.flags.add(STRINGS)
            return
        returning = kind in ("VAR_RESET", "VAR_SET_DEFAULT")  # to the value of the login, which is ours
        self._setting(name, "" if returning else _setting_value(node), returning)
        if name == "application_name" and not returning:
            self.flags.add(RENAMES)
            self.value = _setting_value(node)
            self.name = "local" if node.get("is_local") else ""

    def _setting(self, name: str, value: str, returning: bool) -> None:
        if name in _IDENTITY_SETTINGS:
            self.raise_to(Action.ADMIN)
            self.flags.add(IDENTITY)
        elif name in _PINNED_SETTINGS and not returning:
            on = name.endswith("read_only") and value.lower() in ("on", "true", "yes", "1")
            if not on and not _already(name, value):
                self.raise_to(Action.WRITE)
                self.flags.add(PINNED)
        elif ADMIN_SETTINGS.fullmatch(name):
            self.raise_to(Action.ADMIN)
        if name in _LEXICAL_SETTINGS:
            self.flags.add(STRINGS)

    # -- the insides --------------------------------------------------------------------------------------------------

    def visit(self, node: Any) -> None:
        """Every node below ``node``, without recursion: an expression may be nested as deep as its text is long."""
        for kind, value in _nodes(node):
            if kind not in _INERT:
                raise _NotUnderstood(kind)
            self._visit(kind, value)

    def mentions(self, node: Any) -> None:
        """Only the tables, where the statement as a whole already asks for the strongest action."""
        for kind, value in _nodes(node):
            if kind in ("", "RangeVar"):
                self._relation(value)

    def _visit(self, kind: str, value: Tree) -> None:
        if kind in _WRITING:
            self._write(value)
        if kind == "FuncCall":
            self._function(value)
        elif kind == "LockingClause":
            self.raise_to(Action.WRITE)
        elif kind == "CommonTableExpr":
            self.common.add(value["ctename"])
        elif kind == "A_Expr":
            self._operator(value.get("name", ()))
        elif kind == "SubLink":
            self._operator(value.get("operName", ()))
        elif kind == "SortBy":
            self._operator(value.get("useOp", ()))
        elif kind == "A_Indirection":
            self._fields(value.get("indirection", ()))
        elif kind == "ColumnRef":
            self._fields(value["fields"][1:])
        if isinstance(value, dict):
            if "intoClause" in value:
                self._into(value["intoClause"])
            self._relation(value)

    def _into(self, into: Tree) -> None:
        temporary = into.get("rel", {}).get("relpersistence") == "t"
        self.raise_to(Action.WRITE if temporary else Action.ADMIN)
        self.verb = "sql.ddl.select_into"

    def _relation(self, value: Any) -> None:
        if isinstance(value, dict) and isinstance(name := value.get("relname"), str):
            schema = value.get("schemaname")
            self.relations[f"{schema}.{name}" if schema else name] = None

    def _write(self, value: Tree) -> None:
        self.raise_to(Action.WRITE)
        if value.get("relation", {}).get("relname") == "pg_settings":  # an UPDATE of this view calls set_config
            self.raise_to(Action.ADMIN)
            self.flags |= {STAMP, PINNED, STRINGS}

    def _fields(self, parts: Any) -> None:
        """`(x).f` and `x.f` call f(x) where x has no column of that name (manual 8.16.5), also when x is no row."""
        for part in parts:
            name = part.get("String", {}).get("sval", "")
            strong = ADMINISTRATIVE.fullmatch(name)
            if strong or name in ONE_ARGUMENT:
                self.raise_to(Action.ADMIN if strong else Action.WRITE)
                self.functions[name] = None

    def _operator(self, parts: Any) -> None:
        names = [part.get("String", {}).get("sval", "") for part in parts]
        if len(names) > 1 and names[0] != "pg_catalog":
            self.functions[".".join(names)] = None
            self.raise_to(Action.WRITE)

    def _function(self, value: Tree) -> None:
        names = [part["String"]["sval"] for part in value["funcname"]]
        name, schema = names[-1], names[-2] if len(names) > 1 else ""
        if name == SET_CONFIG and schema in ("", "pg_catalog"):
            self._set_config(value.get("args", ()))
        elif (name in READING and schema in ("", "pg_catalog")) or (schema, name[:4]) == ("information_schema", "_pg_"):
            return
        else:
            strong = ADMINISTRATIVE.fullmatch(name) or schema in RUNS_TEXT_SCHEMAS
            self.raise_to(Action.ADMIN if strong else Action.WRITE)
            self.functions[".".join(names)] = None

    def _set_config(self, arguments: Any) -> None:
        """``set_config`` with a literal name is a SET; with any other it could be SET ROLE, and is refused as that."""
        name, value = (_text(argument) for argument in [*arguments, {}, {}][:2])
        if not name:
            self.raise_to(Action.ADMIN)
            self.flags |= {IDENTITY, PINNED, STRINGS}
            self.functions[SET_CONFIG] = None
            return
        if name.lower() == "application_name":
            self.flags.add(STAMP)
        self._setting(name.lower(), value or "", returning=False)


def _named(name: str) -> str:
    """The name of a statement or cursor. `*` stands for all of them, so nothing can be called so."""
    if name == "*":
        raise _NotUnderstood(name)
    return name


def _already(name: str, value: str) -> bool:
    """Setting the encoding or the string mode to what a read-only session is pinned to changes nothing."""
    if name in ("client_encoding", "names"):
        return value.lower().replace("-", "").replace("_", "") in ("utf8", "unicode")
    return name == "standard_conforming_strings" and value.lower() in ("on", "true", "yes", "1")


def _setting_value(node: Tree) -> str:
    return ", ".join(_text(argument) or "" for argument in node.get("args", ()))


def _text(argument: Any) -> str | None:
    """A constant argument as text; None: not a constant."""
    if not isinstance(argument, dict):
        return None
    if "TypeCast" in argument:
        return _text(argument["TypeCast"].get("arg"))
    constant = argument.get("A_Const")
    if constant is None:
        return None
    for key in ("sval", "fval", "bsval"):
        if key in constant:
            return str(constant[key].get(key, ""))
    if "boolval" in constant:
        return "true" if constant["boolval"].get("boolval") else "false"
    if "ival" in constant:
        return str(constant["ival"].get("ival", 0))
    return None


def _integer(argument: Any) -> bool:
    text = _text(argument)
    return text is not None and text.lower() in ("1", "true", "on", "yes")


def _nodes(root: Any) -> Iterator[tuple[str, Any]]:
    """(kind, fields) of every node below; kind ``""`` for fields that stand without their kind (a RangeVar, mostly)."""
    stack: list[tuple[str, Any]] = [("", root)]
    while stack:
        kind, value = stack.pop()
        if isinstance(value, list):
            stack.extend(("", item) for item in reversed(value))
            continue
        if not isinstance(value, dict):
            continue
        if len(value) == 1 and (key := next(iter(value)))[:1].isupper():
            stack.append((key, value[key]))
            continue
        if kind:
            yield kind, value
        else:
            yield "WithClause" if "ctes" in value else "RangeVar", value
        stack.extend(("", child) for child in value.values())


def _snake(name: str) -> str:
    return _SNAKE.sub("_", name).lower()
