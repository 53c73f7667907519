"""What the log keeps of a request, made whole again before it is decided again."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from bridge.daemon.comparing import _target
from bridge.translation.past import Question


class Tree:
    """Spells a name out: it and all above it."""

    operation_targets: ClassVar[frozenset[str]] = frozenset({"base", "attribute"})

    @staticmethod
    def names(fact: str, value: str) -> tuple[str, ...]:
        if fact != "base":
            return (value,)
        if "," not in value:
            raise ValueError("expected more")
        return value, value.split(",", 1)[1]


class Shell:
    operation_targets: ClassVar[frozenset[str]] = frozenset({"command", "path"})


class Configured:
    class _System:
        def __init__(self, protocol: str) -> None:
            self.protocol = protocol

    systems: ClassVar[dict[str, Any]] = {"tree": _System("tree"), "host": _System("shell")}


def question(system: str, action: str, **target: str) -> Question:
    return Question(0.0, "bot", "", (), "", "", False, system, "svc", action, tuple(target.items()), "", True)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (question("host", "write", command="ls"), {"command": "ls", "path": ""}),
        (question("host", "", host="web-1"), {"host": "web-1"}),
        (question("tree", "read", base="cn=a,dc=x"), {"base": ("cn=a,dc=x", "dc=x")}),
        (question("tree", "admin"), {"base": "", "attribute": ""}),
        (question("tree", "read", base="odd"), {"base": "odd"}),
        (question("gone", "read", base="odd"), {"base": "odd"}),
    ],
)
def test_a_target_is_what_the_operation_had(asked: Question, expected: dict[str, Any]) -> None:
    adapters: Any = {"tree": Tree, "shell": Shell}
    configured: Any = Configured()
    assert _target(asked, configured, adapters) == expected
