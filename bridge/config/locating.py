"""Where a running bridge listens for commands, however wrong the rest of its file is.

Somebody's typing error must not stand between an operator and a revocation.
"""

from __future__ import annotations

from pathlib import Path

from bridge.config import reading
from bridge.config.problem import ConfigErrors
from bridge.config.sections import Admin, Bridge


def admin_socket(path: Path) -> Path | None:
    """``bridge.state`` / ``admin.socket`` of the file; None when not even these can be read."""
    try:
        root, _ = reading.parse(reading.read(path), str(path))
    except ConfigErrors:
        return None
    state, name = root.get("bridge", "state"), root.get("admin", "socket")
    below = (state.text if state else None) or str(Bridge.model_fields["state"].default)
    socket = (name.text if name else None) or str(Admin.model_fields["socket"].default)
    return path.absolute().parent / below / socket
