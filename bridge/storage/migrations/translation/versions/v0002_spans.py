"""Operations are found by way of their session's spans instead of by three indexes of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "span",
        sa.Column("session", sa.Text, primary_key=True),
        sa.Column("first", sa.Integer, primary_key=True),
        sa.Column("last", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO span (session, first, last)"
        " SELECT session, min(seq), max(seq) FROM event WHERE session <> '' GROUP BY session, seq / 256"
    )
    op.create_index("session_by_agent", "session", ["agent", "opened"])
    op.drop_index("event_by_session")
    op.drop_index("event_by_agent")
    op.drop_index("event_by_account")
    op.create_index("event_by_agent", "event", ["agent", "ts"], sqlite_where=sa.text("type <> 'operation'"))
    op.create_index(
        "event_by_account", "event", ["system", "account", "ts"], sqlite_where=sa.text("type <> 'operation'")
    )
