"""Bringing a database to the schema of this release.

Migrations are alembic scripts in ``migrations/<kind>/versions/vNNNN_what_it_does.py`` with ``revision = "NNNN"`` and
``down_revision`` the number before it (``None`` for 0001): one straight line per kind, so the newest file name is the
head and the usual start, with nothing to do, needs neither alembic nor the scripts. A whole upgrade is one transaction:
it is done, or nothing happened; a second process waits for it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from bridge.storage.database import Kind, reading, where, writing
from bridge.storage.errors import SchemaTooNew, SchemaUnknown

MIGRATIONS = Path(__file__).parent / "migrations"

APPLICATION_IDS: dict[Kind, int] = {"registry": 0x69644272, "translation": 0x69644274}
"""SQLite's ``application_id`` ("idBr", "idBt"): tells our two databases from each other and from anything else."""

_SCRIPT = re.compile(r"v(\d{4})_\w+\.py")


@cache
def head(kind: Kind) -> str:
    """The schema that this release writes: four digits, "" while a kind has no migration."""
    names = (file.name for file in (MIGRATIONS / kind / "versions").iterdir())
    return max((found[1] for name in names if (found := _SCRIPT.fullmatch(name))), default="")


def version(engine: Engine, kind: Kind) -> str:
    """The schema that the database has; "" for an empty one. Raises SchemaUnknown, StorageError."""
    with reading(engine) as connection:
        return _version(connection, where(engine), kind)


def upgrade(engine: Engine, kind: Kind) -> None:
    """Creates or upgrades the schema of the database. Raises SchemaTooNew, SchemaUnknown, StorageError."""
    if not _outdated(version(engine, kind), where(engine), kind):
        return
    with writing(engine) as connection:  # looks again, now that no other process can be at it
        if _outdated(_version(connection, where(engine), kind), where(engine), kind):
            _migrate(connection, kind)
            connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_IDS[kind]}")


def _outdated(present: str, file: str, kind: Kind) -> bool:
    wanted = head(kind)
    if present > wanted:
        raise SchemaTooNew(
            f"{file}: has schema {present}, this release knows {wanted}; start the release that wrote it,"
            " or restore the backup made before its upgrade"
        )
    return present < wanted


def _version(connection: Connection, file: str, kind: Kind) -> str:
    tables = connection.execute(text("SELECT name FROM sqlite_master")).scalars().all()
    if not tables:
        return ""
    if connection.exec_driver_sql("PRAGMA application_id").scalar() != APPLICATION_IDS[kind]:
        raise SchemaUnknown(f"{file}: is not a {kind} database of this program; are the files exchanged?")
    known = "alembic_version" in tables
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() if known else []
    if len(found) != 1 or not re.fullmatch(r"\d{4}", found[0]):
        raise SchemaUnknown(f"{file}: its schema version cannot be read; restore it from a backup")
    return str(found[0])


def _migrate(connection: Connection, kind: Kind) -> None:
    from alembic.config import Config  # imported late: 60 ms that the usual start does not need
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(MIGRATIONS), version_locations=[str(MIGRATIONS / kind / "versions")])

    def steps(revision: object, _context: object) -> object:
        return scripts._upgrade_revs("head", revision)  # type: ignore[arg-type]

    with EnvironmentContext(Config(), scripts, fn=steps, destination_rev="head") as environment:
        environment.configure(connection=connection)
        environment.run_migrations()
