from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.translation.canonical import MAX_TEXT, NotCanonical, canonical, clean, quoted, shortened
from bridge.translation.facts import action_section, change_section
from bridge.translation.identifiers import Identifiers, milliseconds

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
KEYS = st.text("abcxyz_", min_size=1, max_size=8).filter(lambda key: key not in ("secret", "token"))
SCALARS = st.text() | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans()


@given(st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(KEYS, SCALARS, max_size=3)))
def test_canonical_text_has_the_values_and_is_what_anyone_else_would_write(value: dict[str, Any]) -> None:
    text = canonical(value)
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical(json.loads(text)) == text
    text.encode()


@given(st.text(st.characters(codec=None)))  # with lone surrogates
def test_any_text_becomes_a_json_string_that_utf8_can_hold(text: str) -> None:
    assert isinstance(json.loads(quoted(text).encode()), str)


@pytest.mark.parametrize("value", [1.5, None, b"x", 2**53, {"password": "x"}, {"API-Key": 1}, {"é": 1}, {1: 2}])
def test_what_cannot_be_written_exactly_or_names_a_secret_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical(value if isinstance(value, dict) else {"value": value})


def test_a_token_in_any_text_is_replaced() -> None:
    assert clean(f"login {JWT} failed") == "login <token> failed"
    assert clean(JWT[:40]) == "<token>"
    assert JWT[:30] not in action_section("sql.select", "read", ("t",), f"SELECT '{JWT}'", parameters=(JWT, None))
    assert json.loads(canonical({"a": [JWT]})) == {"a": ["<token>"]}


def test_a_token_across_the_length_limit_does_not_survive_the_cut() -> None:
    assert "eyJ" not in shortened("x" * (MAX_TEXT - 20) + JWT)


def test_an_action_says_how_long_a_text_was_that_was_cut() -> None:
    action = json.loads(action_section("sql.insert", "write", text="y" * (MAX_TEXT + 7)))
    assert (len(action["text"]), action["text_length"]) == (MAX_TEXT, MAX_TEXT + 7)


def test_an_action_section_is_canonical() -> None:
    text = action_section(
        "v", "read", ("a", "b"), "t\n'\"", "d", ("1", None), {"database": "app"}, {"portal": "p", "n": 1}
    )
    assert canonical(json.loads(text)) == text


def test_a_change_keeps_references_and_withholds_values_of_secrets() -> None:
    change = json.loads(change_section("account svc", {"secret": "hunter2"}, {"secret": "env:PG", "rows": 0.5}))
    assert change == {
        "subject": "account svc",
        "before": {"secret_reference": "<withheld>"},
        "after": {"secret_reference": "env:PG", "rows": "0.5"},
    }


def test_identifiers_ascend_also_when_the_clock_goes_back() -> None:
    times = iter([5.0, 5.0, 5.001, 4.0, 3.0, 6.0] + [6.0] * 5000)
    source = Identifiers(lambda: next(times))
    ids = [source.next()[0] for _ in range(5006)]
    assert ids == sorted(set(ids))
    assert (milliseconds(ids[0]), milliseconds(ids[4]), milliseconds(ids[5])) == (5000, 5001, 6000)


@pytest.mark.parametrize("text", ["", "x" * 26, "01ARZ3NDEKTSV4RRFFQ69G5FAI"])
def test_what_is_no_identifier_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an event id"):
        milliseconds(text)
