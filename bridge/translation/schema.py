"""The tables of ``translation.db``.

``event`` is the log: append-only by triggers, its ``seq`` without gaps. ``session``, ``span`` and ``open_intent`` are
derived from it in the same commit, so that "who was it?" and the recovery after a crash need not search the log; they
can be rebuilt. ``leaf`` and ``node`` are the tree over the events (``stored_tree``), in the same
commit too; ``checkpoint`` what was signed of it, and ``attestation`` what witnesses said to that. ``personal`` has what
bodies name by a salted digest (see ``personal.py``), and may be deleted from.

Operations are most of the log, and an index of their own costs 3 to 8 µs an event. They have one by time; by session
they are found by ``span``: between ``first`` and ``last`` stand events of the session, among at most ``SPAN`` others'.
What is written in one commit shares spans. By agent or account they are found by way of the session (``narrowing``).
The other indexes leave operations out; a query uses them by repeating their condition word for word.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Engine, Index, Integer, LargeBinary, MetaData, Table, Text, text

metadata = MetaData()

NOT_OPERATION = "type <> 'operation'"
NOT_SUCCESS = "outcome NOT IN ('success', '')"
STILL_OPEN = "closed IS NULL"

event = Table(
    "event",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
    Column("ts", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("system", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("labels", Text, nullable=False),
)
Index("event_by_ts", event.c.ts)
Index("event_by_agent", event.c.agent, event.c.ts, sqlite_where=text(NOT_OPERATION))
Index("event_by_account", event.c.system, event.c.account, event.c.ts, sqlite_where=text(NOT_OPERATION))
Index("event_by_type", event.c.type, event.c.ts, sqlite_where=text(NOT_OPERATION))
Index("event_by_outcome", event.c.outcome, event.c.ts, sqlite_where=text(NOT_SUCCESS))
Index("event_pruned", event.c.seq, sqlite_where=text("type = 'log.prune'"))

session = Table(
    "session",
    metadata,
    Column("session", Text, primary_key=True),
    Column("agent", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("system", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("opened_seq", Integer, nullable=False),
    Column("established_seq", Integer),
    Column("backend", BigInteger),
    Column("client_port", Integer),
    Column("closed", BigInteger),
    Column("closed_seq", Integer),
    Column("outcome", Text, nullable=False),
)
Index("session_by_agent", session.c.agent, session.c.opened)
Index("session_by_account", session.c.system, session.c.account, session.c.opened, session.c.closed)
Index("session_still_open", session.c.opened_seq, sqlite_where=text(STILL_OPEN))

span = Table(
    "span",
    metadata,
    Column("session", Text, primary_key=True),
    Column("first", Integer, primary_key=True),
    Column("last", Integer, nullable=False),
    sqlite_with_rowid=False,
)

SPAN = 256
"""Sequence numbers that one span covers at most, so that few other events are read on the way."""

open_intent = Table(
    "open_intent",
    metadata,
    Column("request", Text, primary_key=True),
    Column("seq", Integer, nullable=False),
)

leaf = Table(
    "leaf",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
)

node = Table(
    "node",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("size", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
)

attestation = Table(
    "attestation",
    metadata,
    Column("size", Integer, primary_key=True, autoincrement=False),
    Column("witness", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

personal = Table(
    "personal",
    metadata,
    Column("token", Text, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)
Index("personal_by_value", personal.c.value)
Index("personal_by_seq", personal.c.seq)

TRIGGERS = (
    "CREATE TRIGGER event_no_update BEFORE UPDATE ON event"
    " BEGIN SELECT RAISE(ABORT, 'the translation log is append-only'); END",
    # Only what a ``log.prune`` event names, and nothing that policy and registry follow from (see ``pruned``).
    "CREATE TRIGGER event_no_delete BEFORE DELETE ON event"
    " WHEN OLD.type IN ('policy.version', 'registry.change', 'log.prune', 'log.key')"
    " OR OLD.seq > ifnull((SELECT CAST(substr(body, instr(body, '\"last\":') + 7) AS INTEGER)"
    " FROM event INDEXED BY event_pruned WHERE type = 'log.prune' ORDER BY seq DESC LIMIT 1), 0)"
    " BEGIN SELECT RAISE(ABORT, 'the translation log is append-only'); END",
    # INSERT OR REPLACE fires no delete trigger; this also keeps the sequence without gaps whoever writes.
    "CREATE TRIGGER event_in_sequence BEFORE INSERT ON event"
    " WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM event)"
    " BEGIN SELECT RAISE(ABORT, 'the sequence of the translation log has no gaps'); END",
    *(
        f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}"
        " BEGIN SELECT RAISE(ABORT, 'the tree of the translation log is append-only'); END"
        for table in ("leaf", "node", "checkpoint")
        for verb in ("UPDATE", "DELETE")
    ),
    "CREATE TRIGGER personal_no_update BEFORE UPDATE ON personal"
    " BEGIN SELECT RAISE(ABORT, 'personal data of the log is erased, never changed'); END",
)


def create(engine: Engine) -> None:
    """The newest schema on an empty database, without migrations: for tests and trials."""
    with engine.begin() as connection:
        metadata.create_all(connection)
        for trigger in TRIGGERS:
            connection.exec_driver_sql(trigger)
