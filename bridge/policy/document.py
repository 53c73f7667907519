"""A policy as a document: plain values from which the same policy, with the same digest, can be made again.

What has its default is left out. Names that the configuration chose stand as values, never as keys, so that the log's
rules for keys cannot refuse one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from bridge.adapter import Action
from bridge.policy.decider import Decider
from bridge.policy.grants import Delegated, Effect, Grant, Hours, Mode, SystemPolicy
from bridge.policy.policy import Policy

T = TypeVar("T", Grant, SystemPolicy)


class DocumentUnreadable(ValueError):
    """Not a policy's document, or not the one that its digest names."""


def document(policy: Decider) -> dict[str, Any]:
    """``{"digest", "version", "grants": […], "systems": […]}``"""
    return {
        "digest": policy.digest,
        "version": policy.version,
        "grants": [_plain(grant) for grant in policy.grants],
        "systems": [_plain(system) for system in policy.systems.values()],
    }


def policy_of(content: Mapping[str, Any]) -> Policy:
    """The policy again. Raises DocumentUnreadable, also when it does not have the digest that the document names."""
    try:
        grants = [_made(Grant, one) for one in content["grants"]]
        systems = [_made(SystemPolicy, one) for one in content["systems"]]
        policy = Policy(grants, systems, version=str(content["version"]))
        named = content["digest"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DocumentUnreadable(f"not a policy: {error}") from None
    if policy.digest != named:
        raise DocumentUnreadable(f"its digest is {policy.digest}, it says {named}")
    return policy


def _plain(one: Grant | SystemPolicy) -> dict[str, Any]:
    values = ((part, getattr(one, part.name)) for part in fields(one))
    return {part.name: _value(value) for part, value in values if value != _default(part)}


def _default(part: Any) -> Any:
    return part.default_factory() if part.default_factory is not MISSING else part.default


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [[name, sorted(values)] for name, values in sorted(value.items())]
    if isinstance(value, Hours):
        return {"days": sorted(value.days), "start": value.start, "end": value.end, "zone": value.zone}
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    if isinstance(value, str):
        return str(value)  # an enumeration's member is its text
    return list(value) if isinstance(value, tuple) else value


_READ: Mapping[str, Callable[[Any], Any]] = {
    "effect": Effect,
    "mode": Mode,
    "delegated": Delegated,
    "actions": lambda value: frozenset(map(Action, value)),
    "hours": lambda value: Hours(frozenset(value["days"]), value["start"], value["end"], value["zone"]),
    "targets": lambda value: {name: frozenset(values) for name, values in value},
    "account_labels": lambda value: {name: frozenset(values) for name, values in value},
    "sources": tuple,
    "accounts": tuple,
}


def _made(kind: type[T], content: Mapping[str, Any]) -> T:
    sets = {part.name for part in fields(kind) if str(part.type).startswith("frozenset")}
    members: dict[str, Any] = {}
    for name, value in content.items():
        read = _READ.get(name, frozenset if name in sets else None)
        members[name] = read(value) if read else value
    return kind(**members)
