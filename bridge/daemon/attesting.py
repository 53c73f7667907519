"""Showing each new checkpoint to others, who remember it: witnesses, a time-stamping authority, a write-once folder.

Every sink goes at its own pace: the newest checkpoint that it does not have, then a pause, a growing one after a
failure. Nothing here holds up the log; what is not attested for too long is an alarm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from bridge.config import Log
from bridge.https import Fetcher, FetchFailed, https_agent
from bridge.rounds import Rounds
from bridge.storage import PoolStopped, StorageError, ThreadPool
from bridge.translation import attestations
from bridge.translation.attestations import Due, HistoryLost
from bridge.translation.checkpoints import Signed
from bridge.translation.facts import detail_section
from bridge.translation.note import NoteRefused, VerifierKey
from bridge.translation.record import Event
from bridge.translation.vocabulary import ALARM, FAILURE, WITNESS_LATE, WITNESS_REFUSED

TICK = 1.0
PACE = 10.0
"""Seconds between checkpoints of one sink; the log makes one every ten seconds, or more when there is much to do."""

LONGEST_PAUSE = 300.0
"""Seconds between attempts at a sink that fails: doubling up to this."""

LAST_WORDS = 5.0
"""Seconds for the checkpoint of the stop."""

Attest = Callable[[Due], Awaitable[tuple[Signed, bytes]]]


class Refused(Exception):
    """A witness says that the log is not what it was. The message is its word."""


@dataclass(slots=True)
class Sink:
    """``attest`` gives what is to be kept, and of which checkpoint. Times are the reactor's seconds."""

    name: str
    kind: str
    pace: float
    attest: Attest
    next: float = 0.0
    failed: int = 0
    since: float = 0.0
    failure: str = ""
    size: int = 0
    told: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a configuration asks for."""

    sinks: list[Sink]
    late: float


class Attesting:
    """``take`` the configuration, ``start``, ``stop``; ``alarm`` takes events. In the reactor's thread."""

    log = Logger()

    def __init__(self, reactor: Any, engine: Engine, pool: ThreadPool, alarm: Callable[[Event], None]) -> None:
        self._reactor = reactor
        self._engine = engine
        self._pool = pool
        self._alarm = alarm
        self._late = 0.0
        self._sinks: dict[str, Sink] = {}
        self._running: dict[str, Deferred[None]] = {}
        self._rounds = Rounds(self._look, TICK, reactor, self._ended_for_good)

    def prepare(self, config: Log) -> Prepared:
        """For ``take``. Raises OSError, ValueError where a file of certificates cannot be used."""
        sinks = [self._witness(name, one) for name, one in config.witnesses.items()]
        if config.timestamps is not None:
            sinks.append(self._authority(config.timestamps))
        if config.copies is not None:
            folder = config.copies

            async def copy(due: Due) -> tuple[Signed, bytes]:
                return due.signed, await self._pool.run(attestations.in_thread_copy, folder, due.signed)

            sinks.append(Sink(str(folder), attestations.COPY, PACE, copy))
        return Prepared(sinks, config.late)

    def take(self, prepared: Prepared) -> None:
        self._late = prepared.late
        self._sinks = {sink.name: sink for sink in prepared.sinks}

    def start(self) -> None:
        self._rounds.start()

    async def stop(self) -> None:
        """Shows them the last checkpoint, for a few seconds."""
        self._rounds.stop()
        end = self._reactor.seconds() + LAST_WORDS
        await self._finish(end)  # what goes on may be of an earlier one
        for sink in self._sinks.values():
            sink.next = 0.0
        self._look()
        await self._finish(end)

    async def _finish(self, end: float) -> None:
        for running in list(self._running.values()):
            running.addTimeout(max(0.01, end - self._reactor.seconds()), self._reactor, lambda result, timeout: None)
            await running

    def state(self) -> dict[str, dict[str, Any]]:
        """By sink: the ``size`` that it has, and why it has not more."""
        return {sink.name: {"size": sink.size, "failure": sink.failure} for sink in self._sinks.values()}

    # -- sinks

    def _witness(self, name: str, config: Any) -> Sink:
        fetcher = self._fetcher(config.ca)
        key = VerifierKey.parse(config.key)
        url = f"{config.url.rstrip('/')}/add-checkpoint"

        async def attest(due: Due) -> tuple[Signed, bytes]:
            answer = await fetcher.exchange("POST", url, _TEXT, due.request)
            if answer.status == 409:
                due = await self._again(key.name, answer.body)
                answer = await fetcher.exchange("POST", url, _TEXT, due.request)
            if answer.status == 422:
                raise Refused(answer.body[:500].decode("utf-8", "replace").strip())
            if answer.status != 200:
                raise FetchFailed(f"status {answer.status}: {answer.body[:200].decode('utf-8', 'replace').strip()}")
            return due.signed, attestations.cosignature(due.signed, answer.body, key)

        return Sink(key.name, attestations.COSIGNATURE, PACE, attest)

    async def _again(self, name: str, body: bytes) -> Due:
        """It has another size than we thought: the proof begins there."""
        known = body.decode("ascii", "replace").strip()
        if not known.isdecimal() or len(known) > 19:
            raise FetchFailed("status 409 without a size")
        due = await self._pool.run(attestations.in_thread_due, self._engine, name, int(known))
        if due is None:
            raise FetchFailed("the log has no checkpoint")
        return due

    def _authority(self, config: Any) -> Sink:
        fetcher = self._fetcher(config.tls_ca)
        authorities = config.ca.read_bytes()

        async def attest(due: Due) -> tuple[Signed, bytes]:
            request = attestations.timestamp_request(due.signed)
            answer = await fetcher.exchange("POST", config.url, _QUERY, request.as_bytes())
            if answer.status != 200:
                raise FetchFailed(f"status {answer.status}")
            return due.signed, attestations.checked_timestamp(due.signed, request, answer.body, authorities)

        return Sink(config.url, attestations.TIMESTAMP, config.every, attest)

    def _fetcher(self, ca: Any) -> Fetcher:
        authorities = ca.read_bytes() if ca is not None else None
        return Fetcher(https_agent(self._reactor, authorities), self._reactor, http_loopback=True)

    # -- the round

    def _look(self) -> None:
        now = self._reactor.seconds()
        for sink in self._sinks.values():
            if now >= sink.next and sink.name not in self._running:
                running = self._running[sink.name] = Deferred.fromCoroutine(self._attest(sink))
                running.addBoth(self._ended, sink.name)

    def _ended(self, result: Failure | None, name: str) -> None:
        self._running.pop(name, None)
        if result is not None:
            self.log.failure("showing a checkpoint failed", failure=result)

    def _ended_for_good(self, failure: Failure) -> None:
        self.log.failure("checkpoints are not shown to witnesses any more", failure=failure)

    async def _attest(self, sink: Sink) -> None:
        try:
            due = await self._pool.run(attestations.in_thread_due, self._engine, sink.name)
            if due is not None:
                signed, body = await sink.attest(due)
                keep = attestations.in_thread_keep
                await self._pool.run(keep, self._engine, sink.name, signed, sink.kind, body)
                sink.size = signed.size
        except (CancelledError, PoolStopped):
            return
        except (Refused, HistoryLost) as refusal:
            self._failed(sink, str(refusal))
            self._tell(sink, WITNESS_REFUSED, str(refusal))
        except (FetchFailed, NoteRefused, StorageError, OSError) as failure:
            self._failed(sink, str(failure))
        except Exception as failure:  # whatever a connection fails with
            self._failed(sink, type(failure).__name__)
        else:
            sink.failed, sink.failure, sink.told = 0, "", ""
            sink.since = self._reactor.seconds()
            sink.next = sink.since + sink.pace if due else sink.next

    def _failed(self, sink: Sink, cause: str) -> None:
        now = self._reactor.seconds()
        sink.since = sink.since or now
        sink.failed += 1
        sink.next = now + min(PACE * 2 ** min(sink.failed - 1, 10), max(LONGEST_PAUSE, sink.pace))
        if cause != sink.failure:
            self.log.warn("{sink} has no new checkpoint: {cause}", sink=sink.name, cause=cause)
        sink.failure = cause
        if now - sink.since >= self._late:
            self._tell(sink, WITNESS_LATE, f"{sink.name} has no new checkpoint: {cause}")

    def _tell(self, sink: Sink, reason: str, text: str) -> None:
        """Once for each cause."""
        if sink.told != reason:
            sink.told = reason
            self.log.critical("{sink}: {text}", sink=sink.name, text=text)
            detail = detail_section(code=sink.kind, text=text)
            self._alarm(Event(ALARM, outcome=FAILURE, reason=reason, sections={"detail": detail}))


_TEXT = {"Accept": "text/plain", "Content-Type": "text/plain"}
_QUERY = {"Accept": "application/timestamp-reply", "Content-Type": "application/timestamp-query"}
