"""The composition root: configuration -> objects -> a running service. The only package that takes the reactor.

* ``conversion``: what the configuration says, in the words of the packages below.
* ``bridge``: the running bridge: what is shared, one listener per address, reload, drain.
* ``live``: the running bridge as admin commands see it, from their threads.
* ``opening``: admin commands from the command line, by the socket of a running bridge or without one.
* ``observing``: the daemon's own log, one JSON object a line, with tokens taken out.
"""

from __future__ import annotations

from pathlib import Path


def run(config_path: Path, *, log_format: str = "json") -> int:
    """Runs the daemon in the foreground until SIGTERM or SIGINT; the process's exit status."""
    from bridge.daemon.running import run_forever

    return run_forever(config_path, log_format=log_format)
