"""Times and durations as options of commands."""

from __future__ import annotations

from typing import Any

import click

from bridge.moments import seconds, unix_ms


class Duration(click.ParamType[int]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Moment(click.ParamType[int]):
    """Unix milliseconds."""

    name = "time"

    def __init__(self, *, end: bool = False) -> None:
        self._end = end

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return unix_ms(value, end=self._end)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = Duration()
MOMENT = Moment()
UNTIL = Moment(end=True)
