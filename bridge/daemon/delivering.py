"""The sinks of a running bridge: made from the configuration, their outages told, and what a required one means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from twisted.logger import Logger

from bridge.accounts.vaults import SecretReference, Vaults
from bridge.config import Config, Sink, SyslogSink
from bridge.net.dialer import Dialer
from bridge.net.limits import StreamLimits
from bridge.net.tls import UpstreamTLS
from bridge.sinks import (
    Delivery,
    Destination,
    FileDestination,
    Settings,
    Sinks,
    Source,
    SyslogDestination,
    WebhookDestination,
)
from bridge.sinks.cursor import CursorFile
from bridge.storage import ThreadPool
from bridge.translation import facts
from bridge.translation.formats import LINES, Line, syslog, total
from bridge.translation.record import Event
from bridge.translation.sql import SQLLog
from bridge.translation.vocabulary import ALARM, FAILURE, LOG_SINK, OK, SINK_FAILING, SINK_REQUIRED, SUCCESS

READING_THREADS = 2
SENDING_THREADS = 4
"""Apart, so that a file on a disk that hangs holds up no other sink."""


class Copies:
    """``cut`` ends all live sessions, for a reason in words. ``vaults`` are asked for a secret at each delivery."""

    log = Logger()

    def __init__(
        self, engine: Engine, translation: SQLLog, state: Path, vaults: Vaults, reactor: Any,
        now: Callable[[], float], cut: Callable[[str], object],
    ) -> None:  # fmt: skip
        self.withheld = ""
        self._translation = translation
        self._state = state / "sinks"
        self._vaults = vaults
        self._reactor = reactor
        self._now = now
        self._cut = cut
        self._reading = ThreadPool("sinks", READING_THREADS, reactor)
        self._sending = ThreadPool("sinks-out", SENDING_THREADS, reactor)
        self._source = Source(engine, translation.name)
        self.sinks = Sinks(self._source, self._reading, reactor)

    async def take(self, config: Config) -> None:
        """Lets run what the configuration has. What is wrong with a sink is told by its state, and never raised."""
        await self.sinks.take(config.sinks, lambda name: self._delivery(name, config.sinks[name]))

    async def stop(self) -> None:
        """After the log, so that its last events go out as well."""
        await self.sinks.stop()
        for pool in (self._reading, self._sending):
            await pool.stop(grace=1.0)

    def review(self) -> None:
        """To be called every second: nobody is admitted, and nobody stays, while a required sink is too far behind."""
        before, self.withheld = self.withheld, self.sinks.withheld()
        if self.withheld and not before:
            self.log.critical("{cause}; all sessions end", cause=self.withheld)
            sections = {"detail": facts.detail_section(text=self.withheld)}
            self._translation.keep(Event(ALARM, outcome=FAILURE, reason=SINK_REQUIRED, sections=sections))
        if self.withheld:
            self._cut(self.withheld)
        elif before:
            self.log.warn("the required copies of the log have caught up; agents are admitted again")

    def _tell(self, sink: Delivery, works: bool) -> None:
        text = "" if works else sink.error
        level = self.log.warn if works else self.log.error
        level("the sink {name} {how}", name=sink.name, how="works again" if works else f"fails: {sink.error}")
        detail = facts.detail_section(sink=sink.name, behind=sink.behind, text=text)
        outcome, reason = (SUCCESS, OK) if works else (FAILURE, SINK_FAILING)
        sections = {"actor": facts.actor_section(kind="bridge", id=self._translation.name), "detail": detail}
        self._translation.keep(Event(LOG_SINK, outcome=outcome, reason=reason, sections=sections))

    # -- from the configuration

    def _delivery(self, name: str, sink: Sink) -> Delivery:
        settings = Settings(
            batch=sink.batch,
            longest_pause=sink.longest_pause,
            required=sink.required or 0.0,
            from_now=sink.start == "now",
        )
        file = CursorFile(self._state / f"{name}.json")
        return Delivery(
            name, settings, _line(sink), self._destination(name, sink), self._source, file, self._reading,
            self._reactor, self._now, self._tell,
        )  # fmt: skip

    def _destination(self, name: str, sink: Sink) -> Destination:
        if sink.file is not None:
            return FileDestination(sink.file.path, self._sending)
        if sink.syslog is not None:
            given = sink.syslog
            dialer = Dialer(self._reactor, StreamLimits(stall=given.timeout))
            return SyslogDestination(
                dialer, given.host, given.port, lambda: _tls(given), self._sending, given.timeout
            )  # fmt: skip
        assert sink.webhook is not None
        hook = sink.webhook
        return WebhookDestination(
            self._reactor, name, sink.format, hook.url, SecretReference.parse(hook.secret), self._vaults,
            self._sending, self._now, hook.ca, hook.timeout,
        )  # fmt: skip


def _line(sink: Sink) -> Line:
    inner, given = LINES[sink.format], sink.syslog
    if given is None:
        return inner
    facility, enterprise, limit = given.facility, given.enterprise, given.max_message
    return total(lambda event, body: syslog(event, body, inner, facility=facility, enterprise=enterprise, limit=limit))


def _tls(given: SyslogSink) -> UpstreamTLS | None:
    """Blocks. Raises TLSMisconfigured."""
    if given.tls == "disable":
        return None
    return UpstreamTLS(
        given.tls, server_name=given.server_name or given.host, ca=given.ca, minimum=given.minimum,
        certificate=given.certificate, key=given.key,
    )  # fmt: skip
