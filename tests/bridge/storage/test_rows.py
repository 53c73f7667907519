"""Many rows by few statements, and what their errors become."""

import pytest

from bridge.storage import StorageError, driver_cursor, insert_rows, open_engine, reading, writing
from bridge.storage.rows import AT_ONCE


@pytest.fixture
def engine(tmp_path):
    opened = open_engine(tmp_path / "registry.db", kind="registry")
    with writing(opened) as connection:
        connection.exec_driver_sql("CREATE TABLE note (id INTEGER PRIMARY KEY, words TEXT)")
    yield opened
    opened.dispose()


def notes(engine):
    with reading(engine) as connection:
        return [tuple(row) for row in connection.exec_driver_sql("SELECT id, words FROM note ORDER BY id")]


@pytest.mark.parametrize("count", [0, 1, 2, 3, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 5 * AT_ONCE + 37])
def test_any_number_of_rows_is_inserted_each_once(engine, count):
    rows = [(number, f"words {number}") for number in range(count)]
    with writing(engine) as connection:
        insert_rows(driver_cursor(connection), "note", "id, words", rows)
    assert notes(engine) == rows


def test_a_row_that_is_refused_undoes_the_whole_transaction_and_its_values_are_not_told(engine):
    rows = [(1, "kept to ourselves"), (2, "this too"), (1, "twice")]
    with pytest.raises(StorageError) as caught, writing(engine) as connection:
        insert_rows(driver_cursor(connection), "note", "id, words", rows)
    assert "SQLITE_CONSTRAINT" in str(caught.value)
    assert "registry.db" in str(caught.value)
    assert "kept to ourselves" not in str(caught.value)
    assert notes(engine) == []
