"""The rules: events in, alerts out. Pure; times are Unix seconds, days those of UTC."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bridge.policy import Hours
from bridge.translation import demotion_words, emergency_words
from bridge.translation.describe import describe
from bridge.translation.vocabulary import (
    ACCESS_REQUEST,
    ALARM,
    CONFIG_CHANGE,
    DENIED,
    INTENT,
    LOG_RECOVERED,
    OPERATION,
    SESSION_CLOSE,
    SESSION_OPEN,
    SESSION_REFUSED,
)
from bridge.translation.vocabulary import BREAK_GLASS as BREAK_GLASS_CHANGE
from bridge.translation.vocabulary import DEMOTION as DEMOTION_CHANGE

Fields = Mapping[str, Any]

DAY = 86_400
HISTORY_DAYS = 14
"""Days before today of which an agent's usual day is the mean."""

FEWEST_DAYS = 3
"""Days with use that an agent must have before its volume can be far above its own history."""

STRICTNESS = {"observe": 0, "warn": 1, "enforce": 2}
_BYPASS = "bypass"
BREAK_GLASS, DEMOTION, ASKED = "break-glass", "demotion", "asked"


@dataclass(frozen=True, slots=True)
class Rules:
    """None, False or 0 switches a rule off. ``refused``: so many within ``refused_within`` seconds; ``rest``: seconds
    without a session; ``volume``: times the usual day, when it is at least ``volume_least`` operations.
    ``told``: by system the channels that hear beside the owner what is ``asked`` for."""

    refused: int = 5
    refused_within: float = 60.0
    new_system: bool = True
    hours: Hours | None = None
    rest: float = 30.0 * DAY
    volume: float = 10.0
    volume_least: int = 1000
    alarms: bool = True
    demoted: bool = True
    log_trouble: bool = True
    asked: bool = True
    told: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """``severity`` is critical, error, warning or info. ``session`` is what to look at: a session, or a reference.
    ``channels`` hear of it beside those to whom it goes anyway."""

    rule: str
    severity: str
    title: str
    text: str
    at: float
    agent: str = ""
    owner: str = ""
    system: str = ""
    account: str = ""
    session: str = ""
    channels: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Alerts with the same key are about the same trouble."""
        if self.rule in (BREAK_GLASS, DEMOTION):
            return ":".join((self.rule, self.session, self.title))
        if self.rule == ASKED:
            return ":".join((self.rule, self.session))
        return ":".join((self.rule, self.agent or self.account or self.system or "-", self.system))


@dataclass(slots=True)
class History:
    """What is remembered of one agent. ``days`` maps a day (Unix seconds // DAY) to its operations."""

    last: float = 0.0
    systems: set[str] = field(default_factory=set)
    days: dict[int, int] = field(default_factory=dict)
    refused: deque[float] = field(default_factory=deque)

    def usual(self, today: int) -> float:
        """The mean of the days with use before ``today``; 0 while there are too few."""
        counts = [count for day, count in self.days.items() if today - HISTORY_DAYS <= day < today]
        return sum(counts) / len(counts) if len(counts) >= FEWEST_DAYS else 0.0


class Watch:
    """``history`` by agent is given at the start and kept up to date; ``changed`` names the days to be stored."""

    def __init__(self, rules: Rules, history: Mapping[str, History] | None = None) -> None:
        self.rules = rules
        self.history: dict[str, History] = dict(history or {})
        self.changed: set[tuple[str, int]] = set()
        self._seen: dict[str, Callable[[Fields, float], Iterator[Alert]]] = {
            SESSION_OPEN: self._opened,
            SESSION_REFUSED: self._refused,
            SESSION_CLOSE: self._closed,
            OPERATION: self._operation,
            ALARM: self._alarm,
            CONFIG_CHANGE: self._configured,
            LOG_RECOVERED: self._recovered,
            BREAK_GLASS_CHANGE: self._emergency,
            ACCESS_REQUEST: self._asked,
            DEMOTION_CHANGE: self._demotion,
        }

    def see(self, body: Fields) -> list[Alert]:
        """The alerts that an event gives rise to."""
        seen = self._seen.get(body["type"])
        if seen is None or body["phase"] == INTENT:
            return []
        return list(seen(body, datetime.fromisoformat(body["ts"]).timestamp()))

    def _of(self, body: Fields) -> History:
        return self.history.setdefault(body["agent"]["id"], History())

    def _opened(self, body: Fields, at: float) -> Iterator[Alert]:
        known, rules, system = self._of(body), self.rules, body["legacy"]["system"]
        if rules.new_system and known.systems and system not in known.systems:
            yield _alert("new-system", "warning", "an agent uses a system for the first time", body, at)
        if rules.hours is not None and not rules.hours.contains(at):
            yield _alert("hours", "warning", "an agent is in use outside the usual hours", body, at)
        if rules.rest and known.last and at - known.last >= rules.rest:
            days = int((at - known.last) // DAY)
            yield _alert("rest", "warning", f"an agent is in use again after {days} days", body, at)
        known.systems.add(system)
        known.last = at

    def _refused(self, body: Fields, at: float) -> Iterator[Alert]:
        if "agent" in body:
            yield from self._burst(body, at)

    def _operation(self, body: Fields, at: float) -> Iterator[Alert]:
        if body["outcome"] == DENIED:
            yield from self._burst(body, at)

    def _burst(self, body: Fields, at: float) -> Iterator[Alert]:
        rules, recent = self.rules, self._of(body).refused
        recent.append(at)
        while recent and (recent[0] < at - rules.refused_within or len(recent) > rules.refused):
            recent.popleft()
        if rules.refused and len(recent) == rules.refused:
            recent.clear()
            title = f"an agent was refused {rules.refused} times within {rules.refused_within:.0f} s"
            yield _alert("refused", "warning", title, body, at)

    def _closed(self, body: Fields, at: float) -> Iterator[Alert]:
        if "agent" not in body:
            return
        operations = sum(body.get("detail", {}).get("operations", {}).values())
        known, rules, day = self._of(body), self.rules, int(at // DAY)
        before = known.days.get(day, 0)
        now = known.days[day] = before + operations
        self.changed.add((body["agent"]["id"], day))
        limit = max(known.usual(day) * rules.volume, rules.volume_least)
        if rules.volume and known.usual(day) and before < limit <= now:
            title = f"an agent did {now} operations today, {now / known.usual(day):.0f} times its usual day"
            yield _alert("volume", "warning", title, body, at)

    def _alarm(self, body: Fields, at: float) -> Iterator[Alert]:
        if self.rules.alarms:
            bypass = body["reason"] == _BYPASS
            title = "a static account is used past the bridge" if bypass else f"alarm: {body['reason']}"
            yield _alert(_BYPASS if bypass else f"alarm-{body['reason']}", "error", title, body, at)

    def _configured(self, body: Fields, at: float) -> Iterator[Alert]:
        change = body.get("change", {})
        before, after = change.get("before", {}), change.get("after", {})
        lowered = [
            f"{key}: {before[key]} to {after[key]}"
            for key in sorted(before.keys() & after.keys())
            if key.endswith("mode") and STRICTNESS.get(after[key], 2) < STRICTNESS.get(before[key], 0)
        ]
        if lowered and self.rules.demoted:
            yield Alert("demoted", "critical", "grants are enforced less than before", "; ".join(lowered), at)

    def _emergency(self, body: Fields, at: float) -> Iterator[Alert]:
        """Always told: no rule switches it off."""
        change = body.get("change", {})
        after = change.get("after", {})
        if what := emergency_words.step(body):
            yield Alert(
                rule=BREAK_GLASS,
                severity="critical",
                title=f"break-glass: {what}",
                text=describe(body),
                at=at,
                agent=after.get("agent", ""),
                owner=after.get("owner", ""),
                system=after.get("system", ""),
                account=after.get("account", ""),
                session=change.get("subject", ""),
            )

    def _asked(self, body: Fields, at: float) -> Iterator[Alert]:
        after = body.get("change", {}).get("after", {})
        if self.rules.asked and after.get("state") == "pending":
            alert = _alert(ASKED, "info", "an agent asks for access", body, at)
            text = f"{alert.text}; idbridge request approve {after['id']}"
            yield replace(alert, text=text, session=after["id"], channels=self.rules.told.get(alert.system, ()))

    def _demotion(self, body: Fields, at: float) -> Iterator[Alert]:
        """Always told: no rule switches it off."""
        if what := demotion_words.step(body):
            subject = body["change"]["subject"]
            asked = "" if subject == demotion_words.FILE else subject
            yield Alert(DEMOTION, "critical", f"demotion: {what}", describe(body), at, session=asked)

    def _recovered(self, body: Fields, at: float) -> Iterator[Alert]:
        if self.rules.log_trouble:
            yield Alert("log", "critical", "the translation log could not be written", describe(body), at)


def trouble(why: str, at: float) -> Alert:
    """The log cannot be written now, so that no event says so."""
    return Alert("log", "critical", "the translation log cannot be written", f"{why}; all sessions have ended", at)


def _alert(rule: str, severity: str, title: str, body: Fields, at: float) -> Alert:
    agent, legacy = body.get("agent", {}), body.get("legacy", {})
    return Alert(
        rule=rule,
        severity=severity,
        title=title,
        text=describe(body),
        at=at,
        agent=agent.get("id", ""),
        owner=agent.get("owner", ""),
        system=legacy.get("system", ""),
        account=legacy.get("account", ""),
        session=body.get("corr", {}).get("session", ""),
    )
