"""The README names every command there is, and none that there is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from bridge.cli import main

README = Path(__file__).parents[2] / "README.md"


def commands(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name)


def documented() -> Iterator[tuple[str, ...]]:
    """In ``| `idbridge agent create` · `list` |`` the second name stands for ``agent list``."""
    for line in README.read_text().splitlines():
        if not line.startswith("| `idbridge "):
            continue
        group: list[str] = []
        for span in re.findall(r"`([^`]+)`", line.split("|")[1]):
            words = span.split()
            if words[0] == "idbridge":
                words = words[1:]
                group = words[:-1]
                yield tuple(words)
            else:
                yield (*group, *words)


def test_the_readme_names_every_command_and_no_other() -> None:
    there = set(commands(main))
    assert ("agent", "create") in there
    assert set(documented()) == there
