"""The policy as the rest of the bridge holds it: live decisions, explanations and reverse questions in one object."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.adapter import Action
from bridge.policy.decider import Decider
from bridge.policy.decision import Request, Subject
from bridge.policy.explanation import Explanation, explain
from bridge.policy.questions import Access, Circumstances, who_can
from bridge.policy.standing import Standing


class Policy(Decider):
    """``admit`` and ``permit`` decide (see ``Decider``); the rest asks the same decisions in other ways."""

    def standing(self, request: Request, account: str) -> Standing:
        """For the operations of a session that was admitted to ``account``."""
        return Standing(self, request, account)

    def explain(self, request: Request) -> Explanation:
        """The decision that ``admit`` would make, and what every grant about the system had to do with it."""
        return explain(self, request)

    def who_can(
        self,
        subjects: Iterable[Subject],
        *,
        at: float,
        system: str | None = None,
        label: str | None = None,
        action: Action | None = None,
        circumstances: Circumstances | None = None,
    ) -> tuple[Access, ...]:
        """Every (agent, system, account) that is let through, with its actions and grants; see ``questions``."""
        return who_can(self, subjects, at=at, system=system, label=label, action=action, circumstances=circumstances)

    def what_can(
        self, subject: Subject, *, at: float, circumstances: Circumstances | None = None
    ) -> tuple[Access, ...]:
        """All that one agent reaches."""
        return who_can(self, (subject,), at=at, circumstances=circumstances)
