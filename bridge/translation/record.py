"""What is recorded: an event, and what the writer takes.

An event's *sections* (``agent``, ``legacy``, ``action`` …) are canonical JSON text already. Those that do not change in
the life of a session are serialised once, not once per operation.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from bridge.translation.canonical import clean
from bridge.translation.composing import Plain
from bridge.translation.identifiers import Identifiers
from bridge.translation.personal import Personal
from bridge.translation.vocabulary import COMPLETE, OK, SUCCESS, check

SECTIONS = frozenset(
    (
        "action",
        "actor",
        "agent",
        "change",
        "corr",
        "credential",
        "decision",
        "delegation",
        "detail",
        "legacy",
        "node",
        "result",
        "transport",
    )
)


@dataclass(frozen=True, slots=True)
class IndexKeys:
    """What events are found by. ``labels`` are the data classes of the system or account (``pii``).

    ``backend`` and ``client_port`` are facts of ``session.established``: the legacy side's number for our connection
    (process, thread or connection id), and our local port of that connection, which the legacy side sees as the
    client's.
    """

    session: str = ""
    agent: str = ""
    owner: str = ""
    system: str = ""
    account: str = ""
    action: str = ""
    labels: tuple[str, ...] = ()
    backend: int = 0
    client_port: int = 0

    def columns(self) -> tuple[str, str, str, str, str, str, str]:
        return (
            clean(self.session),
            clean(self.agent),
            clean(self.owner),
            clean(self.system),
            clean(self.account),
            self.action,
            label_column(self.labels),
        )


def label_column(labels: tuple[str, ...]) -> str:
    """``|finance|pii|``, so that a search for ``|pii|`` finds whole labels."""
    return f"|{'|'.join(sorted(clean(label) for label in labels))}|" if labels else ""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. Raises ValueError for unknown codes or sections.

    ``sections`` maps a section's name to its canonical JSON. ``request`` is the id of the intent whose outcome this
    is, as it also stands in ``corr.request``. ``id`` may be given beforehand (``Identifiers.next``), when a client is
    to be told it as reference; else the log gives one. ``at`` is Unix milliseconds, ``mono`` microseconds of the
    monotonic clock; 0 means "now, when it is handed to the log". ``personal`` is what ``sections`` name by tokens; None
    when nobody has looked yet.
    """

    type: str
    phase: str = COMPLETE
    outcome: str = SUCCESS
    reason: str = OK
    sections: Mapping[str, str] = field(default_factory=dict)
    index: IndexKeys = IndexKeys()
    request: str = ""
    id: str = ""
    at: int = 0
    mono: int = 0
    personal: tuple[Personal, ...] | None = None

    def __post_init__(self) -> None:
        check(self.type, self.phase, self.outcome, self.reason)
        if not self.sections.keys() <= SECTIONS:
            raise ValueError(f"unknown sections {sorted(self.sections.keys() - SECTIONS)}")

    def stamped(self, identifiers: Identifiers) -> Event:
        """The event with its id and times. Called once, when it is handed to a log."""
        if self.id and self.at and self.mono:
            return self
        id, now = identifiers.next()
        return replace(self, id=self.id or id, at=self.at or now, mono=self.mono or time.monotonic_ns() // 1000)


class Entry(Protocol):
    """What the writer takes. ``plain`` is called in its thread; ``size`` is about the characters it will have."""

    @property
    def settled(self) -> bool:
        """False while its outcome is awaited; at a flush ``announce`` then gives what is to be written instead."""
        ...

    def announce(self) -> Entry: ...

    @property
    def size(self) -> int: ...

    def plain(self) -> Plain: ...


class EventEntry:
    """A stamped ``Event`` as an entry."""

    __slots__ = ("event", "size")
    settled = True

    def __init__(self, event: Event) -> None:
        self.event = event
        self.size = 600 + sum(map(len, event.sections.values()))

    def announce(self) -> Entry:
        return self

    def plain(self) -> Plain:
        event, index = self.event, self.event.index
        personal = tuple((one.token, one.salt, one.value) for one in event.personal or ())
        return (
            None, event.phase, event.id, event.request, event.at, event.mono, event.outcome, event.reason, event.type,
            dict(event.sections), index.columns(), index.backend, index.client_port, personal,
        )  # fmt: skip
