"""The files that the old scp protocol moves (`scp -O`), read on their way, for the log.

A sender says ``C0644 size name`` and then the bytes and a zero, ``D0755 0 name`` and ``E`` around a folder, ``T…`` for
times, and begins words of warning with 1 or 2. Nothing is held or changed: what is not understood is not named.
"""

from __future__ import annotations

MOST_NAMES = 20
MOST_FOLDERS = 256  # inside of each other
LONGEST_LINE = 4096


class Files:
    """``seen`` takes the data of the sender's direction, cut anywhere."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._count = 0
        self._folders: list[str] = []
        self._left = 0  # of a file's bytes and the zero behind them
        self._line = b""
        self._lost = False

    def seen(self, payload: bytes, at: int) -> None:
        """``payload`` from ``at`` on."""
        while at < len(payload) and not self._lost:
            if self._left:
                step = min(self._left, len(payload) - at)
                self._left -= step
                at += step
                continue
            end = payload.find(b"\n", at)
            self._line += payload[at : end if end >= 0 else len(payload)]
            if len(self._line) > LONGEST_LINE:
                self._lost = True
            elif end >= 0:
                line, self._line = self._line, b""
                self._said(line)
            at = end + 1 if end >= 0 else len(payload)

    def _said(self, line: bytes) -> None:
        kind, words = line[:1], line[1:].split(b" ", 2)
        if kind in (b"C", b"D") and len(words) == 3 and words[1].isdigit():
            name = words[2].decode("utf-8", "backslashreplace")
            if kind == b"D":
                self._folders.append(name)
                self._lost = len(self._folders) > MOST_FOLDERS
            else:
                self._left = int(words[1]) + 1
                self._named("/".join((*self._folders, name)), int(words[1]))
        elif kind == b"E":
            self._lost = not self._folders
            self._folders = self._folders[:-1]
        elif kind not in (b"T", b"\1", b"\2"):
            self._lost = True

    def _named(self, name: str, size: int) -> None:
        self._count += 1
        if self._count <= MOST_NAMES:
            self._names.append(f"{name[:200]} ({size} bytes)")

    @property
    def told(self) -> str:
        more = [f"{self._count - MOST_NAMES} more"] if self._count > MOST_NAMES else []
        lost = ["the rest was not understood"] if self._lost else []
        return ", ".join(self._names + more + lost)
