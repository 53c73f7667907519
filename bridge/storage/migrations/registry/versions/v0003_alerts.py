"""Alerts and their deliveries, how far the log was watched, and how much each agent did a day. Times are Unix
seconds."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "alert",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, index=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("suppressed", sa.BigInteger, nullable=False),
        sa.Column("told", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "alert_delivery",
        sa.Column("alert", sa.Text, sa.ForeignKey("alert.id"), primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Index("alert_delivery_by_due", "state", "due"),
    )
    op.create_table(
        "agent_day",
        sa.Column("agent", sa.Text, primary_key=True),
        sa.Column("day", sa.BigInteger, primary_key=True),
        sa.Column("operations", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "watched",
        sa.Column("log", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
