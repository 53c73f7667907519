"""What the doctor concludes from a server's answers; against a real server it runs in the integration tests."""

from __future__ import annotations

import struct
from typing import Any

import pytest
import pytest_twisted

from adapters.postgres import codec
from adapters.postgres.doctor import Questions, Unanswered, findings
from bridge.adapter import StreamClosed


class FakeServer:
    """Answers every question with the rows of the first key that its text contains."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers
        self._next = b""

    async def send(self, data: bytes) -> None:
        text = data[5:-1].decode()
        rows = next((rows for key, rows in self._answers.items() if key in text), [])
        if rows == "error":
            self._next = codec.error_response("ERROR", "42501", "permission denied")
        elif rows == "gone":
            self._next = b""
            return
        else:
            self._next = b"".join(_row(value) for value in rows)
        self._next += codec.ready_for_query("I")

    async def receive(self, timeout: float | None = None) -> bytes:
        return self._next


def _row(value: str | None) -> bytes:
    cell = struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value.encode()
    return codec.message(ord("D"), b"\0\1" + cell)


def ask(answers: dict[str, Any]) -> Questions:
    return Questions(FakeServer({**answers, "pg_is_in_recovery": answers.get("pg_is_in_recovery", ["f"])}))  # type: ignore[arg-type]


@pytest_twisted.ensureDeferred
async def test_an_account_without_any_way_to_write_is_guaranteed() -> None:
    checks = await findings(ask({}), "app", True)
    assert [check.level for check in checks] == ["ok", "ok", "ok"]
    assert checks[1].title == "read-only guaranteed"


@pytest.mark.parametrize(
    "way",
    [
        "rolsuper then",
        "has_table_privilege",
        "has_sequence_privilege",
        "prosecdef",
        "pg_foreign_server",
        "lo_creat",
        "pg_default_acl",
        "defacl",
        "relowner",
        "has_schema_privilege(oid, 'CREATE')",
        "pg_read_file",
    ],
)
@pytest_twisted.ensureDeferred
async def test_any_way_to_write_denies_the_guarantee(way: str) -> None:
    checks = await findings(ask({way: ["found.it"]}), "app", True)
    assert any(check.level == "warning" and "found.it" in check.detail for check in checks)
    assert [check.title for check in checks if check.level == "problem"] == ["read-only is not guaranteed"]


@pytest_twisted.ensureDeferred
async def test_a_question_that_is_not_answered_denies_it_too() -> None:
    checks = await findings(ask({"prosecdef": "error"}), "app", False)
    assert "read-only is not guaranteed" in [check.title for check in checks if check.level == "problem"]
    assert any("42501" in check.detail for check in checks)
    assert (checks[0].level, checks[0].title.split()[-2:]) == ("warning", ["not", "encrypted"])


@pytest_twisted.ensureDeferred
async def test_a_hot_standby_is_read_only_whatever_the_rights() -> None:
    checks = await findings(ask({"rolsuper then": ["SUPERUSER"], "pg_is_in_recovery": ["t"]}), "app", True)
    assert "read-only guaranteed" in [check.title for check in checks if check.level == "ok"]


@pytest_twisted.ensureDeferred
async def test_rows_nulls_and_errors_of_a_question() -> None:
    questions = ask({"good": ["a", None], "bad": "error", "gone": "gone"})
    assert await questions.ask("good") == [("a",), ("",)]
    with pytest.raises(Unanswered, match="42501"):
        await questions.ask("bad")
    with pytest.raises(StreamClosed):
        await questions.ask("gone")
