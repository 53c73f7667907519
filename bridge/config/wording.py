"""pydantic's findings in our words: what is wrong, what was expected. The offending value is never quoted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from bridge.config.problem import Problem
from bridge.config.tree import Path, Place, dotted, nearest
from bridge.config.values import NAME, REFERENCE

_PASSWORD = re.compile(r"pass(word|wd|phrase)?|pwd|secret|token|credentials?|api_?key", re.IGNORECASE)
_BY_REFERENCE = (
    "a secret by reference: accounts.<name>.secret: env:NAME, file:/path, store:NAME or vault:NAME/PATH#FIELD"
)
NAME_RULE = "lower-case letters, digits, . _ - (at most 63, starting with a letter or digit)"
_REQUIRED = {
    "certificate": "a PEM file",
    "claims": "claims and their values: {sub: …}",
    "contact": "a mail address, or how else to reach the owner",
    "expires": "a date: 2027-03-01",
    "from": '"HH:MM"',
    "host": "the DNS name or IP address of the legacy system",
    "id": "a name for the grant, as the log will show it",
    "issuer": "the name of an issuer",
    "key": "a PEM file",
    "kind": "team, person or shared-service",
    "listen": "an IP address and a port: 127.0.0.1:15432",
    "owner": "the name of an owner",
    "purpose": "what the agent is for, in a sentence",
    "secret": f"a reference: {REFERENCE}",
    "path": "a file: /var/log/idbridge/events.jsonl",
    "url": "where to: https://siem.example/hooks/idbridge",
    "to": '"HH:MM"',
    "upstream": "where the legacy system is: {host: …}",
    "address": "the vault's URL: https://vault.example:8200",
    "auth": "how the bridge logs in: {method: token | approle | kubernetes, …}",
    "method": "token, approle or kubernetes",
    "accounts": "the static accounts: {NAME: {secret: env:NAME}}",
}
_TYPES = {
    "string_type": ("is not text", "text; a number, date or word like true stands in quotes"),
    "int_type": ("is not a whole number", "a whole number"),
    "int_parsing": ("is not a whole number", "a whole number"),
    "int_from_float": ("is not a whole number", "a whole number"),
    "float_type": ("is not a number", "a number"),
    "float_parsing": ("is not a number", "a number"),
    "bool_type": ("is neither true nor false", "true or false"),
    "bool_parsing": ("is neither true nor false", "true or false"),
    "tuple_type": ("is not a list", "a list: [a, b]"),
    "list_type": ("is not a list", "a list: [a, b]"),
    "set_type": ("is not a list", "a list: [a, b]"),
    "frozen_set_type": ("is not a list", "a list: [a, b]"),
    "mapping_type": ("is not a mapping", "keys and values"),
    "dict_type": ("is not a mapping", "keys and values"),
    "model_type": ("is not a mapping", "keys and values"),
    "model_attributes_type": ("is not a mapping", "keys and values"),
    "string_too_short": ("is empty", "text"),
}


def problems(
    error: ValidationError, place: Place, model: type[BaseModel], file: str, also: Iterable[str] = ()
) -> list[Problem]:
    """The findings about the value at ``place``, each at its place. ``also``: keys beside the model's."""
    found = error.errors(include_url=False, include_input=False)
    locations = [_location(one["loc"], place) for one in found]
    result = []
    for one, (at, rest) in zip(found, locations, strict=True):
        if one["type"] == "too_short" and any(
            len(other.path) > len(at.path) for other, _ in locations if _in(other, at)
        ):
            continue  # the list is "empty" only because its items were refused
        result.append(_problem(one, at, rest, model, file, also))
    return result


def _in(inner: Place, outer: Place) -> bool:
    return inner.path[: len(outer.path)] == outer.path


def _location(loc: Path, place: Place) -> tuple[Place, Path]:
    """Where the finding stands. Steps that are no keys of the file (names of union members) are left out."""
    at, rest = place.deepest(loc)
    while rest:
        further, left = at.deepest(rest[1:])
        if further is at:
            break
        at, rest = further, left
    return at, rest


def _problem(one: Any, at: Place, rest: Path, model: type[BaseModel], file: str, also: Iterable[str]) -> Problem:
    kind, context = one["type"], one.get("ctx", {})
    if kind == "extra_forbidden":
        known = [*keys_of(model, one["loc"][:-1]), *(also if len(one["loc"]) == 1 else ())]
        return Problem(file, at.key.line, at.key.column, dotted(at.path), *unknown_key(str(at.path[-1]), known))
    if kind == "missing":
        where = at.key if at.path else at.value
        return Problem(
            file, where.line, where.column, dotted((*at.path, *rest)), "is missing", required(str(one["loc"][-1]))
        )
    if rest and rest[-1] == "[key]":
        return Problem(file, at.key.line, at.key.column, dotted(at.path), "is no usable name", "a short plain name")
    message, expected = _words(kind, one["msg"], context)
    return Problem(file, at.value.line, at.value.column, dotted(at.path), message, expected)


def _words(kind: str, text: str, context: Mapping[str, Any]) -> tuple[str, str]:
    if "message" in context:
        return str(context["message"]), str(context.get("expected", ""))
    if kind in _TYPES:
        return _TYPES[kind]
    if kind in ("literal_error", "enum"):
        return "is not one of the known words", str(context.get("expected", "")).replace("'", "")
    if kind == "string_pattern_mismatch":
        named = NAME.strip("^$") in str(context.get("pattern"))
        return ("is not a name", NAME_RULE) if named else ("has the wrong form", f"{context.get('pattern')}")
    if kind == "too_short":
        return "is empty", f"at least {context.get('min_length', 1)}"
    if kind == "string_too_long":
        return "is too long", f"at most {context.get('max_length')} characters"
    for limit, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")):
        if limit in context:
            return "is out of range", f"{words} {context[limit]}"
    if kind in ("value_error", "assertion_error"):  # the adapter's own validators: their text is theirs
        return text.split(", ", 1)[-1], ""
    return f"is not valid ({kind})", text.removeprefix("Input should be ").removeprefix("Value should have ")


def required(key: str) -> str:
    return _REQUIRED.get(key, "a value")


def unknown_key(name: str, known: Iterable[str]) -> tuple[str, str]:
    """Message and expectation for a key nobody knows: the nearest known one, or all."""
    names = sorted(known)
    if name == "<<":
        return "is a merge key, which YAML 1.2 does not have", "the keys written out"
    close = nearest(name, names)
    if _PASSWORD.fullmatch(name) and not close:
        return "is not a known key", _BY_REFERENCE
    listed = ("one of " if len(names) > 1 else "only ") + ", ".join(names) if names else "no key here"
    return f"is not a known key{close}", listed


def keys_of(model: type[BaseModel], loc: Path) -> list[str]:
    """The keys that the (sub)model at ``loc`` knows; empty when it cannot be told."""
    current: type[BaseModel] | None = model
    for step in loc:
        if current is None:
            return []
        field = next((f for name, f in current.model_fields.items() if (f.alias or name) == step), None)
        if field is not None:
            current = _model_in(field.annotation)
    if current is None:
        return []
    return [field.alias or name for name, field in current.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The one pydantic model inside an annotation such as ``Mapping[str, Account]`` or ``Keys | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found is not None:
            return found
    return None
