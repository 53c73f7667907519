"""JSON that two readers cannot read differently."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.identity.strict_json import NotStrictJSON, parse_object


def test_what_is_allowed() -> None:
    data = b'{"a":[1,-2,0.5,"[[[[[[[[[[",null,true],"\\u00e9":{"b":"\\ud83d\\ude00"}}'
    assert parse_object(data) == json.loads(data)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a":1,"a":1}', "twice"), ('{"x":{"a":1,"\\u0061":2}}', "twice"), ('{"a":NaN}', "NaN"),
        ('{"a":-Infinity}', "Infinity"), ('{"a":1e999}', "range"), ('{"a":' + "1" * 19 + "}", "digits"),
        ('{"a":' + "[" * 8 + "]" * 8 + "}", "deeper"), ('{"a":"\\udc00"}', "surrogate"), ("[1]", "object"),
        ("", "JSON"),
        ("1", "object"), ('{"a":"\n"}', "JSON"), ("{'a':1}", "JSON"), ('{"a":1,}', "JSON"), ("\ufeff{}", "JSON"),
        ('{"a":0.' + "1" * 100 + "}", "range"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(NotStrictJSON, match=why):
        parse_object(text.encode())


def test_bytes_that_are_not_utf8() -> None:
    with pytest.raises(NotStrictJSON):
        parse_object(b'{"a":"\xff"}')


@pytest.mark.parametrize("unit", [b"[", b'{"a":', b'"', b'\\"', b'"\\'])
def test_hostile_text_costs_little(unit: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(NotStrictJSON):
        parse_object(b"[" * 9 + b'"' + unit * (200_000 // len(unit)))
    assert time.perf_counter() - started < 2


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_nothing_else_is_raised(data: bytes) -> None:
    try:
        assert isinstance(parse_object(data), dict)
    except NotStrictJSON as problem:
        assert len(str(problem)) < 60  # noqa: PT017  # the message must not quote the text


LEAF = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(st.characters(codec="utf-8"), max_size=9)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), LEAF | st.lists(LEAF), max_size=5))
def test_ordinary_objects_are_read_as_json_reads_them(value: dict[str, object]) -> None:
    assert parse_object(json.dumps(value).encode()) == value
    assert parse_object(json.dumps(value, ensure_ascii=False).encode()) == value
