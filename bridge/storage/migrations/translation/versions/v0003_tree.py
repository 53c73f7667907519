"""The tree over the events (RFC 6962), its checkpoints, and the tree of what is there already.

The hashes are computed here, not by the bridge's own code, so that this step stays what it is.
"""

import sys
from hashlib import sha256

import sqlalchemy as sa
from alembic import op

from bridge.storage.errors import StorageCorrupt

revision = "0003"
down_revision = "0002"

STEP = 8
PAGE = 1 << 16
SEVERAL = 50_000

_APPEND_ONLY = (
    "CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}"
    " BEGIN SELECT RAISE(ABORT, 'the tree of the translation log is append-only'); END"
)


def upgrade() -> None:
    op.create_table(
        "leaf",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "node",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "checkpoint",
        sa.Column("size", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_table(
        "attestation",
        sa.Column("size", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("witness", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    _fill()
    for table in ("leaf", "node", "checkpoint"):
        for verb in ("UPDATE", "DELETE"):
            op.execute(_APPEND_ONLY.format(table=table, verb=verb))


def _fill() -> None:
    connection = op.get_bind()
    size: int = connection.exec_driver_sql("SELECT coalesce(max(seq), 0) FROM event").scalar_one()
    if size > SEVERAL:
        sys.stderr.write(f"the log gets its tree, once, over {size} events: about a minute for 5 million\n")
    for start in range(0, size, PAGE):
        bodies = connection.exec_driver_sql(
            "SELECT seq, body FROM event WHERE seq > ? AND seq <= ? ORDER BY seq", (start, start + PAGE)
        )
        rows = [(seq, sha256(b"\x00" + body.encode()).digest()) for seq, body in bodies]
        if len(rows) != min(PAGE, size - start):
            raise StorageCorrupt(f"the log has lost some of its events {start + 1} to {start + PAGE}; restore it")
        connection.exec_driver_sql("INSERT INTO leaf (seq, hash) VALUES (?, ?)", rows)
    below, level = "SELECT hash FROM leaf WHERE seq > ? AND seq <= ? ORDER BY seq", STEP
    while size := size >> STEP:
        for position in range(size):
            children = connection.exec_driver_sql(below, (position << STEP, (position + 1) << STEP))
            connection.exec_driver_sql(
                "INSERT INTO node (level, position, hash) VALUES (?, ?, ?)",
                (level, position, _root([row[0] for row in children])),
            )
        below = f"SELECT hash FROM node WHERE level = {level} AND position >= ? AND position < ? ORDER BY position"
        level += STEP


def _root(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=True)
        hashes = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
    return hashes[0]
