"""The process that appends to the log (see ``appender_process``), run with its channel as standard input.

The first request has the database's path, the state directory and the log's origin, and is answered by the last
sequence number. Each answer: result, fault ("", "storage" or "defect"), its text, seconds until a checkpoint is due (or
None), why none are signed any more. It ends when the bridge has closed the channel, however that came.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from bridge.storage import KeyRefused, StorageError, open_engine, reading
from bridge.translation.appender import FAULTS, OwnAppender, words_of
from bridge.translation.appender_channel import Channel
from bridge.translation.checkpoints import Checkpoints, load_signer
from bridge.translation.extent import last_seq
from bridge.translation.note import NoteRefused

YOUNG_OBJECTS = 50_000
"""New containers between looks for cyclic garbage: those of several commits."""

_FIND = "SELECT seq FROM event WHERE seq > ? AND json_extract(body, '$.id') = ?"


def serve(channel: Channel) -> None:
    """Raises EOFError when the bridge has closed the channel, OSError."""
    opened: list[tuple[Engine, OwnAppender]] = []

    def open(database: str, state: str, origin: str) -> int:
        engine = open_engine(database, kind="translation")
        try:
            signer = load_signer(Path(state), engine, origin)
        except (KeyRefused, NoteRefused) as problem:
            raise StorageError(str(problem)) from None
        opened.append((engine, OwnAppender(engine, Checkpoints(signer))))
        with reading(engine) as connection:
            return last_seq(connection)

    channel.write((*_answered(partial(open, *channel.read())), None, ""))
    if not opened:
        return
    engine, appender = opened[0]
    calls: dict[str, Callable[..., Any]] = {
        "append": appender.append,
        "find": partial(_find, engine),
        "seal": appender.seal,
    }
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    while True:
        name, *arguments = channel.read()
        channel.write((*_answered(partial(calls[name], *arguments)), appender.wait, appender.refused))


def _find(engine: Engine, id: str, after: int) -> int | None:
    """The sequence number of an event of this id, behind ``after``."""
    with reading(engine) as connection:
        found: int | None = connection.exec_driver_sql(_FIND, (after, id)).scalar()
    return found


def _answered(call: Callable[[], Any]) -> tuple[Any, str, str]:
    try:
        return call(), "", ""
    except FAULTS as error:
        return None, "storage", words_of(error)
    except Exception as error:  # a value that cannot become a row; its text is not told
        return None, "defect", type(error).__name__


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the bridge hears them, and has last words for the log
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    try:
        serve(Channel(socket.socket(fileno=0)))
    except (EOFError, OSError):
        return


if __name__ == "__main__":
    main()
