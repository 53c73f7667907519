"""A coroutine that has been started by hand and began to wait, as something to be awaited to its end."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any


class Started:
    """``call`` yielded ``waiting`` (a Deferred) to its starter; awaiting this goes on as ``await call`` would."""

    __slots__ = ("_call", "_waiting")

    def __init__(self, call: Coroutine[Any, Any, None], waiting: Any) -> None:
        self._call = call
        self._waiting = waiting

    def __await__(self) -> Generator[Any, Any, None]:
        call, waiting = self._call, self._waiting
        while True:
            try:
                result = yield waiting
            except GeneratorExit:
                call.close()
                raise
            except BaseException as error:  # a failed or cancelled wait is the call's to hear
                step = partial(call.throw, error)
            else:
                step = partial(call.send, result)
            try:
                waiting = step()
            except StopIteration:
                return
