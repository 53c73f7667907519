"""Why a decision came out as it did, grant by grant."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.policy.conditions import Rule, expiry_fails, narrowing_fails, who_fails
from bridge.policy.decider import Decider, wanted_bits
from bridge.policy.decision import Decision, Request
from bridge.policy.grants import Effect


@dataclass(frozen=True, slots=True)
class Trace:
    """One grant about the system: whether it applied to the request, and if not, the first thing that did not hold."""

    grant: str
    effect: Effect
    account: str
    matched: bool
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The live decision and the trace of every grant that speaks about the system, in the configuration's order."""

    request: Request
    decision: Decision
    traces: tuple[Trace, ...]


def explain(decider: Decider, request: Request) -> Explanation:
    decision = decider.admit(request)
    index = decider.index(request.system)
    account = decision.account or request.account
    late = index.system.operation_targets if index else frozenset()
    traces = tuple(_trace(rule, request, account, late) for rule in index.rules) if index else ()
    return Explanation(request, decision, traces)


def _trace(rule: Rule, request: Request, account: str | None, late: frozenset[str]) -> Trace:
    why = (
        who_fails(rule.grant, request.subject)
        or expiry_fails(rule, request.at)
        or _account_fails(rule, account)
        or narrowing_fails(rule, request, late)
        or _action_fails(rule, request)
    )
    return Trace(rule.grant.id, rule.grant.effect, rule.account or "", not why, why or "all of it holds")


def _account_fails(rule: Rule, account: str | None) -> str:
    if account is None or rule.account is None or rule.account == account:
        return ""
    return f"is about account {rule.account}"


def _action_fails(rule: Rule, request: Request) -> str:
    if rule.mask & wanted_bits(request.action):
        return ""
    covered = ", ".join(sorted(rule.grant.actions))
    return f"action {request.action} is not one of {covered}"
