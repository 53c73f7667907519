"""Starting a module of ours as a process of its own, which knows nothing of the environment that we have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def start_module(module: ModuleType, **streams: Any) -> subprocess.Popen[bytes]:
    """``python -m`` of ``module``; ``streams`` are Popen's. Raises OSError.

    It gets the module search path and nothing else: our environment may hold secrets (``env:`` references). Signals to
    our terminal's processes do not reach it.
    """
    root = Path(str(module.__file__)).parents[module.__name__.count(".")]
    return subprocess.Popen(
        [sys.executable, "-s", "-B", "-m", module.__name__],
        env={"PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)]), "LC_ALL": "C.UTF-8"},
        cwd="/",
        start_new_session=True,
        **streams,
    )
