"""The verdict on one account: what the grants allow, what refuses, and in which mode.

A refusal of an action has grounds: every deny grant that holds, and, when no allow grant holds, that nothing allows it.
The mode of a deny ground is the grant's own or the system's. The mode of "nothing allows it" is the most lenient among
the allow grants that select this agent, system and account (own or the system's), or the system's when none does.
The strictest ground counts: one that is enforced refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.policy.conditions import EVERY_ACTION, Rule

ENFORCED = 2

Weighed = Sequence[tuple[Rule, bool]]
"""The rules that select the agent and the system, each with whether its narrowing holds."""


@dataclass(slots=True)
class Verdict:
    """Bit masks of actions. ``grounds`` is indexed by strictness; ``selected``: some allow grant leads here.

    ``standing`` is what is allowed by grants that were not given for a time alone.
    """

    account: str
    allowing: int
    standing: int
    default: int
    denying: int
    grounds: tuple[int, int, int]
    selected: bool
    selected_default: bool

    @property
    def let_through(self) -> int:
        """What happens: all that no enforced ground refuses."""
        return EVERY_ACTION & ~self.grounds[ENFORCED]

    @property
    def granted(self) -> int:
        """What the grants alone say."""
        return self.allowing & ~self.denying

    @property
    def usable(self) -> int:
        """What an allow grant gives and no enforced ground takes; a deny on trial changes nothing here."""
        return self.allowing & self.let_through

    def strictness(self, wanted: int) -> int:
        """Of the refusal of ``wanted``: enforced when nothing of it is let through."""
        through = wanted & self.let_through
        if not through:
            return ENFORCED
        return 1 if self.grounds[1] & through else 0


def judge(account: str, weighed: Weighed, base: int) -> Verdict:
    """``base`` is the strictness of the system's mode."""
    allowing = standing = default = denying = 0
    grounds = [0, 0, 0]
    lenient = -1
    selected_default = False
    for rule, holds in weighed:
        if rule.account is not None and rule.account != account:
            continue
        strictness = base if rule.strictness is None else rule.strictness
        if not rule.denies:
            lenient = strictness if lenient < 0 else min(lenient, strictness)
            selected_default = selected_default or rule.default
            if holds:
                allowing |= rule.mask
                standing |= 0 if rule.temporary else rule.mask
                default |= rule.mask if rule.default else 0
        elif holds:
            denying |= rule.mask
            grounds[strictness] |= rule.mask
    grounds[base if lenient < 0 else lenient] |= EVERY_ACTION & ~allowing
    bitten = grounds[0], grounds[1], grounds[2]
    return Verdict(account, allowing, standing, default, denying, bitten, lenient >= 0, selected_default)


def choose(verdicts: Sequence[Verdict], wanted: int) -> list[Verdict]:
    """The accounts an agent that named none could get: one is the answer, several are ambiguous, none is a refusal.

    First the default accounts among those that grants give, then all that grants give, those that are given for a time
    last: what is given in addition must not take away what is chosen without it. Where a mode lets through what no
    grant gives, the default accounts among those grants lead to, then those grants lead to, then all.
    """
    usable = [verdict for verdict in verdicts if verdict.usable & wanted]
    through = [verdict for verdict in verdicts if verdict.let_through & wanted]
    return (
        [verdict for verdict in usable if verdict.usable & verdict.default & wanted]
        or [verdict for verdict in usable if verdict.usable & verdict.standing & wanted]
        or usable
        or [verdict for verdict in through if verdict.selected_default]
        or [verdict for verdict in through if verdict.selected]
        or through
    )
