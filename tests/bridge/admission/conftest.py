"""A stage with the real core, and clients at its door."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - tests own the process
from twisted.internet.defer import Deferred

from bridge.testing.stage import Stage

Open = Callable[..., Coroutine[Any, Any, Stage]]


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Open]:
    """Opens a stage with the given changes; closes it after the test."""
    opened: list[Stage] = []

    async def open_stage(**changes: Any) -> Stage:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(await Stage.open(folder, reactor, **changes))
        return opened[-1]

    yield open_stage
    for stage in opened:
        pytest_twisted.blockon(Deferred.fromCoroutine(stage.close()))


@pytest.fixture
def stage(staged: Open) -> Stage:
    opened: Stage = pytest_twisted.blockon(Deferred.fromCoroutine(staged()))
    return opened
