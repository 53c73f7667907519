"""What the cross checks share: the file's places on one side, a growing list of problems on the other."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic_core import PydanticCustomError

from bridge.config.problem import Level, Problem
from bridge.config.tree import Place, dotted, nearest
from bridge.config.values import moment


class Findings:
    """Cross checks look at the file as written, so that they find what they can even when other parts are wrong."""

    def __init__(self, root: Place, file: str, now: float) -> None:
        self.root = root
        self.file = file
        self.now = datetime.fromtimestamp(now, UTC)
        self.problems: list[Problem] = []

    def names(self, section: str) -> set[str]:
        return {name for name, _ in self.root.under(section)}

    def error(self, place: Place, message: str, expected: str = "", *, on_key: bool = False, below: str = "") -> None:
        self._add("error", place, message, expected, on_key=on_key, below=below)

    def warning(self, place: Place, message: str, expected: str = "", *, on_key: bool = False) -> None:
        self._add("warning", place, message, expected, on_key=on_key)

    def missing(self, place: Place | None, file: Path | None) -> None:
        """A warning when ``place`` names a file that is not there: it may be put there between check and start."""
        if place is not None and file is not None and not _there(file):
            self.warning(place, "there is no such file", "a file that can be read")

    def declared(self, about: Place, key: str, section: str, what: str) -> None:
        """What ``about`` names under ``key`` has to stand in ``section``."""
        known = self.names(section)
        for name, place in about.texts(key):
            if name not in known:
                self.unknown(place, what, known)

    def fits(self, about: Place, what: str, needed: Iterable[str], foreign: Iterable[str], expected: str) -> None:
        """``about`` is ``what``: it has the keys that one needs (``expected``), and none that only others have."""
        for key in needed:
            if about.get(key) is None:
                self.error(about, "is missing", expected, on_key=True, below=key)
        for key in foreign:
            if (place := about.get(key)) is not None:
                self.error(place, f"does not belong to {what}", "no such key here", on_key=True)

    def unknown(self, place: Place, what: str, known: Iterable[str]) -> None:
        """``place`` names something that does not exist."""
        names = sorted(known)
        listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        text = place.text or ""
        self.error(place, f'no {what} "{text[:80]}"{nearest(text, names)}', listed or f"no {what} is declared")

    def _add(
        self, level: Level, place: Place, message: str, expected: str, *, on_key: bool = False, below: str = ""
    ) -> None:
        mark = place.key if on_key else place.value
        key = dotted((*place.path, below) if below else place.path)
        self.problems.append(Problem(self.file, mark.line, mark.column, key, message, expected, level))

    def expiry(self, place: Place, what: str, longest: timedelta | None = None) -> None:
        """A past ``expires`` is a warning; one further away than ``longest`` an error."""
        expires = place.get("expires")
        try:
            when = moment(expires.text) if expires is not None else None
        except PydanticCustomError:
            return
        if expires is None or when is None:
            return
        if when <= self.now:
            self.warning(expires, f"the {what} has expired", "a date in the future")
        elif longest is not None and when > self.now + longest:
            self.error(expires, "is too far away", f"at most {longest.days} days from now")


def _there(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # too long a name, or a folder that may not be entered
        return False
