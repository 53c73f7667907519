"""Twisted's epoll reactor without its log context around every event, and with a short way for the most frequent one.

``log.callWithLogger`` gives each event a context of its own, for messages of ``twisted.python.log`` that do not say who
sends them; ours do, through ``twisted.logger``. Everything else is Twisted's own.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EINTR
from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.logger import Logger

log = Logger()


class QuickReactor(EPollReactor):
    def doPoll(self, timeout: float | None) -> None:
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, len(self._selectables))
        except OSError as error:
            if error.errno == EINTR:
                return
            raise
        selectables: dict[int, Any] = self._selectables
        serve: Callable[[Any, int, int], None] = self._doReadOrWrite
        for descriptor, event in events:
            selectable = selectables.get(descriptor)
            if selectable is None:  # an earlier event of this turn closed it
                continue
            if event != EPOLLIN:
                serve(selectable, descriptor, event)
                continue
            try:
                why = selectable.doRead()
            except BaseException as error:  # as Twisted has it
                log.failure("reading failed")
                why = error
            if why:
                self._disconnectSelectable(selectable, why, True)  # type: ignore[no-untyped-call]

    doIteration = doPoll


def install() -> None:
    """Before anything imports ``twisted.internet.reactor``."""
    installReactor(QuickReactor())  # type: ignore[no-untyped-call]
