"""The argument QUERY of commands that ask the log."""

from __future__ import annotations

import re

import click

_NEGATED = re.compile(r"-[A-Za-z_]+:")


class AskingCommand(click.Command):
    """Takes ``-system:sandbox`` for a term of the query, which click would take for options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" not in args:
            negated = [one for one in args if _NEGATED.match(one)]
            args = [one for one in args if not _NEGATED.match(one)] + (["--", *negated] if negated else [])
        return super().parse_args(ctx, args)
