"""Redaction never shows a literal, whatever the text; the cache key never mixes two meanings."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres.lexer import MAX_SHAPE, MAX_TEXT, digest, redact, shape

CANARY = "kanari"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("select 'a''b', E'x\\'y', U&'d', N'n'", "select ?, ?, ?, ?"),
        ("select $$a$$, $t$ b $$ $t$, a$b$c, $1", "select ?, ?, a$b$c, $1"),
        ("select 1, 1.5e3, 0x1F, 1_000, t1.c2, b'01', X'1F'", "select ?, ?, ?, ?, t1.c2, ?, ?"),
        ("select 1 -- why\n, 2 /* a /* b */ c */", "select ?  \n, ?  "),
        ('select "a""1", "it\'s"', 'select "a""1", "it\'s"'),
        ("select E'a'\n'b\\'c' x", "select ? x"),
        ("select $1$a$secret$a$", "select $1?"),
        ("select 1e'a\\'secret'", "select ??"),
        ("a - -1", "a - -?"),
        ("", ""),
    ],
)
def test_literals_become_question_marks_and_the_rest_stays(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text", ["select 'secret", "select E'secret\\'", "select $x$secret", 'select "secret', "a /* secret"]
)
def test_what_does_not_end_is_cut(text: str) -> None:
    assert "secret" not in redact(text)


def test_backslashes_count_as_standard_conforming_strings_says() -> None:
    text = "select '\\'', 'secret'"
    assert redact(text, True) == "select ?secret?"  # a string, a name, and a quote that does not end
    assert redact(text, False) == "select ?, ?"
    assert redact(text, None) == "select ?"


_LITERALS = [
    "'{}'",
    "E'\\'{}'",
    "U&'{}'",
    "$$ {} $$",
    "$q$ {} $q$",
    "B'{}'",
    "'a''{}'",
    "E'x'\n'\\'{}'",
    "-- {}\n",
    "/* /* */ {} */",
]


@given(
    st.lists(
        st.one_of(
            st.sampled_from(_LITERALS).map(lambda form: form.format(CANARY)),
            st.text("abeEuUxX&12._ ,;()\\é", max_size=6),
            st.sampled_from(["select", '"q"', "$1", "1e5", "/**/"]),
        ),
        max_size=8,
    ),
)
def test_no_form_of_literal_shows_its_content(parts: list[str]) -> None:
    """Between parts that open no string or comment, and blanks: each literal begins where it does for the server."""
    for standard in (True, None):
        assert CANARY not in redact(" ".join(parts), standard)


@given(st.text(max_size=60), st.sampled_from([True, False, None]))
def test_any_text_is_redacted_without_an_error(text: str, standard: bool | None) -> None:
    assert isinstance(redact(text, standard), str)


@pytest.mark.parametrize("unit", ["'", "E'\\", "/*", "$a$", "(", "'a'\n", "1e", "--\n", '"', "$$x"])
def test_long_texts_are_cut(unit: str) -> None:
    assert len(redact(unit * MAX_TEXT)) <= MAX_TEXT + 2


def test_equal_statements_have_one_digest() -> None:
    one = digest(redact("select * from t where a in (1, 2, 3)"))
    assert one == digest(redact("select *  from t\nwhere a in (4,5);"))
    assert one != digest(redact("select * from u where a in (1)"))


def test_integers_do_not_change_the_shape() -> None:
    assert shape(b"select a1 from t where b = 12 and c<3") == b"select a1 from t where b = 0 and c<0"


@pytest.mark.parametrize(
    "text", [b"select '1'", b'select "1"', b"select $1", b"a\\1", b"1 -- 2", b"1 /* 2", b"\xe2\x82\xac1", b"1\0"]
)
def test_any_quote_comment_or_odd_byte_keeps_the_text_as_its_own_key(text: bytes) -> None:
    assert shape(text) == text


@pytest.mark.parametrize("text", [b"1.5", b"t.1", b"1e5", b"0x1F", b"a1", b"1_0"])
def test_only_plain_integers_are_replaced(text: bytes) -> None:
    assert shape(text) == text


def test_very_long_texts_are_no_keys() -> None:
    assert shape(b"1" * (MAX_SHAPE + 1)) is None


_PLAIN_CONTEXTUAL = re.compile(rb"['\"$\\\x80-\xff\x00]|--|/\*")
_PLAIN_INTEGER = re.compile(rb"(?<![\w.])[0-9]++(?![\w.])")


@given(st.lists(st.sampled_from(b"'\"$\\-/*\x00\x80\xff\n a_1.90"), max_size=12).map(bytes))
def test_the_quick_patterns_find_what_the_plain_ones_find(text: bytes) -> None:
    expected = text if _PLAIN_CONTEXTUAL.search(text) else _PLAIN_INTEGER.sub(b"0", text)
    assert shape(text) == expected
