"""Who may open an account in an emergency, and for how long: ``breakglass``."""

from __future__ import annotations

from typing import Annotated

from bridge.config.findings import Findings
from bridge.config.sections import Section
from bridge.config.tree import Place
from bridge.config.values import Count, Duration, Frozen, PublicKey, bounded


class BreakGlass(Section):
    """``people``: name → Ed25519 public key, of those who may ask, approve and review. Nobody: there is no break-glass.

    ``longest``: from the first use to the end. ``review``: how long after the end a review is due.
    """

    people: Frozen[PublicKey] = {}
    approvals: Count = 2
    longest: Annotated[Duration, bounded("1m", "60m")] = 3600.0
    review: Annotated[Duration, bounded("1h", "30d")] = 259200.0


def check(found: Findings, breakglass: BreakGlass) -> None:
    """That it can work: enough people, each with a key of their own; tokens; and somebody who hears of it."""
    section, people = found.root.get("breakglass"), found.root.get("breakglass", "people")
    if section is None or people is None:
        return
    if len(breakglass.people) <= breakglass.approvals:
        found.error(people, "are too few: nobody approves what they ask for", f"at least {breakglass.approvals + 1}")
    if len(set(breakglass.people.values())) < len(breakglass.people):
        found.error(people, "share a key", "a key of their own for each")
    for name, place in section.under("people"):
        _key(found, place, breakglass.people.get(name, ""))
    profiles = [profile.text for _, issuer in found.root.under("issuers") if (profile := issuer.get("profile"))]
    if profiles and "builtin" not in profiles:
        found.error(people, "get tokens of the built-in issuer, which is not there", "an issuer of profile builtin")
    for key in ("security", "leadership"):
        if found.root.get("alerts", key) is None:
            found.warning(
                section, f"no channel of {key} hears of a break-glass", f"alerts.{key}: [CHANNEL]", on_key=True
            )


def _key(found: Findings, place: Place, key: str) -> None:
    """A key has one text, or it could pass for two people's; and nobody but its owner may sign for it."""
    from bridge.identity.agent_keys import normalised  # here: it loads cryptography, and every command this module

    try:
        normalised(key)
    except ValueError as error:
        found.error(place, f"is {error}", "an Ed25519 public key in base64url")
