"""The translation log, and what is derived from it. Times are Unix milliseconds."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "event",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("ts", sa.BigInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("system", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
    )
    op.create_index("event_by_ts", "event", ["ts"])
    op.create_index("event_by_session", "event", ["session"])
    op.create_index("event_by_agent", "event", ["agent", "ts"])
    op.create_index("event_by_account", "event", ["system", "account", "ts"])
    op.create_index("event_by_type", "event", ["type", "ts"], sqlite_where=sa.text("type <> 'operation'"))
    op.create_index(
        "event_by_outcome", "event", ["outcome", "ts"], sqlite_where=sa.text("outcome NOT IN ('success', '')")
    )
    op.create_table(
        "session",
        sa.Column("session", sa.Text, primary_key=True),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("system", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("opened", sa.BigInteger, nullable=False),
        sa.Column("opened_seq", sa.Integer, nullable=False),
        sa.Column("established_seq", sa.Integer),
        sa.Column("backend", sa.BigInteger),
        sa.Column("client_port", sa.Integer),
        sa.Column("closed", sa.BigInteger),
        sa.Column("closed_seq", sa.Integer),
        sa.Column("outcome", sa.Text, nullable=False),
    )
    op.create_index("session_by_account", "session", ["system", "account", "opened", "closed"])
    op.create_index("session_still_open", "session", ["opened_seq"], sqlite_where=sa.text("closed IS NULL"))
    op.create_table(
        "open_intent",
        sa.Column("request", sa.Text, primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
    )
    op.execute(
        "CREATE TRIGGER event_no_update BEFORE UPDATE ON event"
        " BEGIN SELECT RAISE(ABORT, 'the translation log is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER event_no_delete BEFORE DELETE ON event"
        " BEGIN SELECT RAISE(ABORT, 'the translation log is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER event_in_sequence BEFORE INSERT ON event"
        " WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM event)"
        " BEGIN SELECT RAISE(ABORT, 'the sequence of the translation log has no gaps'); END"
    )
