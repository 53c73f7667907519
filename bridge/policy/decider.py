"""The decision itself: grants and systems in, one ``Decision`` per request out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields

from bridge.adapter import Action
from bridge.policy.conditions import ACTIONS_OF, BITS, EVERY_ACTION, STRICTNESS, Rule, narrowing_fails
from bridge.policy.decision import Decision, Request
from bridge.policy.grants import Effect, Grant, Hours, Mode, SystemPolicy
from bridge.policy.index import SystemIndex
from bridge.policy.verdict import Verdict, Weighed, choose, judge

_MODES = {strictness: mode for mode, strictness in STRICTNESS.items()}

SEVERAL_ACCOUNTS = "several accounts: name one"
NO_SUCH_ACCOUNT = "no account {account} exists on system {system}"


class Decider:
    """Immutable. ``digest`` identifies all grants and systems; ``version`` is the caller's own name for them.

    Raises ValueError when two grants or two systems share a name.
    """

    def __init__(self, grants: Iterable[Grant], systems: Iterable[SystemPolicy], version: str = "") -> None:
        self.grants = tuple(grants)
        listed = tuple(systems)
        self.systems = {system.name: system for system in listed}
        if len(self.systems) != len(listed) or len({grant.id for grant in self.grants}) != len(self.grants):
            raise ValueError("the id of a grant and the name of a system must be unique")
        self.version = version
        self._denying = frozenset(grant.id for grant in self.grants if grant.effect is Effect.DENY)
        self.digest = digest(self.grants, listed)
        rules = [Rule(order, grant) for order, grant in enumerate(self.grants)]
        self._indexes = {system.name: SystemIndex(system, rules) for system in listed}

    def index(self, system: str) -> SystemIndex | None:
        return self._indexes.get(system)

    def forbids(self, decision: Decision) -> bool:
        """Whether a deny grant decided, so that no further grant would help."""
        return not self._denying.isdisjoint(decision.rules)

    def admit(self, request: Request) -> Decision:
        """Whether the session may be opened, and as which account. An account that does not exist is never admitted."""
        index = self._indexes.get(request.system)
        if index is None:
            return self._refusal(Mode.ENFORCE, f"no system {request.system} exists")
        weighed = weigh(index, request)
        if request.account is None:
            return self._choose(index, weighed, request)
        if request.account not in index.system.accounts:
            reason = NO_SUCH_ACCOUNT.format(account=request.account, system=request.system)
            return self._refusal(index.system.mode, reason)
        return self._decision(index, weighed, judge(request.account, weighed, index.base), request)

    def permit(self, request: Request) -> Decision:
        """The same for one operation: ``request`` names account and action. Sessions use ``Standing.permit``."""
        return self.admit(request)

    def _choose(self, index: SystemIndex, weighed: Weighed, request: Request) -> Decision:
        wanted = wanted_bits(request.action)
        led_to = {rule.account for rule, _ in weighed if not rule.denies}
        accounts = index.system.accounts
        verdicts = [judge(account, weighed, index.base) for account in accounts if account in led_to]
        if not any(verdict.usable & wanted for verdict in verdicts):
            verdicts = [judge(account, weighed, index.base) for account in accounts]
        found = choose(verdicts, wanted)
        if len(found) == 1:
            return self._decision(index, weighed, found[0], request)
        if found:
            return self._refusal(index.system.mode, SEVERAL_ACCOUNTS, ambiguous=True)
        if len(led_to) == 1 and (nearest := [verdict for verdict in verdicts if verdict.selected]):
            return self._decision(index, weighed, nearest[0], request)
        denying = tuple(rule.grant.id for rule, holds in weighed if rule.denies and holds and rule.mask & wanted)
        reason = f"denied by grant {denying[0]}" if denying else f"no grant leads to system {request.system}"
        return self._refusal(index.system.mode, reason, rules=denying)

    def _refusal(self, mode: Mode, reason: str, *, rules: tuple[str, ...] = (), ambiguous: bool = False) -> Decision:
        deny = Effect.DENY
        return Decision(False, deny, deny, mode, rules, "", frozenset(), reason, self.digest, ambiguous)

    def _decision(self, index: SystemIndex, weighed: Weighed, verdict: Verdict, request: Request) -> Decision:
        wanted = wanted_bits(request.action)
        through = verdict.let_through
        if verdict.granted & wanted:
            would, mode = Effect.ALLOW, index.system.mode
            rules, reason = _allowing(weighed, verdict, wanted)
        else:
            would, mode = Effect.DENY, _MODES[verdict.strictness(wanted)]
            rules, reason = _refusing(weighed, verdict, request, index.system.operation_targets)
        allowed = bool(through & wanted)
        return Decision(
            allowed,
            Effect.ALLOW if allowed else Effect.DENY,
            would,
            mode,
            rules,
            verdict.account,
            ACTIONS_OF[through],
            reason,
            self.digest,
        )


def weigh(index: SystemIndex, request: Request) -> list[tuple[Rule, bool]]:
    selected = index.selected(request.subject, request.at)
    late = index.system.operation_targets
    return [(rule, not narrowing_fails(rule, request, late)) for rule in selected]


def wanted_bits(action: Action | None) -> int:
    return EVERY_ACTION if action is None else BITS[action]


def _about(rule: Rule, account: str) -> bool:
    return rule.account is None or rule.account == account


def _allowing(weighed: Weighed, verdict: Verdict, wanted: int) -> tuple[tuple[str, ...], str]:
    bits = verdict.granted & wanted
    rules = tuple(
        rule.grant.id
        for rule, holds in weighed
        if holds and not rule.denies and rule.mask & bits and rule.account == verdict.account
    )
    return rules, f"allowed by grant {rules[0]}"


def _refusing(
    weighed: Weighed, verdict: Verdict, request: Request, late: frozenset[str]
) -> tuple[tuple[str, ...], str]:
    """The deny grants that hold; else the allow grants that lead to the account but do not cover this."""
    wanted, account = wanted_bits(request.action), verdict.account
    about = [(rule, holds) for rule, holds in weighed if _about(rule, account)]
    denying = [rule.grant for rule, holds in about if rule.denies and holds and rule.mask & wanted]
    if denying:
        because = f": {denying[0].reason}" if denying[0].reason else ""
        return tuple(grant.id for grant in denying), f"denied by grant {denying[0].id}{because}"
    leading = [rule for rule, _ in about if not rule.denies]
    what = f"{request.action.value} on " if request.action else ""
    if not leading:
        return (), f"no grant allows {what}account {account} of system {request.system}"
    failing = (
        narrowing_fails(leading[0], request, late)
        or f"{request.action.value if request.action else 'this'} is not in it"
    )
    return tuple(rule.grant.id for rule in leading), f"not covered by grant {leading[0].grant.id}: {failing}"


def digest(grants: tuple[Grant, ...], systems: tuple[SystemPolicy, ...]) -> str:
    """``sha256:…`` over everything that can change a decision, and the reasons given."""
    every: list[Grant | SystemPolicy] = [*grants, *systems]
    plain = [[_plain(getattr(one, part.name)) for part in fields(one)] for one in every]
    text = json.dumps([len(grants), plain], separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    if hasattr(value, "items"):
        return sorted([name, sorted(values)] for name, values in value.items())
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, Hours):
        return [sorted(value.days), value.start, value.end, value.zone]
    return list(value) if isinstance(value, tuple) else str(value)
