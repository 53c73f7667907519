"""What agents may do: ``grants``. Deny wins; what no grant allows is denied."""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from pydantic import Field

from bridge.adapter import Action
from bridge.config.sections import Mode, Section, inherited
from bridge.config.values import CIDR, Clock, Days, Flag, Frozen, Many, Moment, Name, Note, Selector, Some, Text, Zone


class Hours(Section):
    """A weekly window: from ``begin`` up to, not including, ``end``; an ``end`` before ``begin`` is the next day's."""

    days: Days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    begin: Clock = Field(alias="from")
    end: Clock = Field(alias="to")
    zone: Zone = "UTC"


class Grant(Section):
    """Who (agents, roles, owners, cost centres: those present must all hold), where, as which account, and what.

    ``agents: ["*"]`` is every agent; label ``environment:NAME`` every system of that environment. ``targets`` narrows
    by the facts of the protocol: ``{database: [app]}``. None and the empty tuple mean "any"; ``actions`` is never
    empty: an allow must name some, a deny that names none denies all. ``mode`` None: the system's; from
    ``mode_until`` on it is enforce.
    """

    id: Name
    effect: Literal["allow", "deny"] = "allow"
    agents: Some[Selector] | None = None
    roles: Some[Name] | None = None
    owners: Some[Name] | None = None
    cost_centres: Some[Text] | None = None
    system: Name | None = None
    systems: Some[Name] | None = None
    labels: Some[Text] | None = None
    account: Text | None = None
    default: Flag = False
    actions: Some[Action] = inherited(tuple(Action))
    targets: Frozen[Some[Text]] = Field(default_factory=lambda: MappingProxyType({}))
    environments: Many[Text] = ()
    delegated: Literal["any", "required", "never"] = "any"
    sources: Many[CIDR] = ()
    hours: Hours | None = None
    expires: Moment | None = None
    mode: Mode | None = None
    mode_until: Moment | None = None
    reason: Note = ""
    ticket: Note = ""
    owner: Note = ""
