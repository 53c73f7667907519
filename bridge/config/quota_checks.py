"""Cross checks of ``quotas``: does every name exist, does the quota limit anything?"""

from __future__ import annotations

from bridge.config.findings import Findings
from bridge.config.grant_checks import labels_of
from bridge.config.tree import Mapping, Place

LIMITS = (
    "sessions", "session_starts", "operations_per_minute", "rows_per_day", "bytes_per_day", "cost_per_day",
    "cost_per_month",
)  # fmt: skip
NEEDED = {"period": "session_starts", "burst": "operations_per_minute"}


def check(found: Findings) -> None:
    for _, quota in found.root.under("quotas"):
        if isinstance(quota.node, Mapping):
            _limits(found, quota)
            _names(found, quota)


def _limits(found: Findings, quota: Place) -> None:
    if not any(quota.get(key) for key in LIMITS):
        found.error(quota, "limits nothing", f"one of {', '.join(LIMITS)}", on_key=True)
    for key, needed in NEEDED.items():
        if (place := quota.get(key)) is not None and quota.get(needed) is None:
            found.error(place, f"does nothing without {needed}", needed, on_key=True)
    priced = any(system.get("price") for _, system in found.root.under("systems"))
    for key in ("cost_per_day", "cost_per_month"):
        if (place := quota.get(key)) is not None and not priced:
            found.warning(place, "no system has a price, so nothing costs anything", "systems.NAME.price", on_key=True)


def _names(found: Findings, quota: Place) -> None:
    for section, what in (("roles", "role"), ("owners", "owner"), ("systems", "system")):
        found.declared(quota, section, section, what)
    known = set().union(*(labels_of(system) for _, system in found.root.under("systems")))
    for label, place in quota.texts("labels"):
        if label not in known:
            found.unknown(place, "system with the label", known)
