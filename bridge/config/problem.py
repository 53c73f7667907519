"""What is wrong with a configuration file, in the form an editor can jump to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bridge.adapter import BridgeError

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. ``line`` and ``column`` count from 1; ``key`` is dotted (``systems.warehouse.listen``).

    ``message`` says what is wrong and ``expected`` what should stand there. Neither holds a value from the file that
    could be a secret: only names and keys are quoted.
    """

    file: str
    line: int
    column: int
    key: str
    message: str
    expected: str = ""
    level: Level = "error"

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        what = f"{self.key}: {self.message}" if self.key else self.message
        warning = "warning: " if self.level == "warning" else ""
        return where + warning + what + (f", expected {self.expected}" if self.expected else "")


class ConfigErrors(BridgeError):
    """The configuration file cannot be used; nothing of it was taken over.

    ``problems`` are the errors and ``warnings`` the rest, both in the order of the file.
    """

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(str(problem) for problem in self.problems))
