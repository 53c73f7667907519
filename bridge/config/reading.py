"""Bytes of a file -> a tree of YAML values with their places.

Ideas:

* ruamel.yaml parses to events only; the tree is ours, so every key keeps its line and column, a duplicate key is one
  problem among others, and no tag can construct anything.
* Scalars are resolved by the core schema of YAML 1.2 (section 10.3.2): ``on``, ``yes`` and ``2027-01-01`` are text.
* Every dimension is bounded before it is walked: bytes, nodes, depth, and the size after aliases are expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from bridge.config.problem import ConfigErrors, Problem
from bridge.config.tree import Mapping, Mark, Node, Place, Scalar, Sequence, dotted

MAX_BYTES = 1024 * 1024  # several thousand grants; the pure parser needs about 6 s per MiB
MAX_DEPTH = 24  # the deepest key of the schema is at 7; an adapter's options may nest
MAX_NODES = 200_000  # after alias expansion: "billion laughs" ends here
MAX_NUMBER = 18  # digits; longer ones are text, and int() is never asked to read 10,000 digits

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # YAML 1.2.2, 5.1
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
_QUOTED = re.compile(r"'[^'<]{2,}'")  # the parser quotes file text of more than one character: it may be a secret
_PARSER_FAULTS = (YAMLError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError, AssertionError)


def read(path: Path) -> bytes:
    """The bytes of the file; ConfigErrors when it is missing, unreadable or larger than ``MAX_BYTES``."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or "not a usable file name"
        raise ConfigErrors([Problem(str(path), 1, 1, "", f"cannot be read: {cause}", "a readable file")]) from None
    if len(data) > MAX_BYTES:
        raise ConfigErrors([Problem(str(path), 1, 1, "", "is too large", f"at most {MAX_BYTES // 1024} KiB")])
    return data


def parse(data: bytes, file: str) -> tuple[Place, list[Problem]]:
    """The document's root and the problems found on the way. Raises ConfigErrors when there is no tree at all."""
    text = _decode(data, file)
    builder = _Builder(file)
    try:
        for event in _events(text):
            builder.take(event)
    except MarkedYAMLError as error:
        builder.problems.append(_syntax(error, file))
        raise ConfigErrors(builder.problems) from None
    except _PARSER_FAULTS:
        line = builder.mark.line
        builder.problems.append(Problem(file, line, 1, "", "is not YAML from about here on", "YAML 1.2"))
        raise ConfigErrors(builder.problems) from None
    root = builder.root or Mapping(Mark(1, 1))
    return Place((), root, root.mark), builder.problems


def _decode(data: bytes, file: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise ConfigErrors([Problem(file, line, column, "", "is not text", "UTF-8")]) from None
    bad = _UNPRINTABLE.search(text)
    if bad is not None:
        line, column = text.count("\n", 0, bad.start()) + 1, bad.start() - (text.rfind("\n", 0, bad.start()) + 1) + 1
        message = f"holds the control character U+{ord(bad.group()):04X}"
        raise ConfigErrors([Problem(file, line, column, "", message, "printable text")])
    return text


def _events(text: str) -> Iterator[Any]:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    yield from yaml.parse(text)


def _syntax(error: MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    words = str(error.problem or "not YAML").replace("\n", " ")
    if "'\\t'" in words:
        return Problem(file, line, column, "", "a tab cannot indent", "spaces")
    words = _QUOTED.sub("'…'", words)
    context = f" {_QUOTED.sub('…', str(error.context))}" if error.context else ""
    return Problem(file, line, column, "", f"is not YAML: {words}{context}", "YAML 1.2")


class _Open:
    """A collection whose end has not come yet; ``key`` is the mapping key that waits for its value."""

    __slots__ = ("anchor", "key", "key_mark", "node", "skip")

    def __init__(self, node: Mapping | Sequence, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: str | None = None
        self.key_mark = node.mark
        self.skip = False  # the key was a duplicate or no text: its value is read and dropped


class _Builder:
    """Takes the parser's events one by one. No recursion, so depth is a number and not a stack overflow."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.root: Node | None = None
        self.mark = Mark(1, 1)
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._documents = 0
        self._nodes = 0

    def take(self, event: Any) -> None:
        self.mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._fatal("a second document starts here", "one document")
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            self._start(event)
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            done = self._open.pop()
            self._complete(done.node, done.anchor)
        elif isinstance(event, ScalarEvent):
            self._scalar(event)
        elif isinstance(event, AliasEvent):
            self._alias(event)

    def _start(self, event: Any) -> None:
        self._no_tag(event, ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"))
        if len(self._open) >= MAX_DEPTH:
            self._fatal("is nested too deeply", f"at most {MAX_DEPTH} levels")
        node = Mapping(self.mark) if isinstance(event, MappingStartEvent) else Sequence(self.mark)
        self._open.append(_Open(node, event.anchor))

    def _scalar(self, event: Any) -> None:
        above = self._open[-1] if self._open else None
        if above is not None and isinstance(above.node, Mapping) and above.key is None and not above.skip:
            self._key(above, event)
            return
        quoted = event.style is not None or event.tag == "tag:yaml.org,2002:str"
        self._no_tag(event, ("tag:yaml.org,2002:str",))
        value = event.value if quoted else resolve(event.value)
        if isinstance(value, str) and _UNPRINTABLE.search(value):
            self._problem("holds an escaped control character", "printable text")
        self._complete(Scalar(self.mark, value), event.anchor)

    def _key(self, above: _Open, event: Any) -> None:
        """Keys are text as written: ``7:`` and ``null:`` are names too."""
        assert isinstance(above.node, Mapping)
        self._no_tag(event, ("tag:yaml.org,2002:str",))
        if event.anchor is not None:
            self._problem("an anchor on a key", "a plain key")
        above.key, above.key_mark = event.value, self.mark
        first = above.node.keys.get(event.value)
        if _UNPRINTABLE.search(event.value):
            self._problem("holds an escaped control character", "printable text")
            above.skip = True
        elif first is not None:
            self._problem(f"appears twice, first on line {first.line}", "each key once")
            above.skip = True

    def _alias(self, event: Any) -> None:
        target = self._anchors.get(event.anchor)
        if target is None:
            self._fatal("refers to an anchor that is not defined before", 'an anchor, or the text in quotes ("*…")')
        self._complete(target, None)

    def _complete(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        above = self._open[-1]
        above.node.weight += node.weight
        self._nodes += 1
        if max(self._nodes, above.node.weight) > MAX_NODES:
            self._fatal("holds too many values", f"at most {MAX_NODES} with aliases expanded")
        if isinstance(above.node, Sequence):
            above.node.items.append(node)
            return
        if above.key is None and not above.skip:  # "? [a, b]" or "*alias :": the value that follows is dropped
            self._problem("a list or mapping as a key", "text")
            above.skip = True
            return
        if not above.skip and above.key is not None:
            above.node.entries[above.key] = node
            above.node.keys[above.key] = above.key_mark
        above.key, above.skip = None, False

    def _no_tag(self, event: Any, allowed: tuple[str, ...]) -> None:
        if event.tag is not None and event.tag not in ("!", *allowed):
            self._problem("a YAML tag", 'plain YAML without tags; text that starts with "!" in quotes')

    def _path(self) -> str:
        steps: list[str | int] = []
        for above in self._open:
            if isinstance(above.node, Sequence):
                steps.append(len(above.node.items))
            elif above.key is not None:
                steps.append(above.key)
        return dotted(tuple(steps))

    def _problem(self, message: str, expected: str) -> None:
        self.problems.append(Problem(self.file, self.mark.line, self.mark.column, self._path(), message, expected))

    def _fatal(self, message: str, expected: str) -> NoReturn:
        self._problem(message, expected)
        raise ConfigErrors(self.problems)


def resolve(text: str) -> str | int | float | bool | None:
    """An unquoted scalar by the core schema (YAML 1.2.2, 10.3.2); what cannot be a sane number stays text."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > MAX_NUMBER or not (text[0].isdigit() or text[0] in "+-."):
        return text
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if abs(number) < float("inf") else text
    return text
