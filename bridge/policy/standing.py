"""What a live session may do: the same decision per operation, remembered until time could change it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from bridge.adapter import Action, Target
from bridge.policy.decider import Decider
from bridge.policy.decision import Decision, Request

REMEMBERED = 256
"""Distinct (action, target) pairs kept; clients choose targets, so there must be an end."""

MINUTE = 60
"""Hours begin and end on whole minutes, so an answer that depends on them is good to the end of this one."""

Facts = tuple[tuple[str, str | tuple[str, ...]], ...]

FOREVER = float("inf")


class Remembered(NamedTuple):
    """A decision, and from when to when (excluded) it holds, in Unix seconds."""

    since: float
    until: float
    decision: Decision


class Standing:
    """One session's subject, system, account and source under one policy. After a reload, make a new one."""

    __slots__ = ("_decider", "_narrowing", "_remembered", "_request")

    def __init__(self, decider: Decider, request: Request, account: str) -> None:
        self._decider = decider
        self._request = replace(request, account=account)
        self._narrowing = (0.0, 0.0, frozenset[str]())
        self._remembered: dict[tuple[str, Facts], Remembered] = {}

    def permit(self, action: Action, target: Target, at: float) -> Remembered:
        """The decision on one operation at a time in Unix seconds. Facts that no grant about this agent asks for make
        no difference."""
        narrowing = self.narrowing(at)
        items: Facts = ()
        if narrowing:
            items = tuple([one for one in target.items() if one[0] in narrowing])
            if len(items) > 1:
                items = tuple(sorted(items))
        key = (action._value_, items)  # a member of an enumeration is slow to hash and to ask for its value
        found = self._remembered.get(key)
        if found is not None and found[0] <= at < found[1]:
            return found
        decision = self._decider.permit(replace(self._request, action=action, target=dict(target), at=at))
        if len(self._remembered) >= REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = found = Remembered(at, self._until(at), decision)
        return found

    def narrowing(self, at: float) -> frozenset[str]:
        """The facts by which the grants about this agent narrow."""
        begin, end, known = self._narrowing
        if not begin <= at < end:
            index = self._decider.index(self._request.system)
            rules = index.selected(self._request.subject, at) if index else ()
            known = frozenset(name for rule in rules for name in rule.grant.targets)
            self._narrowing = (at, self._until(at), known)
        return known

    def _until(self, at: float) -> float:
        index = self._decider.index(self._request.system)
        until = FOREVER
        for rule in index.selected(self._request.subject, at) if index else ():
            if rule.expires is not None:
                until = min(until, rule.expires)
            if rule.grant.hours is not None:
                until = min(until, at - at % MINUTE + MINUTE)
        return until
