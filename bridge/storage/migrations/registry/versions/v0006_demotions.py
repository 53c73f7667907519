"""The modes that were taken last, and the demotions that people asked for and approved. Times are Unix seconds."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "phases",
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("taken", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "demotion",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("changes", sa.Text, nullable=False),
        sa.Column("requester", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("approver", sa.Text, nullable=False),
        sa.Column("approval", sa.Text, nullable=False),
        sa.Column("taken", sa.BigInteger, nullable=False),
    )
