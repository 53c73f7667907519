"""What a SET does to the session, by the names of the settings (manual 13.7.6.1; MariaDB "SET")."""

from __future__ import annotations

import re
from typing import NamedTuple

from adapters.mysql.lexer import NUMBER, QUOTED, SAFE_CHARSETS, SIGN, STRING, WORD, Token
from bridge.adapter import Action

IDENTITY = "identity"  # would change who the session is: refused always
PINNED = "pinned"  # changes what keeps a read-only session so
LEXICAL = "lexical"  # may change how later text reads
CHARSET = "charset"  # a character set in which text reads in more than one way: refused always

_LEXICAL = frozenset({"sql_mode", "character_set_client", "names", "character", "charset"})
_CHARSETS = frozenset({"character_set_client", "names", "character", "charset"})
_READ_ONLY = frozenset({"transaction_read_only", "tx_read_only"})
_ON = frozenset({"1", "on", "true"})
_GLOBAL = frozenset({"global", "persist", "persist_only"})
_SCOPES = _GLOBAL | {"session", "local"}

ADMIN_SETTINGS = re.compile(
    r"sql_log_.*|binlog_.*|gtid_.*|server_id|pseudo_.*|debug.*|skip_replication|wsrep_.*|rbr_.*|original_.*|.*secure.*"
    r"|system_versioning_.*|default_master_connection|immediate_server_version|require_row_format|proxy_.*"
    r"|session_track_transaction_info_gtid|show_create_table_skip_.*|general_log.*|slow_query_log.*|init_.*|log_.*"
)
"""Session settings that only ``admin`` may change: logs of the server, replication, history."""


class Setting(NamedTuple):
    action: Action
    flags: frozenset[str]


def settings_of(tokens: list[Token]) -> Setting:
    """Of the assignments behind SET: `a = 1, @@session.b := 'x', NAMES utf8mb4`."""
    admin = False
    writes = False
    flags: set[str] = set()
    for assignment in _assignments(tokens):
        scope, name, value = _parts(assignment)
        if scope in _GLOBAL or ADMIN_SETTINGS.fullmatch(name):
            admin = True
        if name in _READ_ONLY and _literal(value) not in _ON:
            writes = True
            flags.add(PINNED)
        if name in _LEXICAL:
            flags.add(LEXICAL)
        if name in _CHARSETS and _unsafe(value):
            flags.add(CHARSET)
        if name == "role":
            flags.add(IDENTITY)
    action = Action.ADMIN if admin else Action.WRITE if writes else Action.READ
    return Setting(action, frozenset(flags))


def _assignments(tokens: list[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        sign = token.text if token.kind == SIGN else b""
        depth += {b"(": 1, b")": -1}.get(sign, 0)
        if sign == b"," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _parts(tokens: list[Token]) -> tuple[str, str, list[Token]]:
    """Scope, name (lower case, "" for a variable of the user) and value of one assignment."""
    names: list[str] = []
    for index, token in enumerate(tokens):
        if token.kind in (WORD, QUOTED):
            name = token.text.decode("utf-8", "replace").lower()
            names.append(name)
            if names[-1:] == ["names"] or name in ("charset",):
                return "", name, tokens[index + 1 :]
            if name == "set" and names[-2:-1] == ["character"]:
                return "", "character", tokens[index + 1 :]
        elif token.kind == SIGN and token.text in (b"@@", b"."):
            continue
        elif token.kind == SIGN and token.text in (b"=", b":"):
            return _named(names, [token for token in tokens[index + 1 :] if token.text != b"="])
        else:
            return "", "", []
    return _named(names, [])


def _named(names: list[str], value: list[Token]) -> tuple[str, str, list[Token]]:
    scope = names[0] if len(names) > 1 and names[0] in _SCOPES else ""
    return scope, names[-1] if names else "", value


def _literal(value: list[Token]) -> str | None:
    """Lower case; None when it is not one constant."""
    if len(value) != 1 or value[0].kind not in (STRING, NUMBER, WORD, QUOTED):
        return None
    text = value[0].text.decode("utf-8", "replace").lower()
    return text[1:-1] if value[0].kind == STRING else text


def _unsafe(value: list[Token]) -> bool:
    """A named character set that is not safe; what is no constant shows when the server is asked afterwards."""
    name = _literal(value[:1])
    return name is not None and name != "default" and name not in SAFE_CHARSETS and value[0].kind != NUMBER
