"""What commands work on, and the rules that all of them share."""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from bridge.accounts.vaults import Store
from bridge.adapter import Target
from bridge.admission.access_requests import AccessRequests
from bridge.admission.demotions import Demotions
from bridge.admission.emergencies import Emergencies
from bridge.admission.usage import UsageStore
from bridge.alerts import Outbox
from bridge.api.failure import CommandFailed
from bridge.identity.deny_list import DenyList
from bridge.identity.issuer import BuiltinIssuer
from bridge.identity.registry import Registry
from bridge.policy import Policy
from bridge.policy.access_request import Asking
from bridge.policy.emergency import Rules
from bridge.policy.phases import Phases
from bridge.translation import facts
from bridge.translation.conditions import Selection
from bridge.translation.identifiers import Identifiers
from bridge.translation.log import LogUnavailable
from bridge.translation.reading import LogReader, read_event
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import (
    ACCESS_GRANT,
    BREAK_GLASS,
    COMPLETE,
    DENY_CHANGE,
    FAILURE,
    INTENT,
    OUTCOME,
    PENDING,
    REGISTRY_CHANGE,
)

_IDENTIFIERS = Identifiers()
_ABOUT_AGENTS = frozenset({REGISTRY_CHANGE, DENY_CHANGE, BREAK_GLASS, ACCESS_GRANT})
"""Changes of who may come and go: live sessions are looked at again."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who gives a command: the user at the other end of the socket, or of the terminal; or whoever a token proves.

    The latter has ``kind`` "agent", its address as ``source``, and as ``ISSUER SUBJECT`` the ``subject`` of its token
    and the one on whose ``behalf`` it acts.
    """

    id: str
    via: str = "cli"
    kind: str = "person"
    source: str = ""
    subject: str = ""
    behalf: str = ""

    @classmethod
    def at_terminal(cls) -> Actor:
        return cls(getpass.getuser())

    @property
    def name(self) -> str:
        """As the configuration names approvers."""
        return self.id if self.kind == "agent" else f"user:{self.id}"

    def section(self) -> str:
        return facts.actor_section(kind=self.kind, id=self.id, via=self.via, source=self.source)


class Live(Protocol):
    """The running bridge, callable from a command's thread; each call waits for the reactor."""

    def sessions(self) -> list[dict[str, Any]]: ...
    def end_session(self, session: str, detail: str) -> int: ...
    def registry_changed(self) -> int:
        """Takes the registry's present state; returns how many live sessions that ended."""
        ...

    def status(self) -> dict[str, Any]: ...
    def test_alert(self, channel: str) -> str:
        """Sends a message now; returns why it did not arrive, "" when it did."""
        ...

    def reload(self, actor: Actor) -> dict[str, Any]: ...
    def examine(self, system: str, account: str | None, host: str = "") -> list[dict[str, str]]: ...
    def discover(self, system: str, account: str) -> list[dict[str, str]]: ...
    def begin_drill(self, agents: list[str], until: float, life: float) -> int:
        """Returns how many live sessions it reaches."""
        ...

    def end_drill(self) -> list[str]: ...
    def rotate(self, actor: Actor, system: str, account: str) -> dict[str, Any]: ...
    def reconcile(self, system: str, account: str, host: str = "") -> list[dict[str, str | int]]: ...
    def trust(self, system: str, host: str) -> list[dict[str, str]]: ...
    def reset_breaker(self, system: str, account: str) -> bool: ...
    def sinks(self) -> dict[str, dict[str, Any]]: ...
    def resend(self, sink: str, first: int) -> None: ...
    def secret_changed(self, reference: str) -> None:
        """A stored secret was set: logins that were stopped because of the old one may be tried again."""
        ...


@dataclass(slots=True)
class Services:
    """``name`` is the bridge's. ``record`` blocks until the event is durable and raises LogUnavailable.

    ``live`` is None without a daemon. ``quotas`` gives every counter, see ``Ledger.rows``.
    ``planned`` are the modes of the configuration file as it stands, and raises CommandFailed.
    ``spelled`` puts facts into the form that operations on a system have, and raises ValueError.
    """

    name: str
    registry: Registry
    deny_list: DenyList
    issuer: BuiltinIssuer
    reader: LogReader
    store: Store
    usage: UsageStore
    outbox: Outbox
    access_requests: AccessRequests
    emergencies: Emergencies
    demotions: Demotions
    policy: Policy
    record: Callable[[Event], int]
    now: Callable[[], float]
    live: Live | None = None
    quotas: Callable[[], list[dict[str, Any]]] = list
    asking: Asking = field(default_factory=Asking)
    spelled: Callable[[str, Mapping[str, str]], Target] = lambda system, target: target
    break_glass: Rules = field(default_factory=Rules)
    planned: Callable[[], Phases] = Phases

    def running(self) -> Live:
        if self.live is None:
            raise CommandFailed("the bridge is not running; start it with `idbridge run`", status=503)
        return self.live

    def read(self, actor: Actor, query: str, selection: Selection, count: int) -> None:
        """Records that the log was read, before anybody sees the answer."""
        self.write(read_event(actor.id, query, selection, count, via=actor.via))

    def new_event_id(self) -> str:
        return _IDENTIFIERS.next()[0]

    def new_token_id(self) -> str:
        return secrets.token_urlsafe(12)

    @contextmanager
    def changing(
        self,
        actor: Actor,
        type: str,
        subject: str,
        *,
        widens: bool,
        index: IndexKeys,
        about: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[Change]:
        """Around a change: ``change.made(before, after)`` inside it writes what became different; ``about`` are further
        sections of its events."""
        shared = {"actor": actor.section(), **about}
        request = ""
        if widens:
            request = _IDENTIFIERS.next()[0]
            asked = {**shared, "change": facts.change_section(subject, None, None)}
            self.write(Event(type, INTENT, PENDING, sections=asked, index=index, id=request))
            shared["corr"] = facts.section(request=request)
        phase = OUTCOME if widens else COMPLETE
        change = Change()
        try:
            yield change
        except Exception:
            if widens:
                self.write(Event(type, phase, FAILURE, sections=shared, index=index, request=request))
            raise
        made = {**shared, "change": facts.change_section(subject, change.before, change.after)}
        try:
            if self.live is not None and type in _ABOUT_AGENTS:
                change.ended = self.live.registry_changed()
        finally:  # the change was made, whatever became of telling the sessions
            self.write(Event(type, phase, sections=made, index=index, request=request), done=True)

    def write(self, event: Event, *, done: bool = False) -> None:
        """Records, or fails the command. ``done``: what the event is about has happened already."""
        try:
            self.record(event)
        except LogUnavailable as failure:
            what = "it was done, but not recorded" if done else "nothing was done"
            raise CommandFailed(f"the translation log cannot be written ({failure}); {what}", status=503) from None


class Change:
    """What a change did; ``ended`` is how many live sessions it ended."""

    def __init__(self) -> None:
        self.before: Mapping[str, Any] | None = None
        self.after: Mapping[str, Any] | None = None
        self.ended = 0

    def made(self, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        self.before, self.after = before, after
