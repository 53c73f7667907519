"""All sinks of a bridge: they hear together what is new, and follow the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bridge.rounds import Rounds
from bridge.sinks.delivery import STOP_GRACE, Delivery
from bridge.sinks.source import Source
from bridge.storage import PoolFull, PoolStopped, StorageError, ThreadPool

LOOK_INTERVAL = 1.0
"""Seconds between looks at the log: one cheap question, and what comes within it goes as one batch."""


class Sinks:
    """``pool`` is for reading the log and keeping the cursors."""

    log = Logger()

    def __init__(self, source: Source, pool: ThreadPool, clock: Any) -> None:
        self._source = source
        self._pool = pool
        self._deliveries: dict[str, Delivery] = {}
        self._settings: dict[str, object] = {}
        self._looking = Rounds(self._look, LOOK_INTERVAL, clock, self._look_ended)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self._deliveries.values())

    async def take(self, wanted: Mapping[str, object], make: Callable[[str], Delivery]) -> None:
        """Lets run what is ``wanted``, by name and settings: ends what is not, or no longer so; ``make`` makes what is
        new or has changed."""
        for name in [name for name in self._deliveries if self._settings[name] != wanted.get(name)]:
            await self._deliveries.pop(name).stop()
        for name in wanted.keys() - self._deliveries.keys():
            self._deliveries[name] = make(name)
            self._deliveries[name].start()
        self._settings = dict(wanted)
        if self._deliveries:
            self._looking.start(now=True)

    async def stop(self) -> None:
        """Tries to send what the log has by now; then nothing more is sent."""
        self._looking.stop()
        try:
            if self._deliveries:
                await self._look()
        finally:
            stopping = [Deferred.fromCoroutine(one.stop(STOP_GRACE)) for one in self._deliveries.values()]
            for one in stopping:
                await one

    async def resend(self, name: str, first: int) -> None:
        """Sends everything from sequence number ``first`` on (again). Raises KeyError, LogExchanged, StorageError,
        OSError."""
        await self._deliveries[name].rewind(first)

    async def _look(self) -> None:
        positions = {one: one.taken for one in self._deliveries.values()}
        try:
            latest, following = await self._pool.run(self._source.in_thread_look, tuple(positions.values()))
        except (StorageError, PoolFull, PoolStopped) as error:
            self.log.warn("the sinks cannot look at the log: {cause}", cause=str(error))
            return
        for one, delivered in positions.items():
            one.news(latest, following.get(delivered, 0) / 1000)

    def _look_ended(self, failure: Any) -> None:
        self.log.failure("the sinks do not look at the log any more", failure)

    def withheld(self) -> str:
        """Why nobody may be admitted: a required sink is too far behind. "" otherwise."""
        late = [f"{one.name} ({int(one.age)} s behind)" for one in self._deliveries.values() if one.withholds]
        return f"a copy of the log is required and late: {', '.join(late)}" if late else ""

    def rows(self) -> dict[str, dict[str, Any]]:
        return {name: one.row() for name, one in self._deliveries.items()}
