"""Watches the log, takes alerts into the outbox, and sends what is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Engine
from twisted.logger import Logger

from bridge.admission.identifiers import new_id
from bridge.alerts import Alert, Channel, Channels, Delivery, DeliveryFailed, Mail, Outbox, Rules, Watch
from bridge.alerts.outbox import GIVEN_UP
from bridge.alerts.routing import Routes
from bridge.alerts.watching import trouble
from bridge.identity.registry import Registry
from bridge.rounds import Rounds
from bridge.storage import StorageError, ThreadPool, reading
from bridge.translation import facts
from bridge.translation.extent import last_seq
from bridge.translation.reading import logged
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import ALERT, FAILURE, SUCCESS

INTERVAL = 1.0
BATCH = 1000
"""Events looked at in one round: the rest waits for the next."""

FORGETTING = 3600  # of the rounds

Settings = tuple[Rules, Mapping[str, Channel], tuple[str, ...], tuple[str, ...], Mail | None, float]
"""The rules, the channels, those of security, those of leadership, the mail server, and the seconds in which nothing is
repeated."""


class Alerting:
    """``post`` gives an event to the log. In the reactor's thread, but for ``in_thread_*``."""

    log = Logger()

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        log_engine: Engine,
        registry: Registry,
        pool: ThreadPool,
        reactor: Any,
        now: Callable[[], float],
        post: Callable[[Event], None],
        channels: Callable[[Mapping[str, Channel], Mail | None], Channels],
    ) -> None:
        self._name = name
        self._outbox = outbox
        self._log_engine = log_engine
        self._registry = registry
        self._pool = pool
        self._now = now
        self._post = post
        self._channels_of = channels
        self._watch = Watch(Rules())
        self._seq = 0
        self._count = 0
        self._failing = False
        self._waiting: list[Alert] = []
        self._rounds = Rounds(self._look_and_send, INTERVAL, reactor, self._failed)

    async def start(self, settings: Settings) -> None:
        """Goes on where the run before has stopped. Raises StorageError."""
        self._seq, history = await self._pool.run(self._outbox.in_thread_start, self._name, self._log_engine)
        self._watch.history = history
        self.take(settings)
        self._rounds.start()

    def take(self, settings: Settings) -> None:
        """The alerts of a (new) configuration."""
        rules, named, self._security, self._leadership, mail, self._outbox.repeat = settings
        self._watch.rules = rules
        self._named = frozenset(named)
        self._mails = mail is not None
        self._channels = self._channels_of(named, mail)

    async def stop(self) -> None:
        """Call it when all sessions have ended: their last events are watched too; what is due then waits."""
        self._rounds.stop()
        await self._look()

    def raise_alert(self, alert: Alert) -> None:
        """For what no event of the log says."""
        self._waiting.append(alert)

    def log_failed(self, why: str) -> None:
        if self._watch.rules.log_trouble:
            self.raise_alert(trouble(why, self._now()))

    async def _look_and_send(self) -> None:
        await self._look()
        try:
            for delivery in await self._pool.run(self._outbox.in_thread_due, self._now()):
                await self._send(delivery)
        except StorageError as failure:
            self._cannot(failure)

    async def _look(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            taken = await self._pool.run(self.in_thread_look, waiting)
            if self._count % FORGETTING == 0:
                await self._pool.run(self._outbox.in_thread_forget, self._now())
            self._count += 1
            self._failing = False
        except StorageError as failure:
            self._waiting = waiting + self._waiting
            self._cannot(failure)
            return
        for id, alert, channels in taken:
            self.log.warn("alert {id}: {title}: {text}", id=id, title=alert.title, text=alert.text)
            self._post(_event(id, alert, channels))

    def _cannot(self, failure: StorageError) -> None:
        if not self._failing:
            self.log.error("alerts cannot be watched for: {cause}; it is tried again", cause=str(failure))
        self._failing = True

    def in_thread_look(self, waiting: list[Alert]) -> list[tuple[str, Alert, tuple[str, ...]]]:
        """Lets the rules see what is new. Only one look goes on at a time."""
        sql = (
            "SELECT seq, body FROM event WHERE seq > ? AND seq <= ? AND (type <> 'operation'"
            " OR outcome NOT IN ('success', '')) ORDER BY seq"
        )
        with reading(self._log_engine) as connection:
            latest = last_seq(connection)
            upto = min(latest, self._seq + BATCH)
            events = logged(connection, connection.exec_driver_sql(sql, (self._seq, upto)).all())
        alerts = list(waiting)
        for event in events:
            alerts += self._watch.see(event.fields)
        changed = self._watch.changed
        if not alerts and not changed and upto == self._seq:
            return []
        history = self._watch.history
        days = {(agent, day): history[agent].days[day] for agent, day in changed}
        route = self._routes() if alerts else lambda alert: ()
        named = [(new_id("alr_"), alert) for alert in alerts]
        taken = self._outbox.in_thread_put(self._name, upto, named, days, route)
        self._seq = upto
        changed.clear()
        return taken

    def _routes(self) -> Routes:
        owners = {owner.id: owner for owner in self._registry.in_thread_owners()}
        return Routes(owners, self._named, self._security, self._leadership, self._mails)

    async def _send(self, delivery: Delivery) -> None:
        cause = ""
        try:
            await self._channels.send(delivery.channel, delivery.alert, delivery.id, delivery.suppressed)
        except DeliveryFailed as failure:
            cause = str(failure)
            self.log.warn("alert {id} did not reach {channel}: {cause}", id=delivery.id, channel=delivery.channel,
                          cause=cause)  # fmt: skip
        state = await self._pool.run(self._outbox.in_thread_done, delivery, cause, self._now())
        if state == GIVEN_UP:
            self._post(_event(delivery.id, delivery.alert, (delivery.channel,), FAILURE))

    async def test(self, channel: str) -> str:
        """Sends a test message at once; returns why it did not arrive, "" when it did."""
        alert = Alert("test", "info", "a test", "Somebody tries whether alerts arrive here.", self._now())
        try:
            await self._channels.send(channel, alert, new_id("alr_"), 0)
        except DeliveryFailed as failure:
            return str(failure)
        return ""

    def _failed(self, failure: Any) -> None:
        self.log.failure("alerts are not watched for any more", failure=failure)


def _event(id: str, alert: Alert, channels: tuple[str, ...], outcome: str = SUCCESS) -> Event:
    text = f"{alert.title}: {alert.text}"
    detail = facts.detail_section(alert=id, rule=alert.rule, key=alert.key, channels=list(channels), text=text)
    sections = {"actor": facts.actor_section(kind="bridge", id="alerts"), "detail": detail}
    index = IndexKeys(session=alert.session, agent=alert.agent, owner=alert.owner, system=alert.system,
                      account=alert.account)  # fmt: skip
    return Event(ALERT, outcome=outcome, sections=sections, index=index)
