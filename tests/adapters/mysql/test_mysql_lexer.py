"""Tokens, redaction, digests and shapes of MySQL text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.mysql.lexer import MAX_TEXT, PLAIN, UNKNOWN, Modes, digest, lex, redact, shape


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("select 'a', \"b\", 1, -2.5e3, .5, 0x1F, x'1f'", "select ?, ?, ?, -?, ?, ?, x?"),
        ("select 'it''s', 'a\\'b', 'c\\\\'", "select ?, ?, ?"),
        ("select `a'b`, t1.c2 from t1 -- 'x'\n where a=1", "select `a'b`, t1.c2 from t1  \n where a=?"),
        ("select 1--1", "select ?--?"),
        ("select 1 # secret", "select ?  "),
        ("select /* secret */ 1", "select   ?"),
        ("select _utf8mb4'x', n'y', b'01'", "select _utf8mb4?, n?, b?"),
        ("select @a, @@b, @'secret'", "select @a, @@b, @?"),
        ("select 'open secret", "select ?"),
        ("select /* open secret", "select ?"),
        ("select /*! secret */ 1", "select ?"),
        ("select 1\0secret", "select ??"),
        ("select \\N, 1", "select \\N, ?"),
    ],
)
def test_literals_are_replaced(text: str, redacted: str) -> None:
    assert redact(text.encode()) == redacted


def test_what_reads_in_two_ways_is_cut_where_that_begins() -> None:
    assert redact(b"select a, 'b\\'c', secret", UNKNOWN) == "select a, ?"
    assert redact(b'select a, "b", secret', UNKNOWN) == "select a, ?"
    assert redact(b"select \"name\", 'b'", Modes(ansi=True)) == 'select "name", ?'


def test_a_text_that_is_cut_shows_no_half_literal() -> None:
    assert redact(b"select '" + b"x" * MAX_TEXT + b"'") == "select ?"


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec="ascii", exclude_characters="\\\"'`"), max_size=30))
def test_no_part_of_a_string_is_kept(secret: str) -> None:
    assert redact(b"select '" + secret.encode() + b"' from t") == "select ? from t"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.sampled_from([PLAIN, UNKNOWN, Modes(False, True), Modes(True, False, False)]))
def test_tokens_cover_the_text_up_to_the_doubt(text: bytes, modes: Modes) -> None:
    lexed = lex(text, modes, spaces=True)
    position = 0
    for token in lexed.tokens:
        assert token.start == position
        position = token.end
    assert position == (lexed.doubt if lexed.doubt >= 0 else len(text))
    redact(text, modes)


def test_statements_that_differ_in_literals_have_one_digest() -> None:
    assert digest(redact(b"select * from t where a in (1, 2)")) == digest(
        redact(b"select * from  t where a in (3,4, 5);")
    )
    assert digest(redact(b"insert into t values (1,2)")) == digest(redact(b"insert into t values (1,2), (3,4), (5,6)"))
    assert digest(redact(b"select a")) != digest(redact(b"select b"))


def test_shapes_are_equal_for_integers_only() -> None:
    assert shape(b"select * from t1 where a = 17") == shape(b"select * from t1 where a = 99")
    assert shape(b"select * from t1") != shape(b"select * from t2")
    assert shape(b"select 'x 1'") != shape(b"select 'x 2'")
    assert shape(b"select 1.5") != shape(b"select 2.5")
    assert shape(b"select 0x10") != shape(b"select 0x11")
    assert shape(b"x" * 5000) is None


OWN_SHAPES = (b"select 'a1'", b"select `t1`", b"select 1 -- 2", b"select 1 # 2", b"select @a1", b"select 1 /* 2",
              b"select \\1", b'select "1"', b"select 1\0", b"select \xc31")  # fmt: skip


@pytest.mark.parametrize("text", OWN_SHAPES)
def test_a_text_in_which_digits_may_be_more_than_numbers_is_its_own_shape(text: bytes) -> None:
    assert shape(text) == text


def test_modes_are_read_off_the_servers_settings() -> None:
    assert Modes.of("STRICT_TRANS_TABLES", "utf8mb4") == PLAIN
    assert Modes.of("REAL_AS_FLOAT,PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE,ANSI", "latin1").ansi is True
    assert Modes.of("NO_BACKSLASH_ESCAPES", "utf8mb4").backslashes is False
    assert Modes.of("", "gbk").charset is False
    assert Modes.of("ORACLE", "utf8mb4").foreign
