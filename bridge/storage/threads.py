"""A named pool of threads for blocking calls, driven from the reactor.

All state belongs to the reactor's thread, so there is no lock: a thread gets one job at a time through its own inbox
and reports back by ``callFromThread``. Threads start when first needed and are daemons: one that is stuck in the kernel
at shutdown is left behind after the grace instead of keeping the process alive.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

QUEUE_LIMIT = 1024
"""Jobs that may wait. At a millisecond a job that is a second's work; more means that the disk or a vault is stuck."""

P = ParamSpec("P")
T = TypeVar("T")


class ThreadReactor(Protocol):
    """What a pool needs of the reactor."""

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None: ...
    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> Any: ...


class PoolFull(Exception):
    """Too many jobs wait for this pool's threads; try again later."""


class PoolStopped(Exception):
    """The pool takes no more jobs, or dropped this one, because it was stopped."""


class _Job:
    __slots__ = ("call", "result")

    def __init__(self, call: Callable[[], Any], result: Deferred[Any]) -> None:
        self.call = call
        self.result = result


_Inbox = SimpleQueue[_Job | None]


class ThreadPool:
    """At most ``size`` threads (``NAME-1`` …) and ``queue_limit`` waiting jobs. Call it in the reactor's thread."""

    def __init__(self, name: str, size: int, reactor: ThreadReactor, *, queue_limit: int = QUEUE_LIMIT) -> None:
        self.name = name
        self._size = size
        self._reactor = reactor
        self._queue_limit = queue_limit
        self._waiting: deque[_Job] = deque()
        self._idle: list[_Inbox] = []
        self._threads = 0
        self._running = 0
        self._stopped: Deferred[int] | None = None

    @property
    def waiting(self) -> int:
        """Jobs that no thread has taken yet, for metrics."""
        return len(self._waiting)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Calls ``function`` in a thread; fires with its result, or fails with its exception, PoolFull or PoolStopped.

        Cancelling drops a call that waits; one that runs goes on to its end, and its result is thrown away.
        """
        result: Deferred[T] = Deferred(self._drop)
        if self._stopped is not None:
            result.errback(PoolStopped(f"thread pool {self.name} is stopped"))
        elif len(self._waiting) >= self._queue_limit:
            result.errback(PoolFull(f"thread pool {self.name}: {self._queue_limit} calls wait already"))
        else:
            self._waiting.append(_Job(partial(function, *args, **kwargs), result))
            self._feed()
        return result

    def stop(self, grace: float = 5.0) -> Deferred[int]:
        """Takes no more jobs, drops those that wait, and waits ``grace`` seconds for those that run.

        Fires with the number of calls that were still running then, and so were left behind.
        """
        if self._stopped is not None:
            raise PoolStopped(f"thread pool {self.name} is stopped")
        self._stopped = stopped = Deferred[int]()
        dropped, self._waiting = self._waiting, deque()
        for job in dropped:
            job.result.errback(PoolStopped(f"thread pool {self.name} was stopped"))
        for inbox in self._idle:
            inbox.put(None)
        timer = self._reactor.callLater(grace, self._give_up)
        stopped.addBoth(self._disarm, timer)
        if not self._running:
            stopped.callback(0)
        return stopped

    def _feed(self) -> None:
        while self._waiting and (self._idle or self._threads < self._size):
            inbox = self._idle.pop() if self._idle else self._start()
            self._running += 1
            inbox.put(self._waiting.popleft())

    def _start(self) -> _Inbox:
        self._threads += 1
        inbox: _Inbox = SimpleQueue()
        name = f"{self.name}-{self._threads}"
        threading.Thread(target=self.in_thread_serve, args=(inbox,), name=name, daemon=True).start()
        return inbox

    def in_thread_serve(self, inbox: _Inbox) -> None:
        """One thread's life: a job, its report, the next; None ends it."""
        while (job := inbox.get()) is not None:
            outcome: object
            try:
                outcome = job.call()
            except BaseException as error:  # whatever it is, the caller hears it; the thread goes on
                outcome = Failure(error)  # type: ignore[no-untyped-call]
            self._reactor.callFromThread(self._report, inbox, job, outcome)
            del job, outcome  # an idle thread must not keep the last result, which may be a secret

    def _report(self, inbox: _Inbox, job: _Job, outcome: object) -> None:
        self._running -= 1
        if self._stopped is None:
            self._idle.append(inbox)
            self._feed()
        else:
            inbox.put(None)
        if not job.result.called:  # else it was cancelled
            job.result.callback(outcome)
        if self._stopped is not None and not self._running and not self._stopped.called:
            self._stopped.callback(0)

    def _drop(self, result: Deferred[Any]) -> None:
        for job in self._waiting:
            if job.result is result:
                self._waiting.remove(job)
                return

    def _give_up(self) -> None:
        if self._stopped is not None and not self._stopped.called:
            self._stopped.callback(self._running)

    @staticmethod
    def _disarm(left: int, timer: Any) -> int:
        if timer.active():
            timer.cancel()
        return left
