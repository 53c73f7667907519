"""A YAML document as values that know their line and column, and places in it that know their path."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str | int, ...]
_PLAIN_KEY = re.compile(r"[\w+@/-][\w.+@/-]{0,127}")


@dataclass(frozen=True, slots=True)
class Mark:
    """Counted from 1, as editors do."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    mark: Mark
    value: str | int | float | bool | None
    weight: int = 1


@dataclass(slots=True, eq=False)
class Sequence:
    mark: Mark
    items: list[Node] = field(default_factory=list)
    weight: int = 1


@dataclass(slots=True, eq=False)
class Mapping:
    """``keys`` holds where each key stands; ``weight`` counts all nodes below, aliases expanded."""

    mark: Mark
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Mark] = field(default_factory=dict)
    weight: int = 1


Node = Scalar | Sequence | Mapping


def plain(node: Node) -> Any:
    """The node as dicts, lists and scalars. Safe to recurse: depth and weight were bounded when it was read."""
    if isinstance(node, Mapping):
        return {key: plain(value) for key, value in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return node.value


def dotted(path: Path) -> str:
    """``systems.warehouse.listen``, ``grants[2].actions[0]``; a key that is not a plain name stands in quotes."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in path).removeprefix(".")


def _key(name: str) -> str:
    return name if _PLAIN_KEY.fullmatch(name) else json.dumps(name[:60])


@dataclass(frozen=True, slots=True)
class Place:
    """A node, the path that led to it and where its key stands (for an element: where it starts itself)."""

    path: Path
    node: Node
    key: Mark

    @property
    def value(self) -> Mark:
        return self.node.mark

    @property
    def text(self) -> str | None:
        """The scalar as text; None for anything else."""
        return self.node.value if isinstance(self.node, Scalar) and isinstance(self.node.value, str) else None

    def get(self, *steps: str | int) -> Place | None:
        """The place ``steps`` below, or None when there is none."""
        place: Place | None = self
        for step in steps:
            place = place._step(step) if place is not None else None
        return place

    def deepest(self, steps: Path) -> tuple[Place, Path]:
        """As far down ``steps`` as the file goes, and the steps that are left."""
        place = self
        for taken, step in enumerate(steps):
            below = place._step(step)
            if below is None:
                return place, steps[taken:]
            place = below
        return place, ()

    def _step(self, step: str | int) -> Place | None:
        node = self.node
        if isinstance(node, Mapping) and isinstance(step, str) and step in node.entries:
            return Place((*self.path, step), node.entries[step], node.keys[step])
        if isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.items):
            return Place((*self.path, step), node.items[step], node.items[step].mark)
        return None

    def members(self) -> Iterator[tuple[str, Place]]:
        """The entries of a mapping; nothing for any other node."""
        if isinstance(self.node, Mapping):
            for name, node in self.node.entries.items():
                yield name, Place((*self.path, name), node, self.node.keys[name])

    def elements(self) -> Iterator[Place]:
        """The items of a sequence; nothing for any other node."""
        if isinstance(self.node, Sequence):
            for index, node in enumerate(self.node.items):
                yield Place((*self.path, index), node, node.mark)

    def under(self, name: str) -> Iterator[tuple[str, Place]]:
        """The entries of the mapping ``name`` below this place."""
        below = self.get(name)
        return below.members() if below is not None else iter(())

    def texts(self, name: str) -> Iterator[tuple[str, Place]]:
        """The texts below key ``name``, whether one text or a list of them stands there."""
        below = self.get(name)
        for place in () if below is None else (below, *below.elements()):
            if place.text is not None:
                yield place.text, place


def nearest(word: str, known: Iterable[str]) -> str:
    """`` (did you mean "x"?)`` when one of ``known`` is close to ``word``, else an empty text."""
    close = difflib.get_close_matches(word[:80], list(known), n=1, cutoff=0.6)
    return f' (did you mean "{close[0]}"?)' if close else ""
