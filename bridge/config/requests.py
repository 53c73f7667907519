"""Just-in-time access: where agents may ask for more than their grants, and who may give it: ``requests``."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from bridge.adapter import Action
from bridge.config.sections import Section
from bridge.config.values import Count, Duration, Listen, Many, Name, Some, Text, bounded

Approver = Annotated[str, StringConstraints(pattern=r"^(user:[a-z_][a-z0-9_.-]{0,31}|[a-z0-9][a-z0-9._-]{0,62})$")]
"""``user:NAME`` is that user at the admin socket, ``NAME`` an identity of the registry, proven by its token."""

Longest = Annotated[Duration, bounded("1m", "30d")]


class SystemRequests(Section):
    """Of one system: that agents may ask. ``accounts`` None: all of them.

    Who approves is what the account says, else what stands here, else what ``requests`` says; so for ``longest``.
    ``tell``: the channels of ``alerts`` that hear of each request, beside the agent's owner.
    """

    accounts: Some[Text] | None = None
    actions: Some[Action] = tuple(Action)
    longest: Longest | None = None
    approvers: Many[Approver] = ()
    tell: Many[Name] = ()


class Requests(Section):
    """``listen``: where agents ask over HTTPS. ``waiting``: how long a request may wait; ``pending``: of one agent."""

    listen: Listen | None = None
    approvers: Many[Approver] = ()
    longest: Longest = 14_400.0
    waiting: Annotated[Duration, bounded("1m", "30d")] = 86_400.0
    pending: Count = 10
