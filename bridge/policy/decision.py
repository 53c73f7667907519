"""What is asked of the policy, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from bridge.adapter import Action, Target
from bridge.policy.grants import Effect, Mode


@dataclass(frozen=True, slots=True)
class Subject:
    """The agent, with the attributes that grants may ask for."""

    agent: str
    roles: frozenset[str] = frozenset()
    environment: str = ""
    owner: str = ""
    cost_centre: str = ""
    delegated: bool = False
    data_classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Request:
    """``account`` None: the agent's default. ``action`` None: any, asked at admission. ``source`` is an IP literal.

    A fact that is not known (an empty source, a target that is not given) fails closed: it satisfies no allow grant
    that asks for it and every deny grant that does. Except ``operation_targets`` of the system, which only operations
    have: one that is not named is not asked, and one that is ``""`` is there and equals nothing.
    """

    subject: Subject
    system: str
    account: str | None = None
    action: Action | None = None
    target: Target = field(default_factory=dict)
    source: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """``allowed`` and ``effect`` are after the mode, ``would`` is what the grants alone say.

    ``rules`` are the ids of the grants that decided. ``actions`` is what is let through on ``account``, which is empty
    when none was chosen. ``reason`` is in plain words, for ops. ``ambiguous``: several accounts were possible and none
    was named, which the agent may be told.
    """

    allowed: bool
    effect: Effect
    would: Effect
    mode: Mode
    rules: tuple[str, ...]
    account: str
    actions: frozenset[Action]
    reason: str
    policy: str
    ambiguous: bool = False
