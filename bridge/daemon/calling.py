"""Admin commands as the command line gives them: to the running bridge, or here when none is running.

Light to import, because most commands only need the socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.api.client import NotRunning, call_socket
from bridge.config import Config, admin_socket, load
from bridge.discovery import find_adapters


def load_config(path: Path) -> Config:
    """Raises ConfigErrors, BrokenAdapter."""
    return load(path, find_adapters())


def call(config_path: Path, name: str, parameters: Mapping[str, Any]) -> Any:
    """The command's answer. Raises BridgeError."""
    socket = admin_socket(config_path)
    if socket is not None:
        try:
            return call_socket(socket, name, parameters)
        except NotRunning:
            pass  # then here, which needs the whole file
    config = load_config(config_path)
    from bridge.daemon.opening import call_here

    return call_here(config, name, parameters)
