"""The bridge's own question: how the session reads text, and in which database it is."""

from __future__ import annotations

from adapters.mysql import codec
from adapters.mysql.codec import Cap, Packets
from adapters.mysql.lexer import Modes
from bridge.adapter import PeerFault

ASK_MODES = "SELECT @@SESSION.sql_mode, @@SESSION.character_set_client, DATABASE()"
"""One row of three texts; the last is NULL when no database was chosen."""

MAX_ANSWER = 64 * 1024
_COLUMNS = 3
_NULL = 0xFB


def read_modes(answer: bytes, capabilities: int) -> tuple[Modes, str] | None:
    """Modes and database; None when the server did not answer the question."""
    try:
        payloads = [payload.body for payload in Packets(MAX_ANSWER).feed(answer)]
        row = payloads[1 + _COLUMNS + (0 if capabilities & Cap.DEPRECATE_EOF else 1)]
        if payloads[0] != bytes((_COLUMNS,)):
            return None
        reader = codec.body_of(row, "row")
        sql_mode, charset = (codec.lenenc_string(reader).decode("ascii") for _ in range(2))
        database = "" if reader.left and row[-reader.left] == _NULL else codec.lenenc_string(reader).decode("utf-8")
    except (PeerFault, IndexError, UnicodeDecodeError):
        return None
    return Modes.of(sql_mode, charset), database
