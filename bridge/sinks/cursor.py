"""How far a sink is: one small file for each, replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bridge.adapter import BridgeError
from bridge.storage import replace_private


class CursorUnreadable(BridgeError):
    """The file is damaged. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Sequence numbers: all up to ``delivered`` was taken; a batch up to ``sending`` is on its way (0: none is).

    ``digest`` is the SHA-256 (hex) of event ``delivered``, "" before the first.
    """

    delivered: int = 0
    digest: str = ""
    sending: int = 0


class CursorFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    def in_thread_load(self) -> Cursor | None:
        """None when the sink is new. Raises CursorUnreadable, OSError."""
        try:
            found = json.loads(self._path.read_bytes())
            cursor = Cursor(found["delivered"], found["digest"], found["sending"])
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError):
            raise CursorUnreadable(self._words()) from None
        if not (isinstance(cursor.digest, str) and all(type(one) is int for one in (cursor.delivered, cursor.sending))):
            raise CursorUnreadable(self._words())
        return cursor

    def _words(self) -> str:
        name = self._path.stem
        return f"{self._path}: cannot be read; say where to go on with `idbridge log resend {name} --from SEQ`"

    def in_thread_save(self, cursor: Cursor) -> None:
        """Durable on return. Raises OSError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_private(self._path, json.dumps(asdict(cursor)).encode())
