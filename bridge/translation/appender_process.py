"""Appending in a process of its own: composing, hashing and SQLite take a third of what a statement costs, and would
take turns for the interpreter with the reactor, which has the rest.

Ideas:

* One request at a time, from the writer's thread, which waits for the answer. What is refused there is refused here.
* A child that died, or does not answer, is replaced, and the new one first looks whether its events are in the log:
  then they are not written twice. When that cannot be found out, the writer ends, and the log takes nothing more
  (fail closed); the next start of the bridge ends what was open.
* The child holds the lock of the state directory as well: no other bridge starts before it has ended.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.adapter.own_process import start_module
from bridge.storage import StorageError, StorageUnreachable
from bridge.translation import appender_child
from bridge.translation.alike import Group
from bridge.translation.appender_channel import Channel
from bridge.translation.composing import Plain

ANSWER_LIMIT = 60.0
"""Seconds for one commit. A disk that is slower than that is not kept up with anyhow."""

END_LIMIT = 5.0
"""Seconds in which a child that was told to end, or killed, is gone."""

PAUSES = (0.0, 0.5, 2.0, 8.0)
"""Seconds before each attempt at a commit: memory that is too short for a new child may be free again."""

_NO_CHILD = "the process that appends to it ends, or cannot be started; see the system's log, is memory short?"


class AppenderLost(Exception):
    """It cannot be found out whether the last commit was made."""


class AppenderProcess:
    """Implements ``Appender``. ``state`` has the log's key; ``inherited`` are descriptors that the child keeps open."""

    def __init__(self, database: Path, state: Path, origin: str, inherited: Sequence[int] = ()) -> None:
        self.refused = ""
        self._settings = (str(database.absolute()), str(state.absolute()), origin)
        self._inherited = tuple(inherited)
        self._child: _Child | None = None
        self._lost: _Child | None = None  # may still be at its last commit
        self._last = 0
        self._due: float | None = None

    @property
    def wait(self) -> float | None:
        return None if self._due is None else max(0.0, self._due - time.monotonic())

    @property
    def pid(self) -> int:
        """Of the child; 0 while there is none."""
        return self._child.pid if self._child else 0

    def start(self) -> None:
        """Begins to start the child, which takes some tenths of a second; the first request waits for it. By then the
        database must have the schema of this release. Raises OSError."""
        self._child = _Child(self._inherited)

    def append(self, log: str, plains: Sequence[Plain]) -> tuple[int, list[Group]]:
        """Raises StorageError, AppenderLost."""
        doubt: int | None = None  # the last event that was known before a commit of which no answer came
        for pause in PAUSES:
            time.sleep(pause)
            try:
                self._open()
                there = None if doubt is None else self._ask("find", plains[0][2], doubt)
            except _ChildLost:
                continue
            except StorageError:
                if doubt is None:
                    raise
                continue
            before = self._last if doubt is None else doubt
            try:
                first, groups = self._ask("append", log, plains) if there is None else (there, [])
            except _ChildLost:
                doubt = before
                continue
            self._last = first + len(plains) - 1
            return first, groups
        raise AppenderLost(_NO_CHILD) if doubt is not None else StorageUnreachable(f"{self._settings[0]}: {_NO_CHILD}")

    def seal(self) -> None:
        """Raises StorageError."""
        with contextlib.suppress(_ChildLost):  # the next child does it
            self._open()
            self._ask("seal")

    def close(self) -> None:
        """The child hears that nothing more comes, and ends."""
        for child in filter(None, (self._child, self._lost)):
            child.close(END_LIMIT)
        self._child = self._lost = None

    def _open(self) -> None:
        if self._lost is not None:
            if not self._lost.is_gone():
                raise _ChildLost
            self._lost = None
        if self._child is not None and self._child.has_ended():  # between two requests: nothing is in doubt
            self._child.close(0.0)
            self._child = None
        try:
            if self._child is None:
                self.start()
        except OSError:
            raise _ChildLost from None
        assert self._child is not None
        if not self._child.opened:
            try:
                self._last = self._ask(*self._settings)
            except StorageError:
                self._lose()
                raise
            self._child.opened = True

    def _ask(self, *request: Any) -> Any:
        assert self._child is not None
        try:
            result, fault, text, wait, self.refused = self._child.ask(request)
        except (OSError, EOFError):
            self._lose()
            raise _ChildLost from None
        self._due = None if wait is None else time.monotonic() + wait
        if fault:
            raise StorageError(text) if fault == "storage" else ValueError(text)
        return result

    def _lose(self) -> None:
        self._lost, self._child = self._child, None


class _ChildLost(Exception):
    pass


class _Child:
    def __init__(self, inherited: tuple[int, ...]) -> None:
        self.opened = False
        here, there = socket.socketpair()
        try:
            with there:
                self._process = start_module(
                    appender_child, stdin=there.fileno(), stdout=subprocess.DEVNULL, pass_fds=inherited
                )
        except OSError:
            here.close()
            raise
        here.settimeout(ANSWER_LIMIT)
        self._channel = Channel(here)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: Any) -> Any:
        """Raises OSError, EOFError."""
        self._channel.write(request)
        return self._channel.read()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def is_gone(self) -> bool:
        """Of a child that is not to be asked any more: after it was killed."""
        self.close(0.0)
        return self._process.returncode is not None

    def close(self, limit: float) -> None:
        """Kills it when it does not end by itself within ``limit`` seconds."""
        self._channel.close()
        for seconds in (limit, END_LIMIT):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                return
            self._process.kill()
