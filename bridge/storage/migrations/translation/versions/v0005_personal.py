"""Personal data beside the log, so that it can be erased without changing an event."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "personal",
        sa.Column("token", sa.Text, primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute("CREATE INDEX personal_by_value ON personal (value)")
    op.execute("CREATE INDEX personal_by_seq ON personal (seq)")
    op.execute(
        "CREATE TRIGGER personal_no_update BEFORE UPDATE ON personal"
        " BEGIN SELECT RAISE(ABORT, 'personal data of the log is erased, never changed'); END"
    )
