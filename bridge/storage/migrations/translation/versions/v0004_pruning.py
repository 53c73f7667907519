"""Events may be deleted once a ``log.prune`` event says so; what policy and registry were is never deleted."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("CREATE INDEX event_pruned ON event (seq) WHERE type = 'log.prune'")
    op.execute("DROP TRIGGER event_no_delete")
    op.execute(
        "CREATE TRIGGER event_no_delete BEFORE DELETE ON event"
        " WHEN OLD.type IN ('policy.version', 'registry.change', 'log.prune', 'log.key')"
        " OR OLD.seq > ifnull((SELECT CAST(substr(body, instr(body, '\"last\":') + 7) AS INTEGER)"
        " FROM event INDEXED BY event_pruned WHERE type = 'log.prune' ORDER BY seq DESC LIMIT 1), 0)"
        " BEGIN SELECT RAISE(ABORT, 'the translation log is append-only'); END"
    )
