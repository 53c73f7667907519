"""Two bridges on one state directory: the second must not touch the first one's log."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.daemon.opening import StateUnusable, own_state


def config(state: Path) -> Any:
    return SimpleNamespace(bridge=SimpleNamespace(state=state))


def test_a_second_bridge_on_the_same_state_does_not_start(tmp_path: Path) -> None:
    first = own_state(config(tmp_path / "state"))
    with pytest.raises(StateUnusable, match="another bridge runs"):
        own_state(config(tmp_path / "state"))
    os.close(first)
    os.close(own_state(config(tmp_path / "state")))
    assert (tmp_path / "state" / "bridge.lock").stat().st_mode & 0o777 == 0o600


def test_a_start_waits_for_the_last_commit_of_one_that_was_killed(tmp_path: Path) -> None:
    first = own_state(config(tmp_path))
    ending = threading.Timer(0.2, os.close, [first])
    ending.start()
    os.close(own_state(config(tmp_path), 10.0))
    ending.join()


def test_the_lock_is_no_way_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "bridge.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateUnusable):
        own_state(config(tmp_path))
