"""The log as the rest of the bridge sees it.

::

    LogUnavailable      no event, no action: what was to be recorded must not be done
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from bridge.translation.operations import SessionFacts, SessionLog
from bridge.translation.record import Event


class LogUnavailable(Exception):
    """The log cannot take the event. ``code`` is "stopped", "failed", "overloaded" or "defect"; the text says why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class TranslationLog(Protocol):
    """Where events go. Everything in the reactor's thread but ``record_blocking``."""

    @property
    def name(self) -> str: ...

    @property
    def unavailable(self) -> str:
        """Why nothing can be recorded now, for ops; "" when it can."""
        ...

    def record(self, event: Event) -> Deferred[int]:
        """Fires with the sequence number once durable; errs with LogUnavailable (then the event is not in the log)."""
        ...

    def post(self, event: Event) -> None:
        """Durable within 20 ms, in the order of the calls. Raises LogUnavailable."""
        ...

    def keep(self, event: Event) -> None:
        """As ``post``, for an end that has happened anyhow: while the log is not available it is held, and written
        first when the log can be written again. Never raises."""
        ...

    def record_blocking(self, event: Event, timeout: float = 15.0) -> int:
        """``record`` for another thread. Raises LogUnavailable."""
        ...

    def session(self, facts: SessionFacts) -> SessionLog: ...

    def pending(self) -> int:
        """Events that are not durable yet."""
        ...

    def on_failure(self, callback: Callable[[str], None]) -> None:
        """``callback(why)`` is called once each time the log stops taking events: live sessions must end."""
        ...

    def on_recovered(self, callback: Callable[[], None]) -> None:
        """``callback()`` is called when it takes events again."""
        ...
