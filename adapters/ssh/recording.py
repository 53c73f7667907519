"""What a terminal showed, as asciicast v2: a header, then ``[seconds, "o" or "r", text]``, a line each.

Only output is recorded: what is typed but not shown (passwords) stays out. Text is UTF-8; bytes that are none are shown
as the replacement character.
"""

from __future__ import annotations

import codecs
import json
import time
from collections.abc import Callable

from adapters.ssh.codec import Terminal
from bridge.adapter import Recording

DEFAULT_SIZE = (80, 24)  # for the player, where the client says 0x0


class Screen:
    def __init__(
        self,
        recording: Recording,
        terminal: Terminal,
        title: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._recording = recording
        self._clock = clock
        self._began = clock()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        width, height = terminal.columns or DEFAULT_SIZE[0], terminal.rows or DEFAULT_SIZE[1]
        self._line({"version": 2, "width": width, "height": height, "timestamp": int(now()), "title": title,
                    "env": {"TERM": terminal.term}})  # fmt: skip

    def show(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        if text:
            self._event("o", text)

    def resize(self, columns: int, rows: int) -> None:
        self._event("r", f"{columns}x{rows}")

    def close(self) -> None:
        rest = self._decoder.decode(b"", final=True)
        if rest:
            self._event("o", rest)
        self._recording.close()

    def _event(self, kind: str, text: str) -> None:
        self._line([round(self._clock() - self._began, 6), kind, text])

    def _line(self, value: object) -> None:
        self._recording.write(json.dumps(value) + "\n")
