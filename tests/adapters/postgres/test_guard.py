"""Read-only sessions, the stamp, and the alarm."""

from __future__ import annotations

import pgparse
import pytest

from adapters.postgres.guard import Watch, objection, read_only, startup_parameters, with_renamings
from adapters.postgres.statements import UNPARSED, classify
from bridge.adapter import Action
from tests.adapters.postgres import read_only_corpus as CORPUS

READ = frozenset({Action.READ})


def refusals(message: str) -> list[str]:
    try:
        statements = classify(pgparse.parse(message))
    except pgparse.PGQueryError:
        statements = (UNPARSED,)
    # EXECUTE of a name nobody prepared is refused by the relay, which knows the names
    return [objection(statement, is_read_only=True) for statement in statements]


@pytest.mark.parametrize("messages", [m for m in CORPUS.WROTE if not m[0].startswith("execute")], ids=str)
def test_each_known_way_around_is_refused_at_its_first_step(messages: list[str]) -> None:
    assert any(why for message in messages for why in refusals(message))


@pytest.mark.parametrize("message", CORPUS.READ)
def test_what_only_reads_passes(message: str) -> None:
    assert not any(refusals(message))


def test_a_session_that_may_write_is_left_alone_but_for_its_identity() -> None:
    (write,) = classify(pgparse.parse("insert into t values (1)"))
    (role,) = classify(pgparse.parse("set role x"))
    assert objection(write, is_read_only=False) == ""
    assert objection(role, is_read_only=False)


def test_only_sessions_without_write_and_admin_are_pinned() -> None:
    assert startup_parameters(READ)["default_transaction_read_only"] == "on"
    assert startup_parameters(frozenset({Action.READ, Action.WRITE})) == {}
    assert not read_only(frozenset({Action.ADMIN}))


def test_the_watch_tells_a_lost_stamp_and_an_unpinned_setting() -> None:
    watch = Watch("ib:1", {"session_authorization": "legacy"}, READ)
    assert watch.finding("application_name", "ib:1 psql") == ""
    assert "stamp" in watch.finding("application_name", "evil")
    assert watch.finding("default_transaction_read_only", "off")
    assert watch.finding("standard_conforming_strings", "off")
    assert watch.finding("client_encoding", "SJIS")
    assert watch.finding("session_authorization", "postgres")
    assert watch.finding("TimeZone", "UTC") == ""


def test_a_session_that_may_write_may_change_its_settings() -> None:
    watch = Watch("ib:1", {"session_authorization": "legacy"}, frozenset(Action))
    assert watch.finding("client_encoding", "SJIS") == ""
    assert watch.finding("session_authorization", "postgres")


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("set application_name = 'me'", " SET application_name = 'ib:1 me'"),
        ("set local application_name to me", " SET LOCAL application_name = 'ib:1 me'"),
        (
            "select 1; set application_name = 'é''\\' ; select 2",
            "select 1; SET application_name = 'ib:1 ???'; select 2",
        ),
        ("set application_name = 'ib:1 me'", " SET application_name = 'ib:1 me'"),
    ],
)
def test_a_new_application_name_gets_the_stamp_in_front(text: str, sent: str) -> None:
    made = with_renamings(text, classify(pgparse.parse(text)), "ib:1")
    assert made.split() == sent.split()


def test_a_long_name_is_cut_behind_the_stamp() -> None:
    text = f"set application_name = '{'x' * 100}'"
    made = with_renamings(text, classify(pgparse.parse(text)), "ib:1")
    assert len(made.split("'")[1]) == 63
