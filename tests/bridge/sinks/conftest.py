"""A real log of many events, a sink on a clock that is turned by hand, and a destination that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bridge.sinks import Batch, Delivery, DeliveryFailed, Settings, Source
from bridge.sinks.cursor import CursorFile
from bridge.storage import open_engine, upgrade
from bridge.translation import Event, in_thread_append
from bridge.translation.formats import LINES


class AtOnce:
    """A thread pool whose jobs are done when they are given."""

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        try:
            done.callback(function(*args))
        except Exception as error:
            done.errback(error)
        return done


class Taker:
    """Takes batches, unless ``refusing``; ``hang``: neither yes nor no."""

    def __init__(self) -> None:
        self.taken: list[Batch] = []
        self.asked: list[tuple[int, int]] = []
        self.refusing: Callable[[], Exception] | None = None
        self.hang = False

    async def deliver(self, batch: Batch) -> None:
        self.asked.append((batch.first, batch.last))
        if self.hang:
            await Deferred()
        if self.refusing is not None:
            raise self.refusing()
        self.taken.append(batch)

    @property
    def seqs(self) -> list[int]:
        return [seq for batch in self.taken for seq in range(batch.first, batch.last + 1)]


class Rig:
    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.clock = Clock()
        self.taker = Taker()
        self.source = Source(engine, "b")
        self.told: list[bool] = []
        self.now = 1_795_615_909.0

    def append(self, count: int, text: str = "x") -> None:
        events = [Event("alarm", outcome="failure", reason="test", sections={"detail": f'{{"text":"{text}"}}'})] * count
        in_thread_append(self.engine, "b", events)

    def delivery(self, **settings: Any) -> Delivery:
        return Delivery(
            "siem", Settings(**settings), LINES["jsonl"], self.taker, self.source,
            CursorFile(self.folder / "siem.json"), AtOnce(), self.clock,  # type: ignore[arg-type]
            lambda: self.now + self.clock.seconds(), lambda _, works: self.told.append(works),
        )  # fmt: skip

    def look(self, delivery: Delivery) -> None:
        delivered = delivery.taken
        latest, following = self.source.in_thread_look((delivered,))
        delivery.news(latest, following.get(delivered, 0) / 1000)

    def pass_time(self, delivery: Delivery, seconds: int, step: int = 1) -> None:
        for _ in range(seconds // step):
            self.clock.advance(step)
            self.look(delivery)

    def refuse(self, text: str = "status 500", retry_after: float = 0.0) -> None:
        self.taker.refusing = lambda: DeliveryFailed(text, retry_after)


def opened(path: Path) -> Engine:
    engine = open_engine(path, kind="translation")
    upgrade(engine, "translation")
    return engine


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    engine = opened(tmp_path / "translation.db")
    yield Rig(engine, tmp_path / "sinks")
    engine.dispose()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Rig]:
    """Another log, in the place of that of ``rig``."""
    engine = opened(tmp_path / "other.db")
    yield Rig(engine, tmp_path / "sinks")
    engine.dispose()
