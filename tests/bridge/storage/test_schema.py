"""Migrations: from empty to head, once, and never backwards."""

import subprocess
import sys
import threading

import pytest
from sqlalchemy import inspect, text

from bridge.storage import SchemaTooNew, SchemaUnknown, head, open_engine, schema, upgrade, version, writing

KINDS = ["registry", "translation"]


@pytest.fixture
def opened(tmp_path):
    engines = []

    def open_(name, kind):
        engines.append(open_engine(tmp_path / name, kind=kind))
        return engines[-1]

    yield open_
    for engine in engines:
        engine.dispose()


@pytest.fixture(autouse=True)
def by_migrations(quick_schemas, monkeypatch):
    monkeypatch.setattr(schema, "_migrate", quick_schemas)


@pytest.mark.parametrize("kind", KINDS)
def test_what_other_tests_use_is_what_migrations_make(opened, kind, monkeypatch):
    """See ``quick_schemas``."""
    made, quick = opened("made.db", kind), opened("quick.db", kind)
    upgrade(made, kind)
    monkeypatch.undo()
    upgrade(opened("first.db", kind), kind)
    upgrade(quick, kind)
    for sql in ("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 2", "SELECT * FROM alembic_version"):
        with made.connect() as one, quick.connect() as other:
            assert one.exec_driver_sql(sql).all() == other.exec_driver_sql(sql).all()
    with made.connect() as one:
        tables = one.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
        rows = {table: one.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() for table in tables}
    assert {table for table, count in rows.items() if count} == {"alembic_version"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_file_gets_the_newest_schema(opened, kind):
    engine = opened("x.db", kind)
    assert version(engine, kind) == ""
    upgrade(engine, kind)
    assert version(engine, kind) == head(kind)


def test_an_upgrade_with_nothing_to_do_does_not_load_alembic(tmp_path, opened):
    upgrade(opened("registry.db", "registry"), "registry")
    script = (
        "import sys; from bridge.storage import open_engine, upgrade;"
        "upgrade(open_engine(sys.argv[1], kind='registry'), 'registry'); assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "registry.db")], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_migrations_of_a_kind_are_one_straight_line(kind):
    """Head is taken from the file names, so names, revisions and order must agree."""
    from alembic.script import ScriptDirectory

    folder = schema.MIGRATIONS / kind / "versions"
    scripts = ScriptDirectory(str(schema.MIGRATIONS), version_locations=[str(folder)])
    line = [script.revision for script in scripts.walk_revisions()][::-1]
    assert line == [f"{number:04}" for number in range(1, len(line) + 1)]
    assert sorted(file.name[1:5] for file in folder.glob("v*.py")) == line
    assert line[-1] == head(kind)


def test_a_newer_schema_is_refused_and_left_alone(opened):
    engine = opened("registry.db", "registry")
    upgrade(engine, "registry")
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9000'"))
    with pytest.raises(
        SchemaTooNew, match=r"registry\.db: has schema 9000, this release knows \d{4}; start the release"
    ):
        upgrade(engine, "registry")
    assert version(engine, "registry") == "9000"


def test_exchanged_files_are_refused(opened):
    upgrade(opened("registry.db", "registry"), "registry")
    with pytest.raises(SchemaUnknown, match="is not a translation database"):
        upgrade(opened("registry.db", "translation"), "translation")


def test_a_foreign_database_is_refused_and_left_alone(opened):
    engine = opened("registry.db", "registry")
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE theirs (id INTEGER)"))
    with pytest.raises(SchemaUnknown, match="is not a registry database"):
        upgrade(engine, "registry")
    assert inspect(engine).get_table_names() == ["theirs"]


@pytest.mark.parametrize("spoil", ["DELETE FROM alembic_version", "UPDATE alembic_version SET version_num = 'abc'"])
def test_an_unreadable_version_is_refused(opened, spoil):
    engine = opened("registry.db", "registry")
    upgrade(engine, "registry")
    with writing(engine) as connection:
        connection.execute(text(spoil))
    with pytest.raises(SchemaUnknown, match="schema version cannot be read"):
        upgrade(engine, "registry")


def test_a_migration_that_fails_leaves_the_old_schema(opened, tmp_path, monkeypatch):
    folder = tmp_path / "migrations" / "registry" / "versions"
    folder.mkdir(parents=True)
    (folder / "v0001_good.py").write_text(
        "from alembic import op\nrevision, down_revision = '0001', None\n"
        "def upgrade():\n    op.execute('CREATE TABLE good (id INTEGER)')\n"
    )
    monkeypatch.setattr(schema, "MIGRATIONS", tmp_path / "migrations")
    monkeypatch.setattr(schema, "head", schema.head.__wrapped__)
    engine = opened("registry.db", "registry")
    upgrade(engine, "registry")
    (folder / "v0002_bad.py").write_text(
        "from alembic import op\nrevision, down_revision = '0002', '0001'\n"
        "def upgrade():\n    op.execute('CREATE TABLE bad (id INTEGER)')\n    1 / 0\n"
    )
    with pytest.raises(ZeroDivisionError):
        upgrade(engine, "registry")
    assert version(engine, "registry") == "0001"
    assert "bad" not in inspect(engine).get_table_names()


@pytest.mark.parametrize("attempt", range(5))
def test_two_processes_that_start_together_upgrade_once(opened, attempt):
    """Several attempts: two that turn a new file to WAL at the same moment met SQLITE_BUSY once in twenty."""
    engines = [opened("registry.db", "registry") for _ in range(3)]
    failures = []

    def in_thread_upgrade(engine):
        try:
            upgrade(engine, "registry")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=in_thread_upgrade, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert version(engines[0], "registry") == head("registry")
