"""A second opinion on whether a statement only reads, by sqlglot, and the tables that it names.

It gets ``Statement.normal``, in which no literal and no comment is left: what the two could disagree about is the
structure only.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

MAX_NORMAL = 16 * 1024
"""Characters that are parsed: some 50 ms. Lists of literals count as one literal."""

MAX_DEPTH = 60
"""Parentheses and CASEs inside each other: sqlglot recurses, and gives up at some 100."""

_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Table, exp.Values)
_WRITES = (exp.Insert, exp.Update, exp.Delete)
_OTHER = (exp.Command, exp.DDL, exp.DML, exp.Into, exp.Lock, exp.Set, exp.Use, exp.Show, exp.Drop, exp.Alter)

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # its warnings quote the statement


@dataclass(frozen=True, slots=True)
class Opinion:
    """``tables`` as `name` or `database.name`; ``databases`` only those named."""

    reads: bool
    tables: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()


def second_opinion(normal: str) -> Opinion | None:
    """None: not understood."""
    if len(normal) > MAX_NORMAL or _depth(normal) > MAX_DEPTH:
        return None
    try:
        trees = sqlglot.parse(normal, read="mysql")
        return _opinion(trees)
    except (sqlglot.errors.SqlglotError, RecursionError, ValueError, AttributeError, TypeError, LookupError):
        return None  # another shape of text than it was written for


def _depth(normal: str) -> int:
    depth = deepest = 0
    for char in normal:
        if char == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif char == ")":
            depth -= 1
    return max(deepest, normal.upper().count("CASE"), normal.upper().count(" NOT "))


def _opinion(trees: Sequence[exp.Expr | None]) -> Opinion | None:
    root = trees[0] if len(trees) == 1 else None
    if root is None:
        return None
    reads = isinstance(root, _QUERIES) and not any(isinstance(node, _OTHER) for node in root.walk())
    if not reads and not isinstance(root, _WRITES):
        return None
    common = {cte.alias for cte in root.find_all(exp.CTE)}
    tables: dict[str, None] = {}
    databases: dict[str, None] = {}
    for table in root.find_all(exp.Table):
        if table.db:
            databases[table.db] = None
            tables[f"{table.db}.{table.name}"] = None
        elif table.name and table.name not in common:
            tables[table.name] = None
    return Opinion(reads, tuple(tables), tuple(databases))
