"""How an admin command fails. Apart, so that the command line need not load what commands work on."""

from __future__ import annotations

from bridge.adapter import BridgeError


class CommandFailed(BridgeError):
    """The person who gave the command must hear this. ``field`` names the parameter it is about, if any.

    ``status`` is the HTTP status: 400 bad input, 404 no such thing, 409 not in this state, 503 not now.
    """

    def __init__(self, text: str, *, status: int = 400, field: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.field = field
