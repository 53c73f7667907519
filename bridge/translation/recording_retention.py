"""Which recordings are older, or together larger, than they may be. All in a thread."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bridge.translation.recordings import SUFFIX


@dataclass(frozen=True, slots=True)
class Retention:
    """``age`` is seconds since the last word of a recording, ``size`` bytes of all of them; None: no limit."""

    age: float | None = None
    size: int | None = None

    def __bool__(self) -> bool:
        return self.age is not None or self.size is not None


@dataclass(frozen=True, slots=True)
class Overdue:
    """A recording that is to go. ``because`` is ``age`` or ``size``."""

    path: Path
    bytes: int
    because: str


def in_thread_overdue(folder: Path, retention: Retention, *, now: float, open_files: Collection[str]) -> list[Overdue]:
    """Oldest first. Those that are being written stay, and count for the size. Raises OSError."""
    found = sorted((path.stat().st_mtime, path.name, path) for path in folder.glob(f"*{SUFFIX}"))
    sizes = {path: path.stat().st_size for _, _, path in found}
    left = sum(sizes.values())
    overdue = []
    for last, name, path in found:
        old = retention.age is not None and now - last > retention.age
        large = retention.size is not None and left > retention.size
        if (old or large) and name not in open_files:
            left -= sizes[path]
            overdue.append(Overdue(path, sizes[path], "age" if old else "size"))
    return overdue


def in_thread_remove(overdue: list[Overdue]) -> None:
    """Raises OSError."""
    for one in overdue:
        one.path.unlink(missing_ok=True)
